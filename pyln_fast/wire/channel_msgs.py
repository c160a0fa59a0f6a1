"""BOLT 2: a channel's establishment (v1), its life, its close and its return after a disconnection."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pyln_fast.types import PublicKey, ShortChannelId, Signature, Txid
from pyln_fast.wire.fields import (
    BYTES32_KIND,
    POINT_KIND,
    SIGNATURE_KIND,
    U8,
    U16,
    U16_KIND,
    U32,
    U32_KIND,
    U64,
    U64_KIND,
    ChainHashBytes,
    ChannelIdBytes,
    Counted,
    FeerateU32,
    MsatU64,
    PaymentHashBytes,
    Point,
    PrefixedBytes,
    PreimageBytes,
    Repeated,
    Rest,
    SatU64,
    SecretBytes,
    SignatureBytes,
    Tlv,
    TxidBytes,
    bytes_of,
)
from pyln_fast.wire.layout import Message, Nested

# Establishment, v1


class OpenChannel(Message, frozen=True):
    TYPE = 32
    chain_hash: ChainHashBytes
    temporary_channel_id: ChannelIdBytes
    funding_satoshis: SatU64
    push_msat: MsatU64
    dust_limit_satoshis: SatU64
    max_htlc_value_in_flight_msat: MsatU64
    channel_reserve_satoshis: SatU64
    htlc_minimum_msat: MsatU64
    feerate_per_kw: FeerateU32
    to_self_delay: U16
    max_accepted_htlcs: U16
    funding_pubkey: Point
    revocation_basepoint: Point
    payment_basepoint: Point
    delayed_payment_basepoint: Point
    htlc_basepoint: Point
    first_per_commitment_point: Point
    channel_flags: U8
    upfront_shutdown_script: Annotated[bytes | None, Tlv(0, Rest())] = None
    """Empty: the sender can commit to a script, and does not."""
    channel_type: Annotated[bytes | None, Tlv(1, Rest())] = None
    """Feature bits, as in `features.Features.decode`."""


class AcceptChannel(Message, frozen=True):
    TYPE = 33
    temporary_channel_id: ChannelIdBytes
    dust_limit_satoshis: SatU64
    max_htlc_value_in_flight_msat: MsatU64
    channel_reserve_satoshis: SatU64
    htlc_minimum_msat: MsatU64
    minimum_depth: U32
    to_self_delay: U16
    max_accepted_htlcs: U16
    funding_pubkey: Point
    revocation_basepoint: Point
    payment_basepoint: Point
    delayed_payment_basepoint: Point
    htlc_basepoint: Point
    first_per_commitment_point: Point
    upfront_shutdown_script: Annotated[bytes | None, Tlv(0, Rest())] = None
    channel_type: Annotated[bytes | None, Tlv(1, Rest())] = None


class FundingCreated(Message, frozen=True):
    TYPE = 34
    temporary_channel_id: ChannelIdBytes
    funding_txid: TxidBytes
    funding_output_index: U16
    signature: SignatureBytes


class FundingSigned(Message, frozen=True):
    TYPE = 35
    channel_id: ChannelIdBytes
    signature: SignatureBytes


class ChannelReady(Message, frozen=True):
    TYPE = 36
    channel_id: ChannelIdBytes
    second_per_commitment_point: Point
    short_channel_id: Annotated[ShortChannelId | None, Tlv(1, U64_KIND)] = None
    """An alias of the sender's choice."""


# Quiescence, close


class Stfu(Message, frozen=True):
    TYPE = 2
    channel_id: ChannelIdBytes
    initiator: U8


class Shutdown(Message, frozen=True):
    TYPE = 38
    channel_id: ChannelIdBytes
    scriptpubkey: PrefixedBytes


class FeeRange(msgspec.Struct, frozen=True, array_like=True):
    min_fee_satoshis: SatU64
    max_fee_satoshis: SatU64


class ClosingSigned(Message, frozen=True):
    TYPE = 39
    channel_id: ChannelIdBytes
    fee_satoshis: SatU64
    signature: SignatureBytes
    fee_range: Annotated[FeeRange | None, Tlv(1, Nested(FeeRange))] = None


class ClosingComplete(Message, frozen=True):
    """`option_simple_close`: the closer's transaction, with its signatures for each choice of outputs."""

    TYPE = 40
    channel_id: ChannelIdBytes
    closer_scriptpubkey: PrefixedBytes
    closee_scriptpubkey: PrefixedBytes
    fee_satoshis: SatU64
    locktime: U32
    closer_output_only: Annotated[Signature | None, Tlv(1, SIGNATURE_KIND)] = None
    closee_output_only: Annotated[Signature | None, Tlv(2, SIGNATURE_KIND)] = None
    closer_and_closee_outputs: Annotated[Signature | None, Tlv(3, SIGNATURE_KIND)] = None


class ClosingSig(Message, frozen=True):
    """The closee's answer: one of the signatures."""

    TYPE = 41
    channel_id: ChannelIdBytes
    closer_scriptpubkey: PrefixedBytes
    closee_scriptpubkey: PrefixedBytes
    fee_satoshis: SatU64
    locktime: U32
    closer_output_only: Annotated[Signature | None, Tlv(1, SIGNATURE_KIND)] = None
    closee_output_only: Annotated[Signature | None, Tlv(2, SIGNATURE_KIND)] = None
    closer_and_closee_outputs: Annotated[Signature | None, Tlv(3, SIGNATURE_KIND)] = None


# HTLCs and commitments


class AttributionData(msgspec.Struct, frozen=True, array_like=True):
    """BOLT 4, attribution of failures: hold times in units of 100 ms, HMACs cut to 4 bytes."""

    htlc_hold_times: Annotated[tuple[int, ...], Repeated(U32_KIND, 20)]
    truncated_hmacs: Annotated[tuple[bytes, ...], Repeated(bytes_of(4), 210)]


class UpdateAddHtlc(Message, frozen=True):
    TYPE = 128
    channel_id: ChannelIdBytes
    id: U64
    amount_msat: MsatU64
    payment_hash: PaymentHashBytes
    cltv_expiry: U32
    onion_routing_packet: Annotated[bytes, bytes_of(1366)]
    blinded_path: Annotated[PublicKey | None, Tlv(0, POINT_KIND)] = None
    """The BOLT's `path_key`."""


class UpdateFulfillHtlc(Message, frozen=True):
    TYPE = 130
    channel_id: ChannelIdBytes
    id: U64
    payment_preimage: PreimageBytes
    attribution_data: Annotated[AttributionData | None, Tlv(1, Nested(AttributionData))] = None


class UpdateFailHtlc(Message, frozen=True):
    TYPE = 131
    channel_id: ChannelIdBytes
    id: U64
    reason: PrefixedBytes
    attribution_data: Annotated[AttributionData | None, Tlv(1, Nested(AttributionData))] = None


class UpdateFailMalformedHtlc(Message, frozen=True):
    TYPE = 135
    channel_id: ChannelIdBytes
    id: U64
    sha256_of_onion: Annotated[bytes, BYTES32_KIND]
    failure_code: U16


class StartBatch(Message, frozen=True):
    TYPE = 127
    channel_id: ChannelIdBytes
    batch_size: U16
    message_type: Annotated[int | None, Tlv(1, U16_KIND)] = None


class CommitmentSigned(Message, frozen=True):
    TYPE = 132
    channel_id: ChannelIdBytes
    signature: SignatureBytes
    htlc_signature: Annotated[tuple[Signature, ...], Counted(SIGNATURE_KIND)]
    funding_txid: Annotated[Txid | None, Tlv(1, BYTES32_KIND)] = None


class RevokeAndAck(Message, frozen=True):
    TYPE = 133
    channel_id: ChannelIdBytes
    per_commitment_secret: SecretBytes
    next_per_commitment_point: Point


class UpdateFee(Message, frozen=True):
    TYPE = 134
    channel_id: ChannelIdBytes
    feerate_per_kw: FeerateU32


# Return


class NextFunding(msgspec.Struct, frozen=True, array_like=True):
    next_funding_txid: TxidBytes
    retransmit_flags: U8


class MyCurrentFundingLocked(msgspec.Struct, frozen=True, array_like=True):
    my_current_funding_locked_txid: TxidBytes
    retransmit_flags: U8


class ChannelReestablish(Message, frozen=True):
    TYPE = 136
    channel_id: ChannelIdBytes
    next_commitment_number: U64
    next_revocation_number: U64
    your_last_per_commitment_secret: SecretBytes
    my_current_per_commitment_point: Point
    next_funding: Annotated[NextFunding | None, Tlv(1, Nested(NextFunding))] = None
    my_current_funding_locked: Annotated[MyCurrentFundingLocked | None, Tlv(5, Nested(MyCurrentFundingLocked))] = None


MESSAGES: tuple[type[Message], ...] = (
    OpenChannel,
    AcceptChannel,
    FundingCreated,
    FundingSigned,
    ChannelReady,
    Stfu,
    Shutdown,
    ClosingSigned,
    ClosingComplete,
    ClosingSig,
    UpdateAddHtlc,
    UpdateFulfillHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    StartBatch,
    CommitmentSigned,
    RevokeAndAck,
    UpdateFee,
    ChannelReestablish,
)
