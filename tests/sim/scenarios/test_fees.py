"""Feerates (BOLT 2, Updating Fees; LDK's rules): they follow the opener, and reach both commitments or none."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pyln_fast.events import ChannelClosed, PeerFeerateTooLow
from pyln_fast.testing.scenario import FEERATE, Scenario
from pyln_fast.types import FeeratePerKw
from pyln_fast.wire.channel_msgs import CommitmentSigned, UpdateFee


def feerates(sim: Scenario) -> list[int | None]:
    return [sim.channel("alice", "bob").details(name).feerate_sat_per_1000_weight for name in ("alice", "bob")]


@pytest.mark.parametrize(
    ("estimate", "expected"), [(1001, 1001), (2500, 2500), (999, 1000), (501, 1000), (500, 500), (253, 253)]
)
def test_up_at_once_and_down_when_it_has_halved(estimate: int, expected: int) -> None:
    sim = Scenario("alice - bob")
    sim.node("alice").estimates(estimate)
    sim.time_passes(59)
    assert feerates(sim) == [FEERATE, FEERATE], "once a minute"
    sim.time_passes(2)
    assert feerates(sim) == [expected, expected]
    sim.settle()


def test_only_the_opener_follows() -> None:
    sim = Scenario("alice - bob")
    sim.node("bob").estimates(3000)
    sim.time_passes(120)
    assert feerates(sim) == [FEERATE, FEERATE]
    assert sim.messages("bob", "alice", UpdateFee) == []


def test_payments_go_on_while_the_feerate_changes() -> None:
    sim = Scenario("alice - bob")
    one = sim.node("alice").pays("bob", 5_000_000)
    other = sim.node("bob").pays("alice", 7_000_000)
    sim.node("alice").estimates(2000)
    sim.node("alice").ticks_a_minute()
    sim.run()
    assert (one.succeeded, other.succeeded) == (True, True)
    assert feerates(sim) == [2000, 2000]
    sim.settle()


def test_a_feerate_that_was_never_signed_is_proposed_again_after_a_reconnection() -> None:
    sim = Scenario("alice - bob")
    sim.hold("bob", "alice")
    payment = sim.node("alice").pays("bob", 5_000_000)
    sim.run()
    sim.node("alice").estimates(2000)
    sim.node("alice").ticks_a_minute()
    sim.run()
    assert sim.messages("alice", "bob", UpdateFee) == [], "it waits for the revocation"
    sim.cut("alice", "bob")
    sim.run()
    sim.release("bob", "alice")
    sim.connect("alice", "bob")
    sim.run()
    assert payment.succeeded
    assert feerates(sim) == [FEERATE, FEERATE]
    sim.node("alice").ticks_a_minute()
    sim.run()
    assert feerates(sim) == [2000, 2000]
    sim.settle()


def test_the_newest_of_two_feerates_counts() -> None:
    sim = Scenario("alice - bob")
    sim.hold("bob", "alice")
    for estimate in (2000, 3000, 4000):
        sim.node("alice").estimates(estimate)
        sim.node("alice").ticks_a_minute()
        sim.run()
    assert len(sim.messages("alice", "bob", CommitmentSigned)) == 1
    sim.release("bob", "alice")
    sim.run()
    assert [each.feerate_per_kw for each in sim.messages("alice", "bob", UpdateFee)] == [2000, 4000]
    assert feerates(sim) == [4000, 4000]
    sim.settle()


def test_a_feerate_that_cannot_be_paid_is_not_proposed() -> None:
    """alice keeps 20,000 sat: enough for her reserve, not for a commitment at ten times the feerate."""
    sim = Scenario("alice - bob", value_sat=1_000_000, push_msat=980_000_000)
    sim.node("alice").estimates(10_000)
    sim.time_passes(61)
    assert feerates(sim) == [FEERATE, FEERATE]
    sim.settle()


def test_a_feerate_that_would_not_confirm_closes_the_channel() -> None:
    sim = Scenario("alice - bob", forges=True)
    sim.node("alice").estimates(2000)
    sim.replace("alice", "bob", UpdateFee, lambda message: replace(message, feerate_per_kw=FeeratePerKw(200)))
    sim.time_passes(61)
    (closed,) = sim.node("bob").told_of(ChannelClosed)
    assert closed.reason == PeerFeerateTooLow(200, 253)
    assert [each.kind for each in sim.node("bob").broadcasts] == ["UnilateralClose"]


def test_a_feerate_from_the_other_side_closes_the_channel() -> None:
    sim = Scenario("alice - bob", forges=True)
    sim.forge("bob", "alice", UpdateFee(sim.channels[0].channel_id, FeeratePerKw(2000)))
    sim.run()
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")
