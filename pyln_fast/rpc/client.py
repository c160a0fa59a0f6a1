"""Asking a node that runs on this machine: for the command line, tests and programs."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from pathlib import Path
from typing import Any

from pyln_fast.errors import LocalError
from pyln_fast.rpc.server import MAX_LINE_BYTES, SOCKET_FILE, reachable


class NodeNotReachable(LocalError):
    """Nobody answers on the socket. One line that names it."""

    def __init__(self, directory: Path, why: str) -> None:
        super().__init__(f"{directory}: no node answers there: {why}")


class RpcRefused(LocalError):
    """The node's own words. `kind` is the name of its error."""

    def __init__(self, code: int, message: str, kind: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind


def call(directory: Path, method: str, **params: Any) -> Any:
    """One request. Raises NodeNotReachable, RpcRefused."""
    try:
        with socket.socket(socket.AF_UNIX) as connection, reachable(directory / SOCKET_FILE) as path:
            connection.connect(path)
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as file:
                line = file.readline()
    except OSError as error:
        raise NodeNotReachable(directory, error.strerror or str(error)) from None
    if not line:
        raise NodeNotReachable(directory, "it closed the connection")
    return _result(json.loads(line))


class RpcClient:
    """Many requests at once over one connection."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Raises NodeNotReachable."""
        try:
            with reachable(self._directory / SOCKET_FILE) as path:
                reader, self._writer = await asyncio.open_unix_connection(path, limit=16 * MAX_LINE_BYTES)
        except OSError as error:
            raise NodeNotReachable(self._directory, error.strerror or str(error)) from None
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    async def __aenter__(self) -> RpcClient:
        await self.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def call(self, method: str, **params: Any) -> Any:
        """Raises NodeNotReachable, RpcRefused."""
        assert self._writer is not None, "connect() first"
        if self._reading is None or self._reading.done():
            raise NodeNotReachable(self._directory, "it closed the connection")
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self._writer.write(json.dumps(request).encode() + b"\n")
        return _result(await answer)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                reply = json.loads(line)
                future = self._waiting.pop(reply["id"], None)
                if future is not None and not future.done():
                    future.set_result(reply)
        except (ConnectionError, ValueError):
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(NodeNotReachable(self._directory, "it closed the connection"))
            self._waiting.clear()


def _result(reply: dict[str, Any]) -> Any:
    if (error := reply.get("error")) is not None:
        raise RpcRefused(error["code"], error["message"], error.get("data"))
    return reply["result"]
