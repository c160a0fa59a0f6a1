"""Sockets: numbers, limits, and back-pressure in both directions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from pyln_fast.runtime import tcp
from pyln_fast.runtime.tcp import PENDING_BYTES_PER_PEER, CannotConnect, CannotListen, TcpConnections
from pyln_fast.types import NodeId, PublicKey

NODE = NodeId(PublicKey(bytes(33)))


class Inputs:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.opened: list[tuple[int, bool]] = []
        self.closed: list[int] = []
        self.received: dict[int, int] = {}
        self.paused: list[tuple[int, bool]] = []

    def connection_opened(self, conn: int, node_id: NodeId | None) -> None:
        self.opened.append((conn, node_id is None))

    def bytes_received(self, conn: int, data: bytes) -> None:
        self.received[conn] = self.received.get(conn, 0) + len(data)

    def connection_closed(self, conn: int) -> None:
        self.closed.append(conn)

    def write_paused(self, conn: int, paused: bool) -> None:
        self.paused.append((conn, paused))


def play(scene: Callable[[], Awaitable[None]]) -> None:
    uvloop.run(asyncio.wait_for(scene(), 20))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_a_peer_that_sends_without_end_is_not_read_without_end() -> None:
    async def scene() -> None:
        inputs = Inputs()
        connections = TcpConnections(inputs, lambda conn: False)
        port = await connections.listen("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bytes(20 << 20))
        await until(lambda: inputs.received.get(1, 0) >= PENDING_BYTES_PER_PEER)
        await asyncio.sleep(0.1)
        taken = inputs.received[1]
        assert PENDING_BYTES_PER_PEER <= taken < 2 * PENDING_BYTES_PER_PEER
        connection = connections.get(1)
        assert connection is not None
        # A turn takes it all: reading goes on, until a slow peer (as the node says) stops it again.
        connection.taken(connection.pending_bytes)
        await until(lambda: inputs.received[1] > taken)
        connection.set_peer_is_slow(True)
        connection.taken(connection.pending_bytes)
        await asyncio.sleep(0.05)
        taken = inputs.received[1]
        await asyncio.sleep(0.05)
        assert inputs.received[1] == taken
        connection.set_peer_is_slow(False)
        await until(lambda: inputs.received[1] > taken)
        writer.transport.abort()
        await connections.close()

    play(scene)


def test_a_peer_that_does_not_read_pauses_writing() -> None:
    async def scene() -> None:
        inputs = Inputs()
        connections = TcpConnections(inputs, lambda conn: False)
        port = await connections.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        await until(lambda: inputs.opened)
        connection = connections.get(1)
        assert connection is not None
        sent = 0
        while not inputs.paused:
            connection.send(bytes(1 << 20))
            sent += 1 << 20
            await asyncio.sleep(0)
        assert inputs.paused == [(1, True)]
        await reader.readexactly(sent)
        await until(lambda: len(inputs.paused) == 2)
        assert inputs.paused == [(1, True), (1, False)]
        # What was sent before a close arrives before it.
        connection.send(b"last words")
        connection.close()
        connection.send(b"never")
        assert await reader.read() == b"last words"
        await until(lambda: inputs.closed)
        writer.close()
        await connections.close()

    play(scene)


def test_numbers_are_never_used_twice() -> None:
    async def scene() -> None:
        inputs, calls = Inputs(), Inputs()
        server, client = TcpConnections(inputs, lambda conn: False), TcpConnections(calls, lambda conn: False)
        port = await server.listen("127.0.0.1", 0)
        seen = []
        for _ in range(3):
            conn = await client.connect(NODE, "127.0.0.1", port)
            seen.append(conn)
            connection = client.get(conn)
            assert connection is not None
            connection.abort()
            await until(lambda: len(calls.closed) == len(seen))
        assert len(set(seen)) == 3
        assert calls.opened == [(conn, False) for conn in seen]
        await until(lambda: len(inputs.closed) == 3)
        assert len({conn for conn, _ in inputs.opened}) == 3
        await client.close()
        await server.close()

    play(scene)


def test_who_says_nothing_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        inputs = Inputs()
        proved = {2}
        connections = TcpConnections(inputs, lambda conn: conn in proved)
        port = await connections.listen("127.0.0.1", 0)
        sockets = []
        for number in range(1, 6):
            sockets.append(socket.create_connection(("127.0.0.1", port)))
            await until(lambda number=number: len(inputs.opened) == number)  # type: ignore[misc]
        # Of four unproved ones the oldest makes room; the second has proved who it is.
        await until(lambda: inputs.closed)
        assert inputs.closed == [1]
        for each in sockets:
            each.close()
        await connections.close()

    monkeypatch.setattr(tcp, "MAX_UNAUTHENTICATED", 3)
    play(scene)


def test_no_more_inbound_connections_than_allowed() -> None:
    async def scene() -> None:
        inputs = Inputs()
        connections = TcpConnections(inputs, lambda conn: True, max_inbound=2)
        port = await connections.listen("127.0.0.1", 0)
        sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        await until(lambda: inputs.closed)
        assert inputs.closed == [3]
        for each in sockets:
            each.close()
        await connections.close()

    play(scene)


def test_addresses_that_cannot_be_used() -> None:
    async def scene() -> None:
        connections = TcpConnections(Inputs(), lambda conn: False)
        port = await connections.listen("127.0.0.1", 0)
        with pytest.raises(CannotListen) as used:
            await connections.listen("127.0.0.1", port)
        assert str(used.value) == f"127.0.0.1:{port}: cannot listen there: Address already in use"
        with pytest.raises(CannotConnect) as refused:
            await connections.connect(NODE, "127.0.0.1", 1)
        assert str(refused.value) == "127.0.0.1:1: no connection: Connection refused"
        await connections.close()

    play(scene)
