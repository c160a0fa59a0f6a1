"""What a restart must find and do (LDK's rules for reading a ChannelManager and its ChannelMonitors): both are of the
same moment, what is owed is done again, and the chain comes before the peers."""

from __future__ import annotations

import pytest

from pyln_fast.channel.state import Closing
from pyln_fast.config import CLTV_CLAIM_BUFFER, LATENCY_GRACE_PERIOD_BLOCKS, MAX_BLOCKS_FOR_CONF, PEER_PATIENCE_MINUTES
from pyln_fast.events import ChannelClosed, HTLCsTimedOut, PaymentFailed
from pyln_fast.node.state import MONITORS, DangerousState
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES
from pyln_fast.wire.channel_msgs import CommitmentSigned, FundingSigned, UpdateAddHtlc


def test_a_channel_without_its_monitor_is_refused() -> None:
    """LDK: it must not start. Nobody would watch the chain for that channel."""
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    alice.crash()
    alice.disk.put_back({**alice.disk.tables, MONITORS.name: {}}, alice.disk.sequence)
    with pytest.raises(DangerousState, match=f"channel {sim.channels[0].channel_id.hex()}: its monitor is missing"):
        alice.restarts()


@pytest.mark.parametrize("older", ["monitors", "channels"])
def test_a_channel_and_a_monitor_of_different_moments_are_refused(older: str) -> None:
    """LDK closes a channel whose manager is behind its monitor, and refuses to start the other way round. Here both are
    in one batch, so either is damage, and what it would cost cannot be known."""
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    before = alice.backs_up()
    sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    alice.crash()
    alice.disk.put_back({**alice.disk.tables, older: before.tables[older]}, alice.disk.sequence)
    with pytest.raises(DangerousState, match="its monitor is at update"):
        alice.restarts()


def test_the_blocks_that_were_missed_come_before_the_peers() -> None:
    """A deadline that passed meanwhile is met before a peer is heard: what bob has claimed, he fetches."""
    sim = Scenario("alice - bob", tolerates=CLOSES)
    sim.node("bob").holds_payments()
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    (htlc,) = sim.channel("alice", "bob").htlcs("bob")
    sim.hold("bob", "alice")
    sim.node("bob").claims(payment)
    sim.run()
    sim.node("alice").crash()
    sim.node("bob").crash()
    sim.mine(htlc.cltv_expiry - CLTV_CLAIM_BUFFER - sim.chain.height)
    sim.node("bob").restarts()
    sim.mine(CLTV_CLAIM_BUFFER - MAX_BLOCKS_FOR_CONF - 1)
    assert sim.node("bob").broadcasts == [], "there is time to hear the peer first"
    sim.node("bob").crash()
    sim.mine(1)
    talk = sim.listen("alice", "bob")
    sim.node("bob").restarts()
    sim.run()
    assert [each.kind for each in sim.node("bob").broadcasts][:1] == ["UnilateralClose"]
    assert [event.reason for event in sim.node("bob").told_of(ChannelClosed)] == [HTLCsTimedOut(htlc.payment_hash)]
    assert talk.lines == []


@pytest.mark.parametrize("peer_is_there", [True, False])
def test_an_expired_htlc_of_ours_waits_for_the_peer(peer_is_there: bool) -> None:
    """It may prove that we have lost state. What it says, or ten minutes of silence, and the next block decide."""
    sim = Scenario("alice - bob", tolerates=CLOSES)
    alice, bob = sim.node("alice"), sim.node("bob")
    bob.holds_payments()
    alice.pays("bob", 50_000_000)
    sim.run()
    (htlc,) = sim.channel("alice", "bob").htlcs("alice")
    alice.crash()
    bob.crash()
    sim.mine(htlc.cltv_expiry + LATENCY_GRACE_PERIOD_BLOCKS - sim.chain.height)
    bob.is_behind = True
    if peer_is_there:
        bob.restarts()
    alice.restarts()
    sim.run()
    sim.mine(0 if peer_is_there else 1)
    assert alice.broadcasts == []
    sim.time_passes(0 if peer_is_there else 60 * PEER_PATIENCE_MINUTES + 60)
    sim.mine(1)
    assert [each.kind for each in alice.broadcasts] == ["UnilateralClose"]
    assert [event.reason for event in alice.told_of(ChannelClosed)] == [HTLCsTimedOut(htlc.payment_hash)]


@pytest.mark.parametrize("write", ["before", "during", "after"])
def test_a_channel_and_its_monitor_are_of_one_moment_after_every_crash(write: str) -> None:
    """Whatever write of a payment is the last: a restart finds no channel behind or ahead of its monitor."""
    whole = Scenario("alice - bob - carol")
    whole.node("alice").pays("carol", 50_000_000)
    whole.run()
    for nth in range(1, len([each for each in whole.wire.said if each.receiver == "bob"]) + 1):
        sim = Scenario("alice - bob - carol")
        bob = sim.node("bob")
        payment = sim.node("alice").pays("carol", 50_000_000)
        bob.crash(after=object, nth=nth, write=write)  # type: ignore[arg-type]
        sim.run()
        assert not bob.alive, nth
        bob.restarts()
        core = bob.node.core
        for channel_id, state in core.state.channels.items():
            assert core.state.monitors[channel_id].update_id == state.data.monitor_update_id, nth
        sim.run()
        assert len(payment.ends) == 1, nth
        sim.settle()


def test_a_write_that_nobody_was_told_of_has_its_effects_after_the_restart() -> None:
    """It is on disk, and what it says was never seen: the funding goes out, and its event is told."""
    sim = Scenario("alice - bob", opened=False)
    alice = sim.node("alice")
    alice.crash(after=FundingSigned, write="after")
    alice.opens("bob")
    sim.run()
    assert sim.chain.mempool == {}
    alice.restarts()
    sim.run()
    assert [each.kind for each in alice.broadcasts] == ["Funding"]
    assert len(sim.chain.mempool) == 1
    assert [type(event).__name__ for event in alice.told] == ["ChannelPending"]
    sim.mine(3)
    sim.find_channels()
    assert sim.is_usable()


def test_an_addition_that_nobody_had_signed_is_failed_back_after_a_restart() -> None:
    """It never left, and its payer is not left waiting: the failure goes upstream, with the event at the forwarder."""
    sim = Scenario("alice - bob - carol")
    bob = sim.node("bob")
    payment = sim.node("alice").pays("carol", 50_000_000)
    sim.run_until(lambda: len(sim.messages("alice", "bob")) == 3)
    bob.slow_disk()
    sim.run()
    assert sim.messages("bob", "carol", UpdateAddHtlc) == []
    bob.crash(write="after")
    bob.disk_is_slow = False
    bob.restarts()
    sim.run()
    assert len(payment.ends) == 1
    sim.settle()


def test_a_payment_that_never_left_fails_after_a_restart() -> None:
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    sim.hold("bob", "alice")
    first = alice.pays("bob", 1_000_000)
    sim.run()
    second = alice.pays("bob", 2_000_000)
    sim.run()
    assert len(sim.messages("alice", "bob", UpdateAddHtlc)) == 1, "the second waits for a revocation"
    assert len(sim.messages("alice", "bob", CommitmentSigned)) == 1
    alice.crash()
    sim.release("bob", "alice")
    alice.restarts()
    sim.run()
    assert first.succeeded
    assert [(type(end), end.reason) for end in second.ends] == [  # type: ignore[union-attr]
        (PaymentFailed, "RetriesExhausted")
    ]
    sim.settle()


def test_a_failed_channel_stays_failed_over_a_restart() -> None:
    sim = Scenario("alice - bob", tolerates=CLOSES)
    sim.broadcasts_get_lost = True
    sim.node("alice").force_closes("bob")
    sim.run()
    first = sim.node("alice").broadcasts[0].transactions
    sim.node("alice").restarts()
    sim.run()
    state = sim.channel("alice", "bob").state("alice")
    assert isinstance(state, Closing)
    assert [each.transactions for each in sim.node("alice").broadcasts] == [first, first]
