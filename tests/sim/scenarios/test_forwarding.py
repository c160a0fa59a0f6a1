"""A forwarder never pays downstream without collecting upstream, and answers every HTLC once: at each message of a
forwarded payment the forwarder crashes, or a link is lost, and then everything goes on (LDK's rules: the preimage is
upstream before it is forgotten downstream; forwards, claims and failures are rebuilt by a restart)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pyln_fast.events import Forward, HTLCHandlingFailed, HTLCLocator, OnPath, PaymentForwarded, PaymentPathFailed
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES
from pyln_fast.testing.scenario_views import Payment
from pyln_fast.testing.scenario_wire import Said
from pyln_fast.wire.channel_msgs import (
    CommitmentSigned,
    RevokeAndAck,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.failure_msgs import InvalidOnionVersion

AMOUNT, FEE = 50_000_000, 1000
HALF = 5_000_000_000


def begin(refused: bool = False) -> tuple[Scenario, Payment]:
    sim = Scenario("alice - bob - carol")
    if refused:
        sim.node("carol").refuses_payments()
    return sim, sim.node("alice").pays("carol", AMOUNT)


def balances(sim: Scenario) -> tuple[int, ...]:
    return *sim.channel("alice", "bob").balances_msat, *sim.channel("bob", "carol").balances_msat


def all_messages(refused: bool) -> list[tuple[Said, int]]:
    """Of an undisturbed payment: each with which of its kind and direction it is."""
    sim, _ = begin(refused)
    sim.run()
    keys = [(each.sender, each.receiver, type(each.message)) for each in sim.wire.said]
    return [(each, keys[: index + 1].count(keys[index])) for index, each in enumerate(sim.wire.said)]


MESSAGES = {refused: all_messages(refused) for refused in (False, True)}
CASES = [(refused, index) for refused, messages in MESSAGES.items() for index in range(len(messages))]


def name_of(case: tuple[bool, int]) -> str:
    said, nth = MESSAGES[case[0]][case[1]]
    return f"{'refused' if case[0] else 'paid'} {said.line.replace(': ', ' ')} to {said.receiver} {nth}"


def check_end(sim: Scenario, payment: Payment, refused: bool, fault: str) -> None:
    sim.settle()
    if refused:
        assert payment.failed, fault
        assert balances(sim) == (HALF, HALF, HALF, HALF), fault
        return
    assert payment.succeeded, fault
    assert balances(sim) == (HALF - AMOUNT - FEE, HALF + AMOUNT + FEE, HALF - AMOUNT, HALF + AMOUNT), fault


def test_undisturbed() -> None:
    sim, payment = begin()
    sim.run()
    check_end(sim, payment, False, "")
    first, second = sim.channel("alice", "bob").channel_id, sim.channel("bob", "carol").channel_id
    alice, carol = sim.node("alice").node_id, sim.node("carol").node_id
    assert sim.node("bob").told == [
        PaymentForwarded(
            (HTLCLocator(first, AMOUNT + FEE, 0, 0, alice),),
            (HTLCLocator(second, AMOUNT, 0, 0, carol),),
            FEE,
            0,
            False,
            AMOUNT,
        )
    ]


def test_undisturbed_refused() -> None:
    sim, payment = begin(True)
    sim.run()
    check_end(sim, payment, True, "")
    first, second = sim.channel("alice", "bob").channel_id, sim.channel("bob", "carol").channel_id
    failed = HTLCHandlingFailed((first,), Forward(sim.node("carol").node_id, second), "Downstream")
    assert sim.node("bob").told == [failed]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_disturbed(case: tuple[bool, int]) -> None:
    refused, index = case
    said, nth = MESSAGES[refused][index]
    kind = type(said.message)
    for fault in ("lost with the link", "crash before", "crash after", "sent"):
        sim, payment = begin(refused)
        bob = sim.node("bob")
        if fault == "lost with the link":
            sim.cut(said.sender, said.receiver, sent=kind, sender=said.sender, nth=nth)
        elif said.receiver == "bob" and fault != "sent":
            bob.crash(after=kind, peer=said.sender, nth=nth, write="before" if fault == "crash before" else "after")
        elif said.sender == "bob" and fault == "sent":
            bob.crash(sent=kind, peer=said.receiver, nth=nth)
        else:
            continue
        sim.run()
        if not bob.alive:
            bob.restarts()
        check_end(sim, payment, refused, fault)
        told = dict.fromkeys(event for event in bob.told if isinstance(event, PaymentForwarded))
        assert len(told) == (not refused), fault


def test_a_preimage_survives_a_crash_of_the_forwarder() -> None:
    sim = Scenario("alice - bob - carol")
    payment = sim.node("alice").pays("carol", AMOUNT)
    sim.node("bob").crash(after=UpdateFulfillHtlc)
    sim.run()
    sim.node("bob").restarts()
    sim.run()
    assert payment.succeeded


@pytest.mark.parametrize("upstream", ["offline", "awaits a revocation", "slow"])
def test_a_preimage_is_in_the_monitor_upstream_before_it_is_forgotten_downstream(upstream: str) -> None:
    """A preimage update is never blocked: neither by an absent peer, nor by a commitment under way, nor by a disk."""
    sim, payment = begin()
    bob = sim.node("bob")
    sim.node("carol").holds_payments()
    sim.run()
    other = None
    if upstream == "offline":
        sim.cut("alice", "bob")
    elif upstream == "awaits a revocation":
        sim.hold("alice", "bob")
        other = bob.pays("alice", 7_000_000)
    else:
        bob.slow_disk()
    sim.run()
    sim.node("carol").claims(payment)
    sim.run()
    if upstream == "slow":
        # carol has the fulfil in no commitment of bob's yet, so she cannot have forgotten it either.
        assert sim.messages("bob", "carol", RevokeAndAck)[1:] == []
        assert len(sim.channel("bob", "carol").htlcs("carol")) == 1
        bob.disk_catches_up()
        sim.run()
    monitor = bob.node.core.state.monitors[sim.channel("alice", "bob").channel_id]
    if upstream != "slow":
        assert [payment_hash for payment_hash, _ in monitor.preimages] == [payment.payment_hash]
        assert sim.channel("bob", "carol").htlcs("bob") == [], "downstream it is over"
    sim.settle()
    assert payment.succeeded
    assert other is None or other.succeeded


def test_a_preimage_reaches_the_monitor_of_a_channel_that_has_failed() -> None:
    """It can still be claimed on chain."""
    sim = Scenario("alice - bob - carol", tolerates=CLOSES)
    sim.node("carol").holds_payments()
    payment = sim.node("alice").pays("carol", AMOUNT)
    sim.run()
    sim.broadcasts_get_lost = True
    sim.node("alice").force_closes("bob")
    sim.run()
    sim.node("carol").claims(payment)
    sim.run()
    monitor = sim.node("bob").node.core.state.monitors[sim.channel("alice", "bob").channel_id]
    assert [payment_hash for payment_hash, _ in monitor.preimages] == [payment.payment_hash]
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")
    assert sim.channel("bob", "carol").balances_msat == (HALF - AMOUNT, HALF + AMOUNT)


def test_the_next_peer_goes_while_the_forward_waits() -> None:
    """A forward that waits for a revocation downstream never left: it is failed back at once, and only that."""
    sim = Scenario("alice - bob - carol")
    sim.hold("carol", "bob")
    first = sim.node("alice").pays("carol", AMOUNT)
    sim.run()
    second = sim.node("alice").pays("carol", 20_000_000)
    sim.run()
    assert len(sim.messages("bob", "carol", UpdateAddHtlc)) == 1
    sim.cut("bob", "carol")
    sim.run()
    assert second.failed
    assert first.ends == []
    sim.release("carol", "bob")
    sim.settle()
    assert first.succeeded
    assert [event.failure_reason for event in sim.node("bob").told_of(HTLCHandlingFailed)] == ["PeerOffline"]


def test_an_upstream_peer_that_is_away_gets_its_failure_later() -> None:
    sim = Scenario("alice - bob - carol")
    sim.node("carol").holds_payments()
    payment = sim.node("alice").pays("carol", AMOUNT)
    sim.run()
    sim.cut("alice", "bob")
    sim.run()
    sim.node("carol").refuses(payment)
    sim.run()
    assert sim.channel("bob", "carol").htlcs("bob") == []
    assert sim.messages("bob", "alice", UpdateFailHtlc) == []
    sim.node("bob").restarts()
    sim.run()
    assert len(sim.messages("bob", "alice", UpdateFailHtlc)) == 1
    assert payment.failed
    sim.settle()


def test_a_fulfil_that_comes_twice_is_collected_once() -> None:
    """The link downstream is lost before its commitment: carol fulfils again, bob has collected already."""
    sim, payment = begin()
    sim.cut("bob", "carol", after=UpdateFulfillHtlc)
    sim.run()
    assert payment.succeeded
    sim.connect("bob", "carol")
    sim.run()
    assert len(sim.messages("carol", "bob", UpdateFulfillHtlc)) == 2
    assert len(sim.messages("bob", "alice", UpdateFulfillHtlc)) == 1
    assert len(sim.node("bob").told_of(PaymentForwarded)) == 1
    check_end(sim, payment, False, "")


def test_a_peer_that_fulfils_and_then_fails_loses_nothing_for_the_forwarder() -> None:
    """carol shows the preimage, loses the link before it is committed, and then says that it failed."""
    sim = Scenario("alice - bob - carol", forges=True)
    sim.hold("carol", "bob", CommitmentSigned, nth=2)
    payment = sim.node("alice").pays("carol", AMOUNT)
    sim.run()
    assert payment.succeeded
    sim.cut("bob", "carol")
    sim.run()
    sim.release("carol", "bob")
    sim.replace(
        "carol",
        "bob",
        UpdateFulfillHtlc,
        lambda message: UpdateFailHtlc(message.channel_id, message.id, bytes(292)),
    )
    sim.connect("bob", "carol")
    sim.run()
    assert sim.node("bob").balance_msat("alice") == HALF + AMOUNT + FEE
    assert payment.succeeded


def test_an_onion_that_the_next_node_cannot_read_is_reported_in_its_words() -> None:
    """BOLT 2, update_fail_malformed_htlc: bob turns it into a failure of his own for alice."""
    sim = Scenario("alice - bob - carol", forges=True)
    sim.replace(
        "bob",
        "carol",
        UpdateAddHtlc,
        lambda message: replace(message, onion_routing_packet=b"\x01" + message.onion_routing_packet[1:]),
    )
    payment = sim.node("alice").pays("carol", AMOUNT)
    sim.run()
    (malformed,) = sim.messages("carol", "bob", UpdateFailMalformedHtlc)
    assert malformed.failure_code == InvalidOnionVersion.CODE
    (failed,) = sim.node("alice").told_of(PaymentPathFailed)
    assert (failed.error_code, failed.error_data) == (InvalidOnionVersion.CODE, malformed.sha256_of_onion)
    assert failed.failure == OnPath(sim.node("bob").node_id)
    assert payment.failed
    assert sim.is_usable()
    sim.settle()
