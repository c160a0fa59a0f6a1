"""The edges of payments: the last amount, fee and height that is taken, and what everybody is told beyond them."""

import hashlib
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from pyln_fast.config import ChannelHandshakeConfig, UserConfig
from pyln_fast.events import (
    Bolt11InvoicePayment,
    Forward,
    HTLCHandlingFailed,
    InvalidForward,
    OnPath,
    PaymentClaimable,
    PaymentClaimed,
    PaymentFailed,
    PaymentPathFailed,
    PaymentSent,
    Receive,
    UnknownNextHop,
)
from pyln_fast.node import payments
from pyln_fast.node.effects import OfferEvent
from pyln_fast.node.payments import NO_RETRY
from pyln_fast.payment.invoice import Invoice, decode
from pyln_fast.payment.outbound import Attempts, Retry, RetryableSendFailure, Timeout
from pyln_fast.payment.route import Route, onion_hops
from pyln_fast.types import (
    Blocks,
    Monotonic,
    Msat,
    NodeId,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    PaymentSecret,
    ShortChannelId,
    UnixTime,
)
from pyln_fast.wire.codec import decode as decode_message
from pyln_fast.wire.failure_msgs import (
    AmountBelowMinimum,
    ExpiryTooFar,
    ExpiryTooSoon,
    Failure,
    FeeInsufficient,
    FinalIncorrectCltvExpiry,
    FinalIncorrectHtlcAmount,
    IncorrectCltvExpiry,
    IncorrectOrUnknownPaymentDetails,
    TemporaryChannelFailure,
    UnknownNextPeer,
    decode_failure,
)
from pyln_fast.wire.gossip_msgs import ChannelUpdate
from pyln_fast.wire.onion_payloads import decode_payload, encode_payload
from tests.node.world import Host, World

FEE = 1000
DELTA = 72
AMOUNT = 5_000_000


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def line(
    world: World, bob_config: UserConfig | None = None, carol_config: UserConfig | None = None
) -> tuple[Host, Host, Host]:
    alice = world.host("alice")
    bob, carol = world.host("bob", bob_config), world.host("carol", carol_config)
    for payer, payee in ((alice, bob), (bob, carol)):
        world.fund(payer)
        world.connect(payer, payee)
        world.open(payer, payee, 1_000_000)
    world.tick(1)
    return alice, bob, carol


def payment_id(name: str) -> PaymentId:
    return PaymentId(hashlib.sha256(name.encode()).digest())


def with_hop(invoice: Invoice, **changes: object) -> Invoice:
    """The invoice as a payer who was told other terms of its one hop reads it."""
    ((hop,),) = invoice.route_hints
    return replace(invoice, route_hints=((replace(hop, **changes),),))


def amountless(host: Host) -> Invoice:
    made = host.call(lambda node: node.payments.create_bolt11_invoice(None, "any amount"))
    assert isinstance(made, Invoice)
    return decode(made.text)


def pay(payer: Host, invoice: Invoice, name: str, amount_msat: int | None = None, retry: Retry = NO_RETRY) -> None:
    amount = Msat(amount_msat) if amount_msat is not None else None
    payer.call(lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id(name), amount, retry=retry))


def the_failure(payer: Host, at: Host, name: str) -> Failure:
    """What the payer decoded of the payment's one attempt, which `at` failed."""
    (event,) = [event for event in payer.of(PaymentPathFailed) if event.payment_id == payment_id(name)]
    assert event.failure == OnPath(at.node.core.node_id)
    assert payment_id(name) in [failed.payment_id for failed in payer.of(PaymentFailed)]
    assert payment_id(name) not in [sent.payment_id for sent in payer.of(PaymentSent)]
    failure = decode_failure(event.error_code.to_bytes(2, "big") + event.error_data)
    assert isinstance(failure, Failure)
    return failure


def without_update(failure: Failure, scid: ShortChannelId) -> Failure:
    """The failure, once its channel_update has been seen to be the outgoing channel's, under the sender's name."""
    update = decode_message(failure.channel_update)
    assert isinstance(update, ChannelUpdate)
    assert (update.short_channel_id, update.fee_base_msat, update.cltv_expiry_delta) == (scid, FEE, DELTA)
    return replace(failure, channel_update=b"")


def is_paid(payer: Host, name: str) -> bool:
    return payment_id(name) in [sent.payment_id for sent in payer.of(PaymentSent)]


def handling(host: Host) -> list[tuple[object, str]]:
    return [(event.failure_type, event.failure_reason) for event in host.of(HTLCHandlingFailed)]


def idle(*hosts: Host) -> bool:
    """No HTLC is left on any channel."""
    return all(state.data.commitments.htlcs == {} for host in hosts for state in host.node.core.state.channels.values())


def set_clock(host: Host, now: int) -> None:
    host.node._set_time(UnixTime(now))
    assert host.node.core.now == now


def minutes(world: World, host: Host, count: int) -> None:
    for _ in range(count):
        world.clock_ms += 60_000
        host.node.timer_tick(Monotonic(world.clock_ms), UnixTime(world.chain.now() + world.clock_ms // 1000))
        world.settle()


# --- forwarding -------------------------------------------------------------------------------------------------------


def test_the_fee_and_the_delta_that_are_asked_for_pass_and_one_less_does_not(world: World) -> None:
    alice, bob, carol = line(world)
    invoice = world.invoice(carol, AMOUNT)
    ((hop,),) = invoice.route_hints
    assert (hop.src_node_id, hop.fee_base_msat, hop.cltv_expiry_delta) == (bob.node.core.node_id, FEE, DELTA)
    scid, onward = hop.short_channel_id, Forward(carol.node.core.node_id, bob.channel(1).data.channel_id)
    pay(alice, with_hop(invoice, fee_base_msat=Msat(FEE - 1)), "fee")
    assert without_update(the_failure(alice, bob, "fee"), scid) == FeeInsufficient(Msat(AMOUNT + FEE - 1))
    pay(alice, with_hop(invoice, cltv_expiry_delta=Blocks(DELTA - 1)), "delta")
    expiry = alice.node.core.height + invoice.min_final_cltv_expiry_delta + DELTA - 1 + 1
    assert without_update(the_failure(alice, bob, "delta"), scid) == IncorrectCltvExpiry(expiry)
    assert handling(bob) == [(onward, "FeeInsufficient"), (onward, "IncorrectCLTVExpiry")]
    assert carol.of(PaymentClaimable) == []
    pay(alice, invoice, "exactly")
    assert is_paid(alice, "exactly")
    assert idle(alice, bob, carol)


def test_the_least_amount_of_the_next_channel(world: World) -> None:
    handshake = ChannelHandshakeConfig(our_htlc_minimum_msat=Msat(20_000))
    alice, bob, carol = line(world, carol_config=UserConfig(channel_handshake_config=handshake))
    invoice = amountless(carol)
    scid = invoice.route_hints[0][0].short_channel_id
    pay(alice, invoice, "below", 19_999)
    assert without_update(the_failure(alice, bob, "below"), scid) == AmountBelowMinimum(Msat(19_999))
    assert [reason for _, reason in handling(bob)] == ["AmountBelowMinimum"]
    pay(alice, invoice, "least", 20_000)
    assert is_paid(alice, "least")


@pytest.mark.parametrize(
    ("final_delta", "reason"), [(2, "OutgoingCLTVTooSoon"), (3, None), (2016 - DELTA - 1, None), (2016 - DELTA, "far")]
)
def test_expiries_that_are_too_soon_or_too_far(
    world: World, monkeypatch: pytest.MonkeyPatch, final_delta: int, reason: str | None
) -> None:
    monkeypatch.setattr(payments, "DEFAULT_MAX_TOTAL_CLTV_EXPIRY_DELTA", 10_000)
    alice, bob, carol = line(world)
    invoice = world.invoice(carol, AMOUNT)
    scid = invoice.route_hints[0][0].short_channel_id
    pay(alice, replace(invoice, min_final_cltv_expiry_delta=Blocks(final_delta)), "x")
    if reason == "OutgoingCLTVTooSoon":
        assert without_update(the_failure(alice, bob, "x"), scid) == ExpiryTooSoon()
        assert [why for _, why in handling(bob)] == [reason]
    elif reason == "far":
        assert the_failure(alice, bob, "x") == ExpiryTooFar()
        assert [why for _, why in handling(bob)] == ["CLTVExpiryTooFar"]
    elif final_delta == 3:
        assert the_failure(alice, carol, "x") == IncorrectOrUnknownPaymentDetails(Msat(AMOUNT), carol.node.core.height)
        assert [why for _, why in handling(bob)] == ["Downstream"]
        assert [why for _, why in handling(carol)] == ["PaymentClaimBuffer"]
    else:
        assert is_paid(alice, "x")
    assert idle(alice, bob, carol)


def test_an_incoming_expiry_that_is_too_soon_for_a_node_that_is_ahead(world: World) -> None:
    alice, bob, carol = line(world)
    invoice = world.invoice(carol, AMOUNT)
    expiry = alice.node.core.height + invoice.min_final_cltv_expiry_delta + DELTA + 1
    world.chain.mine(expiry - 39 - alice.node.core.height)
    bob.catch_up()
    world.settle()
    pay(alice, invoice, "soon")
    scid = invoice.route_hints[0][0].short_channel_id
    assert without_update(the_failure(alice, bob, "soon"), scid) == ExpiryTooSoon()
    assert [reason for _, reason in handling(bob)] == ["CLTVExpiryTooSoon"]
    assert idle(alice, bob)


def test_a_channel_that_bob_does_not_have(world: World) -> None:
    alice, bob, carol = line(world)
    invoice = with_hop(world.invoice(carol, AMOUNT), short_channel_id=ShortChannelId(123))
    pay(alice, invoice, "x")
    assert the_failure(alice, bob, "x") == UnknownNextPeer()
    assert handling(bob) == [(UnknownNextHop(ShortChannelId(123)), "UnknownNextPeer")]


def test_private_channels_are_not_forwarded_to_by_default(world: World) -> None:
    alice, bob, carol = line(world, bob_config=UserConfig())
    invoice = world.invoice(carol, AMOUNT)
    pay(alice, invoice, "x")
    assert the_failure(alice, bob, "x") == UnknownNextPeer()
    scid = invoice.route_hints[0][0].short_channel_id
    assert handling(bob) == [(InvalidForward(scid), "PrivateChannelForward")]


def test_the_next_node_is_offline(world: World) -> None:
    alice, bob, carol = line(world)
    invoice = world.invoice(carol, AMOUNT)
    world.drop_connections_of(carol)
    world.settle()
    pay(alice, invoice, "offline")
    scid = invoice.route_hints[0][0].short_channel_id
    assert without_update(the_failure(alice, bob, "offline"), scid) == TemporaryChannelFailure()
    assert [reason for _, reason in handling(bob)] == ["PeerOffline"]
    world.connect(bob, carol)
    pay(alice, invoice, "online")
    assert is_paid(alice, "online")


def test_the_next_channel_has_not_enough_left(world: World) -> None:
    alice, bob, carol = line(world)
    invoice = amountless(carol)
    pay(bob, amountless(carol), "away", 900_000_000)
    assert is_paid(bob, "away")
    pay(alice, invoice, "too much", 200_000_000)
    scid = invoice.route_hints[0][0].short_channel_id
    assert without_update(the_failure(alice, bob, "too much"), scid) == TemporaryChannelFailure()
    assert len(handling(bob)) == 1
    pay(alice, invoice, "less", 50_000_000)
    assert is_paid(alice, "less")
    assert idle(alice, bob, carol)


# --- the recipient ----------------------------------------------------------------------------------------------------


def refused(alice: Host, carol: Host, name: str, amount_msat: int = AMOUNT) -> str:
    """Carol refused it in the words that say nothing. Why, in her own words."""
    details = IncorrectOrUnknownPaymentDetails(Msat(amount_msat), carol.node.core.height)
    assert the_failure(alice, carol, name) == details
    assert [event.reason for event in alice.of(PaymentFailed)][-1] == "RecipientRejected"
    assert alice.of(PaymentPathFailed)[-1].payment_failed_permanently
    kind, why = handling(carol)[-1]
    assert kind == Receive(alice.of(PaymentPathFailed)[-1].payment_hash)
    return why


def test_only_what_an_invoice_asks_for_is_taken(world: World) -> None:
    alice, bob, carol = line(world)
    invoice = world.invoice(carol, AMOUNT)
    pay(alice, replace(invoice, payment_secret=PaymentSecret(bytes(32))), "secret")
    assert refused(alice, carol, "secret") == "IncorrectPaymentDetails"
    pay(alice, replace(invoice, payment_hash=PaymentHash(bytes(32))), "hash")
    assert refused(alice, carol, "hash") == "IncorrectPaymentDetails"
    pay(alice, replace(invoice, payment_metadata=b"x"), "metadata")
    assert refused(alice, carol, "metadata") == "IncorrectPaymentDetails"
    pay(alice, replace(invoice, amount_msat=Msat(AMOUNT - 1)), "underpaid")
    assert refused(alice, carol, "underpaid", AMOUNT - 1) == "IncorrectPaymentDetails"
    alice.call(
        lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id("even"), custom_tlvs=((65536, b"x"),))
    )
    assert refused(alice, carol, "even") == "InvalidOnionPayload"
    assert carol.of(PaymentClaimable) == []
    pay(alice, replace(invoice, amount_msat=Msat(2 * AMOUNT)), "overpaid")
    assert alice.of(PaymentSent)[0].amount_msat == 2 * AMOUNT
    assert carol.of(PaymentClaimed)[0].amount_msat == 2 * AMOUNT
    assert idle(alice, bob, carol)


@pytest.mark.parametrize(
    ("final_delta", "why"), [(39, "PaymentClaimBuffer"), (40, "IncorrectPaymentDetails"), (41, None)]
)
def test_an_expiry_that_is_too_soon_for_the_invoice(world: World, final_delta: int, why: str | None) -> None:
    """One block more than the payer was asked for is in every route, and three in every invoice."""
    alice, _, carol = line(world)
    invoice = replace(world.invoice(carol, AMOUNT), min_final_cltv_expiry_delta=Blocks(final_delta))
    pay(alice, invoice, "x")
    if why is not None:
        assert refused(alice, carol, "x") == why
    else:
        assert is_paid(alice, "x")


def test_an_invoice_expires_two_hours_late_at_the_recipient(world: World) -> None:
    alice, _, carol = line(world)
    first, second = world.invoice(carol, AMOUNT), world.invoice(carol, AMOUNT)
    set_clock(carol, first.expires_at + 7200)
    pay(alice, first, "in time")
    assert is_paid(alice, "in time")
    set_clock(carol, second.expires_at + 7201)
    pay(alice, second, "late")
    assert refused(alice, carol, "late") == "IncorrectPaymentDetails"
    set_clock(alice, second.expires_at)
    pay(alice, second, "still sent")
    set_clock(alice, second.expires_at + 1)
    with pytest.raises(RetryableSendFailure, match="PaymentExpired"):
        pay(alice, second, "not sent")


@pytest.mark.parametrize("off_by", ["amount", "expiry"])
def test_a_forwarder_that_keeps_some_for_itself(world: World, monkeypatch: pytest.MonkeyPatch, off_by: str) -> None:
    """The recipient compares what came with what the payer told it in the onion."""
    alice, bob, carol = line(world)
    invoice = world.invoice(carol, AMOUNT)

    def promising_more(route: Route, *terms: object) -> list[tuple[NodeId, bytes]]:
        *before, (payee, raw) = onion_hops(route, *terms)
        payload = decode_payload(raw)
        changes: dict[str, object] = {"outgoing_cltv_value": payload.outgoing_cltv_value + 1}
        if off_by == "amount":
            changes = {
                "amt_to_forward": Msat(AMOUNT + 1),
                "payment_data": replace(payload.payment_data, total_msat=Msat(AMOUNT + 1)),
            }
        return [*before, (payee, encode_payload(replace(payload, **changes)))]

    monkeypatch.setattr(payments, "onion_hops", promising_more)
    pay(alice, invoice, "x")
    expiry = alice.node.core.height + invoice.min_final_cltv_expiry_delta + 1
    expected = FinalIncorrectHtlcAmount(Msat(AMOUNT)) if off_by == "amount" else FinalIncorrectCltvExpiry(expiry)
    assert the_failure(alice, carol, "x") == expected
    assert [reason for _, reason in handling(carol)] == [
        type(expected).__name__.replace("Htlc", "HTLC").replace("Cltv", "CLTV")
    ]
    assert not alice.of(PaymentPathFailed)[0].payment_failed_permanently
    assert idle(alice, bob, carol)


def test_a_hash_of_the_users_own_is_claimed_with_the_users_preimage(world: World) -> None:
    alice, bob, carol = line(world)
    carol.hold_claims = True
    preimage = PaymentPreimage(b"\x07" * 32)
    payment_hash = PaymentHash(hashlib.sha256(preimage).digest())
    invoice = carol.call(lambda node: node.payments.create_bolt11_invoice(Msat(AMOUNT), "x", payment_hash=payment_hash))
    pay(alice, decode(invoice.text), "x")
    (claimable,) = carol.of(PaymentClaimable)
    assert claimable.payment_hash == payment_hash
    assert claimable.purpose == Bolt11InvoicePayment(None, invoice.payment_secret)
    carol.call(lambda node: node.payments.claim_funds(PaymentPreimage(bytes(32))))
    assert carol.of(PaymentClaimed) == []
    carol.call(lambda node: node.payments.claim_funds(preimage))
    assert [sent.payment_preimage for sent in alice.of(PaymentSent)] == [preimage]
    assert idle(alice, bob, carol)


def test_a_payment_is_claimable_once_and_claimed_once(world: World) -> None:
    alice, bob, carol = line(world)
    carol.hold_claims = True
    invoice = world.invoice(carol, AMOUNT)
    pay(alice, invoice, "first")
    (claimable,) = carol.of(PaymentClaimable)
    pay(alice, invoice, "second")
    assert refused(alice, carol, "second") == "IncorrectPaymentDetails"
    for _ in range(2):
        carol.call(lambda node: node.payments.claim_funds(claimable.purpose.payment_preimage))
        assert len(carol.of(PaymentClaimed)) == 1
    carol.call(lambda node: node.payments.fail_htlc_backwards(invoice.payment_hash))
    assert is_paid(alice, "first")
    assert carol.balance_msat() == AMOUNT
    assert idle(alice, bob, carol)


def test_a_payment_that_the_user_does_not_want(world: World) -> None:
    alice, bob, carol = line(world)
    carol.hold_claims = True
    invoice = world.invoice(carol, AMOUNT)
    pay(alice, invoice, "x")
    carol.call(lambda node: node.payments.fail_htlc_backwards(PaymentHash(bytes(32))))
    assert alice.of(PaymentFailed) == []
    carol.call(lambda node: node.payments.fail_htlc_backwards(invoice.payment_hash))
    assert refused(alice, carol, "x") == "IncorrectPaymentDetails"
    (claimable,) = carol.of(PaymentClaimable)
    carol.call(lambda node: node.payments.claim_funds(claimable.purpose.payment_preimage))
    assert carol.of(PaymentClaimed) == []
    pay(alice, invoice, "again")
    assert len(carol.of(PaymentClaimable)) == 2
    carol.call(lambda node: node.payments.claim_funds(claimable.purpose.payment_preimage))
    assert is_paid(alice, "again")
    assert idle(alice, bob, carol)


def test_a_payment_that_nobody_claims_is_failed_back_at_its_deadline(world: World) -> None:
    alice, bob, carol = line(world)
    carol.hold_claims = True
    invoice = world.invoice(carol, AMOUNT)
    pay(alice, invoice, "x")
    (claimable,) = carol.of(PaymentClaimable)
    assert claimable.claim_deadline == carol.node.core.height + invoice.min_final_cltv_expiry_delta + 1 - 39
    world.mine(claimable.claim_deadline - carol.node.core.height - 1)
    assert handling(carol) == []
    world.mine(1)
    assert refused(alice, carol, "x") == "PaymentClaimBuffer"
    carol.call(lambda node: node.payments.claim_funds(claimable.purpose.payment_preimage))
    assert carol.of(PaymentClaimed) == []
    assert idle(alice, bob, carol)


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_so_many_attempts_and_no_more(world: World, attempts: int) -> None:
    alice, bob, carol = line(world)
    invoice = world.invoice(carol, AMOUNT)
    world.drop_connections_of(carol)
    world.settle()
    pay(alice, invoice, "x", retry=Attempts(attempts))
    assert len(alice.of(PaymentPathFailed)) == 1 + attempts
    assert alice.of(PaymentFailed) == [PaymentFailed(payment_id("x"), invoice.payment_hash, "RetriesExhausted")]
    alice.events.clear()
    pay(alice, invoice, "x", retry=Attempts(attempts))
    assert len(alice.of(PaymentPathFailed)) == 1 + attempts, "a PaymentId used again has its attempts again"
    world.connect(bob, carol)
    pay(alice, invoice, "x")
    assert is_paid(alice, "x")
    with pytest.raises(RetryableSendFailure, match="DuplicatePayment"):
        pay(alice, invoice, "x")
    minutes(world, alice, 7)
    with pytest.raises(RetryableSendFailure, match="DuplicatePayment"):
        pay(alice, invoice, "x")
    minutes(world, alice, 1)
    assert payment_id("x") not in alice.node.core.state.payments
    pay(alice, world.invoice(carol, AMOUNT), "x")
    assert len(alice.of(PaymentSent)) == 2


@pytest.mark.parametrize(("seconds", "path_failures"), [(0, 2), (2, 4)])
def test_retries_until_a_time(world: World, seconds: int, path_failures: int) -> None:
    """Each attempt takes a second; the clock that is compared is the one at which an attempt has failed."""
    alice, _, carol = line(world)
    invoice = world.invoice(carol, AMOUNT)
    world.drop_connections_of(carol)
    world.settle()
    handle = alice.handle

    def a_second_later(offered: OfferEvent) -> None:
        handle(offered)
        if isinstance(offered.event, PaymentPathFailed):
            set_clock(alice, alice.node.core.now + 1)

    alice.handle = a_second_later  # type: ignore[method-assign]
    pay(alice, invoice, "x", retry=Timeout(seconds))
    assert len(alice.of(PaymentPathFailed)) == path_failures
    assert alice.of(PaymentFailed) == [PaymentFailed(payment_id("x"), invoice.payment_hash, "RetriesExhausted")]


def test_no_retry_once_the_invoice_has_expired(world: World) -> None:
    alice, _, carol = line(world)
    carol.hold_claims = True
    invoice = world.invoice(carol, AMOUNT)
    world.drop_connections_of(carol)
    world.settle()
    alice.command(lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id("x"), retry=Attempts(10)))
    alice.turn()
    set_clock(alice, invoice.expires_at + 1)
    world.settle()
    assert len(alice.of(PaymentPathFailed)) == 1
    assert alice.of(PaymentFailed) == [PaymentFailed(payment_id("x"), invoice.payment_hash, "PaymentExpired")]


@pytest.mark.parametrize("end", ["refused", "failed on the way", "claimed"])
def test_an_abandoned_payment_is_not_retried_and_may_succeed(world: World, end: str) -> None:
    alice, bob, carol = line(world)
    carol.hold_claims = True
    invoice = world.invoice(carol, AMOUNT)
    if end == "failed on the way":
        world.drop_connections_of(carol)
        world.settle()
        alice.command(lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id("x"), retry=Attempts(10)))
        alice.turn()
    else:
        pay(alice, invoice, "x", retry=Attempts(10))
    alice.command(lambda node: node.payments.abandon_payment(payment_id("x")))
    alice.turn()
    assert alice.of(PaymentFailed) == []
    with pytest.raises(RetryableSendFailure, match="DuplicatePayment"):
        pay(alice, invoice, "x")
    if end == "refused":
        carol.call(lambda node: node.payments.fail_htlc_backwards(invoice.payment_hash))
    elif end == "claimed":
        (claimable,) = carol.of(PaymentClaimable)
        carol.call(lambda node: node.payments.claim_funds(claimable.purpose.payment_preimage))
    world.settle()
    if end == "claimed":
        assert alice.of(PaymentFailed) == []
        assert is_paid(alice, "x")
    else:
        assert alice.of(PaymentFailed) == [PaymentFailed(payment_id("x"), invoice.payment_hash, "UserAbandoned")]
        assert len(alice.of(PaymentPathFailed)) == 1
    assert idle(alice, bob, carol)
