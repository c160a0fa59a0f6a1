"""Every event that channels and payments bring, as a whole value, and in its order."""

import hashlib
from collections.abc import Iterator

import pytest

from pyln_fast.events import (
    Bolt11InvoicePayment,
    ChannelClosed,
    ChannelPending,
    ChannelReady,
    ClaimedHTLC,
    CounterpartyInitiatedCooperativeClosure,
    Forward,
    FundingGenerationReady,
    HTLCHandlingFailed,
    HTLCLocator,
    LocallyInitiatedCooperativeClosure,
    OnPath,
    OpenChannelRequest,
    Path,
    PaymentClaimable,
    PaymentClaimed,
    PaymentFailed,
    PaymentForwarded,
    PaymentPathFailed,
    PaymentPathSuccessful,
    PaymentSent,
    Receive,
    RecipientOnionFields,
    RouteHop,
)
from pyln_fast.payment.invoice import Invoice
from pyln_fast.tx.transaction import parse, serialize, txid
from pyln_fast.types import BlockHeight, ChannelId, FeeratePerKw, Msat, OutPoint, PaymentId, Sat, TxOut
from pyln_fast.wire.failure_msgs import IncorrectOrUnknownPaymentDetails, encode_failure
from tests.node.world import Host, World

ANCHORS_CHANNEL_TYPE = b"\x40\x10\x00"
"""BOLT 9: option_anchors (22) and option_static_remotekey (12), both required."""
PAYMENT_ID = PaymentId(hashlib.sha256(b"x").digest())
FEE = 1000
DELTA = 72
AMOUNT = 5_000_000


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def line(world: World) -> tuple[Host, Host, Host]:
    """Nothing that opening has brought is left in their events."""
    alice, bob, carol = (world.host(name) for name in ("alice", "bob", "carol"))
    for payer, payee in ((alice, bob), (bob, carol)):
        world.fund(payer)
        world.connect(payer, payee)
        world.open(payer, payee)
    for host in (alice, bob, carol):
        host.events.clear()
    return alice, bob, carol


def id_of(host: Host) -> bytes:
    return host.node.core.node_id


def test_a_channel_is_opened_with_the_users_funding(world: World) -> None:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    temporary = alice.call(
        lambda node: node.channel_manager.create_channel(id_of(bob), Sat(1_000_000), Msat(5_000), 77)
    )
    (ready,) = alice.events
    assert isinstance(ready, FundingGenerationReady)
    output = TxOut(Sat(1_000_000), ready.output_script)
    assert ready == FundingGenerationReady(temporary, id_of(bob), Sat(1_000_000), ready.output_script, 77)
    assert ready.output_script[:2] == b"\x00\x20"
    assert len(ready.output_script) == 34
    raw = alice.call(lambda node: serialize(node.wallet.create_transaction((output,), FeeratePerKw(1000))))
    alice.call(lambda node: node.channel_manager.funding_transaction_generated(temporary, id_of(bob), raw))
    funding = parse(raw)
    outpoint = OutPoint(txid(funding), funding.outputs.index(output))
    reversed_index = bytes(30) + outpoint.vout.to_bytes(2, "big")
    channel_id = ChannelId(bytes(a ^ b for a, b in zip(outpoint.txid, reversed_index)))
    world.mine(6)
    kind, request = ANCHORS_CHANNEL_TYPE, bob.events[0]
    assert request == OpenChannelRequest(temporary, id_of(alice), Sat(1_000_000), Msat(5_000), kind, False)
    (user_channel_id,) = {event.user_channel_id for event in bob.events[1:]}
    assert alice.events[1:] == [
        ChannelPending(channel_id, 77, temporary, id_of(bob), outpoint, kind),
        ChannelReady(channel_id, 77, id_of(bob), outpoint, kind),
    ]
    assert bob.events[1:] == [
        ChannelPending(channel_id, user_channel_id, temporary, id_of(alice), outpoint, kind),
        ChannelReady(channel_id, user_channel_id, id_of(alice), outpoint, kind),
    ]


def test_a_channel_is_closed_in_agreement(world: World) -> None:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    channel_id = world.open(alice, bob, 1_000_000, push_msat=300_000_000)
    datas = [host.channel().data for host in (alice, bob)]
    for host in (alice, bob):
        host.events.clear()
    alice.call(lambda node: node.channel_manager.close_channel(channel_id, id_of(bob)))
    world.mine(6)
    reasons = (LocallyInitiatedCooperativeClosure(), CounterpartyInitiatedCooperativeClosure())
    for host, other, data, reason, balance in zip(
        (alice, bob), (bob, alice), datas, reasons, (700_000_000, 300_000_000)
    ):
        params, outpoint = data.params, data.funding.outpoint
        assert host.events == [
            ChannelClosed(
                channel_id,
                params.user_channel_id,
                reason,
                id_of(other),
                Sat(1_000_000),
                outpoint,
                Msat(balance),
            )
        ]


def path(alice: Host, bob: Host, carol: Host, invoice: Invoice) -> Path:
    """The two hops: what bob takes, and what carol gets, with the channel that leads to each."""
    first = alice.channel().data.funding.short_channel_id
    assert first is not None
    second = invoice.route_hints[0][0].short_channel_id
    final_delta = invoice.min_final_cltv_expiry_delta
    return Path(
        (RouteHop(id_of(bob), first, Msat(FEE), DELTA), RouteHop(id_of(carol), second, Msat(AMOUNT), final_delta))
    )


def claimable_of(alice: Host, carol: Host, invoice: Invoice, preimage: bytes) -> PaymentClaimable:
    data = carol.channel().data
    return PaymentClaimable(
        id_of(carol),
        invoice.payment_hash,
        RecipientOnionFields(invoice.payment_secret, None, (), Msat(AMOUNT)),
        Msat(AMOUNT),
        Msat(0),
        Bolt11InvoicePayment(preimage, invoice.payment_secret),
        ((data.channel_id, data.params.user_channel_id),),
        BlockHeight(alice.node.core.height + invoice.min_final_cltv_expiry_delta + 1 - 39),
    )


def test_a_payment_over_two_channels(world: World) -> None:
    alice, bob, carol = line(world)
    incoming, outgoing, last = bob.channel(0).data, bob.channel(1).data, carol.channel().data
    invoice = world.invoice(carol, AMOUNT)
    world.pay(alice, invoice, "x")
    sent, successful = alice.events
    preimage = sent.payment_preimage
    assert hashlib.sha256(preimage).digest() == invoice.payment_hash
    assert sent == PaymentSent(PAYMENT_ID, preimage, invoice.payment_hash, Msat(AMOUNT), Msat(FEE))
    assert successful == PaymentPathSuccessful(PAYMENT_ID, invoice.payment_hash, path(alice, bob, carol, invoice), ())
    assert bob.events == [
        PaymentForwarded(
            (HTLCLocator(incoming.channel_id, Msat(AMOUNT + FEE), 0, incoming.params.user_channel_id, id_of(alice)),),
            (HTLCLocator(outgoing.channel_id, Msat(AMOUNT), 0, outgoing.params.user_channel_id, id_of(carol)),),
            Msat(FEE),
            Msat(0),
            False,
            Msat(AMOUNT),
        )
    ]
    claimable = claimable_of(alice, carol, invoice, preimage)
    expiry = BlockHeight(alice.node.core.height + invoice.min_final_cltv_expiry_delta + 1)
    user_channel_id = last.params.user_channel_id
    htlc = ClaimedHTLC(id_of(bob), last.channel_id, user_channel_id, expiry, Msat(AMOUNT), Msat(0))
    assert carol.events == [
        claimable,
        PaymentClaimed(
            id_of(carol),
            invoice.payment_hash,
            Msat(AMOUNT),
            claimable.purpose,
            (htlc,),
            Msat(AMOUNT),
            claimable.onion_fields,
        ),
    ]


def test_a_payment_that_its_recipient_fails(world: World) -> None:
    alice, bob, carol = line(world)
    carol.hold_claims = True
    invoice = world.invoice(carol, AMOUNT)
    world.pay(alice, invoice, "x")
    payment_hash, last = invoice.payment_hash, carol.channel().data
    carol.call(lambda node: node.payments.fail_htlc_backwards(payment_hash))
    message = encode_failure(IncorrectOrUnknownPaymentDetails(Msat(AMOUNT), carol.node.core.height))
    way = path(alice, bob, carol, invoice)
    assert message[:2] == (0x4000 | 15).to_bytes(2, "big")
    assert alice.events == [
        PaymentPathFailed(
            PAYMENT_ID,
            payment_hash,
            True,
            OnPath(id_of(carol)),
            way,
            way.hops[1].short_channel_id,
            0x4000 | 15,
            message[2:],
            (),
        ),
        PaymentFailed(PAYMENT_ID, payment_hash, "RecipientRejected"),
    ]
    incoming, outgoing = bob.channel(0).data.channel_id, bob.channel(1).data.channel_id
    assert bob.events == [HTLCHandlingFailed((incoming,), Forward(id_of(carol), outgoing), "Downstream")]
    claimable = carol.events[0]
    assert claimable == claimable_of(alice, carol, invoice, claimable.purpose.payment_preimage)
    assert carol.events[1:] == [
        HTLCHandlingFailed((last.channel_id,), Receive(payment_hash), "IncorrectPaymentDetails")
    ]
