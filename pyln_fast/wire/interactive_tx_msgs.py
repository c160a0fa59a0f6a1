"""BOLT 2: transactions that both sides build: dual funding (v2 establishment), its RBF, and splices."""

from __future__ import annotations

from typing import Annotated

from pyln_fast.types import Sat, Signature, Txid
from pyln_fast.wire.fields import (
    BYTES32_KIND,
    S64_KIND,
    SIGNATURE_KIND,
    U8,
    U16,
    U32,
    U64,
    ChainHashBytes,
    ChannelIdBytes,
    Counted,
    FeerateU32,
    Flag,
    MsatU64,
    Point,
    Prefixed,
    PrefixedBytes,
    Rest,
    SatS64,
    SatU64,
    Tlv,
    TxidBytes,
)
from pyln_fast.wire.layout import Message


class OpenChannel2(Message, frozen=True):
    TYPE = 64
    chain_hash: ChainHashBytes
    temporary_channel_id: ChannelIdBytes
    funding_feerate_perkw: FeerateU32
    commitment_feerate_perkw: FeerateU32
    funding_satoshis: SatU64
    dust_limit_satoshis: SatU64
    max_htlc_value_in_flight_msat: MsatU64
    htlc_minimum_msat: MsatU64
    to_self_delay: U16
    max_accepted_htlcs: U16
    locktime: U32
    funding_pubkey: Point
    revocation_basepoint: Point
    payment_basepoint: Point
    delayed_payment_basepoint: Point
    htlc_basepoint: Point
    first_per_commitment_point: Point
    second_per_commitment_point: Point
    channel_flags: U8
    upfront_shutdown_script: Annotated[bytes | None, Tlv(0, Rest())] = None
    channel_type: Annotated[bytes | None, Tlv(1, Rest())] = None
    require_confirmed_inputs: Annotated[bool, Tlv(2, Flag())] = False


class AcceptChannel2(Message, frozen=True):
    TYPE = 65
    temporary_channel_id: ChannelIdBytes
    funding_satoshis: SatU64
    dust_limit_satoshis: SatU64
    max_htlc_value_in_flight_msat: MsatU64
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
    second_per_commitment_point: Point
    upfront_shutdown_script: Annotated[bytes | None, Tlv(0, Rest())] = None
    channel_type: Annotated[bytes | None, Tlv(1, Rest())] = None
    require_confirmed_inputs: Annotated[bool, Tlv(2, Flag())] = False


class TxAddInput(Message, frozen=True):
    TYPE = 66
    channel_id: ChannelIdBytes
    serial_id: U64
    prevtx: PrefixedBytes
    prevtx_vout: U32
    sequence: U32
    shared_input_txid: Annotated[Txid | None, Tlv(0, BYTES32_KIND)] = None


class TxAddOutput(Message, frozen=True):
    TYPE = 67
    channel_id: ChannelIdBytes
    serial_id: U64
    sats: SatU64
    script: PrefixedBytes


class TxRemoveInput(Message, frozen=True):
    TYPE = 68
    channel_id: ChannelIdBytes
    serial_id: U64


class TxRemoveOutput(Message, frozen=True):
    TYPE = 69
    channel_id: ChannelIdBytes
    serial_id: U64


class TxComplete(Message, frozen=True):
    TYPE = 70
    channel_id: ChannelIdBytes


class TxSignatures(Message, frozen=True):
    TYPE = 71
    channel_id: ChannelIdBytes
    txid: TxidBytes
    witnesses: Annotated[tuple[bytes, ...], Counted(Prefixed())]
    """One for each input of the sender: a whole witness stack, as Bitcoin serializes it."""
    shared_input_signature: Annotated[Signature | None, Tlv(0, SIGNATURE_KIND)] = None


class TxInitRbf(Message, frozen=True):
    TYPE = 72
    channel_id: ChannelIdBytes
    locktime: U32
    feerate: FeerateU32
    funding_output_contribution: Annotated[Sat | None, Tlv(0, S64_KIND)] = None
    require_confirmed_inputs: Annotated[bool, Tlv(2, Flag())] = False


class TxAckRbf(Message, frozen=True):
    TYPE = 73
    channel_id: ChannelIdBytes
    funding_output_contribution: Annotated[Sat | None, Tlv(0, S64_KIND)] = None
    require_confirmed_inputs: Annotated[bool, Tlv(2, Flag())] = False


class TxAbort(Message, frozen=True):
    TYPE = 74
    channel_id: ChannelIdBytes
    data: PrefixedBytes


class SpliceInit(Message, frozen=True):
    TYPE = 80
    channel_id: ChannelIdBytes
    funding_contribution_satoshis: SatS64
    """Below zero: the sender takes out."""
    funding_feerate_perkw: FeerateU32
    locktime: U32
    funding_pubkey: Point
    require_confirmed_inputs: Annotated[bool, Tlv(2, Flag())] = False


class SpliceAck(Message, frozen=True):
    TYPE = 81
    channel_id: ChannelIdBytes
    funding_contribution_satoshis: SatS64
    funding_pubkey: Point
    require_confirmed_inputs: Annotated[bool, Tlv(2, Flag())] = False


class SpliceLocked(Message, frozen=True):
    TYPE = 77
    channel_id: ChannelIdBytes
    splice_txid: TxidBytes


MESSAGES: tuple[type[Message], ...] = (
    OpenChannel2,
    AcceptChannel2,
    TxAddInput,
    TxAddOutput,
    TxRemoveInput,
    TxRemoveOutput,
    TxComplete,
    TxSignatures,
    TxInitRbf,
    TxAckRbf,
    TxAbort,
    SpliceInit,
    SpliceAck,
    SpliceLocked,
)
