"""Nothing is seen before it is durable (LDK's rules for ChannelMonitorUpdateStatus, which the journal keeps for all).

While a write is under way the node says nothing that depends on it, and takes what comes; when it is done, it says what
it owes, in the order in which it would have been said.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyln_fast.events import (
    ChannelClosed,
    ChannelPending,
    ChannelReady,
    HTLCHandlingFailed,
    PaymentClaimable,
    PaymentClaimed,
    PaymentForwarded,
    PaymentSent,
)
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES
from pyln_fast.testing.scenario_node import AtWrite
from pyln_fast.wire import channel_msgs as msgs
from pyln_fast.wire.channel_msgs import CommitmentSigned, RevokeAndAck, UpdateFulfillHtlc
from tests.sim.scenarios.faults import resume

THREE = "alice - bob - carol"


def pays(sim: Scenario) -> None:
    sim.node("alice").pays("carol", 1_000_000)


def is_refused(sim: Scenario) -> None:
    sim.node("carol").refuses_payments()
    pays(sim)


def closes(sim: Scenario) -> None:
    sim.node("bob").closes("carol")


def changes_the_feerate(sim: Scenario) -> None:
    sim.node("alice").estimates(2000)
    sim.node("alice").ticks_a_minute()


# What may not leave while its write is under way: who, to whom, the message, what leads to it, from whose message on
# the disk is slow (None: from the beginning).
BLOCKED: dict[str, tuple[str, str, type, Callable[[Scenario], None], tuple[str, type] | None]] = {
    "commitment_signed and its updates": ("alice", "bob", msgs.UpdateAddHtlc, pays, None),
    "revoke_and_ack": ("bob", "alice", RevokeAndAck, pays, ("alice", msgs.UpdateAddHtlc)),
    "commitment_signed that answers": ("bob", "alice", CommitmentSigned, pays, ("alice", msgs.UpdateAddHtlc)),
    "the forward": ("bob", "carol", msgs.UpdateAddHtlc, pays, ("alice", CommitmentSigned)),
    "the fulfil upstream": ("bob", "alice", UpdateFulfillHtlc, pays, ("carol", CommitmentSigned)),
    "the claim": ("carol", "bob", UpdateFulfillHtlc, pays, ("bob", CommitmentSigned)),
    "the failure upstream": ("bob", "alice", msgs.UpdateFailHtlc, is_refused, ("carol", msgs.UpdateFailHtlc)),
    "update_fee": ("alice", "bob", msgs.UpdateFee, changes_the_feerate, None),
    "the beginning of a shutdown": ("bob", "carol", msgs.Shutdown, closes, None),
    "the answer to a shutdown": ("carol", "bob", msgs.Shutdown, closes, None),
    "closing_signed that agrees": ("carol", "bob", msgs.ClosingSigned, closes, ("bob", msgs.Shutdown)),
}


@pytest.mark.parametrize("write", ["finished", "before", "during", "after"])
@pytest.mark.parametrize("what", BLOCKED)
def test_what_waits_for_a_write(what: str, write: str) -> None:
    """The disk stops; then it catches up, or the power is lost at the write that waits."""
    sender, receiver, kind, does, slow_from = BLOCKED[what]
    sim = Scenario(THREE)
    if slow_from is None:
        sim.node(sender).slow_disk()
    else:
        whose, message = slow_from
        sim.hold(whose, sender, message)
    does(sim)
    sim.run()
    if slow_from is not None:
        sim.node(sender).slow_disk()
        sim.release(slow_from[0], sender)
        sim.run()
    assert sim.messages(sender, receiver, kind) == [], what
    assert len(sim.node(sender).disk.waiting) in (1, 2)
    if write != "finished":
        at: AtWrite = write  # type: ignore[assignment]
        sim.node(sender).crash(write=at)
        sim.run()
        assert sim.messages(sender, receiver, kind) == [], what
        sim.node(sender).disk_is_slow = False
        resume(sim)
    sim.node(sender).disk_catches_up()
    sim.run()
    if write == "finished" or (write == "after" and kind not in (msgs.UpdateAddHtlc, msgs.UpdateFee)):
        # What is proposed but not signed dies with the process.
        assert len(sim.messages(sender, receiver, kind)) > 0, what
    sim.settle()


def test_what_comes_while_a_write_is_under_way_is_taken_and_answered_later() -> None:
    """Not blocked: receiving. The answers keep their order, and take one write more, not one each."""
    sim = Scenario("alice - bob")
    sim.node("bob").slow_disk()
    payment = sim.node("alice").pays("bob", 1_000_000)
    talk = sim.listen("alice", "bob")
    sim.run()
    assert talk.lines == ["alice: update_add_htlc", "alice: commitment_signed"]
    assert sim.channel("alice", "bob").numbers("bob") == (1, 1)
    before = sim.node("bob").disk.sequence
    sim.node("bob").finishes_write()
    assert talk.lines[2:] == ["bob: revoke_and_ack", "bob: commitment_signed"]
    assert sim.node("bob").disk.sequence == before + 1
    sim.node("bob").disk_catches_up()
    sim.run()
    assert payment.succeeded
    sim.settle()


def test_each_of_two_writes_releases_its_own_effects() -> None:
    """An effect waits for its batch and those before it, and for none behind it."""
    sim = Scenario(THREE)
    bob = sim.node("bob")
    bob.slow_disk()
    sim.node("alice").pays("carol", 1_000_000)
    sim.node("carol").pays("alice", 2_000_000)
    sim.run()
    assert len(bob.disk.waiting) == 2, "and no input is taken meanwhile"
    assert [each for each in sim.wire.said if each.sender == "bob"] == []
    bob.finishes_write()
    assert [each.line for each in sim.wire.said if each.sender == "bob"] == [
        "bob: revoke_and_ack",
        "bob: commitment_signed",
    ]
    assert {each.receiver for each in sim.wire.said if each.sender == "bob"} == {"alice"}
    bob.finishes_write()
    assert {each.receiver for each in sim.wire.said if each.sender == "bob"} == {"alice", "carol"}
    sim.settle()


def test_pings_wait_for_no_write() -> None:
    sim = Scenario("alice - bob")
    sim.node("bob").slow_disk()
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.time_passes(60)
    assert sim.channel("alice", "bob").state_names == ("Normal", "Normal"), "the peer is still connected"
    sim.node("bob").disk_catches_up()
    sim.run()
    assert payment.succeeded
    sim.settle()


@pytest.mark.parametrize("reconnected", [False, True])
def test_what_was_owed_to_a_lost_connection_is_not_said_on_the_next(reconnected: bool) -> None:
    """The peer went while the write was under way: `channel_reestablish` decides, and nothing is said twice."""
    sim = Scenario("alice - bob")
    bob = sim.node("bob")
    bob.slow_disk()
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    sim.cut("alice", "bob")
    sim.run()
    if reconnected:
        sim.connect("alice", "bob")
        sim.run()
    bob.disk_catches_up()
    sim.run()
    sim.connect("alice", "bob")
    sim.run()
    assert [type(message).__name__ for message in sim.messages("bob", "alice")][:3] == [
        "ChannelReestablish",
        "RevokeAndAck",
        "CommitmentSigned",
    ]
    assert payment.succeeded
    sim.settle()


def test_no_funding_is_broadcast_before_its_monitor_is_durable() -> None:
    sim = Scenario("alice - bob", opened=False)
    alice = sim.node("alice")
    alice.opens("bob")
    sim.run_until(lambda: bool(sim.messages("bob", "alice", msgs.FundingSigned)))
    alice.slow_disk()
    sim.run()
    assert (alice.broadcasts, alice.told) == ([], [])
    alice.disk_catches_up()
    sim.run()
    assert [each.kind for each in alice.broadcasts] == ["Funding"]
    assert [type(event) for event in alice.told] == [ChannelPending]


def test_funding_signed_and_channel_ready_wait_for_the_monitor() -> None:
    sim = Scenario("alice - bob", opened=False)
    bob = sim.node("bob")
    sim.node("alice").opens("bob")
    sim.run_until(lambda: bool(sim.messages("alice", "bob", msgs.FundingCreated)))
    bob.slow_disk()
    sim.run()
    assert sim.messages("bob", "alice", msgs.FundingSigned) == []
    bob.disk_catches_up()
    sim.run()
    assert len(sim.messages("bob", "alice", msgs.FundingSigned)) == 1
    bob.slow_disk()
    sim.mine(3)
    assert sim.messages("bob", "alice", msgs.ChannelReady) == []
    assert bob.told_of(ChannelReady) == []
    bob.disk_catches_up()
    sim.run()
    assert len(sim.messages("bob", "alice", msgs.ChannelReady)) == 1
    assert len(bob.told_of(ChannelReady)) == 1


@pytest.mark.parametrize("write", ["finished", "before", "during", "after"])
def test_what_a_block_means_is_not_said_before_the_block_is_durable(write: str) -> None:
    """alice's commitment confirms: bob's user is told once the block is on his disk, and once, whatever happens."""
    sim = Scenario("alice - bob", tolerates=CLOSES)
    sim.cut("alice", "bob")
    sim.run()
    sim.node("alice").force_closes("bob")
    sim.run()
    bob = sim.node("bob")
    bob.slow_disk()
    sim.mine(1)
    assert bob.told_of(ChannelClosed) == []
    if write != "finished":
        bob.crash(write=write)  # type: ignore[arg-type]
        bob.disk_is_slow = False
        bob.restarts()
    bob.disk_catches_up()
    sim.run()
    assert [type(event.reason).__name__ for event in bob.told_of(ChannelClosed)] == ["CommitmentTxConfirmed"]
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("alice", (PaymentSent,)),
        ("bob", (PaymentForwarded,)),
        ("carol", (PaymentClaimable, PaymentClaimed)),
    ],
)
def test_no_event_is_told_before_it_is_durable(name: str, kinds: tuple[type, ...]) -> None:
    sim = Scenario(THREE)
    node = sim.node(name)
    sim.node("alice").pays("carol", 1_000_000)
    while True:
        node.slow_disk()
        sim.run()
        told = list(node.told)
        if not node.disk.waiting:
            break
        sim.run()
        assert node.told == told, "nothing more while the write is under way"
        waiting = [write.table for write in node.disk.waiting[0].writes]
        node.finishes_write()
        sim.run_until(lambda: True)
        if "events" not in waiting:
            assert node.told == told
    assert all(len(node.told_of(kind)) == 1 for kind in kinds)
    node.disk_catches_up()
    sim.settle()


def test_a_failed_forward_is_told_once_its_answer_is_durable() -> None:
    sim = Scenario(THREE)
    sim.cut("bob", "carol")
    sim.run()
    bob = sim.node("bob")
    payment = sim.node("alice").pays("carol", 1_000_000)
    sim.hold("alice", "bob", RevokeAndAck)
    sim.run()
    bob.slow_disk()
    sim.release("alice", "bob")
    sim.run()
    assert (bob.told_of(HTLCHandlingFailed), sim.messages("bob", "alice", msgs.UpdateFailHtlc)) == ([], [])
    bob.disk_catches_up()
    sim.run()
    assert [event.failure_reason for event in bob.told_of(HTLCHandlingFailed)] == ["PeerOffline"]
    assert payment.failed
    sim.connect("bob", "carol")
    sim.settle()
