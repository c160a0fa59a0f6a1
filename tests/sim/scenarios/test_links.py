"""Connections that are made twice, that nobody knows to be dead, or on which a peer owes an answer: each channel is
re-established once, and nothing is lost (BOLT 1, BOLT 2; LDK's timers)."""

from __future__ import annotations

import pytest

from pyln_fast.config import DISCONNECT_PEER_AWAITING_RESPONSE_TICKS
from pyln_fast.testing.scenario import Scenario
from pyln_fast.wire.channel_msgs import ChannelReestablish, RevokeAndAck, UpdateFulfillHtlc
from tests.sim.scenarios.faults import resume

HALF = 5_000_000_000
PATIENCE = 60 * (DISCONNECT_PEER_AWAITING_RESPONSE_TICKS + 2)


@pytest.mark.parametrize("order", [("alice", "bob"), ("bob", "alice")], ids="-".join)
def test_both_call_at_the_same_moment(order: tuple[str, str]) -> None:
    sim = Scenario("alice - bob")
    sim.cut("alice", "bob")
    sim.run()
    for caller, called in (order, order[::-1]):
        sim.network.connect(sim.node(caller), sim.node(called))
        sim.node(caller).has_inputs = sim.node(called).has_inputs = True
    sim.run()
    assert sim.channel("alice", "bob").state_names == ("Normal", "Normal")
    assert len(sim.network.links) == 1
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert payment.succeeded
    sim.settle()


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_machine_that_vanishes_and_comes_back_before_anybody_has_noticed(who: str) -> None:
    """The new connection replaces the old one, on which the peer may already have answered."""
    sim = Scenario("alice - bob")
    sim.node("bob").holds_payments()
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    sim.node(who).crash(write="after", silently=True)
    sim.run()
    other = "bob" if who == "alice" else "alice"
    assert sim.channel("alice", "bob").state_name(other) == "Normal"
    if who == "alice":
        sim.node("bob").claims(payment)
        sim.run()
        assert len(sim.messages("bob", "alice", UpdateFulfillHtlc)) == 1, "into the void"
    sim.node(who).restarts()
    sim.run()
    if who == "bob":
        sim.node("bob").claims(payment)
        sim.run()
    assert payment.succeeded
    assert sim.channel("alice", "bob").balances_msat == (HALF - 50_000_000, HALF + 50_000_000)
    sim.settle()


def test_a_machine_that_vanished_is_noticed_by_its_silence() -> None:
    sim = Scenario("alice - bob")
    sim.node("alice").crash(silently=True)
    sim.run()
    assert sim.channel("alice", "bob").state_name("bob") == "Normal"
    sim.time_passes(40)
    assert sim.channel("alice", "bob").state_name("bob") == "Offline(Normal)"
    resume(sim)
    sim.settle()


@pytest.mark.parametrize("owed", [RevokeAndAck, ChannelReestablish], ids=lambda kind: kind.__name__)
def test_a_peer_that_owes_an_answer_is_disconnected(owed: type) -> None:
    sim = Scenario("alice - bob")
    if owed is ChannelReestablish:
        sim.cut("alice", "bob")
        sim.run()
        sim.hold("bob", "alice", owed)
        sim.connect("alice", "bob")
        sim.run()
        payment = None
    else:
        sim.hold("bob", "alice", owed)
        payment = sim.node("alice").pays("bob", 1_000_000)
        sim.run()
    before = len(sim.network.links)
    sim.time_passes(60)
    assert len(sim.network.links) == before, "it may take a while"
    sim.time_passes(PATIENCE)
    assert sim.channel("alice", "bob").state_name("alice") == "Offline(Normal)"
    sim.settle()
    assert payment is None or payment.succeeded


def test_one_link_of_two_fails() -> None:
    sim = Scenario("alice - bob - carol")
    sim.cut("alice", "bob")
    sim.run()
    payment = sim.node("bob").pays("carol", 1_000_000)
    sim.run()
    assert payment.succeeded
    assert sim.channel("alice", "bob").state_names == ("Offline(Normal)", "Offline(Normal)")
    assert sim.channel("bob", "carol").state_names == ("Normal", "Normal")
    sim.settle()
