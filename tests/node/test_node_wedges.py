"""What once wedged a channel, or cost an honest peer its connection or its channel."""

import hashlib
from collections.abc import Iterator

import pytest

from pyln_fast.channel import channel
from pyln_fast.channel.state import Negotiating, Normal, Offline, Syncing
from pyln_fast.events import ChannelClosed, LocallyInitiatedCooperativeClosure, PaymentFailed, PaymentSent
from pyln_fast.node import htlcs
from pyln_fast.node.effects import BroadcastPackage, DisconnectPeer
from pyln_fast.types import Monotonic, PaymentId, UnixTime
from pyln_fast.wire.channel_msgs import ChannelReady
from tests.node.world import Host, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def pair(world: World, push_msat: int = 0) -> tuple[Host, Host]:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    world.open(alice, bob, push_msat=push_msat)
    return alice, bob


@pytest.mark.parametrize("message", [b"", b"\x40"])
def test_a_failure_message_too_short_for_a_code_ends_the_payment(
    world: World, monkeypatch: pytest.MonkeyPatch, message: bytes
) -> None:
    alice, bob = pair(world)
    bob.hold_claims = True
    invoice = world.invoice(bob, 1_000_000)
    world.pay(alice, invoice, "x")
    monkeypatch.setattr(htlcs, "encode_failure", lambda failure: message)
    bob.call(lambda node: node.payments.fail_htlc_backwards(invoice.payment_hash))
    assert [event.reason for event in alice.of(PaymentFailed)] == ["RecipientRejected"]
    assert isinstance(alice.channel(), Normal)
    assert alice.channel().data.commitments.htlcs == {}


def test_nothing_behind_a_message_that_was_not_taken_is_listened_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = pair(world, push_msat=1_000_000_000)
    manager = alice.node.channel_manager
    taken = []
    real = manager.receive

    def fails_once(node_id: bytes, message: object) -> None:
        taken.append(type(message).__name__)
        if len(taken) == 1:
            raise ZeroDivisionError
        real(node_id, message)  # type: ignore[arg-type]

    monkeypatch.setattr(manager, "receive", fails_once)
    invoice = world.invoice(alice, 1_000_000)
    bob.command(lambda node: node.payments.pay_for_bolt11_invoice(invoice, PaymentId(bytes(32))))
    bob.turn()
    name, conn, data = world._queues.popleft()
    assert name == "alice"
    alice.node.read_event(conn, data)
    assert taken == ["UpdateAddHtlc"], "the commitment_signed in the same read was not looked at"
    assert [type(effect) for effect in alice.node.core.effects] == [DisconnectPeer]
    alice.node.reports.clear()
    world.settle()
    assert isinstance(alice.channel(), Offline)
    world.connect(alice, bob)
    assert isinstance(alice.channel(), Normal)
    assert isinstance(bob.channel(), Normal)
    assert len(bob.of(PaymentSent)) == 1


def test_an_agreed_close_survives_a_peer_that_has_forgotten_the_channel(world: World) -> None:
    alice, bob = pair(world, push_msat=1_000_000_000)
    world.broadcast = lambda transactions: None  # type: ignore[method-assign]
    channel_id = alice.channel().data.channel_id
    alice.call(lambda node: node.channel_manager.close_channel(channel_id, bob.node.core.node_id))
    world.drop_connections_of(alice)
    world.settle()
    del bob.node.core.state.channels[channel_id]
    bob.node.core.state.commit()
    world.connect(alice, bob)
    state = alice.channel()
    assert isinstance(state, Syncing)
    assert isinstance(state.inner, Negotiating)
    assert state.inner.agreed is not None
    assert [event.reason for event in alice.of(ChannelClosed)] == [LocallyInitiatedCooperativeClosure()]
    alice.node.rebroadcast()
    kinds = [effect.kind for effect in alice.node.core.effects if isinstance(effect, BroadcastPackage)]
    assert kinds == ["CooperativeClose"]


def test_a_busy_link_is_not_taken_for_a_silent_one(world: World) -> None:
    alice, bob = pair(world)
    world.tick(1)
    for minute in range(5):
        invoice = world.invoice(bob, 1_000_000)
        payment_id = PaymentId(hashlib.sha256(b"%d" % minute).digest())
        alice.command(
            lambda node, invoice=invoice, payment_id=payment_id: node.payments.pay_for_bolt11_invoice(
                invoice, payment_id
            )
        )
        alice.turn()
        assert alice.channel().data.commitments.awaiting_revocation
        world.clock_ms += 60_000
        now = UnixTime(world.chain.now() + world.clock_ms // 1000)
        alice.node.timer_tick(Monotonic(world.clock_ms), now)
        world.settle()
    assert isinstance(alice.channel(), Normal)
    assert len(alice.of(PaymentSent)) == 5


def test_channel_ready_before_channel_reestablish_is_forgiven(world: World) -> None:
    alice, bob = pair(world)
    state = alice.channel()
    assert isinstance(state, Normal)
    syncing = Syncing(state)
    early = ChannelReady(state.data.channel_id, state.data.commitments.counterparty_next_point)
    transition = channel.receive(syncing, early, alice.node.core.context(bob.node.core.node_id))
    assert (transition.state, transition.actions) == (syncing, ())
