"""One connection, from first byte to last: BOLT 8, then `init`, ping and pong (BOLT 1). Bytes in, events out."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import msgspec

from pyln_fast.config import (
    MAX_BUFFER_DRAIN_TICK_INTERVALS_PER_PEER,
    PEER_MAX_QUEUED_BYTES,
    PEER_OUTPUT_CHUNK_BYTES,
    PEER_WRITE_BUFFER_PAUSE_BYTES,
    PING_TIMER,
)
from pyln_fast.errors import RemoteError
from pyln_fast.features import Features, check_init
from pyln_fast.peer.handlers import (
    ConnectionFailed,
    MessageReceived,
    PeerConnected,
    PeerDisconnected,
    PeerEvent,
    features_of,
)
from pyln_fast.peer.noise import BadFrame, Noise, NoiseError
from pyln_fast.types import ChainHash, ChannelId, Monotonic, NodeId
from pyln_fast.wire.codec import AnyMessage, UnknownMessage, decode, encode
from pyln_fast.wire.setup_msgs import Init, Ping, Pong, Warning, text_data
from pyln_fast.wire.tlv import BadMessage

ALL_CHANNELS = ChannelId(bytes(32))
"""BOLT 1: in `error` every channel with the peer, in `warning` none in particular."""
NO_PONG_WANTED = 65532
"""BOLT 1: a ping for this many bytes or more is not answered."""


class PeerLimits(msgspec.Struct, frozen=True):
    """Times and sizes (`config.py` has the reasons). The times are LDK's, which counts ticks of ten seconds."""

    handshake_timeout_ms: int = PING_TIMER * 1000
    """For the acts and `init`, from the first tick that sees the connection."""
    ping_interval_ms: int = PING_TIMER * 1000
    silence_timeout_ms: int = PING_TIMER * 1000
    """With a ping out, a peer may be silent for so long."""
    pong_timeout_per_peer_ms: int = MAX_BUFFER_DRAIN_TICK_INTERVALS_PER_PEER * PING_TIMER * 1000
    """A peer that goes on talking may first have to work through what it received before our ping."""
    pause_reading_bytes: int = PEER_WRITE_BUFFER_PAUSE_BYTES
    max_queued_bytes: int = PEER_MAX_QUEUED_BYTES
    output_chunk_bytes: int = PEER_OUTPUT_CHUNK_BYTES


class PeerRules(msgspec.Struct, frozen=True):
    """What this node says and accepts on every connection."""

    features: Features
    networks: tuple[ChainHash, ...]
    custom_types: frozenset[int] = frozenset()
    """Types from 32768 on that the node handles; other even ones end the connection."""
    limits: PeerLimits = PeerLimits()


class _Phase(Enum):
    HANDSHAKE = 1
    AWAITING_INIT = 2
    READY = 3
    CLOSED = 4


class Connection:
    def __init__(self, conn: int, noise: Noise, rules: PeerRules, inbound: bool, remote_addr: bytes | None) -> None:
        self.conn = conn
        self.inbound = inbound
        self.authenticated = False
        """The handshake was completed; it stays so when the connection is closed."""
        self._noise = noise
        self._rules = rules
        self._remote_addr = remote_addr
        self._phase = _Phase.HANDSHAKE
        self._heard_init = False
        self._raw = noise.start()
        self._queue: list[bytes] = []
        self.queued_bytes = 0
        self._since: Monotonic | None = None
        """The first tick of the handshake, then the tick of the last ping."""
        self._ping: Ping | None = None
        self._active = False
        """A message came since the last tick."""
        self._last_active = Monotonic(0)

    @property
    def their_node_id(self) -> NodeId | None:
        return self._noise.their_node_id

    @property
    def ready(self) -> bool:
        """Both have said `init`."""
        return self._phase is _Phase.READY

    @property
    def closed(self) -> bool:
        return self._phase is _Phase.CLOSED

    @property
    def has_output(self) -> bool:
        return bool(self._raw or self._queue)

    def receive(self, data: bytes, on_authenticated: Callable[[Connection], list[PeerEvent]]) -> list[PeerEvent]:
        """The next bytes of the socket. Every whole frame among them is decrypted in one call.

        `on_authenticated` is asked once, when the peer has proved who it is and before it is heard: it may close.
        """
        if self.closed:
            return []
        events: list[PeerEvent] = []
        failure: NoiseError | None = None
        try:
            reply, messages = self._noise.receive(data)
        except NoiseError as error:
            reply, failure = b"", error
            messages = error.messages if isinstance(error, BadFrame) and self.authenticated else []
        self._raw += reply
        if self._phase is _Phase.HANDSHAKE and self._noise.established:
            self._phase, self.authenticated = _Phase.AWAITING_INIT, True
            events += on_authenticated(self)
            if not self.closed:
                features, networks = self._rules.features.encode(), self._rules.networks
                self._enqueue(Init(b"", features, networks, self._remote_addr))
        for message in messages:
            if not self.closed:
                self._on_message(message, events)
        if failure is not None:
            # BOLT 8: nothing more is sent on a connection whose peer failed.
            self._raw = b""
            self._drop_queue()
            events += self.close(str(failure))
        return events

    def send(self, message: AnyMessage) -> None:
        """Queues it. Before the peer's `init` BOLT 1 forbids it; on a closed connection it is dropped."""
        assert self._phase in (_Phase.READY, _Phase.CLOSED), "a message before init"
        if self._phase is _Phase.READY:
            self._enqueue(message)

    def close(self, why: str) -> list[PeerEvent]:
        """Behind whatever is queued. Nothing is read from it any more."""
        if self.closed:
            return []
        was_ready = self._phase is _Phase.READY
        self._phase = _Phase.CLOSED
        if was_ready:
            assert self.their_node_id is not None
            return [PeerDisconnected(self.conn, self.their_node_id, why)]
        return [ConnectionFailed(self.conn, self.their_node_id, why)]

    def tick(self, now: Monotonic, peers: int) -> list[PeerEvent]:
        """Pings an idle peer, and gives up one that does not answer or never finished its handshake."""
        limits = self._rules.limits
        if self.closed:
            return []
        if self._since is None:
            self._since = now
        waited = now - self._since
        if self._phase is not _Phase.READY:
            return self.close("handshake timeout") if waited >= limits.handshake_timeout_ms else []
        if self._active:
            self._active, self._last_active = False, now
        if self._ping is None:
            if waited >= limits.ping_interval_ms:
                self._ping, self._since = Ping(0, bytes(64)), now
                self._enqueue(self._ping)
            return []
        silent = now - max(self._since, self._last_active)
        if silent >= limits.silence_timeout_ms or waited > limits.pong_timeout_per_peer_ms * peers:
            return self.close(f"no pong for {waited} ms")
        return []

    def take_output(self) -> bytes:
        """What the socket sends next, encrypted in one call; `has_output` tells whether there is more."""
        raw, self._raw = self._raw, b""
        if not self._queue:
            return raw
        taken = size = 0
        while taken < len(self._queue) and size < self._rules.limits.output_chunk_bytes:
            size += len(self._queue[taken])
            taken += 1
        messages = self._queue[:taken]
        del self._queue[:taken]
        self.queued_bytes -= size
        return raw + self._noise.encrypt(messages)

    def _enqueue(self, message: AnyMessage) -> None:
        data = encode(message)
        self._queue.append(data)
        self.queued_bytes += len(data)

    def _drop_queue(self) -> None:
        self._queue.clear()
        self.queued_bytes = 0

    def _on_message(self, data: bytes, events: list[PeerEvent]) -> None:
        self._active = True
        try:
            message = decode(data)
        except BadMessage as error:
            # BOLT 1: MUST close the connection, MAY fail the channels.
            self._heard_init |= error.message_type == Init.TYPE
            events += self._refuse(str(error), error.channel_id)
            return
        if isinstance(message, Init):
            self._on_init(message, events)
        elif self._phase is not _Phase.READY:
            events += self._refuse("the first message is not init")
        elif isinstance(message, Ping):
            self._on_ping(message, events)
        elif isinstance(message, Pong):
            self._on_pong(message)
        elif isinstance(message, UnknownMessage) and message.type not in self._rules.custom_types:
            if message.type % 2 == 0:
                events += self._refuse(f"message: type {message.type} is unknown and even")
        else:
            assert self.their_node_id is not None
            events.append(MessageReceived(self.conn, self.their_node_id, message))

    def _on_init(self, message: Init, events: list[PeerEvent]) -> None:
        if self._phase is _Phase.READY:
            events += self._refuse("a second init")
            return
        self._heard_init = True
        # BOLT 1 lets us close on networks without a common chain; a peer that names none may be on any.
        if message.networks is not None and not set(message.networks) & set(self._rules.networks):
            events += self._refuse("init: no common chain")
            return
        try:
            check_init(self._rules.features, features_of(message))
        except RemoteError as error:
            events += self._refuse(f"init: {error}")
            return
        assert self.their_node_id is not None
        self._phase, self._since = _Phase.READY, None
        events.append(PeerConnected(self.conn, self.their_node_id, message, self.inbound))

    def _on_ping(self, message: Ping, events: list[PeerEvent]) -> None:
        if message.num_pong_bytes < NO_PONG_WANTED:
            self._enqueue(Pong(bytes(message.num_pong_bytes)))
            if self.queued_bytes > self._rules.limits.max_queued_bytes:
                self._drop_queue()
                events += self._refuse("more pings than it reads pongs")

    def _on_pong(self, message: Pong) -> None:
        if self._ping is not None and len(message.ignored) == self._ping.num_pong_bytes:
            self._ping = None

    def _refuse(self, why: str, channel_id: ChannelId | None = None) -> list[PeerEvent]:
        """Closes behind a warning that says why, unless the peer has not yet said `init` (BOLT 1: then we may not)."""
        if self._heard_init:
            self._enqueue(Warning(channel_id or ALL_CHANNELS, text_data(why)))
        return self.close(why)
