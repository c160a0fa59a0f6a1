"""The deadlines of HTLCs (BOLT 2, cltv_expiry_delta Selection; LDK's rules), for nodes that see blocks, that lag,
that were away, and for a chain that is reorganised."""

from __future__ import annotations

import pytest

from pyln_fast.config import (
    CLTV_CLAIM_BUFFER,
    HTLC_FAIL_BACK_BUFFER,
    LATENCY_GRACE_PERIOD_BLOCKS,
    MAX_BLOCKS_FOR_CONF,
    PEER_PATIENCE_MINUTES,
)
from pyln_fast.events import ChannelClosed, HTLCHandlingFailed, HTLCsTimedOut, PaymentFailed
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES
from pyln_fast.testing.scenario_views import Payment
from pyln_fast.wire.channel_msgs import UpdateAddHtlc, UpdateFailHtlc, UpdateFulfillHtlc
from pyln_fast.wire.setup_msgs import Error

DUST, MORE = 100_000, 50_000_000


def mine_to(sim: Scenario, height: int) -> None:
    sim.mine(height - sim.chain.height)


def held_by_bob(amount: int = MORE) -> tuple[Scenario, Payment, int]:
    """An HTLC of alice's that bob has neither claimed nor failed, and its expiry."""
    sim = Scenario("alice - bob", tolerates=CLOSES)
    sim.node("bob").holds_payments()
    payment = sim.node("alice").pays("bob", amount)
    sim.time_passes(60 * PEER_PATIENCE_MINUTES)
    (htlc,) = sim.channel("alice", "bob").htlcs("alice")
    return sim, payment, htlc.cltv_expiry


@pytest.mark.parametrize("amount", [DUST, MORE], ids=["dust", "more"])
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "offline"])
def test_an_offered_htlc_closes_the_channel_three_blocks_after_its_expiry(amount: int, connected: bool) -> None:
    """bob's node is stuck behind the chain, so he does not fail it back."""
    sim, payment, expiry = held_by_bob(amount)
    sim.node("bob").falls_behind()
    if not connected:
        sim.cut("alice", "bob")
        sim.run()
    mine_to(sim, expiry + LATENCY_GRACE_PERIOD_BLOCKS - 1)
    assert sim.node("alice").broadcasts == []
    sim.mine(1)
    assert [each.kind for each in sim.node("alice").broadcasts] == ["UnilateralClose"]
    (closed,) = sim.node("alice").told_of(ChannelClosed)
    assert closed.reason == HTLCsTimedOut(payment.payment_hash)
    assert len(sim.messages("alice", "bob", Error)) == connected


@pytest.mark.parametrize("amount", [DUST, MORE], ids=["dust", "more"])
@pytest.mark.parametrize("connected", [True, False], ids=["held", "offline"])
def test_a_received_htlc_with_a_known_preimage_closes_the_channel_in_time(amount: int, connected: bool) -> None:
    """bob has claimed, alice takes no note of it: he goes on chain while there is time."""
    sim, payment, expiry = held_by_bob(amount)
    if connected:
        sim.hold("bob", "alice")
    else:
        sim.cut("alice", "bob")
        sim.run()
    sim.node("bob").claims(payment)
    sim.run()
    mine_to(sim, expiry - CLTV_CLAIM_BUFFER - 1)
    assert sim.node("bob").broadcasts == []
    sim.mine(1)
    assert [each.kind for each in sim.node("bob").broadcasts] == ["UnilateralClose"]
    (closed,) = sim.node("bob").told_of(ChannelClosed)
    assert closed.reason == HTLCsTimedOut(payment.payment_hash)


@pytest.mark.parametrize("step", ["signed", "revoked", "countersigned"])
def test_a_fulfil_that_is_only_half_committed_is_still_watched(step: str) -> None:
    """The HTLC is in a commitment that alice could still broadcast until she has revoked it."""
    sim, payment, expiry = held_by_bob()
    if step == "signed":
        sim.hold("bob", "alice")
    elif step == "revoked":
        sim.hold("alice", "bob")
    else:
        sim.hold("bob", "alice", UpdateFulfillHtlc)
        sim.run()
    sim.node("bob").claims(payment)
    sim.run()
    mine_to(sim, expiry - CLTV_CLAIM_BUFFER)
    assert [each.kind for each in sim.node("bob").broadcasts] == ["UnilateralClose"]


def test_a_claimable_payment_is_failed_back_before_the_channel_must_close() -> None:
    sim, payment, expiry = held_by_bob()
    mine_to(sim, expiry - HTLC_FAIL_BACK_BUFFER - 1)
    assert payment.ends == []
    sim.mine(1)
    assert payment.failed
    sim.mine(60)
    assert sim.channel("alice", "bob").state_names == ("Normal", "Normal")
    sim.settle()


def test_the_deadlines_of_a_node_that_was_away_are_met_when_it_comes_back() -> None:
    """In its last blocks a claim does not wait for the peer."""
    sim, payment, expiry = held_by_bob()
    sim.hold("bob", "alice")
    sim.node("bob").claims(payment)
    sim.run()
    sim.node("bob").crash(write="after")
    mine_to(sim, expiry - MAX_BLOCKS_FOR_CONF)
    assert sim.node("bob").broadcasts == []
    sim.node("bob").restarts()
    assert [each.kind for each in sim.node("bob").broadcasts] == ["UnilateralClose"]


def test_an_addition_that_waits_too_long_is_never_sent() -> None:
    """It was queued behind a revocation; three blocks before its expiry it may not leave any more."""
    sim = Scenario("alice - bob", tolerates=CLOSES)
    sim.hold("bob", "alice")
    first = sim.node("alice").pays("bob", MORE)
    sim.run()
    second = sim.node("alice").pays("bob", MORE + 1)
    sim.run()
    expiry = sim.channel("alice", "bob").htlcs("alice")[1].cltv_expiry
    mine_to(sim, expiry - LATENCY_GRACE_PERIOD_BLOCKS - 1)
    assert second.ends == []
    sim.mine(1)
    assert [type(end) for end in second.ends] == [PaymentFailed]
    assert first.ends == []
    assert len(sim.messages("alice", "bob", UpdateAddHtlc)) == 1


# --- forwards between nodes at different heights ----------------------------------------------------------------------


@pytest.mark.parametrize("late", ["alice", "bob", "carol"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_node_that_is_a_little_behind_disturbs_nobody(late: str, blocks: int) -> None:
    """Whoever lags: the margins that invoices and forwarders leave are for that."""
    sim = Scenario("alice - bob - carol")
    sim.node(late).falls_behind()
    sim.mine(blocks)
    payment = sim.node("alice").pays("carol", MORE)
    sim.run()
    assert payment.succeeded
    sim.node(late).catches_up()
    sim.settle()


def test_a_payer_that_is_too_far_behind_is_refused_and_nothing_closes() -> None:
    sim = Scenario("alice - bob - carol")
    sim.node("alice").falls_behind()
    sim.mine(10)
    payment = sim.node("alice").pays("carol", MORE)
    sim.run()
    assert payment.failed
    sim.node("alice").catches_up()
    payment = sim.node("alice").pays("carol", MORE)
    sim.run()
    assert payment.succeeded
    sim.settle()


def test_a_forwarder_has_the_time_that_it_asks_for_between_its_two_deadlines() -> None:
    """carol never answers: bob closes with her 72 blocks before alice would close with him, less the grace period."""
    sim = Scenario("alice - bob - carol", tolerates=CLOSES)
    sim.node("carol").holds_payments()
    payment = sim.node("alice").pays("carol", MORE)
    sim.run()
    sim.time_passes(60 * PEER_PATIENCE_MINUTES)
    sim.node("carol").crash()
    (downstream,) = sim.channel("bob", "carol").htlcs("bob")
    (upstream,) = sim.channel("alice", "bob").htlcs("bob")
    assert upstream.cltv_expiry - downstream.cltv_expiry == 72
    mine_to(sim, downstream.cltv_expiry + LATENCY_GRACE_PERIOD_BLOCKS)
    (closed,) = sim.node("bob").told_of(ChannelClosed)
    assert closed.reason == HTLCsTimedOut(payment.payment_hash)
    assert sim.channel("alice", "bob").state_names == ("Normal", "Normal")
    assert payment.ends == [], "the preimage may still be shown on chain"
    assert sim.messages("bob", "alice", UpdateFailHtlc) == []
    assert sim.node("bob").told_of(HTLCHandlingFailed) == []


# --- reorganisations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_reorganisation_that_is_not_deeper_than_the_confirmations(depth: int) -> None:
    """The funding is three deep, so it leaves with the third block and comes back: suspended, then used again."""
    sim = Scenario("alice - bob - carol")
    sim.reorganise(depth)
    payment = sim.node("alice").pays("carol", MORE)
    sim.run()
    assert payment.succeeded
    assert sim.is_usable()
    sim.settle()


def test_htlcs_under_way_live_through_a_reorganisation() -> None:
    sim = Scenario("alice - bob - carol")
    sim.node("carol").holds_payments()
    payment = sim.node("alice").pays("carol", MORE)
    sim.run()
    sim.reorganise(3)
    sim.node("carol").claims(payment)
    sim.run()
    assert payment.succeeded
    sim.settle()


def test_a_close_that_a_reorganisation_undoes_confirms_again() -> None:
    sim = Scenario("alice - bob")
    sim.node("alice").closes("bob")
    sim.run()
    sim.mine(2)
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")
    sim.reorganise(2)
    sim.mine(5)
    assert sim.channel("alice", "bob").state_names == (None, None)
    assert [len(node.told_of(ChannelClosed)) for node in sim.nodes.values()] == [1, 1]
