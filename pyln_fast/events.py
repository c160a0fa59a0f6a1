"""What the node tells its user: LDK's events, field for field.

Events are handed over in order, one at a time, and again until they are handled, over restarts too; a handler must be
idempotent. `FundingGenerationReady` and `OpenChannelRequest` are about channels that a restart forgets, so they are
offered again only while the process lives (`persists` says which).
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from pyln_fast.types import (
    BlockHeight,
    ChannelId,
    Msat,
    NodeId,
    OutPoint,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    PaymentSecret,
    Sat,
    ShortChannelId,
)


class Event(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The base of all events."""

    persists: ClassVar[bool] = True


# --- why a channel closed ---------------------------------------------------------------------------------------------


class ClosureReason(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Why a channel is no more."""


class CounterpartyForceClosed(ClosureReason, frozen=True):
    """The peer sent `error`. Its text is untrusted."""

    peer_msg: str


class HolderForceClosed(ClosureReason, frozen=True):
    broadcasted_latest_txn: bool
    message: str


class LegacyCooperativeClosure(ClosureReason, frozen=True):
    pass


class CounterpartyInitiatedCooperativeClosure(ClosureReason, frozen=True):
    pass


class LocallyInitiatedCooperativeClosure(ClosureReason, frozen=True):
    pass


class CommitmentTxConfirmed(ClosureReason, frozen=True):
    """A commitment transaction of either side is in the chain."""


class FundingTimedOut(ClosureReason, frozen=True):
    """The funding did not confirm within 2016 blocks."""


class ProcessingError(ClosureReason, frozen=True):
    """The peer broke a rule that fails the channel."""

    err: str


class DisconnectedPeer(ClosureReason, frozen=True):
    """The peer left before the channel was funded."""


class CounterpartyCoopClosedUnfundedChannel(ClosureReason, frozen=True):
    pass


class LocallyCoopClosedUnfundedChannel(ClosureReason, frozen=True):
    pass


class HTLCsTimedOut(ClosureReason, frozen=True):
    payment_hash: PaymentHash | None


class PeerFeerateTooLow(ClosureReason, frozen=True):
    peer_feerate_sat_per_kw: int
    required_feerate_sat_per_kw: int


AnyClosureReason = (
    CounterpartyForceClosed
    | HolderForceClosed
    | LegacyCooperativeClosure
    | CounterpartyInitiatedCooperativeClosure
    | LocallyInitiatedCooperativeClosure
    | CommitmentTxConfirmed
    | FundingTimedOut
    | ProcessingError
    | DisconnectedPeer
    | CounterpartyCoopClosedUnfundedChannel
    | LocallyCoopClosedUnfundedChannel
    | HTLCsTimedOut
    | PeerFeerateTooLow
)

# --- parts of payment events ------------------------------------------------------------------------------------------


class RecipientOnionFields(msgspec.Struct, frozen=True, array_like=True):
    """What the sender put into the onion for the recipient."""

    payment_secret: PaymentSecret | None
    payment_metadata: bytes | None
    custom_tlvs: tuple[tuple[int, bytes], ...]
    total_mpp_amount_msat: Msat


class Bolt11InvoicePayment(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A payment to an invoice of ours. Without a preimage, the user who chose the hash has it."""

    payment_preimage: PaymentPreimage | None
    payment_secret: PaymentSecret


PaymentPurpose = Bolt11InvoicePayment


class ClaimedHTLC(msgspec.Struct, frozen=True, array_like=True):
    counterparty_node_id: NodeId
    channel_id: ChannelId
    user_channel_id: int
    cltv_expiry: BlockHeight
    value_msat: Msat
    counterparty_skimmed_fee_msat: Msat


class HTLCLocator(msgspec.Struct, frozen=True, array_like=True):
    channel_id: ChannelId
    amount_msat: Msat | None
    htlc_id: int | None
    user_channel_id: int | None
    node_id: NodeId | None


class RouteHop(msgspec.Struct, frozen=True, array_like=True):
    """One hop of a path, as in LDK: the fee is what this hop takes for forwarding; the last hop's is the amount."""

    pubkey: NodeId
    short_channel_id: ShortChannelId
    fee_msat: Msat
    cltv_expiry_delta: int


class Path(msgspec.Struct, frozen=True, array_like=True):
    hops: tuple[RouteHop, ...]


class InitialSend(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The HTLC never left."""

    err: str


class OnPath(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A node of the path failed it."""

    failing_node: NodeId | None


PathFailure = InitialSend | OnPath


class Forward(msgspec.Struct, frozen=True, array_like=True, tag=True):
    node_id: NodeId | None
    channel_id: ChannelId


class UnknownNextHop(msgspec.Struct, frozen=True, array_like=True, tag=True):
    requested_forward_scid: ShortChannelId


class InvalidForward(msgspec.Struct, frozen=True, array_like=True, tag=True):
    requested_forward_scid: ShortChannelId


class InvalidOnion(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


class Receive(msgspec.Struct, frozen=True, array_like=True, tag=True):
    payment_hash: PaymentHash


HTLCHandlingFailureType = Forward | UnknownNextHop | InvalidForward | InvalidOnion | Receive

# --- channels ---------------------------------------------------------------------------------------------------------


class FundingGenerationReady(Event, frozen=True):
    """Make a transaction that pays the value to `output_script`, and call funding_transaction_generated."""

    persists: ClassVar[bool] = False
    temporary_channel_id: ChannelId
    counterparty_node_id: NodeId
    channel_value_satoshis: Sat
    output_script: bytes
    user_channel_id: int


class FundingTxBroadcastSafe(Event, frozen=True):
    """The peer has signed: a funding transaction that the user broadcasts himself may go out now."""

    channel_id: ChannelId
    user_channel_id: int
    funding_txo: OutPoint
    counterparty_node_id: NodeId
    former_temporary_channel_id: ChannelId


class OpenChannelRequest(Event, frozen=True):
    """A peer wants to open a channel: answer with accept_inbound_channel or force_close_broadcasting_latest_txn."""

    persists: ClassVar[bool] = False
    temporary_channel_id: ChannelId
    counterparty_node_id: NodeId
    funding_satoshis: Sat
    push_msat: Msat
    channel_type: bytes
    is_announced: bool


class ChannelPending(Event, frozen=True):
    channel_id: ChannelId
    user_channel_id: int
    former_temporary_channel_id: ChannelId | None
    counterparty_node_id: NodeId
    funding_txo: OutPoint
    channel_type: bytes


class ChannelReady(Event, frozen=True):
    channel_id: ChannelId
    user_channel_id: int
    counterparty_node_id: NodeId
    funding_txo: OutPoint
    channel_type: bytes


class ChannelClosed(Event, frozen=True):
    channel_id: ChannelId
    user_channel_id: int
    reason: AnyClosureReason
    counterparty_node_id: NodeId
    channel_capacity_sats: Sat | None
    channel_funding_txo: OutPoint | None
    last_local_balance_msat: Msat | None


# --- payments ---------------------------------------------------------------------------------------------------------


class PaymentClaimable(Event, frozen=True):
    """All parts of a payment are here: call claim_funds before `claim_deadline`, or fail_htlc_backwards."""

    receiver_node_id: NodeId
    payment_hash: PaymentHash
    onion_fields: RecipientOnionFields
    amount_msat: Msat
    counterparty_skimmed_fee_msat: Msat
    purpose: PaymentPurpose
    receiving_channel_ids: tuple[tuple[ChannelId, int], ...]
    claim_deadline: BlockHeight


class PaymentClaimed(Event, frozen=True):
    receiver_node_id: NodeId
    payment_hash: PaymentHash
    amount_msat: Msat
    purpose: PaymentPurpose
    htlcs: tuple[ClaimedHTLC, ...]
    sender_intended_total_msat: Msat
    onion_fields: RecipientOnionFields


class PaymentSent(Event, frozen=True):
    """The payment reached its recipient: the preimage is the proof. Never follows or precedes a PaymentFailed."""

    payment_id: PaymentId
    payment_preimage: PaymentPreimage
    payment_hash: PaymentHash
    amount_msat: Msat
    fee_paid_msat: Msat


class PaymentFailed(Event, frozen=True):
    """The payment is over, and no part of it can still succeed."""

    payment_id: PaymentId
    payment_hash: PaymentHash
    reason: str
    """LDK's PaymentFailureReason by name: RecipientRejected, UserAbandoned, RetriesExhausted, PaymentExpired,
    RouteNotFound, UnexpectedError or UnknownRequiredFeatures."""


class PaymentPathSuccessful(Event, frozen=True):
    payment_id: PaymentId
    payment_hash: PaymentHash
    path: Path
    hold_times: tuple[int, ...]


class PaymentPathFailed(Event, frozen=True):
    payment_id: PaymentId
    payment_hash: PaymentHash
    payment_failed_permanently: bool
    failure: PathFailure
    path: Path
    short_channel_id: ShortChannelId | None
    error_code: int | None
    error_data: bytes | None
    hold_times: tuple[int, ...]


class PaymentForwarded(Event, frozen=True):
    prev_htlcs: tuple[HTLCLocator, ...]
    next_htlcs: tuple[HTLCLocator, ...]
    total_fee_earned_msat: Msat
    skimmed_fee_msat: Msat
    claim_from_onchain_tx: bool
    outbound_amount_forwarded_msat: Msat


class HTLCHandlingFailed(Event, frozen=True):
    prev_channel_ids: tuple[ChannelId, ...]
    failure_type: HTLCHandlingFailureType
    failure_reason: str
    """`Downstream`, or LDK's LocalHTLCFailureReason by name."""


AnyEvent = (
    FundingGenerationReady
    | FundingTxBroadcastSafe
    | OpenChannelRequest
    | ChannelPending
    | ChannelReady
    | ChannelClosed
    | PaymentClaimable
    | PaymentClaimed
    | PaymentSent
    | PaymentFailed
    | PaymentPathSuccessful
    | PaymentPathFailed
    | PaymentForwarded
    | HTLCHandlingFailed
)
