"""What the node asks of the world, in order. All of it waits in the journal until what it speaks of is durable, except
the bytes of pings, which the peer manager sends by itself."""

from __future__ import annotations

import msgspec

from pyln_fast.events import Event
from pyln_fast.records import Batch
from pyln_fast.types import ChannelId, NodeId
from pyln_fast.wire.codec import AnyMessage


class SendToPeer(msgspec.Struct, frozen=True):
    """On that connection, or not at all."""

    conn: int
    message: AnyMessage


class DisconnectPeer(msgspec.Struct, frozen=True):
    """Behind everything that was sent to it before."""

    conn: int
    why: str


class BroadcastPackage(msgspec.Struct, frozen=True):
    """One or several transactions that belong together. `kind` is LDK's TransactionType by name."""

    transactions: tuple[bytes, ...]
    kind: str
    counterparty_node_id: NodeId | None = None
    channel_id: ChannelId | None = None


class OfferEvent(msgspec.Struct, frozen=True):
    """To the user's handler, after the events before it. Answered by `event_handled`."""

    sequence: int
    event: Event


class OfferCustomMessage(msgspec.Struct, frozen=True):
    """A message of a type from 32768 on that the user declared to handle (LDK's CustomMessageHandler)."""

    node_id: NodeId
    type: int
    data: bytes


class Answer(msgspec.Struct, frozen=True):
    """The result of a command that the shell submitted with this token."""

    token: int
    result: object


Effect = SendToPeer | DisconnectPeer | BroadcastPackage | OfferEvent | OfferCustomMessage | Answer


class WriteBatch(msgspec.Struct, frozen=True):
    """To be made durable now; answered by `batch_durable` or `write_failed`."""

    batch: Batch


class SendBytes(msgspec.Struct, frozen=True):
    conn: int
    data: bytes


class CloseSocket(msgspec.Struct, frozen=True):
    """After what was to be sent on it."""

    conn: int


ShellEffect = WriteBatch | SendBytes | CloseSocket | BroadcastPackage | OfferEvent | OfferCustomMessage | Answer
