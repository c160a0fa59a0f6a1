"""What once wedged a channel, or cost an honest peer its connection or its channel."""

import hashlib
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from pyln_fast.channel import channel
from pyln_fast.channel.channel import LateReestablish
from pyln_fast.channel.commands import NewBlock
from pyln_fast.channel.opening import build_open_channel
from pyln_fast.channel.reestablish import channel_reestablish
from pyln_fast.channel.state import (
    Closing,
    Negotiating,
    Normal,
    Offline,
    ShuttingDown,
    Syncing,
    WaitForFundingConfirmed,
    WaitForFundingTransaction,
)
from pyln_fast.errors import Consequence, LocalError
from pyln_fast.events import ChannelClosed, LocallyInitiatedCooperativeClosure, PaymentFailed, PaymentSent
from pyln_fast.node import htlcs
from pyln_fast.node.channel_manager import DuplicateFunding, TooManyChannels
from pyln_fast.node.effects import BroadcastPackage, DisconnectPeer, SendBytes
from pyln_fast.node.payments import INVOICE_FEATURES
from pyln_fast.payment.invoice import UnsignedInvoice, decode, sign
from pyln_fast.payment.invoice_fields import RouteHintHop
from pyln_fast.payment.outbound import Attempts, RetryableSendFailure
from pyln_fast.peer.handlers import PeerConnected, PeerDisconnected
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.tx.transaction import parse, serialize
from pyln_fast.types import (
    BlockHeight,
    Blocks,
    ChannelId,
    Monotonic,
    Msat,
    Network,
    NodeId,
    PaymentHash,
    PaymentId,
    PaymentSecret,
    PublicKey,
    Sat,
    Secret,
    ShortChannelId,
    Signature,
    Txid,
    UnixTime,
)
from pyln_fast.wire.channel_msgs import ChannelReady, FundingCreated, Shutdown
from pyln_fast.wire.setup_msgs import Error, Init
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
    assert [event.reason for event in alice.of(PaymentFailed)] == ["RetriesExhausted"]
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


def test_a_hint_that_no_onion_can_be_made_for_costs_nothing_but_itself(world: World) -> None:
    alice, bob, carol = (world.host(name) for name in ("alice", "bob", "carol"))
    world.fund(alice)
    world.fund(alice)
    for peer in (bob, carol):
        world.connect(alice, peer)
        world.open(alice, peer)
    hop = RouteHintHop(bob.node.core.node_id, ShortChannelId(123), Msat(0), 0, Blocks(40))
    first = replace(hop, src_node_id=carol.node.core.node_id, cltv_expiry_delta=Blocks(10))
    too_long = (first, *(replace(hop, cltv_expiry_delta=Blocks(10)) for _ in range(11)))
    unsigned = UnsignedInvoice(
        network=Network.REGTEST,
        timestamp=UnixTime(world.chain.now()),
        payment_hash=PaymentHash(bytes(32)),
        payment_secret=PaymentSecret(bytes(32)),
        amount_msat=Msat(1_000_000),
        description="x",
        min_final_cltv_expiry_delta=Blocks(50),
        features=INVOICE_FEATURES,
        payment_metadata=bytes(639),
        route_hints=((hop,), too_long),
    )
    invoice = decode(sign(unsigned, KeysManager(Secret(bytes([7]) * 32), 1, 1)).text)
    world.pay(alice, invoice, "x", Attempts(3))
    assert [event.reason for event in alice.of(PaymentFailed)] == ["RetriesExhausted"]
    assert [type(alice.channel(index)) for index in (0, 1)] == [Normal, Normal]


def test_a_new_connection_that_overtakes_the_end_of_the_old_one_costs_nothing(world: World) -> None:
    alice, bob = pair(world)
    peer = alice.node.core.peers[bob.node.core.node_id]
    world.connect(alice, bob)
    assert alice.node.core.peers[bob.node.core.node_id].conn != peer.conn
    late = PeerDisconnected(peer.conn, bob.node.core.node_id, "late")
    alice.node._handle([late])
    assert isinstance(alice.channel(), Normal)
    newest = PeerConnected(
        1000, bob.node.core.node_id, Init(b"", alice.node.core.peers[bob.node.core.node_id].features), False
    )
    alice.node._handle([newest])
    assert isinstance(alice.channel(), Syncing)
    assert alice.of(ChannelClosed) == []


def test_channel_reestablish_that_is_not_due_costs_the_connection_alone(world: World) -> None:
    alice, bob = pair(world)
    state = alice.channel()
    message = channel_reestablish(bob.channel().data, bob.node.core.context(alice.node.core.node_id))
    with pytest.raises(LateReestablish) as raised:
        channel.receive(state, message, alice.node.core.context(bob.node.core.node_id))
    assert raised.value.consequence is Consequence.DISCONNECT


def test_a_close_that_a_reorganisation_undoes_is_broadcast_again(world: World) -> None:
    alice, bob = pair(world, push_msat=1_000_000_000)
    channel_id = alice.channel().data.channel_id
    alice.call(lambda node: node.channel_manager.close_channel(channel_id, bob.node.core.node_id))
    world.mine(1)
    assert isinstance(alice.channel(), Closing)
    node = alice.node
    node.blocks_disconnected(node.locator.back_to(BlockHeight(world.chain.height - 1)))
    node.core.effects.clear()
    node.rebroadcast()
    kinds = [effect.kind for effect in node.core.effects if isinstance(effect, BroadcastPackage)]
    assert kinds == ["CooperativeClose"]


def test_strangers_with_fundings_that_never_come_have_a_limit_and_an_end(world: World) -> None:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    world.broadcast = lambda transactions: None  # type: ignore[method-assign]
    alice.call(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
    core = bob.node.core
    state = bob.channel()
    assert isinstance(state, WaitForFundingConfirmed)
    for index in range(1, 50):
        stranger = NodeId(PublicKey(b"\x02" + index.to_bytes(32, "big")))
        params = replace(state.data.params, counterparty_node_id=stranger)
        core.state.channels[ChannelId(index.to_bytes(32, "big"))] = replace(
            state, data=replace(state.data, params=params)
        )
    with pytest.raises(TooManyChannels):
        bob.node.channel_manager._check_unfunded_limits(NodeId(PublicKey(b"\x03" * 33)))
    core.state.roll_back()
    # It fails the channel and goes away: two weeks later nothing of it is left.
    bob.node._unit(lambda: core.receive(state.data.channel_id, Error(state.data.channel_id, b"x")))
    assert isinstance(bob.channel(), Closing)
    core.height = BlockHeight(core.height + 2017)
    bob.node._unit(lambda: core.execute(state.data.channel_id, NewBlock()))
    assert list(core.state.channels) == []
    assert list(core.state.monitors) == []


def test_a_long_field_quoted_in_an_error_does_not_stop_the_node(world: World) -> None:
    alice, bob = world.host("alice"), world.host("bob")
    world.connect(alice, bob)
    conn = alice.node.core.peers[bob.node.core.node_id].conn
    with pytest.raises(LocalError):
        alice.call(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
    alice.call(lambda node: node.channel_manager.create_channel(bob.node.core.node_id, Sat(1_000_000)))
    (state,) = alice.node.core.unfunded.values()
    assert isinstance(state, WaitForFundingTransaction)
    message = build_open_channel(
        alice.node.core.context(bob.node.core.node_id, temporary_channel_id=ChannelId(b"\x05" * 32)),
        alice.config,
        Sat(1_000_000),
        Msat(0),
        state.opening.params.channel_keys_id,
    )
    alice.node.peer_manager.send_message(conn, replace(message, channel_type=b"\x01" * 40_000))
    world.settle()
    assert bob.alive
    assert list(bob.node.core.peers) == [alice.node.core.node_id]
    assert (bob.node.core.node_id in alice.node.core.peers) is True
    alice.node.reports.clear()


def test_a_message_that_cannot_be_written_costs_its_connection_alone(world: World) -> None:
    alice, bob = pair(world)
    carol = world.host("carol")
    world.connect(carol, bob)
    bob.node.core.send(alice.node.core.node_id, Error(ChannelId(bytes(32)), bytes(70_000)))
    for effect in bob.node.process_events():
        if isinstance(effect, SendBytes):
            world.send(bob, effect.conn, effect.data)
    assert [report.level for report in bob.node.reports] == ["error"]
    bob.node.reports.clear()
    world.settle()
    assert list(bob.node.core.peers) == [carol.node.core.node_id]


def test_a_payment_is_not_forgotten_while_its_htlc_is_somewhere(world: World) -> None:
    alice, bob = pair(world)
    invoice = world.invoice(bob, 1_000_000)
    payment_id = PaymentId(bytes(32))
    alice.command(lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id))
    alice.turn()
    while not alice.of(PaymentSent):
        assert world.step()
    # Bob falls silent after his update_fulfill_htlc.
    world._queues.clear()
    assert alice.channel().data.commitments.htlcs
    for _ in range(10):
        alice.node._unit(alice.node.payments.timer_tick)
    with pytest.raises(RetryableSendFailure, match="DuplicatePayment"):
        alice.node._unit(lambda: alice.node.payments.pay_for_bolt11_invoice(invoice, payment_id))


def test_repeated_shutdowns_use_up_no_addresses(world: World) -> None:
    alice, bob = pair(world, push_msat=1_000_000_000)
    bob.hold_claims = True
    world.pay(alice, world.invoice(bob, 1_000_000), "pending")
    channel_id = alice.channel().data.channel_id
    alice.call(lambda node: node.channel_manager.close_channel(channel_id, bob.node.core.node_id))
    script = alice.channel().data.holder_shutdown_script
    bob.node.wallet.take_watches()
    conn = alice.node.core.peers[bob.node.core.node_id].conn
    for _ in range(20):
        alice.node.peer_manager.send_message(conn, Shutdown(channel_id, script))
    world.settle()
    assert isinstance(bob.channel(), ShuttingDown)
    assert bob.node.wallet.take_watches() == ((), ())


def test_the_answer_to_a_second_channel_on_one_funding_names_that_channel(world: World) -> None:
    alice, bob = pair(world)
    sent: list[object] = []
    real = bob.node.peer_manager.send_message
    bob.node.peer_manager.send_message = lambda conn, message: (sent.append(message), real(conn, message))  # type: ignore[method-assign, assignment]

    def raises(node_id: bytes, message: object) -> None:
        raise DuplicateFunding(ChannelId(bytes(32)))

    bob.node.channel_manager.receive = raises  # type: ignore[method-assign, assignment]
    conn = alice.node.core.peers[bob.node.core.node_id].conn
    temporary = ChannelId(b"\x06" * 32)
    alice.node.peer_manager.send_message(conn, FundingCreated(temporary, Txid(bytes(32)), 0, Signature(bytes(64))))
    world.settle()
    assert [message.channel_id for message in sent if isinstance(message, Error)] == [temporary]
    alice.node.reports.clear()


def test_a_funding_that_was_double_spent_ends_the_channel(world: World) -> None:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    world.broadcast = lambda transactions: None  # type: ignore[method-assign]
    alice.call(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
    funding = parse(alice.channel().data.funding.raw)
    other = replace(funding, outputs=(replace(funding.outputs[0], script_pubkey=alice.node.wallet.new_script()),))
    (coin,) = (tx_in.outpoint for tx_in in funding.inputs)
    value = alice.node.wallet.utxo(coin).value_sat
    other = replace(other, outputs=(replace(other.outputs[0], value_sat=Sat(value - 5000)),))
    world.chain.broadcast(serialize(alice.node.wallet.sign_transaction(other)))
    world.mine(1)
    assert isinstance(alice.channel(), Closing)
    (closed,) = alice.of(ChannelClosed)
    assert closed.reason.message == "the funding transaction was double-spent"
