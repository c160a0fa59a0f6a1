"""BOLT 7: announcements, updates, and the queries for them.

The messages that nodes relay are signed over every byte behind the signatures, so what follows the fields that we know
is kept as it came (`extension`) instead of being parsed.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from pyln_fast.wire.fields import (
    BYTES32_KIND,
    U8,
    U16,
    U32,
    BigSize,
    ChainHashBytes,
    ChannelIdBytes,
    MsatU32,
    MsatU64,
    NodeIdPoint,
    PrefixedBytes,
    Repeated,
    RestBytes,
    Scid,
    SignatureBytes,
    Tlv,
    bytes_of,
)
from pyln_fast.wire.layout import Message, Nested

CHANNEL_FLAG_DIRECTION = 1
"""Of `channel_flags`: the update is `node_id_2`'s; clear: `node_id_1`'s."""
CHANNEL_FLAG_DISABLE = 2
MESSAGE_FLAG_MUST_BE_ONE = 1
MESSAGE_FLAG_DONT_FORWARD = 2
"""Of `message_flags`: for the channel's other end alone."""


class AnnouncementSignatures(Message, frozen=True):
    TYPE = 259
    channel_id: ChannelIdBytes
    short_channel_id: Scid
    node_signature: SignatureBytes
    bitcoin_signature: SignatureBytes


class ChannelAnnouncement(Message, frozen=True):
    TYPE = 256
    node_signature_1: SignatureBytes
    node_signature_2: SignatureBytes
    bitcoin_signature_1: SignatureBytes
    bitcoin_signature_2: SignatureBytes
    features: PrefixedBytes
    chain_hash: ChainHashBytes
    short_channel_id: Scid
    node_id_1: NodeIdPoint
    node_id_2: NodeIdPoint
    bitcoin_key_1: NodeIdPoint
    bitcoin_key_2: NodeIdPoint
    extension: RestBytes = b""


class NodeAnnouncement(Message, frozen=True):
    TYPE = 257
    signature: SignatureBytes
    features: PrefixedBytes
    timestamp: U32
    node_id: NodeIdPoint
    rgb_color: Annotated[bytes, bytes_of(3)]
    alias: Annotated[bytes, BYTES32_KIND]
    addresses: PrefixedBytes
    """Address descriptors, one after the other."""
    extension: RestBytes = b""


class ChannelUpdate(Message, frozen=True):
    TYPE = 258
    signature: SignatureBytes
    chain_hash: ChainHashBytes
    short_channel_id: Scid
    timestamp: U32
    message_flags: U8
    channel_flags: U8
    cltv_expiry_delta: U16
    htlc_minimum_msat: MsatU64
    fee_base_msat: MsatU32
    fee_proportional_millionths: U32
    htlc_maximum_msat: MsatU64
    extension: RestBytes = b""

    @property
    def direction(self) -> int:
        """0: made by `node_id_1`, the lesser of the channel's two; 1: by `node_id_2`."""
        return self.channel_flags & CHANNEL_FLAG_DIRECTION

    @property
    def disabled(self) -> bool:
        return self.channel_flags & CHANNEL_FLAG_DISABLE != 0


class QueryFlags(msgspec.Struct, frozen=True, array_like=True):
    encoding_type: U8
    encoded_query_flags: RestBytes


class QueryShortChannelIds(Message, frozen=True):
    TYPE = 261
    chain_hash: ChainHashBytes
    encoded_short_ids: PrefixedBytes
    """A byte of encoding (0), then the ids."""
    query_flags: Annotated[QueryFlags | None, Tlv(1, Nested(QueryFlags))] = None


class ReplyShortChannelIdsEnd(Message, frozen=True):
    TYPE = 262
    chain_hash: ChainHashBytes
    full_information: U8


class QueryChannelRange(Message, frozen=True):
    TYPE = 263
    chain_hash: ChainHashBytes
    first_blocknum: U32
    number_of_blocks: U32
    query_option: Annotated[int | None, Tlv(1, BigSize())] = None


class TimestampsTlv(msgspec.Struct, frozen=True, array_like=True):
    encoding_type: U8
    encoded_timestamps: RestBytes


class ChannelUpdateChecksums(msgspec.Struct, frozen=True, array_like=True):
    checksum_node_id_1: U32
    checksum_node_id_2: U32


class ReplyChannelRange(Message, frozen=True):
    TYPE = 264
    chain_hash: ChainHashBytes
    first_blocknum: U32
    number_of_blocks: U32
    sync_complete: U8
    encoded_short_ids: PrefixedBytes
    timestamps_tlv: Annotated[TimestampsTlv | None, Tlv(1, Nested(TimestampsTlv))] = None
    checksums_tlv: Annotated[
        tuple[ChannelUpdateChecksums, ...] | None, Tlv(3, Repeated(Nested(ChannelUpdateChecksums)))
    ] = None


class GossipTimestampFilter(Message, frozen=True):
    TYPE = 265
    chain_hash: ChainHashBytes
    first_timestamp: U32
    timestamp_range: U32


MESSAGES: tuple[type[Message], ...] = (
    AnnouncementSignatures,
    ChannelAnnouncement,
    NodeAnnouncement,
    ChannelUpdate,
    QueryShortChannelIds,
    ReplyShortChannelIdsEnd,
    QueryChannelRange,
    ReplyChannelRange,
    GossipTimestampFilter,
)
