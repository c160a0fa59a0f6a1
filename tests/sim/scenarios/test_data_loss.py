"""BOLT 2, Message Retransmission: one side has lost state, or says so. A proof that we are behind forbids our broadcast
of that channel, durably, and touches no other (LDK stops the process)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from pyln_fast.channel.state import Closing
from pyln_fast.events import ChannelClosed, CounterpartyForceClosed, ProcessingError
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES, DURABLE_FIRST
from pyln_fast.wire.channel_msgs import ChannelReestablish
from pyln_fast.wire.setup_msgs import Error

LOST_STATE = (DURABLE_FIRST, *CLOSES)
BEHIND = "we have lost state of this channel: please broadcast your commitment"


def restored_from_a_backup(payments: int = 2, graph: str = "alice - bob") -> Scenario:
    """alice's disk is as it was so many payments ago; she is connected again."""
    sim = Scenario(graph, tolerates=LOST_STATE)
    backup = sim.node("alice").backs_up()
    for _ in range(payments):
        sim.node("alice").pays("bob", 1_000_000)
        sim.run()
    sim.forget()
    sim.node("alice").restarts(backup)
    sim.run()
    # Nothing else was broken than what must be.
    assert {broken.invariant for broken in sim.checkers.broken} == set(LOST_STATE)
    return sim


@pytest.mark.parametrize("payments", [1, 2, 5])
def test_we_are_behind_and_the_peer_proves_it(payments: int) -> None:
    sim = restored_from_a_backup(payments)
    number = 2 * payments
    # alice is first with her error; what bob makes of her numbers is his own business, and an error too.
    assert sorted(each.line for each in sim.wire.said if each.line.endswith((" 0", f" {number}"))) == [
        "alice: channel_reestablish 1 0",
        f"bob: channel_reestablish {number + 1} {number}",
    ]
    (error,) = sim.messages("alice", "bob", Error)
    assert error.data.decode() == BEHIND
    state = sim.channel("alice", "bob").state("alice")
    assert isinstance(state, Closing)
    assert state.never_broadcast
    (closed,) = sim.node("alice").told_of(ChannelClosed)
    assert closed.reason == ProcessingError("the peer proved that it has a newer state of the channel than we")


def test_what_is_proved_is_never_broadcast_whatever_happens() -> None:
    sim = restored_from_a_backup()
    sim.broadcasts_get_lost = True
    alice = sim.node("alice")
    alice.force_closes("bob")
    sim.mine(200)
    sim.time_passes(120)
    alice.restarts()
    sim.run()
    sim.mine(1)
    sim.time_passes(120)
    assert alice.broadcasts == []
    # And it is still what she says to whoever asks.
    assert sim.messages("alice", "bob", Error)[-1].data.decode() == BEHIND
    assert sim.node("bob").broadcasts[0].kind == "UnilateralClose"


def test_the_peer_that_is_ahead_gives_us_our_money() -> None:
    """bob fails the channel and broadcasts his newest commitment, in which alice has her balance."""
    sim = restored_from_a_backup(payments=2)
    assert [each.kind for each in sim.node("bob").broadcasts] == ["UnilateralClose"]
    (closed,) = sim.node("bob").told_of(ChannelClosed)
    assert isinstance(closed.reason, ProcessingError | CounterpartyForceClosed)
    sim.mine(1)
    assert len(sim.chain.active[-1].transactions) == 1
    outputs = sim.chain.active[-1].transactions[0].tx.outputs
    # Two anchors, what alice has left after 2000 sat, two anchors and a fee of 1124 sat, and what bob has.
    assert sorted(output.value_sat for output in outputs) == [330, 330, 4_996_216, 5_002_000]
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")


def test_only_that_channel_is_concerned() -> None:
    """Not another one between the same nodes, nor one with somebody else."""
    sim = restored_from_a_backup(payments=1, graph="alice - bob, alice - carol, alice - bob")
    first, second = sim.channel("alice", "bob", 0), sim.channel("alice", "bob", 1)
    used = first if first.state_name("alice") == "Closing" else second
    other = second if used is first else first
    assert used.state_names == ("Closing", "Closing")
    assert other.state_names == ("Normal", "Normal")
    assert sim.channel("alice", "carol").state_names == ("Normal", "Normal")
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert payment.succeeded


def test_a_backup_from_before_the_channel() -> None:
    """bob has never heard of it: he says so, and alice's commitment pays him."""
    sim = Scenario("alice - bob", opened=False, tolerates=LOST_STATE)
    alice, bob = sim.node("alice"), sim.node("bob")
    backup = bob.backs_up()
    alice.opens("bob", push_msat=3_000_000_000)
    sim.run()
    sim.mine(3)
    sim.find_channels()
    sim.forget()
    bob.restarts(backup)
    sim.run()
    (channel,) = sim.channels
    assert channel.state_names == ("Closing", None)
    assert [each.data for each in sim.messages("bob", "alice", Error)] == [b"unknown channel in ChannelReestablish"]
    assert [each.kind for each in alice.broadcasts] == ["UnilateralClose"]
    sim.mine(1)
    assert 3_000_000 in [output.value_sat for output in sim.chain.active[-1].transactions[0].tx.outputs]


CLAIMS: dict[str, tuple[Callable[[ChannelReestablish], ChannelReestablish], str]] = {
    "too high without a proof": (
        lambda msg: replace(msg, next_revocation_number=9),
        "channel_reestablish: next_revocation_number is 9, expected at most 4",
    ),
    "too high with a secret of ours that is too old": (
        lambda msg: replace(msg, next_revocation_number=msg.next_revocation_number + 1),
        "channel_reestablish: next_revocation_number is 5, expected at most 4",
    ),
    "a wrong secret": (
        lambda msg: replace(msg, your_last_per_commitment_secret=b"\x01" * 32),
        "channel_reestablish: next_revocation_number is 4, expected one with the right secret",
    ),
    "no secret": (
        lambda msg: replace(msg, your_last_per_commitment_secret=bytes(32)),
        "channel_reestablish: next_revocation_number is 4, expected one with the right secret",
    ),
    "no commitment": (
        lambda msg: replace(msg, next_commitment_number=0),
        "channel_reestablish: next_commitment_number is 0, expected 1 to 2^48 - 1",
    ),
    "a commitment that we have not signed": (
        lambda msg: replace(msg, next_commitment_number=msg.next_commitment_number + 1),
        "channel_reestablish: next_commitment_number is 6, expected 5 or one less",
    ),
    "a commitment that it has acknowledged": (
        lambda msg: replace(msg, next_commitment_number=msg.next_commitment_number - 1),
        "channel_reestablish: next_commitment_number is 4, expected 5 or one less",
    ),
    "a commitment number out of range": (
        lambda msg: replace(msg, next_commitment_number=1 << 48),
        "channel_reestablish: next_commitment_number is 281474976710656, expected 1 to 2^48 - 1",
    ),
    "a revocation number out of range": (
        lambda msg: replace(msg, next_revocation_number=1 << 48),
        "channel_reestablish: next_revocation_number is 281474976710656, expected at most 2^48 - 1",
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_proves_nothing_fails_the_channel(claim: str) -> None:
    """BOLT 2: an error, and our newest commitment goes out."""
    change, why = CLAIMS[claim]
    sim = Scenario("alice - bob", forges=True)
    for _ in range(2):
        sim.node("alice").pays("bob", 1_000_000)
        sim.run()
    sim.replace("bob", "alice", ChannelReestablish, change)
    sim.cut("alice", "bob")
    sim.run()
    talk = sim.listen("alice", "bob")
    sim.connect("alice", "bob")
    sim.run()
    assert sorted(talk.lines) == ["alice: channel_reestablish 5 4", "alice: error", "bob: channel_reestablish 5 4"]
    (error,) = talk.messages(Error)
    assert error.data.decode() == why
    assert [event.reason for event in sim.node("alice").told_of(ChannelClosed)] == [ProcessingError(why)]
    assert [event.reason for event in sim.node("bob").told_of(ChannelClosed)] == [CounterpartyForceClosed(why)]
    assert [each.kind for each in sim.node("alice").broadcasts] == ["UnilateralClose"]


def test_the_peer_is_behind_by_more_than_what_can_be_sent_again() -> None:
    """It can prove nothing and we cannot help it: error, and our commitment, which is not revoked."""
    sim = restored_from_a_backup(payments=1)
    (error,) = sim.messages("bob", "alice", Error)
    assert error.data.decode() == "channel_reestablish: next_revocation_number is 0, expected 2 or one less"
    assert [each.kind for each in sim.node("bob").broadcasts] == ["UnilateralClose"]
    sim.mine(1)
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")


def test_a_backup_with_an_htlc_that_has_expired() -> None:
    """Its deadline is past, so it would close the channel at once, with a commitment that is revoked."""
    sim = Scenario("alice - bob", tolerates=LOST_STATE)
    alice, bob = sim.node("alice"), sim.node("bob")
    bob.holds_payments()
    payment = alice.pays("bob", 1_000_000)
    sim.run()
    backup = alice.backs_up()
    (htlc,) = sim.channel("alice", "bob").htlcs("alice")
    bob.claims(payment)
    sim.run()
    assert payment.succeeded
    alice.crash()
    sim.mine(htlc.cltv_expiry + 10 - sim.chain.height)
    alice.restarts(backup)
    sim.run()
    sim.mine(1)
    sim.time_passes(1200)
    sim.mine(1)
    assert alice.broadcasts == []
    state = sim.channel("alice", "bob").state("alice")
    assert isinstance(state, Closing)
    assert state.never_broadcast


def test_an_opener_that_has_lost_the_channel_gets_its_money() -> None:
    """The funding was broadcast, and confirms after the opener has lost everything: with bob's commitment alone it can
    have its money back."""
    sim = Scenario("alice - bob", opened=False, tolerates=LOST_STATE)
    alice, bob = sim.node("alice"), sim.node("bob")
    backup = alice.backs_up()
    alice.opens("bob")
    sim.run()
    (funding,) = sim.chain.mempool
    alice.restarts(backup)
    sim.run()
    sim.time_passes(60)
    assert [type(state).__name__ for state in bob.node.core.state.channels.values()] == ["Closing"]
    assert bob.broadcasts == [], "there is nothing to spend yet"
    sim.mine(1)
    sim.time_passes(60)
    assert {each.kind for each in bob.broadcasts} == {"UnilateralClose"}
    (close,) = sim.chain.mempool.values()
    assert [tx_in.outpoint.txid for tx_in in close.tx.inputs] == [funding]
    assert max(output.value_sat for output in close.tx.outputs) > 9_900_000


@pytest.mark.parametrize("is_mined", [False, True])
def test_the_peer_has_closed_before_we_come_back_with_a_backup(is_mined: bool) -> None:
    """bob's error says that the channel failed, and nothing of what alice has lost. She must learn that first, for her
    commitment is revoked: with it bob would take everything."""
    sim = Scenario("alice - bob", tolerates=LOST_STATE)
    alice, bob = sim.node("alice"), sim.node("bob")
    backup = alice.backs_up()
    for _ in range(2):
        alice.pays("bob", 1_000_000)
        sim.run()
    sim.broadcasts_get_lost = not is_mined
    alice.crash()
    bob.force_closes("alice")
    sim.run()
    sim.mine(1)
    sim.forget()
    alice.restarts(backup)
    sim.run()
    sim.time_passes(120)
    assert alice.broadcasts == []
    state = sim.channel("alice", "bob").state("alice")
    assert isinstance(state, Closing)
    assert state.never_broadcast or state.spent_by_commitment
