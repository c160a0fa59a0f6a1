"""BOLT 2, Message Retransmission: `revoke_and_ack` and `commitment_signed` both lost keep the order in which they were
first sent; and updates of both sides that cross."""

from __future__ import annotations

import pytest

from pyln_fast.testing.scenario import Scenario
from pyln_fast.wire.channel_msgs import RevokeAndAck
from tests.sim.scenarios.faults import resume

FAULTS = ("link", "alice", "bob", "both")


def fail_with(sim: Scenario, fault: str) -> None:
    """Everything that is under way is lost."""
    sim.cut("alice", "bob")
    for name in ("alice", "bob") if fault == "both" else (fault,):
        if fault != "link":
            sim.node(name).crash(write="after")
    sim.run()


@pytest.mark.parametrize("fault", FAULTS)
def test_revocation_first(fault: str) -> None:
    """bob answers alice's commitment: first the revocation, then his own signature."""
    sim = Scenario("alice - bob")
    payment = sim.node("alice").pays("bob", 1_000_000)
    first = sim.listen("alice", "bob")
    sim.hold("bob", "alice")
    sim.run()
    assert first.lines[2:] == ["bob: revoke_and_ack", "bob: commitment_signed"]
    lost = sim.messages("bob", "alice")
    fail_with(sim, fault)
    sim.release("bob", "alice")
    again = sim.listen("alice", "bob")
    resume(sim)
    sim.run()
    assert "bob: channel_reestablish 2 0" in again.lines
    assert [each.message for each in again.said if each.sender == "bob"][1:3] == lost
    assert payment.succeeded
    sim.settle()


@pytest.mark.parametrize("fault", FAULTS)
def test_commitment_first(fault: str) -> None:
    """Commitments that cross: alice has signed before she revokes for what bob has signed."""
    sim = Scenario("alice - bob")
    first = sim.listen("alice", "bob")
    sim.hold("alice", "bob")
    one, other = sim.node("alice").pays("bob", 1_000_000), sim.node("bob").pays("alice", 2_000_000)
    sim.run()
    assert [line for line in first.lines if line.startswith("alice")] == [
        "alice: update_add_htlc",
        "alice: commitment_signed",
        "alice: revoke_and_ack",
    ]
    lost = sim.messages("alice", "bob")
    fail_with(sim, fault)
    sim.release("alice", "bob")
    again = sim.listen("alice", "bob")
    resume(sim)
    sim.run()
    assert [each.message for each in again.said if each.sender == "alice"][1:4] == lost
    assert "alice: channel_reestablish 2 0" in again.lines
    assert "bob: channel_reestablish 1 0" in again.lines
    assert one.succeeded
    assert other.succeeded
    sim.settle()


@pytest.mark.parametrize("fault", FAULTS)
def test_both_revocations_lost(fault: str) -> None:
    sim = Scenario("alice - bob")
    one, other = sim.node("alice").pays("bob", 1_000_000), sim.node("bob").pays("alice", 2_000_000)
    sim.hold("alice", "bob", RevokeAndAck)
    sim.hold("bob", "alice", RevokeAndAck)
    sim.run()
    lost = sim.messages("alice", "bob", RevokeAndAck) + sim.messages("bob", "alice", RevokeAndAck)
    assert len(lost) == 2
    fail_with(sim, fault)
    sim.release("alice", "bob")
    sim.release("bob", "alice")
    again = sim.listen("alice", "bob")
    resume(sim)
    sim.run()
    assert sorted(again.lines[:2]) == ["alice: channel_reestablish 2 0", "bob: channel_reestablish 2 0"]
    assert all(each in again.messages(RevokeAndAck) for each in lost)
    assert one.succeeded
    assert other.succeeded
    sim.settle()
