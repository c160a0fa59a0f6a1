"""Bytes of a stranger up to the end of the handshake and `init`, with an honest connection beside it."""

from __future__ import annotations

import hashlib

from pyln_fast.node.node import FEATURES
from pyln_fast.peer.handlers import ConnectionFailed, PeerConnected, PeerDisconnected, PeerEvent
from pyln_fast.peer.noise import Noise, NoiseError
from pyln_fast.peer.peer_manager import CloseSocket, Output, PeerManager, PeerRules
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.types import Monotonic, Network, PrivateKey, Secret
from pyln_fast.wire import codec
from pyln_fast.wire.setup_msgs import Init, Ping, Pong
from tests.fuzz.source import Source

HONEST, STRANGER = 1, 2
INIT = Init(b"", FEATURES.encode(), (Network.REGTEST.chain_hash,), None)


def keys_of(name: str) -> KeysManager:
    return KeysManager(Secret(hashlib.sha256(name.encode()).digest()), 1_700_000_000, 0)


OURS, THEIRS = keys_of("ours"), keys_of("theirs")
HONEST_KEY, EPHEMERAL = PrivateKey(b"\x21" * 32), PrivateKey(b"\x22" * 32)


class Ends:
    """The manager, and the other ends of its two connections."""

    def __init__(self) -> None:
        self.manager = PeerManager(
            OURS.get_node_secret_key(), keys_of("entropy"), PeerRules(FEATURES, (Network.REGTEST.chain_hash,))
        )
        self.noises: dict[int, Noise] = {}
        self.heard: dict[int, list[bytes]] = {HONEST: [], STRANGER: []}
        self.closed: set[int] = set()
        self.events: list[PeerEvent] = []
        self.manager.new_inbound_connection(HONEST)
        self.noises[HONEST] = Noise.initiator(EPHEMERAL, HONEST_KEY, OURS.get_node_id())
        self.read(HONEST, self.noises[HONEST].start())
        self.say(HONEST, codec.encode(INIT))
        assert isinstance(self.events.pop(), PeerConnected)

    def read(self, conn: int, data: bytes) -> None:
        self.events += self.manager.read_event(conn, data)
        for output in self.manager.take_output():
            if isinstance(output, CloseSocket):
                self.closed.add(output.conn)
                continue
            assert isinstance(output, Output)
            self.hear(output.conn, output.data)

    def hear(self, conn: int, data: bytes) -> None:
        try:
            reply, messages = self.noises[conn].receive(data)
        except NoiseError:
            # What was changed on the way made this end give up.
            assert conn == STRANGER
            self.closed.add(conn)
            return
        self.heard[conn] += messages
        if reply:
            self.answer(conn, reply)

    def answer(self, conn: int, act: bytes) -> None:
        self.read(conn, act)

    def say(self, conn: int, message: bytes) -> None:
        self.read(conn, self.noises[conn].encrypt([message]))


class Tampering(Ends):
    """The stranger follows BOLT 8, but for one bit of one act, and what it sends comes in pieces."""

    def __init__(self, source: Source) -> None:
        self.pieces = 0
        super().__init__()
        flags = source.byte()
        self.pieces = 1 + source.byte() if flags & 8 else 0
        self.act = (0, 1, 2, 0)[flags >> 1 & 3]
        self.at, self.bit = source.byte(), 1 << source.byte() % 8
        self.sent = 0
        if flags & 1:
            self.noises[STRANGER] = Noise.responder(EPHEMERAL, THEIRS.get_node_secret_key())
            self.manager.new_outbound_connection(STRANGER, THEIRS.get_node_id())
            self.read(STRANGER, b"")
        else:
            self.noises[STRANGER] = Noise.initiator(EPHEMERAL, THEIRS.get_node_secret_key(), OURS.get_node_id())
            self.manager.new_inbound_connection(STRANGER)
            self.answer(STRANGER, self.noises[STRANGER].start())

    def answer(self, conn: int, act: bytes) -> None:
        if conn == STRANGER:
            self.sent += 1
            if self.sent == self.act:
                at = self.at % len(act)
                act = act[:at] + bytes([act[at] ^ self.bit]) + act[at + 1 :]
        self.read(conn, act)

    def read(self, conn: int, data: bytes) -> None:
        if self.pieces == 0 or conn == HONEST:
            super().read(conn, data)
            return
        for at in range(0, len(data), self.pieces):
            super().read(conn, data[at : at + self.pieces])


def handshake(data: bytes) -> None:
    source = Source(data)
    mode = source.byte()
    if mode % 4 == 0:
        ends = Ends()
        ends.noises[STRANGER] = Noise.responder(EPHEMERAL, THEIRS.get_node_secret_key())
        if mode & 4:
            ends.manager.new_outbound_connection(STRANGER, THEIRS.get_node_id())
        else:
            ends.manager.new_inbound_connection(STRANGER)
        # What the stranger would make of the answers is not asked.
        ends.hear = lambda conn, data: None  # type: ignore[method-assign]
        while source.left:
            ends.read(STRANGER, source.bytes(1 + source.byte()))
        del ends.hear
    else:
        ends = Tampering(source)
        if STRANGER not in ends.closed and ends.noises[STRANGER].established:
            if mode % 4 == 1:
                ends.say(STRANGER, codec.encode(INIT))
            while source.left and STRANGER not in ends.closed:
                ends.say(STRANGER, source.bytes(source.byte() if mode % 4 == 1 else source.number(2)))
    check(ends)


def check(ends: Ends) -> None:
    """One end at most of the stranger's connection, and the honest one works."""
    over = [event for event in ends.events if isinstance(event, ConnectionFailed | PeerDisconnected)]
    assert all(event.conn == STRANGER for event in ends.events)
    assert len(over) <= 1
    assert not over or STRANGER in ends.closed
    ends.events.clear()
    ends.events += ends.manager.timer_tick(Monotonic(1000))
    ends.say(HONEST, codec.encode(Ping(7, b"still there")))
    assert codec.decode(ends.heard[HONEST][-1]) == Pong(bytes(7))
    assert HONEST not in ends.closed
