"""Cutting a connection at one chosen message.

Noise hides the messages from any proxy, so the cut sits where our node hands messages to its peer manager and takes
them from it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import msgspec

from pyln_fast.peer.handlers import Family, MessageReceived, PeerEvent, family_of
from pyln_fast.peer.peer_manager import PeerManager
from pyln_fast.wire.codec import AnyMessage


class Way(Enum):
    SENT = "we sent it and they got it"
    LOST_ON_THE_WAY_OUT = "we sent it and they never got it"
    RECEIVED = "they sent it and we took it"
    LOST_ON_THE_WAY_IN = "they sent it and we never got it"

    @property
    def outward(self) -> bool:
        return self in (Way.SENT, Way.LOST_ON_THE_WAY_OUT)


class Cut(msgspec.Struct, frozen=True):
    way: Way
    count: int
    """The link ends at the message of BOLT 2 with this number, from 1, in that direction."""


class CuttingPeerManager:
    """The node's peer manager with a knife in it."""

    def __init__(self, inner: PeerManager, on_cut: Callable[[int], None]) -> None:
        self._inner = inner
        self._on_cut = on_cut
        self._armed: Cut | None = None
        self._seen = 0
        self._dead: set[int] = set()
        self.cut_at: str | None = None
        """The message at which the last armed cut fell."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def arm(self, cut: Cut) -> None:
        self._armed, self._seen, self.cut_at = cut, 0, None

    def disarm(self) -> None:
        self._armed = None

    def send_message(self, conn: int, message: AnyMessage) -> None:
        if conn in self._dead:
            return
        falls = self._falls(message, outward=True)
        if falls is not Way.LOST_ON_THE_WAY_OUT:
            self._inner.send_message(conn, message)
        if falls is not None:
            self._cut(conn, message)

    def read_event(self, conn: int, data: bytes) -> list[PeerEvent]:
        if conn in self._dead:
            return []
        kept: list[PeerEvent] = []
        for event in self._inner.read_event(conn, data):
            falls = self._falls(event.message, outward=False) if isinstance(event, MessageReceived) else None
            if falls is not Way.LOST_ON_THE_WAY_IN:
                kept.append(event)
            if falls is not None:
                assert isinstance(event, MessageReceived)
                self._cut(conn, event.message)
                break
        return kept

    def _falls(self, message: AnyMessage, outward: bool) -> Way | None:
        cut = self._armed
        if cut is None or cut.way.outward != outward or family_of(message) is not Family.CHANNEL:
            return None
        self._seen += 1
        return cut.way if self._seen == cut.count else None

    def _cut(self, conn: int, message: AnyMessage) -> None:
        self._armed = None
        self._dead.add(conn)
        self.cut_at = type(message).__name__
        self._on_cut(conn)
