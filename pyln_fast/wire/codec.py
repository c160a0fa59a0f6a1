"""Bytes to messages and back (BOLT 1, Lightning Message Format)."""

from __future__ import annotations

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.wire import channel_msgs, gossip_msgs, interactive_tx_msgs, setup_msgs
from pyln_fast.wire.gossip_msgs import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement
from pyln_fast.wire.layout import Message, bolt_name, message_decoder, message_encoder
from pyln_fast.wire.tlv import BadMessage

MAX_MESSAGE_SIZE = 65535
"""The type's two bytes included: what a BOLT 8 frame holds."""
FIRST_CUSTOM_TYPE = 32768


class UnknownMessage(msgspec.Struct, frozen=True, array_like=True):
    """A message of no BOLT: odd, or of the custom range, where the even ones too may be known to a handler."""

    type: int
    data: bytes
    """What follows the type."""


class MessageTooLong(LocalError):
    def __init__(self, name: str, size: int) -> None:
        super().__init__(f"{name}: {size} bytes, {MAX_MESSAGE_SIZE} fit into a message")
        self.size = size


AnyMessage = Message | UnknownMessage

MESSAGES: tuple[type[Message], ...] = (
    *setup_msgs.MESSAGES,
    *channel_msgs.MESSAGES,
    *interactive_tx_msgs.MESSAGES,
    *gossip_msgs.MESSAGES,
)
_DECODERS = {message.TYPE: message_decoder(message) for message in MESSAGES}
_ENCODERS = {message: message_encoder(message) for message in MESSAGES}
assert len(_DECODERS) == len(MESSAGES)


def decode(data: bytes) -> AnyMessage:
    """Raises BadMessage where BOLT 1 wants the connection closed: bad bytes, or an unknown even type."""
    if len(data) < 2:
        raise BadMessage("message", f"{len(data)} bytes, the type alone has 2", 0, None)
    message_type = data[0] << 8 | data[1]
    decoder = _DECODERS.get(message_type)
    if decoder is not None:
        return decoder(data)
    if message_type % 2 == 0 and message_type < FIRST_CUSTOM_TYPE:
        raise BadMessage("message", f"type {message_type} is unknown and even", message_type, None)
    return UnknownMessage(message_type, data[2:])


def encode(message: AnyMessage) -> bytes:
    """Raises MessageTooLong. A value out of its field's range is the caller's bug: AssertionError or struct.error."""
    if isinstance(message, UnknownMessage):
        data = message.type.to_bytes(2, "big") + message.data
    else:
        data = _ENCODERS[type(message)](message)
    if len(data) > MAX_MESSAGE_SIZE:
        raise MessageTooLong(bolt_name(type(message)), len(data))
    return data


def signed_part(message: ChannelAnnouncement | NodeAnnouncement | ChannelUpdate) -> bytes:
    """What the signatures of a relayed message are over, by its double SHA-256: all that follows them (BOLT 7)."""
    return encode(message)[2 + 64 * _SIGNATURES[type(message)] :]


_SIGNATURES: dict[type, int] = {ChannelAnnouncement: 4, NodeAnnouncement: 1, ChannelUpdate: 1}
