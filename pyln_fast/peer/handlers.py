"""What a connection tells the node, and who in the node hears it."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import msgspec

from pyln_fast.features import Features
from pyln_fast.types import NodeId
from pyln_fast.wire import channel_msgs, gossip_msgs, interactive_tx_msgs, setup_msgs
from pyln_fast.wire.codec import AnyMessage
from pyln_fast.wire.setup_msgs import Init


class PeerConnected(msgspec.Struct, frozen=True, array_like=True):
    """Both sides are proved, and both `init`s agree: messages may flow."""

    conn: int
    node_id: NodeId
    init: Init
    inbound: bool

    @property
    def features(self) -> Features:
        return features_of(self.init)


class MessageReceived(msgspec.Struct, frozen=True, array_like=True):
    conn: int
    node_id: NodeId
    message: AnyMessage


class PeerDisconnected(msgspec.Struct, frozen=True, array_like=True):
    """The end of a connection that was reported as connected. `why` is for people and holds nothing secret."""

    conn: int
    node_id: NodeId
    why: str


class ConnectionFailed(msgspec.Struct, frozen=True, array_like=True):
    """The end of a connection that never got as far as PeerConnected."""

    conn: int
    node_id: NodeId | None
    """None: an inbound connection that did not prove who it is."""
    why: str


PeerEvent = PeerConnected | MessageReceived | PeerDisconnected | ConnectionFailed


class Family(Enum):
    """Who handles a message."""

    CHANNEL = "channel"
    """BOLT 2, with `announcement_signatures`, `error`, `warning` and peer storage."""
    ROUTING = "routing"
    """BOLT 7's announcements, updates and queries; a `channel_update` may speak of a channel of ours."""
    ONION = "onion"
    CUSTOM = "custom"
    """Types from 32768 on that the node declared to know."""


def family_of(message: AnyMessage) -> Family:
    return _FAMILIES.get(type(message), Family.CUSTOM)


def features_of(init: Init) -> Features:
    """BOLT 1: the two bit maps are one."""
    return Features.decode(init.globalfeatures) | Features.decode(init.features)


def printable(data: bytes) -> str:
    """What a peer wrote into `error` or `warning`, safe for a log: BOLT 1 warns of what is not printable ASCII."""
    text = "".join(chr(byte) if 32 <= byte <= 126 else "?" for byte in data[:_MAX_PRINTED])
    return text if len(data) <= _MAX_PRINTED else f"{text}… ({len(data)} bytes)"


class MessageHandler(Protocol):
    """One family's part of the node. Nothing here is called while another call runs."""

    def peer_connected(self, event: PeerConnected) -> None: ...

    def message_received(self, event: MessageReceived) -> None: ...

    def peer_disconnected(self, event: PeerDisconnected) -> None: ...


class MessageHandlers:
    """Gives each event to whom it concerns; messages of a family that nobody handles are dropped."""

    def __init__(
        self,
        channel: MessageHandler,
        routing: MessageHandler | None = None,
        onion: MessageHandler | None = None,
        custom: MessageHandler | None = None,
    ) -> None:
        by_family = {Family.CHANNEL: channel, Family.ROUTING: routing, Family.ONION: onion, Family.CUSTOM: custom}
        self._handlers = {family: handler for family, handler in by_family.items() if handler is not None}

    def dispatch(self, event: PeerEvent) -> None:
        match event:
            case MessageReceived():
                handler = self._handlers.get(family_of(event.message))
                if handler is not None:
                    handler.message_received(event)
            case PeerConnected():
                for handler in self._handlers.values():
                    handler.peer_connected(event)
            case PeerDisconnected():
                for handler in self._handlers.values():
                    handler.peer_disconnected(event)
            case ConnectionFailed():
                pass


_MAX_PRINTED = 512
_FAMILIES: dict[type, Family] = {
    **dict.fromkeys(gossip_msgs.MESSAGES, Family.ROUTING),
    **dict.fromkeys(channel_msgs.MESSAGES, Family.CHANNEL),
    **dict.fromkeys(interactive_tx_msgs.MESSAGES, Family.CHANNEL),
    gossip_msgs.AnnouncementSignatures: Family.CHANNEL,
    setup_msgs.Error: Family.CHANNEL,
    setup_msgs.Warning: Family.CHANNEL,
    setup_msgs.PeerStorage: Family.CHANNEL,
    setup_msgs.PeerStorageRetrieval: Family.CHANNEL,
    setup_msgs.OnionMessage: Family.ONION,
}
