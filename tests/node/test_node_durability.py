"""Persist, then speak: what a node shows is durable, and what it owes outlives its connections and itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from pyln_fast.channel.errors import ChannelUnavailable
from pyln_fast.channel.htlc import Fulfilled
from pyln_fast.channel.state import Closing, Normal
from pyln_fast.events import (
    ChannelClosed,
    HTLCHandlingFailed,
    OnPath,
    PaymentClaimable,
    PaymentFailed,
    PaymentPathFailed,
    PaymentSent,
)
from pyln_fast.node import htlcs
from pyln_fast.node.journal import MAX_BATCHES_IN_FLIGHT
from pyln_fast.payment.outbound import RetryableSendFailure
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.tx.transaction import parse, txid
from pyln_fast.types import ChannelId, PaymentId, Sat
from pyln_fast.wire.channel_msgs import UpdateFulfillHtlc
from pyln_fast.wire.failure_msgs import IncorrectOrUnknownPaymentDetails, TemporaryNodeFailure
from tests.node.world import Host, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def pair(world: World) -> tuple[Host, Host, ChannelId]:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    return alice, bob, world.open(alice, bob, 1_000_000, 300_000_000)


def line(world: World) -> tuple[Host, Host, Host, ChannelId, ChannelId]:
    alice, bob, carol = (world.host(name) for name in ("alice", "bob", "carol"))
    for host in (alice, bob):
        world.fund(host)
    world.connect(alice, bob)
    world.connect(bob, carol)
    return alice, bob, carol, world.open(alice, bob, 1_000_000), world.open(bob, carol, 1_000_000)


def queued_by(world: World, host: Host) -> int:
    """Bytes on their way from this host."""
    conns = {other for (name, _), other in world._conns.items() if name == host.name}
    return sum(len(data) for name, conn, data in world._queues if (name, conn) in conns)


def finish(world: World, *hosts: Host) -> None:
    for host in hosts:
        host.hold_writes = False
        while host.writes:
            host.finish_write()
    world.settle()


def test_nothing_is_seen_before_it_is_durable(world: World) -> None:
    alice, bob, _ = pair(world)
    invoice = world.invoice(bob, 10_000_000)
    alice.hold_writes = bob.hold_writes = True
    payment_id = hash_of("held")
    token = alice.command(lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id))
    world.settle()
    assert (len(alice.writes), queued_by(world, alice), token in alice.answers) == (1, 0, False)
    alice.finish_write()
    alice.turn()
    assert queued_by(world, alice) > 0
    assert token in alice.answers
    world.settle()
    # Bob has a commitment to answer: his revocation waits for his disk.
    assert len(bob.writes) == 1
    assert queued_by(world, bob) == 0
    sequence = bob.store.sequence
    bob.crash()
    assert bob.store.sequence == sequence
    bob.hold_writes = False
    bob.restart()
    finish(world, alice)
    world.connect(alice, bob)
    assert len(alice.of(PaymentSent)) == 1


def hash_of(name: str) -> PaymentId:
    return PaymentId(hashlib.sha256(name.encode()).digest())


def test_at_most_two_batches_are_in_flight(world: World) -> None:
    alice, bob, _ = pair(world)
    alice.hold_writes = True
    for amount in (1_000_000, 2_000_000, 3_000_000, 4_000_000):
        invoice = world.invoice(bob, amount)
        alice.command(lambda node: node.payments.pay_for_bolt11_invoice(invoice, hash_of(f"{amount}")))  # noqa: B023
        alice.turn()
    assert alice.node.journal.in_flight == len(alice.writes) == MAX_BATCHES_IN_FLIGHT
    assert not alice.node.can_accept_input
    finish(world, alice)
    assert len(alice.of(PaymentSent)) == 4


def test_after_a_failed_write_nothing_leaves(world: World) -> None:
    alice, bob, _ = pair(world)
    invoice = world.invoice(bob, 10_000_000)
    alice.hold_writes = True
    alice.command(lambda node: node.payments.pay_for_bolt11_invoice(invoice, hash_of("lost")))
    alice.turn()
    alice.node.write_failed("disk full")
    alice.turn()
    assert queued_by(world, alice) == 0
    assert not alice.node.can_accept_input
    assert alice.node.process_events() == []
    # What was never durable never was: the same id may be used again.
    alice.crash()
    alice.hold_writes = False
    alice.restart()
    world.connect(alice, bob)
    world.pay(alice, invoice, "lost")
    assert len(alice.of(PaymentSent)) == 1


def test_a_fulfil_goes_upstream_in_the_turn_in_which_it_comes(world: World) -> None:
    """Bob dies right behind it, and Carol is never seen again: Alice's coins are his all the same."""
    alice, bob, carol, first, _ = line(world)
    carol.hold_claims = True
    world.pay(alice, world.invoice(carol, 5_000_000), "forwarded")
    (claimable,) = carol.of(PaymentClaimable)
    seen: list[bool] = []
    true = bob.node.channel_manager.receive

    def receive(node_id, message):  # type: ignore[no-untyped-def]
        true(node_id, message)
        if isinstance(message, UpdateFulfillHtlc):
            bob.node.core.run_follow_ups()
            upstream = bob.node.core.state.channels[first].data.commitments
            seen.append(all(isinstance(htlc.removal, Fulfilled) for htlc in upstream.htlcs.values()))
            bob.crash_in, bob.crash_after_write = 0, True

    bob.node.channel_manager.receive = receive  # type: ignore[method-assign]
    carol.call(lambda node: node.payments.claim_funds(claimable.purpose.payment_preimage))
    assert seen == [True]
    assert not bob.alive
    assert alice.of(PaymentSent) == []
    bob.restart()
    world.connect(alice, bob)
    assert len(alice.of(PaymentSent)) == 1
    assert bob.node.core.state.channels[first].data.commitments.to_holder_msat == 5_001_000


def test_a_failure_goes_upstream_only_when_its_removal_is_irrevocable(world: World) -> None:
    alice, bob, carol, first, second = line(world)
    carol.hold_claims = True
    invoice = world.invoice(carol, 5_000_000)
    world.pay(alice, invoice, "refused")
    carol.command(lambda node: node.payments.fail_htlc_backwards(invoice.payment_hash))
    carol.turn()
    while world.step():
        channels = bob.node.core.state.channels
        if any(htlc.removal is not None for htlc in channels[first].data.commitments.htlcs.values()):
            assert channels[second].data.commitments.htlcs == {}
    (failed,) = alice.of(PaymentFailed)
    assert failed.reason == "RecipientRejected"
    (path_failed,) = alice.of(PaymentPathFailed)
    assert path_failed.failure == OnPath(carol.node.core.node_id)
    assert path_failed.payment_failed_permanently
    assert path_failed.error_code == IncorrectOrUnknownPaymentDetails.CODE


def test_a_funding_is_broadcast_again(world: World) -> None:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    alice.call(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
    (funding,) = alice.broadcasts
    world.tick(1)
    for seconds, expected in ((28, 0), (2, 1), (30, 1)):
        alice.broadcasts.clear()
        world.tick(seconds)
        assert alice.broadcasts == [funding] * expected, seconds
    alice.broadcasts.clear()
    alice.crash()
    alice.restart()
    assert alice.broadcasts == [funding]
    world.mine(1)
    alice.broadcasts.clear()
    world.tick(31)
    assert alice.broadcasts == []


def test_a_commitment_is_broadcast_again_and_nothing_but_error_is_said(world: World) -> None:
    alice, bob, channel_id = pair(world)
    world.drop_connections_of(alice)
    world.broadcast = lambda transactions: None  # type: ignore[method-assign]
    node_id = bob.node.core.node_id
    alice.broadcasts.clear()
    alice.call(
        lambda node: node.channel_manager.force_close_broadcasting_latest_txn(channel_id, node_id, "no more of this")
    )
    (commitment,) = {txid(parse(raw)) for raw in alice.broadcasts}
    for _ in range(2):
        alice.broadcasts.clear()
        alice.crash()
        alice.restart()
        assert {txid(parse(raw)) for raw in alice.broadcasts} == {commitment}
    alice.broadcasts.clear()
    world.tick(31)
    assert {txid(parse(raw)) for raw in alice.broadcasts} == {commitment}
    said: list[object] = []
    true = alice.node.peer_manager.send_message

    def send(conn: int, message: object) -> None:
        said.append(type(message).__name__)
        true(conn, message)  # type: ignore[arg-type]

    alice.node.peer_manager.send_message = send  # type: ignore[method-assign]
    world.connect(alice, bob)
    assert set(said) == {"Error"}
    assert isinstance(bob.node.core.state.channels[channel_id], Closing)


def test_events_are_offered_until_they_are_handled(world: World) -> None:
    alice, bob, _ = pair(world)
    invoice = world.invoice(bob, 10_000_000)
    alice.ignore_events = True
    world.pay(alice, invoice, "ignored")
    offered = [(sequence, event) for sequence, event in alice.offered.items() if isinstance(event, PaymentSent)]
    assert len(offered) == 1
    for _ in range(2):
        alice.events.clear()
        alice.crash()
        alice.restart()
        assert [type(event).__name__ for event in alice.events] == ["PaymentSent", "PaymentPathSuccessful"]
    alice.ignore_events = False
    alice.crash()
    alice.restart()
    alice.turn()
    alice.node.process_events()
    world.tick(61)
    alice.events.clear()
    alice.crash()
    alice.restart()
    assert alice.events == []


def test_a_payment_id_is_used_once(world: World) -> None:
    alice, bob, _ = pair(world)
    bob.hold_claims = True
    invoice = world.invoice(bob, 10_000_000)
    world.pay(alice, invoice, "once")
    for _ in range(2):
        with pytest.raises(RetryableSendFailure) as error:
            world.pay(alice, invoice, "once")
        assert error.value.reason == "DuplicatePayment"
        (claimable,) = bob.of(PaymentClaimable)
        bob.call(lambda node: node.payments.claim_funds(claimable.purpose.payment_preimage))  # noqa: B023
    assert len(alice.of(PaymentSent)) == 1
    alice.crash()
    alice.restart()
    world.connect(alice, bob)
    with pytest.raises(RetryableSendFailure):
        world.pay(alice, invoice, "once")
    world.tick(10 * 60)
    assert dict(alice.node.core.state.payments) == {}


def test_too_many_unhandled_events_fail_new_htlcs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And make no further events: a peer could fill the disk with them."""
    alice, bob, _ = pair(world)
    monkeypatch.setattr(htlcs, "MAX_UNHANDLED_EVENTS", 1)
    bob.ignore_events = True
    for index in range(4):
        world.pay(alice, world.invoice(bob, 10_000_000), f"flood {index}")
    assert len(bob.of(PaymentClaimable)) == 2
    assert bob.of(HTLCHandlingFailed) == []
    assert len(bob.node.core.state.events) == 2
    assert [event.reason for event in alice.of(PaymentFailed)] == ["RetriesExhausted", "RetriesExhausted"]
    assert [event.error_code for event in alice.of(PaymentPathFailed)] == [TemporaryNodeFailure.CODE] * 2


def test_low_space_refuses_new_htlcs_and_keeps_the_old(world: World) -> None:
    alice, bob, _ = pair(world)
    bob.hold_claims = True
    world.pay(alice, world.invoice(bob, 10_000_000), "before")
    bob.node.core.low_on_space = True
    world.pay(alice, world.invoice(bob, 10_000_000), "refused")
    assert len(alice.of(PaymentFailed)) == 1
    (claimable,) = bob.of(PaymentClaimable)
    bob.call(lambda node: node.payments.claim_funds(claimable.purpose.payment_preimage))
    assert len(alice.of(PaymentSent)) == 1
    with pytest.raises(RetryableSendFailure):
        world.pay(bob, world.invoice(alice, 1_000_000), "own")


def test_proven_data_loss_touches_that_channel_alone(world: World) -> None:
    alice, bob, carol, first, second = line(world)
    old = list(bob.store.batches)
    world.pay(alice, world.invoice(bob, 50_000_000), "forgotten")
    world.pay(alice, world.invoice(bob, 50_000_000), "forgotten too")
    bob.crash()
    bob.store = MemoryStore(old)
    bob.offered.clear()
    bob.restart()
    bob.broadcasts.clear()
    world.connect(alice, bob)
    assert isinstance(bob.node.core.state.channels[first], Closing)
    world.connect(bob, carol)
    assert isinstance(bob.node.core.state.channels[second], Normal)
    world.pay(bob, world.invoice(carol, 1_000_000), "the other channel works")
    assert len(bob.of(PaymentSent)) == 1
    for _ in range(2):
        bob.crash()
        bob.restart()
        world.tick(31)
        world.mine(50)
        assert bob.broadcasts == []
        assert bob.node.core.state.monitors[first].never_broadcast
    assert {event.channel_id for event in bob.of(ChannelClosed)} == {first}
    with pytest.raises(ChannelUnavailable):
        bob.call(lambda node: node.channel_manager.close_channel(first, alice.node.core.node_id))
    assert bob.broadcasts == []
