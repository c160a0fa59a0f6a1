"""BOLT 2, Message Retransmission: `shutdown` is sent again, and the negotiation of the closing fee begins again."""

from __future__ import annotations

import pytest

from pyln_fast.events import (
    ChannelClosed,
    CounterpartyInitiatedCooperativeClosure,
    LocallyInitiatedCooperativeClosure,
)
from pyln_fast.testing.scenario import Scenario
from pyln_fast.wire.channel_msgs import ClosingSigned, CommitmentSigned, RevokeAndAck, Shutdown
from tests.sim.scenarios.faults import AT_A_MESSAGE, fault_at, resume

CLOSE = {
    "alice": ["alice: shutdown", "bob: shutdown", "alice: closing_signed", "bob: closing_signed"],
    "bob": ["bob: shutdown", "alice: shutdown", "alice: closing_signed", "bob: closing_signed"],
}


def check_closed(sim: Scenario, closer: str) -> None:
    """One closing transaction, and each user is told once who began."""
    broadcast = {raw for node in sim.nodes.values() for each in node.broadcasts for raw in each.transactions}
    assert len(broadcast) == 1
    sim.mine(1)
    for name in ("alice", "bob"):
        (closed,) = sim.node(name).told_of(ChannelClosed)
        local = LocallyInitiatedCooperativeClosure, CounterpartyInitiatedCooperativeClosure
        assert type(closed.reason) is local[name != closer]
        assert sim.channel("alice", "bob").state_name(name) == "Closing"
    sim.mine(5)
    assert sim.channel("alice", "bob").state_names == (None, None)


def shutdown_scripts(sim: Scenario) -> dict[str, set[bytes]]:
    return {
        name: {message.scriptpubkey for message in sim.messages(name, other, Shutdown)}
        for name, other in (("alice", "bob"), ("bob", "alice"))
    }


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("closer", ["alice", "bob"])
def test_interrupted(closer: str, index: int) -> None:
    for fault in AT_A_MESSAGE:
        sim = Scenario("alice - bob")
        fault_at(sim, fault, CLOSE[closer], index)
        sim.node(closer).closes("bob" if closer == "alice" else "alice")
        sim.run()
        again = sim.listen("alice", "bob")
        resume(sim)
        sim.run()
        said = [line for line in again.lines if "channel_ready" not in line]
        assert sorted(said[:2]) == ["alice: channel_reestablish 1 0", "bob: channel_reestablish 1 0"], fault
        assert [line for line in said[2:] if line.startswith("alice")] == ["alice: shutdown", "alice: closing_signed"]
        assert [line for line in said[2:] if line.startswith("bob")] == ["bob: shutdown", "bob: closing_signed"], fault
        assert [len(scripts) for scripts in shutdown_scripts(sim).values()] == [1, 1], fault
        check_closed(sim, closer)


@pytest.mark.parametrize("closer", ["alice", "bob"])
def test_the_last_revocation_is_lost_when_one_side_negotiates_already(closer: str) -> None:
    """bob has seen the last HTLC go, alice has not: he owes her the revocation, then both begin."""
    sim = Scenario("alice - bob")
    sim.node("bob").holds_payments()
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    sim.node(closer).closes("bob" if closer == "alice" else "alice")
    sim.run()
    assert sim.channel("alice", "bob").state_names == ("ShuttingDown", "ShuttingDown")
    sim.node("bob").claims(payment)
    sim.cut("alice", "bob", sent=RevokeAndAck, sender="bob")
    sim.run()
    assert sim.channel("alice", "bob").state_names == ("Offline(ShuttingDown)", "Offline(Negotiating)")
    again = sim.listen("alice", "bob")
    sim.connect("alice", "bob")
    sim.run()
    assert [line for line in again.lines if line.startswith("bob")] == [
        "bob: channel_reestablish 3 2",
        "bob: revoke_and_ack",
        "bob: shutdown",
        "bob: closing_signed",
    ]
    assert [line for line in again.lines if line.startswith("alice")] == [
        "alice: channel_reestablish 3 1",
        "alice: shutdown",
        "alice: closing_signed",
    ]
    assert payment.succeeded
    check_closed(sim, closer)


def test_no_revocation_is_sent_again_after_closing_signed() -> None:
    sim = Scenario("alice - bob")
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    assert payment.succeeded
    sim.node("alice").closes("bob")
    sim.cut("alice", "bob", sent=ClosingSigned, sender="bob")
    sim.run()
    again = sim.listen("alice", "bob")
    sim.connect("alice", "bob")
    sim.run()
    assert again.messages(RevokeAndAck, CommitmentSigned) == []
    assert len(again.messages(ClosingSigned)) == 2
    check_closed(sim, "alice")


def test_a_close_that_only_the_chain_tells_of() -> None:
    """bob agreed and broadcast, alice never got his signature and hears of the block."""
    sim = Scenario("alice - bob")
    sim.node("alice").closes("bob")
    sim.cut("alice", "bob", sent=ClosingSigned, sender="bob")
    sim.run()
    sim.mine(1)
    check_closed(sim, "alice")


def test_a_peer_behind_the_chain_asks_for_a_channel_whose_close_has_confirmed() -> None:
    """The one that knows says nothing (an error would make the other broadcast its commitment); the block decides."""
    sim = Scenario("alice - bob")
    sim.node("alice").closes("bob")
    sim.cut("alice", "bob", sent=ClosingSigned, sender="bob")
    sim.run()
    sim.node("alice").falls_behind()
    sim.mine(1)
    again = sim.listen("alice", "bob")
    sim.connect("alice", "bob")
    sim.run()
    assert again.lines == ["alice: channel_reestablish 1 0"]
    assert sim.channel("alice", "bob").state_names == ("Syncing(Negotiating)", "Closing")
    sim.node("alice").catches_up()
    sim.run()
    check_closed(sim, "alice")
