"""Payments of our own, in and out: invoices, sending with retries, claiming."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from pyln_fast.channel.actions import HtlcFulfilled
from pyln_fast.channel.commands import AddHtlc, RemoveHtlc
from pyln_fast.channel.errors import APIMisuse
from pyln_fast.channel.htlc import Failed, FailedMalformed, Fulfilled, Htlc, OutboundPaymentHtlc, Removal
from pyln_fast.channel.limits import DustLimit, outbound_limit_msat
from pyln_fast.channel.state import Normal
from pyln_fast.config import IDEMPOTENCY_TIMEOUT_TICKS, MIN_FINAL_CLTV_EXPIRY_DELTA
from pyln_fast.errors import DecodeError, LocalError
from pyln_fast.events import (
    ClaimedHTLC,
    InitialSend,
    OnPath,
    PaymentClaimable,
    PaymentClaimed,
    PaymentFailed,
    PaymentPathFailed,
    PaymentPathSuccessful,
    PaymentSent,
    Receive,
)
from pyln_fast.features import Feature, Features
from pyln_fast.node.announcements import Announcements
from pyln_fast.node.core import Core
from pyln_fast.node.htlcs import HtlcRouter
from pyln_fast.node.state import FINISHED_PAYMENTS
from pyln_fast.onion import failure_packet
from pyln_fast.onion.packet import build
from pyln_fast.payment import inbound
from pyln_fast.payment.claimable import ClaimablePayment, FinalHtlc, check_final
from pyln_fast.payment.inbound import ExpandedKey
from pyln_fast.payment.invoice import DEFAULT_EXPIRY_SECS, Invoice, UnsignedInvoice, sign
from pyln_fast.payment.outbound import (
    Attempt,
    Attempts,
    OutboundPayment,
    PaymentStatus,
    Retry,
    RetryableSendFailure,
)
from pyln_fast.payment.route import Route, UsableChannel, find_routes, onion_hops
from pyln_fast.types import (
    Blocks,
    ChannelId,
    FeeratePerKw,
    Msat,
    NodeId,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    PrivateKey,
    Secret,
    ShortChannelId,
)
from pyln_fast.wire.failure_msgs import PERM, Failure, IncorrectOrUnknownPaymentDetails, UnknownFailure, decode_failure
from pyln_fast.wire.onion_payloads import OnionPayload

INVOICE_FEATURES = Features.of(required=(Feature.VAR_ONION_OPTIN, Feature.PAYMENT_SECRET))
DEFAULT_MAX_TOTAL_CLTV_EXPIRY_DELTA = 1008
"""LDK: a week of locked funds at most."""
NO_RETRY = Attempts(0)
MAX_PATH_FEE_PROPORTION = 100
"""LDK: the most that a payment's fee may be by default is 1/100 of its amount…"""
MAX_PATH_FEE_FLOOR_MSAT = 50_000
"""…and never less than this, so that small payments go through (LDK)."""


class Payments:
    def __init__(self, core: Core, router: HtlcRouter, announcements: Announcements) -> None:
        self._core = core
        self._router = router
        self._announcements = announcements
        self._usable: dict[ChannelId, tuple[Normal, FeeratePerKw, UsableChannel]] = {}
        self._inbound_keys = ExpandedKey.from_key(core.keys.get_inbound_payment_key())
        router.take_final = self.take_final
        router.on_payment_fulfilled = self.on_fulfilled
        router.on_payment_failed = self.on_failed

    # --- receiving

    def create_bolt11_invoice(
        self,
        amount_msat: Msat | None,
        description: str | None = "",
        description_hash: bytes | None = None,
        expiry_secs: int = DEFAULT_EXPIRY_SECS,
        min_final_cltv_expiry_delta: Blocks = MIN_FINAL_CLTV_EXPIRY_DELTA,
        payment_hash: PaymentHash | None = None,
        payment_metadata: bytes | None = None,
    ) -> Invoice:
        """An invoice costs no record: its secret proves what was asked for. With a payment hash of the user's own, the
        user claims with the preimage that only he knows. Raises APIMisuse, LocalError."""
        if min_final_cltv_expiry_delta < MIN_FINAL_CLTV_EXPIRY_DELTA:
            least = MIN_FINAL_CLTV_EXPIRY_DELTA
            raise APIMisuse(f"min_final_cltv_expiry_delta is {min_final_cltv_expiry_delta}, must be at least {least}")
        core, keys = self._core, self._inbound_keys
        if payment_hash is None:
            payment_hash, payment_secret = inbound.create(
                keys,
                amount_msat,
                expiry_secs,
                min_final_cltv_expiry_delta,
                core.now,
                core.keys.get_secure_random_bytes(),
                payment_metadata,
            )
        else:
            payment_secret = inbound.create_from_hash(
                keys, payment_hash, amount_msat, expiry_secs, min_final_cltv_expiry_delta, core.now, payment_metadata
            )
        features = INVOICE_FEATURES
        if payment_metadata is not None:
            features = features.set_optional(Feature.OPTION_PAYMENT_METADATA)
        unsigned = UnsignedInvoice(
            network=core.network,
            timestamp=core.now,
            payment_hash=payment_hash,
            payment_secret=payment_secret,
            amount_msat=amount_msat,
            description=None if description_hash is not None else description or "",
            description_hash=description_hash,
            expiry_secs=expiry_secs,
            # LDK: three blocks more, so that a block found on the way does not fail the payment.
            min_final_cltv_expiry_delta=Blocks(min_final_cltv_expiry_delta + 3),
            features=features,
            payment_metadata=payment_metadata,
            route_hints=self._announcements.route_hints(amount_msat),
        )
        return sign(unsigned, core.keys)

    def take_final(self, final: FinalHtlc, payload: OnionPayload) -> tuple[Failure, str] | None:
        """An HTLC for us: it waits for the user, or the failure for its sender is returned."""
        core = self._core
        result = check_final(final, payload, self._inbound_keys, core.height, core.now)
        if not isinstance(result, ClaimablePayment):
            return result
        if final.payment_hash in core.state.claimable:
            details = IncorrectOrUnknownPaymentDetails(final.amount_msat, core.height)
            return details, "IncorrectPaymentDetails"
        core.state.claimable[final.payment_hash] = result
        params = core.state.channels[final.channel_id].data.params
        core.emit(
            PaymentClaimable(
                core.node_id,
                result.payment_hash,
                result.onion_fields,
                result.amount_msat,
                Msat(0),
                result.purpose,
                ((result.channel_id, params.user_channel_id),),
                result.claim_deadline,
            )
        )
        return None

    def claim_funds(self, payment_preimage: PaymentPreimage) -> None:
        """The payment is ours. Nothing happens if there is none for this preimage, or if it was claimed."""
        core = self._core
        payment_hash = PaymentHash(hashlib.sha256(payment_preimage).digest())
        claimable = core.state.claimable.get(payment_hash)
        if claimable is None:
            return
        del core.state.claimable[payment_hash]
        if claimable.channel_id not in core.state.channels:
            # Its channel is over, and the HTLC with it.
            return
        core.execute(claimable.channel_id, RemoveHtlc(claimable.htlc_id, Fulfilled(payment_preimage)))
        params = core.state.channels[claimable.channel_id].data.params
        htlc = ClaimedHTLC(
            params.counterparty_node_id,
            claimable.channel_id,
            params.user_channel_id,
            claimable.cltv_expiry,
            claimable.amount_msat,
            Msat(0),
        )
        core.emit(
            PaymentClaimed(
                core.node_id,
                payment_hash,
                claimable.amount_msat,
                claimable.purpose,
                (htlc,),
                claimable.onion_fields.total_mpp_amount_msat,
                claimable.onion_fields,
            )
        )

    def fail_htlc_backwards(self, payment_hash: PaymentHash) -> None:
        """The user does not want the payment."""
        claimable = self._core.state.claimable.get(payment_hash)
        if claimable is not None:
            self._fail_back(claimable, "IncorrectPaymentDetails")

    def _fail_back(self, claimable: ClaimablePayment, reason: str) -> None:
        core = self._core
        del core.state.claimable[claimable.payment_hash]
        state = core.state.channels.get(claimable.channel_id)
        htlc = state.data.commitments.received(claimable.htlc_id) if state is not None else None
        if htlc is None or htlc.shared_secret is None:
            return
        failure = IncorrectOrUnknownPaymentDetails(claimable.amount_msat, core.height)
        kind = Receive(claimable.payment_hash)
        self._router.fail(claimable.channel_id, claimable.htlc_id, htlc.shared_secret, failure, kind, reason)

    def best_block(self) -> None:
        """LDK: what the user has not claimed by its deadline is failed back, so that the channel need not be closed."""
        for claimable in list(self._core.state.claimable.values()):
            if self._core.height >= claimable.claim_deadline:
                self._fail_back(claimable, "PaymentClaimBuffer")

    # --- sending

    def pay_for_bolt11_invoice(
        self,
        invoice: Invoice,
        payment_id: PaymentId,
        amount_msat: Msat | None = None,
        max_total_routing_fee_msat: Msat | None = None,
        retry: Retry = NO_RETRY,
        custom_tlvs: tuple[tuple[int, bytes], ...] = (),
    ) -> None:
        """Begins a payment. `amount_msat` only for an invoice without an amount. The result comes as PaymentSent or
        PaymentFailed, exactly one of them. Raises RetryableSendFailure or APIMisuse: then nothing was begun."""
        core = self._core
        if len(payment_id) != 32:
            raise APIMisuse(f"a PaymentId of {len(payment_id)} bytes, not 32")
        known = core.state.payments.get(payment_id)
        if known is not None and known.status is not PaymentStatus.FAILED:
            raise RetryableSendFailure("DuplicatePayment", "a payment with this PaymentId was begun before")
        if not invoice.is_for(core.network):
            raise APIMisuse(f"the invoice is not for {core.network.value}")
        if (invoice.amount_msat is None) == (amount_msat is None):
            raise APIMisuse("an amount is needed exactly if the invoice has none")
        if core.low_on_space:
            raise RetryableSendFailure("LowOnSpace", "the disk is nearly full: no new HTLC")
        if invoice.is_expired(core.now):
            raise RetryableSendFailure("PaymentExpired", "the invoice has expired")
        amount = invoice.amount_msat if invoice.amount_msat is not None else amount_msat
        assert amount is not None
        if amount <= 0:
            raise APIMisuse("an amount of 0 msat cannot be paid")
        default_fee = max(amount // MAX_PATH_FEE_PROPORTION, MAX_PATH_FEE_FLOOR_MSAT)
        payment = OutboundPayment(
            payment_id,
            invoice.payment_hash,
            invoice.payment_secret,
            invoice.payment_metadata,
            custom_tlvs,
            amount,
            invoice.payee,
            invoice.min_final_cltv_expiry_delta,
            invoice.route_hints,
            max_total_routing_fee_msat if max_total_routing_fee_msat is not None else Msat(default_fee),
            DEFAULT_MAX_TOTAL_CLTV_EXPIRY_DELTA,
            retry,
            core.now,
            invoice.expires_at,
            PaymentStatus.PENDING,
            # An attempt of before may still report its end: no number is used twice.
            next_attempt=known.next_attempt if known is not None else 0,
            first_attempt=known.next_attempt if known is not None else 0,
        )
        why = self._attempt(payment)
        if why is not None:
            raise RetryableSendFailure("RouteNotFound", why)

    def _attempt(self, payment: OutboundPayment) -> str | None:
        """Offers the HTLC over the first route that takes it, and records the attempt. None, or why none does."""
        core = self._core
        routes = find_routes(
            payment.payee,
            payment.amount_msat,
            payment.final_cltv_expiry_delta,
            payment.hints,
            self.usable_channels(),
            core.height,
            payment.max_fee_msat,
            payment.max_total_cltv_expiry_delta,
        )
        if not routes:
            return "no channel and no hint leads to the payee with that amount"
        routes.sort(key=lambda route: route.channel_id in payment.failed_channels)
        why = ""
        for route in routes:
            try:
                self._offer(payment, route)
            except (LocalError, ValueError) as error:
                # A channel that cannot take it, or a hint that no onion can be made for: the next route may do.
                why = str(error)
                continue
            return None
        return why

    def _offer(self, payment: OutboundPayment, route: Route) -> None:
        core = self._core
        session_key = PrivateKey(core.keys.get_secure_random_bytes())
        hops = onion_hops(route, payment.payment_secret, payment.payment_metadata, payment.custom_tlvs)
        packet, _ = build(session_key, hops, payment.payment_hash)
        source = OutboundPaymentHtlc(payment.payment_id, payment.next_attempt)
        add = AddHtlc(route.amount_msat, payment.payment_hash, route.cltv_expiry, packet, source)
        core.execute(route.channel_id, add)
        attempt = Attempt(payment.next_attempt, session_key, route.path, route.channel_id, route.amount_msat)
        core.state.payments[payment.payment_id] = replace(
            payment, attempt=attempt, next_attempt=payment.next_attempt + 1
        )

    def usable_channels(self) -> list[UsableChannel]:
        """States are frozen: what was found out about one stays true while the channel has it."""
        feerate = self._core.feerates.maximum_fee_estimate
        known, self._usable = self._usable, {}
        for channel_id, state in self._core.state.channels.items():
            if not isinstance(state, Normal) or state.data.holder_shutdown_script is not None:
                continue
            before = known.get(channel_id)
            if before is not None and before[0] is state and before[1] == feerate:
                self._usable[channel_id] = before
            else:
                self._usable[channel_id] = (state, feerate, _usable(channel_id, state, feerate))
        return [usable for _, _, usable in self._usable.values()]

    def abandon_payment(self, payment_id: PaymentId) -> None:
        """No further attempt. PaymentFailed follows once nothing of it is under way; it may still succeed."""
        payment = self._core.state.payments.get(payment_id)
        if payment is not None and payment.status is PaymentStatus.PENDING:
            self._core.state.payments[payment_id] = replace(payment, status=PaymentStatus.ABANDONED)

    def _of(self, source: OutboundPaymentHtlc) -> OutboundPayment | None:
        """The payment, if this HTLC is its attempt under way."""
        payment = self._core.state.payments.get(source.payment_id)
        if payment is None or payment.attempt is None or payment.attempt.number != source.attempt:
            return None
        return payment

    def on_fulfilled(self, htlc: Htlc, action: HtlcFulfilled) -> None:
        assert isinstance(htlc.source, OutboundPaymentHtlc)
        payment = self._of(htlc.source)
        if payment is None or payment.is_over:
            return
        assert payment.attempt is not None
        fee = Msat(payment.attempt.amount_msat - payment.amount_msat)
        done = replace(payment, status=PaymentStatus.FULFILLED, preimage=action.payment_preimage, fee_paid_msat=fee)
        self._finish(done)
        payment_id, payment_hash = payment.payment_id, payment.payment_hash
        self._core.emit(PaymentSent(payment_id, action.payment_preimage, payment_hash, payment.amount_msat, fee))
        self._core.emit(PaymentPathSuccessful(payment_id, payment_hash, payment.attempt.path, ()))

    def on_failed(self, channel_id: ChannelId, htlc: Htlc, why: Removal | str) -> None:
        """The attempt is over: try again or end the payment."""
        assert isinstance(htlc.source, OutboundPaymentHtlc)
        payment = self._of(htlc.source)
        if payment is None or payment.is_over:
            return
        assert payment.attempt is not None
        event, rejected = self._path_failed(payment, payment.attempt, why)
        self._core.emit(event)
        failed = (*payment.failed_channels, channel_id)
        payment = replace(payment, attempt=None, failed_channels=failed)
        if payment.status is PaymentStatus.ABANDONED:
            # LDK: the reason is the first that ended it, whatever the HTLC under way has met since.
            self._fail(payment, "UserAbandoned")
        elif rejected:
            self._fail(payment, "RecipientRejected")
        elif not payment.may_retry(self._core.now):
            expired = payment.expires_at is not None and self._core.now > payment.expires_at
            self._fail(payment, "PaymentExpired" if expired else "RetriesExhausted")
        elif self._attempt(payment) is not None:
            self._fail(payment, "RouteNotFound")

    def _path_failed(
        self, payment: OutboundPayment, attempt: Attempt, why: Removal | str
    ) -> tuple[PaymentPathFailed, bool]:
        """What to tell the user, and whether the recipient itself has refused for good."""
        hops = attempt.path.hops

        def event(
            failure: InitialSend | OnPath, hop: int, code: int | None, data: bytes | None, permanent: bool
        ) -> PaymentPathFailed:
            scid = hops[min(hop, len(hops) - 1)].short_channel_id
            return PaymentPathFailed(
                payment.payment_id, payment.payment_hash, permanent, failure, attempt.path, scid, code, data, ()
            )

        if isinstance(why, str):
            return event(InitialSend(why), 0, None, None, False), False
        if isinstance(why, FailedMalformed):
            return event(OnPath(hops[0].pubkey), 0, why.failure_code, why.sha256_of_onion, False), False
        assert isinstance(why, Failed)
        node_ids = [hop.pubkey for hop in hops]
        unwrapped = failure_packet.unwrap(_shared_secrets(attempt.session_key, node_ids), why.reason)
        if unwrapped is None:
            return event(OnPath(None), 0, None, None, False), False
        index, message = unwrapped
        try:
            failure = decode_failure(message)
        except DecodeError:
            # Whatever a node of the path wrote there, the payment must end: its code, if it has one, is all we take.
            failure = UnknownFailure(int.from_bytes(message[:2], "big"), message[2:])
        by_recipient = index == len(hops) - 1
        permanent = by_recipient and bool(failure.failure_code & PERM)
        data = failure.data if isinstance(failure, UnknownFailure) else message[2:]
        # The channel at fault is the one behind the node that complains, unless that is the recipient.
        return event(OnPath(node_ids[index]), index + 1, failure.failure_code, data, permanent), permanent

    def _fail(self, payment: OutboundPayment, reason: str) -> None:
        self._finish(replace(payment, status=PaymentStatus.FAILED, attempt=None))
        self._core.emit(PaymentFailed(payment.payment_id, payment.payment_hash, reason))

    def _finish(self, payment: OutboundPayment) -> None:
        state = self._core.state
        state.payments[payment.payment_id] = payment.remembered()
        state.history.append(FINISHED_PAYMENTS.put(payment.payment_id, payment))

    def timer_tick(self) -> None:
        """A minute has passed: what ended long enough ago is forgotten here and stays in the history.

        Ages are kept in memory alone, for writing every recent payment again each minute would cost more than making
        it. A restart begins to count anew: a PaymentId is then remembered for longer.
        """
        payments = self._core.state.payments
        under_way = {
            htlc.source.payment_id
            for state in self._core.state.channels.values()
            for htlc in state.data.commitments.htlcs.values()
            if isinstance(htlc.source, OutboundPaymentHtlc)
        }
        for payment in [each for each in payments.values() if each.is_over]:
            if payment.payment_id in under_way:
                # Its HTLC is not irrevocably gone: its time to be forgotten has not begun (LDK).
                continue
            if payment.finished_ticks >= IDEMPOTENCY_TIMEOUT_TICKS:
                del payments[payment.payment_id]
            else:
                older = replace(payment, finished_ticks=payment.finished_ticks + 1)
                payments.set_in_memory(payment.payment_id, older)


def _usable(channel_id: ChannelId, state: Normal, feerate: FeeratePerKw) -> UsableChannel:
    data = state.data
    dust = DustLimit.of(data.config, feerate)
    scid = data.funding.short_channel_id
    return UsableChannel(
        channel_id,
        data.params.counterparty_node_id,
        scid if scid is not None else ShortChannelId(data.holder_alias),
        outbound_limit_msat(data.params, data.commitments, dust),
        data.params.counterparty.htlc_minimum_msat,
    )


def _shared_secrets(session_key: PrivateKey, node_ids: list[NodeId]) -> tuple[Secret, ...]:
    """They follow from the session key and the nodes alone, whatever the payloads."""
    _, secrets = build(session_key, [(node_id, bytes(2)) for node_id in node_ids], b"")
    return secrets
