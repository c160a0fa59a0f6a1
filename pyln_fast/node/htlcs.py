"""What happens to received HTLCs: their onions are peeled, and they are forwarded, offered to the user or failed; and
what comes back for those that we forwarded."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from pyln_fast.channel.actions import HtlcFulfilled, HtlcNotSent
from pyln_fast.channel.commands import AddHtlc, RemoveHtlc, TakeNoteOfOnion
from pyln_fast.channel.errors import ChannelUnavailable, HtlcRefused
from pyln_fast.channel.htlc import (
    Failed,
    FailedMalformed,
    ForwardedHtlc,
    Fulfilled,
    Htlc,
    HtlcStage,
    OutboundPaymentHtlc,
    Removal,
)
from pyln_fast.channel.limits import DustLimit, reason_to_fail_back
from pyln_fast.channel.state import Closing, FundedState, Normal, Offline, Syncing
from pyln_fast.events import (
    Forward,
    HTLCHandlingFailed,
    HTLCHandlingFailureType,
    HTLCLocator,
    InvalidForward,
    InvalidOnion,
    PaymentForwarded,
    Receive,
    UnknownNextHop,
)
from pyln_fast.node.announcements import Announcements
from pyln_fast.node.core import Core
from pyln_fast.node.state import FORWARDED, ForwardedPayment, forward_key
from pyln_fast.onion import failure_packet
from pyln_fast.onion.packet import OnionFailure, Peeled, peel_batch
from pyln_fast.payment.claimable import FinalHtlc
from pyln_fast.payment.forwarding import ForwardRequest, check_forward
from pyln_fast.types import BlockHeight, ChannelId, Msat, Secret
from pyln_fast.wire import onion_payloads
from pyln_fast.wire.failure_msgs import (
    Failure,
    InvalidOnionBlinding,
    InvalidOnionPayload,
    PermanentChannelFailure,
    TemporaryChannelFailure,
    TemporaryNodeFailure,
    UnknownFailure,
    UnknownNextPeer,
    encode_failure,
)
from pyln_fast.wire.onion_payloads import BadOnionPayload, OnionPayload

MAX_UNHANDLED_EVENTS = 100_000
"""Each is a durable record that is kept in memory: 20 to 40 MB in all."""

TakeFinal = Callable[[FinalHtlc, OnionPayload], tuple[Failure, str] | None]


class HtlcRouter:
    """The part of the node between channels. Own payments are `payments`' business."""

    def __init__(self, core: Core, announcements: Announcements) -> None:
        self._core = core
        self._announcements = announcements
        self.take_final: TakeFinal
        self.on_payment_fulfilled: Callable[[Htlc, HtlcFulfilled], None]
        self.on_payment_failed: Callable[[ChannelId, Htlc, Removal | str], None]
        core.on_committed = self.on_committed
        core.on_fulfilled = self.on_fulfilled
        core.on_removed = self.on_removed
        core.on_not_sent = self.on_not_sent

    # --- what came in

    def on_committed(self, channel_id: ChannelId, htlcs: list[Htlc]) -> None:
        """These HTLCs are irrevocably committed together: their onions are peeled in one call."""
        packets = [(htlc.onion_routing_packet, bytes(htlc.payment_hash), None) for htlc in htlcs]
        peeled = peel_batch(self._core.keys.get_node_secret_key(), packets)
        secrets = {htlc.id: each.shared_secret for htlc, each in zip(htlcs, peeled) if each.shared_secret is not None}
        self._core.execute(channel_id, TakeNoteOfOnion(secrets))
        for htlc, each in zip(htlcs, peeled):
            if self.overloaded() and each.shared_secret is not None:
                # Without an event: it would be one more that nobody handles, at a peer's bidding.
                self.fail(channel_id, htlc.id, each.shared_secret, TemporaryNodeFailure(), None, "TemporaryNodeFailure")
            elif each.shared_secret is not None and self._core.state.channels[channel_id].data.funding.height is None:
                # A reorganisation took the funding away: what comes over this channel may never have been there.
                failed = TemporaryChannelFailure()
                self.fail(
                    channel_id, htlc.id, each.shared_secret, failed, Receive(htlc.payment_hash), "ChannelNotReady"
                )
            elif htlc.path_key is not None:
                # We offer no route blinding, so this is no hop of ours (BOLT 2, update_fail_malformed_htlc).
                self._malformed(channel_id, htlc, InvalidOnionBlinding.CODE, bytes(32))
            elif isinstance(each, OnionFailure):
                self._unreadable(channel_id, htlc, each)
            else:
                self._route(channel_id, htlc, each)

    def overloaded(self) -> bool:
        """Nothing new is taken while the user does not handle events, or the disk is nearly full."""
        return self._core.low_on_space or len(self._core.state.events) > MAX_UNHANDLED_EVENTS

    def _unreadable(self, channel_id: ChannelId, htlc: Htlc, refused: OnionFailure) -> None:
        failure = refused.failure
        if isinstance(failure, InvalidOnionPayload):
            assert refused.shared_secret is not None
            self.fail(channel_id, htlc.id, refused.shared_secret, failure, InvalidOnion(), "InvalidOnionPayload")
        else:
            self._malformed(channel_id, htlc, failure.CODE, failure.sha256_of_onion)

    def _malformed(self, channel_id: ChannelId, htlc: Htlc, failure_code: int, sha256_of_onion: bytes) -> None:
        self._core.execute(channel_id, RemoveHtlc(htlc.id, FailedMalformed(sha256_of_onion, failure_code)))
        self._core.emit(HTLCHandlingFailed((channel_id,), InvalidOnion(), "InvalidOnion"))

    def _route(self, channel_id: ChannelId, htlc: Htlc, peeled: Peeled) -> None:
        try:
            payload = onion_payloads.decode_payload(peeled.payload)
            if payload.encrypted_recipient_data is not None:
                raise BadOnionPayload("onion payload", "route blinding is not offered", 10, 0)
            if peeled.next_packet is None:
                onion_payloads.check_final(payload)
            else:
                onion_payloads.check_forward(payload)
        except BadOnionPayload as error:
            failure = InvalidOnionPayload(error.tlv_type, error.offset)
            self.fail(channel_id, htlc.id, peeled.shared_secret, failure, InvalidOnion(), "InvalidOnionPayload")
            return
        kind: HTLCHandlingFailureType
        if peeled.next_packet is None:
            kind, refusal = Receive(htlc.payment_hash), self._receive(channel_id, htlc, payload)
        else:
            kind, refusal = self._forward(channel_id, htlc, payload, peeled.next_packet)
        if refusal is not None:
            self.fail(channel_id, htlc.id, peeled.shared_secret, refusal[0], kind, refusal[1])

    def _receive(self, channel_id: ChannelId, htlc: Htlc, payload: OnionPayload) -> tuple[Failure, str] | None:
        reason = self._reason_to_fail_back(channel_id, htlc)
        if reason is not None:
            return TemporaryChannelFailure(), reason
        final = FinalHtlc(channel_id, htlc.id, htlc.amount_msat, htlc.cltv_expiry, htlc.payment_hash)
        return self.take_final(final, payload)

    def _reason_to_fail_back(self, channel_id: ChannelId, htlc: Htlc) -> str | None:
        data = self._core.state.channels[channel_id].data
        dust = DustLimit.of(data.config, self._core.feerates.maximum_fee_estimate)
        return reason_to_fail_back(data.params, data.commitments, htlc, dust)

    def _forward(
        self, channel_id: ChannelId, htlc: Htlc, payload: OnionPayload, next_packet: bytes
    ) -> tuple[HTLCHandlingFailureType, tuple[Failure, str] | None]:
        scid, amount, cltv = onion_payloads.check_forward(payload)
        next_id = self._announcements.channel_of(scid)
        if next_id is None:
            return UnknownNextHop(scid), (UnknownNextPeer(), "UnknownNextPeer")
        state = self._core.state.channels[next_id]
        kind: HTLCHandlingFailureType = Forward(state.data.params.counterparty_node_id, next_id)
        if not state.data.params.announce_channel and not self._core.config.accept_forwards_to_priv_channels:
            return InvalidForward(scid), (UnknownNextPeer(), "PrivateChannelForward")
        reason = self._reason_to_fail_back(channel_id, htlc)
        update_of = self._announcements.update_for_failure
        if reason is not None:
            return kind, (TemporaryChannelFailure(update_of(next_id, scid)), reason)
        if not isinstance(state, Normal):
            return kind, _unavailable(state, update_of(next_id, scid))
        request = ForwardRequest(htlc.amount_msat, htlc.cltv_expiry, amount, BlockHeight(cltv))
        minimum = state.data.params.counterparty.htlc_minimum_msat
        refusal = check_forward(request, state.data.config, minimum, self._core.height, b"")
        if refusal is not None:
            return kind, (with_update(refusal.failure, update_of(next_id, scid)), refusal.reason)
        source = ForwardedHtlc(channel_id, htlc.id)
        try:
            self._core.execute(next_id, AddHtlc(amount, htlc.payment_hash, BlockHeight(cltv), next_packet, source))
        except HtlcRefused as error:
            return kind, (TemporaryChannelFailure(update_of(next_id, scid)), error.reason)
        except ChannelUnavailable:
            return kind, (TemporaryChannelFailure(update_of(next_id, scid)), "ChannelNotReady")
        return kind, None

    # --- what goes back

    def fail(
        self,
        channel_id: ChannelId,
        htlc_id: int,
        shared_secret: Secret,
        failure: Failure | UnknownFailure,
        kind: HTLCHandlingFailureType | None,
        reason: str,
    ) -> None:
        """A failure of our own making for a received HTLC."""
        packet = failure_packet.create(shared_secret, encode_failure(failure))
        self._core.execute(channel_id, RemoveHtlc(htlc_id, Failed(packet)))
        if kind is not None:
            self._core.emit(HTLCHandlingFailed((channel_id,), kind, reason))

    def _upstream(self, source: ForwardedHtlc) -> Htlc | None:
        """The received HTLC that an offered one was forwarded for, while something can be done about it."""
        state = self._core.state.channels.get(source.prev_channel_id)
        htlc = state.data.commitments.received(source.prev_htlc_id) if state is not None else None
        return htlc if htlc is not None and htlc.stage is HtlcStage.COMMITTED else None

    def on_fulfilled(self, channel_id: ChannelId, action: HtlcFulfilled) -> None:
        """In the very input in which the preimage came; a second time (a peer that reconnected) it changes nothing."""
        htlc = action.htlc
        if isinstance(htlc.source, OutboundPaymentHtlc):
            self.on_payment_fulfilled(htlc, action)
            return
        assert isinstance(htlc.source, ForwardedHtlc)
        upstream = self._upstream(htlc.source)
        if upstream is None:
            return
        prev_id = htlc.source.prev_channel_id
        self._core.execute(prev_id, RemoveHtlc(upstream.id, Fulfilled(action.payment_preimage)))
        fee = Msat(upstream.amount_msat - htlc.amount_msat)
        now = self._core.now
        record = ForwardedPayment(prev_id, channel_id, htlc.amount_msat, fee, now)
        self._core.state.history.append(FORWARDED.put(forward_key(prev_id, upstream.id), record))
        self._core.emit(
            PaymentForwarded(
                (self._locator(prev_id, upstream),),
                (self._locator(channel_id, htlc),),
                fee,
                Msat(0),
                False,
                htlc.amount_msat,
            )
        )

    def _locator(self, channel_id: ChannelId, htlc: Htlc) -> HTLCLocator:
        params = self._core.state.channels[channel_id].data.params
        return HTLCLocator(channel_id, htlc.amount_msat, htlc.id, params.user_channel_id, params.counterparty_node_id)

    def on_removed(self, channel_id: ChannelId, htlc: Htlc) -> None:
        """The removal of an HTLC is irrevocable: only now may its failure go upstream (BOLT 2, Forwarding HTLCs)."""
        if not htlc.offered or htlc.removal is None or isinstance(htlc.removal, Fulfilled):
            return
        if isinstance(htlc.source, OutboundPaymentHtlc):
            self.on_payment_failed(channel_id, htlc, htlc.removal)
            return
        assert isinstance(htlc.source, ForwardedHtlc)
        upstream = self._upstream(htlc.source)
        if upstream is None or upstream.shared_secret is None:
            return
        if isinstance(htlc.removal, Failed):
            packet = failure_packet.wrap(upstream.shared_secret, htlc.removal.reason)
        else:
            # BOLT 2: what the next node could not read is reported by us, in its words.
            code, data = htlc.removal.failure_code, htlc.removal.sha256_of_onion
            packet = failure_packet.create(upstream.shared_secret, encode_failure(UnknownFailure(code, data)))
        self._core.execute(htlc.source.prev_channel_id, RemoveHtlc(upstream.id, Failed(packet)))
        node_id = self._core.state.channels[channel_id].data.params.counterparty_node_id
        self._core.emit(HTLCHandlingFailed((htlc.source.prev_channel_id,), Forward(node_id, channel_id), "Downstream"))

    def on_not_sent(self, channel_id: ChannelId, action: HtlcNotSent) -> None:
        """An HTLC that we had queued never left."""
        htlc = action.htlc
        if isinstance(htlc.source, OutboundPaymentHtlc):
            self.on_payment_failed(channel_id, htlc, action.reason)
            return
        assert isinstance(htlc.source, ForwardedHtlc)
        upstream = self._upstream(htlc.source)
        if upstream is None or upstream.shared_secret is None:
            return
        update = self._announcements.update_for_failure(channel_id, None)
        node_id = self._core.state.channels[channel_id].data.params.counterparty_node_id
        self.fail(
            htlc.source.prev_channel_id,
            upstream.id,
            upstream.shared_secret,
            TemporaryChannelFailure(update),
            Forward(node_id, channel_id),
            action.reason,
        )


def with_update(failure: Failure, channel_update: bytes) -> Failure:
    """A signature is made only for those that need it: what is forwarded needs none."""
    if "channel_update" in failure.__struct_fields__:
        return replace(failure, channel_update=channel_update)
    return failure


def _unavailable(state: FundedState, update: bytes) -> tuple[Failure, str]:
    if isinstance(state, Closing):
        return PermanentChannelFailure(), "ChannelClosed"
    reason = "PeerOffline" if isinstance(state, Offline | Syncing) else "ChannelNotReady"
    return TemporaryChannelFailure(update), reason
