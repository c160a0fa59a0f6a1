"""Messages that arrive twice. What cannot be meant twice fails the channel, with an `error` and the newest commitment;
what is harmless is ignored (BOLT 2). What was done because of the first one stays done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyln_fast.events import ChannelClosed, PaymentSent, ProcessingError
from pyln_fast.testing.scenario import Scenario
from pyln_fast.wire.channel_msgs import (
    ChannelReady,
    ChannelReestablish,
    ClosingSigned,
    CommitmentSigned,
    FundingCreated,
    FundingSigned,
    OpenChannel,
    RevokeAndAck,
    Shutdown,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.setup_msgs import Error, Warning


def pays(sim: Scenario) -> None:
    sim.node("alice").pays("bob", 1_000_000)


def is_refused(sim: Scenario) -> None:
    sim.node("bob").refuses_payments()
    sim.node("alice").pays("bob", 1_000_000)


def changes_the_feerate(sim: Scenario) -> None:
    sim.node("alice").estimates(2000)
    sim.node("alice").ticks_a_minute()


def closes(sim: Scenario) -> None:
    sim.node("alice").closes("bob")


def reconnects(sim: Scenario) -> None:
    sim.cut("alice", "bob")
    sim.run()
    sim.connect("alice", "bob")


FATAL: dict[type, tuple[str, Callable[[Scenario], None], str]] = {
    UpdateAddHtlc: ("alice", pays, "update_add_htlc: HTLC id 0, expected 1"),
    CommitmentSigned: ("alice", pays, "InvalidCommitmentSignature"),
    RevokeAndAck: ("bob", pays, "revoke_and_ack has no place in state in which none is owed"),
    UpdateFulfillHtlc: ("bob", pays, "update_fulfill_htlc: HTLC id 0"),
    UpdateFailHtlc: ("bob", is_refused, "update_fail_htlc: HTLC id 0"),
}
HARMLESS: dict[tuple[type, str], Callable[[Scenario], None]] = {
    (UpdateFee, "alice"): changes_the_feerate,
    (Shutdown, "alice"): closes,
    (Shutdown, "bob"): closes,
    (ClosingSigned, "alice"): closes,
    (ClosingSigned, "bob"): closes,
    (ChannelReady, "alice"): reconnects,
    (ChannelReady, "bob"): reconnects,
}


def other(name: str) -> str:
    return "bob" if name == "alice" else "alice"


@pytest.mark.parametrize("kind", FATAL, ids=lambda kind: kind.__name__)
def test_twice_fails_the_channel(kind: type) -> None:
    sender, does, why = FATAL[kind]
    sim = Scenario("alice - bob", forges=True)
    sim.repeat(sender, other(sender), kind)
    does(sim)
    sim.run()
    victim = sim.node(other(sender))
    assert [event.reason for event in victim.told_of(ChannelClosed)] == [ProcessingError(why)]
    assert [each.data.decode() for each in sim.messages(other(sender), sender, Error)] == [why]
    assert [each.kind for each in victim.broadcasts] == ["UnilateralClose"]
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")
    # The preimage was good the first time.
    assert len(sim.node("alice").told_of(PaymentSent)) == (kind is UpdateFulfillHtlc)


@pytest.mark.parametrize(("kind", "sender"), HARMLESS, ids=lambda part: getattr(part, "__name__", part))
def test_twice_is_harmless(kind: type, sender: str) -> None:
    def outcome(repeated: bool) -> tuple[object, ...]:
        sim = Scenario("alice - bob", forges=repeated)
        talk = sim.listen("alice", "bob")
        if repeated:
            sim.repeat(sender, other(sender), kind)
        HARMLESS[kind, sender](sim)
        sim.run()
        assert sim.reports == []
        channel = sim.channel("alice", "bob")
        return talk.messages(), channel.state_names, channel.balances_msat, channel.numbers("alice")

    assert outcome(True) == outcome(False)


def test_channel_reestablish_twice_costs_the_connection_alone() -> None:
    """LDK closes the channel; we start the connection afresh, for nothing has been lost."""
    sim = Scenario("alice - bob", forges=True)
    sim.repeat("alice", "bob", ChannelReestablish)
    reconnects(sim)
    sim.run()
    assert sim.channel("alice", "bob").state_names == ("Offline(Normal)", "Offline(Normal)")
    assert [each.data for each in sim.messages("bob", "alice", Warning)] == [
        b"channel_reestablish came when it was not due"
    ]
    sim.connect("alice", "bob")
    sim.run()
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert payment.succeeded
    sim.settle()


@pytest.mark.parametrize(
    ("kind", "sender", "answer", "states"),
    [
        # alice gives it up because of bob's error; what he signed for her funding by then is answered by one, too.
        (OpenChannel, "alice", Error, (None, "Closing")),
        (FundingCreated, "alice", Error, ("WaitForFundingConfirmed", "WaitForFundingConfirmed")),
        (FundingSigned, "bob", Error, ("Closing", "Closing")),
    ],
    ids=lambda part: getattr(part, "__name__", None),
)
def test_twice_in_an_opening(kind: type, sender: str, answer: type, states: tuple[str | None, str | None]) -> None:
    sim = Scenario("alice - bob", opened=False, forges=True)
    sim.repeat(sender, other(sender), kind)
    sim.node("alice").opens("bob")
    sim.run()
    assert len(sim.messages(other(sender), sender, answer)) == 1
    found = [[type(state).__name__ for state in node.node.core.state.channels.values()] for node in sim.nodes.values()]
    assert found == [[] if state is None else [state] for state in states]
    balance = sim.node("alice").node.wallet.balance()
    funding_sat = 0 if states[0] is None else 10_000_610
    assert balance.confirmed_sat + balance.unconfirmed_sat == 400_000_000 - funding_sat
