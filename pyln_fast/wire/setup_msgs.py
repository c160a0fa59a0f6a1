"""BOLT 1: setup, control and peer storage; BOLT 4's onion_message."""

from __future__ import annotations

from typing import Annotated

from pyln_fast.types import ChainHash
from pyln_fast.wire.fields import (
    BYTES32_KIND,
    U16,
    ChannelIdBytes,
    Point,
    PrefixedBytes,
    Repeated,
    Rest,
    Tlv,
)
from pyln_fast.wire.layout import Message

MAX_TEXT = 1000
"""Of what we write into `error` and `warning`: a peer's own long field, quoted, must not make them too long to send."""


def text_data(text: str) -> bytes:
    """The `data` of our `error` or `warning`: printable ASCII (BOLT 1), and not too much of it."""
    return text.encode("ascii", "replace")[:MAX_TEXT]


class Warning(Message, frozen=True):
    """Something went wrong that need not close a channel; an all-zero channel_id speaks of none."""

    TYPE = 1
    channel_id: ChannelIdBytes
    data: PrefixedBytes


class Init(Message, frozen=True):
    """The first message of each side: the two bit maps of features are one, by bitwise or."""

    TYPE = 16
    globalfeatures: PrefixedBytes
    features: PrefixedBytes
    networks: Annotated[tuple[ChainHash, ...] | None, Tlv(1, Repeated(BYTES32_KIND))] = None
    remote_addr: Annotated[bytes | None, Tlv(3, Rest())] = None
    """An address descriptor of BOLT 7: a byte of type, then the address."""


class Error(Message, frozen=True):
    """The channel has failed; an all-zero channel_id means every channel with the sender."""

    TYPE = 17
    channel_id: ChannelIdBytes
    data: PrefixedBytes


class Ping(Message, frozen=True):
    TYPE = 18
    num_pong_bytes: U16
    """65532 and above ask for no answer."""
    ignored: PrefixedBytes


class Pong(Message, frozen=True):
    TYPE = 19
    ignored: PrefixedBytes


class PeerStorage(Message, frozen=True):
    TYPE = 7
    blob: PrefixedBytes


class PeerStorageRetrieval(Message, frozen=True):
    TYPE = 9
    blob: PrefixedBytes


class OnionMessage(Message, frozen=True):
    """BOLT 4, The onion_message Message."""

    TYPE = 513
    path_key: Point
    onion_message_packet: PrefixedBytes


MESSAGES: tuple[type[Message], ...] = (
    Warning,
    Init,
    Error,
    Ping,
    Pong,
    PeerStorage,
    PeerStorageRetrieval,
    OnionMessage,
)
