"""Sockets: bytes to the node and from it, and nothing of what they mean."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable
from typing import Protocol, cast

from pyln_fast.config import MAX_NO_CHANNEL_PEERS
from pyln_fast.errors import LocalError
from pyln_fast.types import NodeId

READ_BUFFER_BYTES = 256 << 10
"""One read of one socket at most: a few hundred HTLCs. All sockets share the buffer, for a read is copied at once."""
PENDING_BYTES_PER_PEER = 256 << 10
"""A peer with this much waiting for a turn is not read: what it may put into one turn, and into our memory."""
MAX_UNAUTHENTICATED = 64
"""Inbound connections that have not yet proved who they are. A handshake takes milliseconds; with more the oldest goes,
so that whoever opens sockets and says nothing keeps nobody out."""
CONNECT_TIMEOUT_SECONDS = 10.0
"""LDK's: longer than any handshake over Tor takes."""
FLUSH_TIMEOUT_SECONDS = 5.0
"""What a peer has not read by then of what we sent before closing, it never will."""


class CannotConnect(LocalError):
    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: no connection: {why}")
        self.address = address
        self.why = why


class CannotListen(LocalError):
    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: cannot listen there: {why}")
        self.address = address
        self.why = why


class PeerInputs(Protocol):
    """Who gets what the sockets say; each call returns at once."""

    def connection_opened(self, conn: int, node_id: NodeId | None) -> None:
        """`node_id` is None where the peer called us."""

    def bytes_received(self, conn: int, data: bytes) -> None: ...

    def connection_closed(self, conn: int) -> None:
        """The last of this connection: its number is never used again."""

    def write_paused(self, conn: int, paused: bool) -> None:
        """The socket's own buffer is full, or has room again."""


class TcpConnection(asyncio.BufferedProtocol):
    def __init__(self, tcp: TcpConnections, node_id: NodeId | None) -> None:
        self._tcp = tcp
        self._node_id = node_id
        self.conn = next(tcp.numbers)
        self.pending_bytes = 0
        """Read, and not given to the node yet."""
        self._transport: asyncio.Transport | None = None
        self._peer_is_slow = False
        self._reading_paused = False
        self._closing = False

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        raw: socket.socket = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tcp.made(self, self._node_id)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._tcp.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._closing:
            return
        self.pending_bytes += nbytes
        self._tcp.inputs.bytes_received(self.conn, bytes(self._tcp.read_buffer[:nbytes]))
        self._settle_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._tcp.lost(self)

    def pause_writing(self) -> None:
        self._tcp.inputs.write_paused(self.conn, True)

    def resume_writing(self) -> None:
        self._tcp.inputs.write_paused(self.conn, False)

    # --- what the processor calls

    def taken(self, nbytes: int) -> None:
        """The node has had so many of the pending bytes."""
        self.pending_bytes -= nbytes
        self._settle_reading()

    def set_peer_is_slow(self, slow: bool) -> None:
        """A peer that does not take what we send is not read (the node says when)."""
        if slow != self._peer_is_slow:
            self._peer_is_slow = slow
            self._settle_reading()

    @property
    def peer_is_slow(self) -> bool:
        return self._peer_is_slow

    def send(self, data: bytes) -> None:
        if self._transport is not None and not self._closing:
            self._transport.write(data)

    def close(self) -> None:
        """Behind what was sent."""
        if self._transport is None or self._closing:
            return
        self._closing = True
        self._transport.close()
        asyncio.get_running_loop().call_later(FLUSH_TIMEOUT_SECONDS, self.abort)

    def abort(self) -> None:
        if self._transport is not None:
            self._closing = True
            self._transport.abort()

    def _settle_reading(self) -> None:
        paused = self._peer_is_slow or self.pending_bytes >= PENDING_BYTES_PER_PEER
        if paused == self._reading_paused or self._transport is None or self._transport.is_closing():
            return
        self._reading_paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


class TcpConnections:
    """Every socket to and from peers, by its number."""

    def __init__(
        self, inputs: PeerInputs, is_authenticated: Callable[[int], bool], *, max_inbound: int = MAX_NO_CHANNEL_PEERS
    ) -> None:
        self.inputs = inputs
        self.numbers = itertools.count(1)
        self.read_buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self._is_authenticated = is_authenticated
        self._max_inbound = max_inbound
        self._connections: dict[int, TcpConnection] = {}
        self._unproved: dict[int, TcpConnection] = {}
        """Inbound, oldest first; those that have proved who they are stay until there are too many."""
        self._inbound: set[int] = set()
        self._servers: list[asyncio.Server] = []
        self._closed = False
        self._all_closed: asyncio.Future[None] | None = None

    def get(self, conn: int) -> TcpConnection | None:
        return self._connections.get(conn)

    async def listen(self, host: str, port: int) -> int:
        """The port, which is the system's choice where 0 is asked for. Raises CannotListen."""
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: TcpConnection(self, None), host, port)
        except (OSError, OverflowError) as error:
            raise CannotListen(f"{host}:{port}", _reason(error)) from None
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def connect(self, node_id: NodeId, host: str, port: int) -> int:
        """The connection's number; the handshake has only begun. Raises CannotConnect."""
        loop = asyncio.get_running_loop()
        attempt = loop.create_connection(lambda: TcpConnection(self, node_id), host, port)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                _, connection = await attempt
        except TimeoutError:
            raise CannotConnect(f"{host}:{port}", "no answer in time") from None
        except (OSError, OverflowError) as error:
            raise CannotConnect(f"{host}:{port}", _reason(error)) from None
        return connection.conn

    async def close(self) -> None:
        """No new ones; those that there are end behind what was sent to them."""
        self._closed = True
        for server in self._servers:
            server.close()
        if self._connections:
            self._all_closed = asyncio.get_running_loop().create_future()
            for connection in list(self._connections.values()):
                connection.close()
            await self._all_closed

    def abort(self) -> None:
        """At once: not a byte more leaves."""
        self._closed = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections.values()):
            connection.abort()

    # --- what connections call

    def made(self, connection: TcpConnection, node_id: NodeId | None) -> None:
        self._connections[connection.conn] = connection
        if node_id is None:
            self._inbound.add(connection.conn)
            self._unproved[connection.conn] = connection
            self._make_room()
        self.inputs.connection_opened(connection.conn, node_id)
        if self._closed or (node_id is None and len(self._inbound) > self._max_inbound):
            connection.abort()

    def lost(self, connection: TcpConnection) -> None:
        self._connections.pop(connection.conn, None)
        self._unproved.pop(connection.conn, None)
        self._inbound.discard(connection.conn)
        self.inputs.connection_closed(connection.conn)
        if self._all_closed is not None and not self._connections and not self._all_closed.done():
            self._all_closed.set_result(None)

    def _make_room(self) -> None:
        if len(self._unproved) <= MAX_UNAUTHENTICATED:
            return
        for conn in [conn for conn in self._unproved if self._is_authenticated(conn)]:
            del self._unproved[conn]
        while len(self._unproved) > MAX_UNAUTHENTICATED:
            oldest = self._unproved.pop(next(iter(self._unproved)))
            oldest.abort()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
