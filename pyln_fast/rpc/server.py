"""The control socket: a Unix socket of the owner's alone, one JSON-RPC request a line, one answer a line.

Requests of one connection run at the same time; an answer carries its request's id.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from pyln_fast.errors import LightningError, LocalError
from pyln_fast.rpc.methods import Api, InvalidParameter

_LOG = logging.getLogger(__name__)

SOCKET_FILE = "rpc"
MAX_LINE_BYTES = 1 << 20
"""Far above any request; a line without an end is not kept in memory."""
MAX_REQUESTS = 1000
"""At the same time on one connection; the next waits in the socket."""
ITEMS_A_TURN = 200
"""Of a result that is a long list: to write JSON of them takes about a millisecond."""

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
REFUSED = -32000
"""The node says no: a LightningError, whose class is in `data`."""


class SocketUnusable(LocalError):
    """One line that names the socket."""


class RpcServer:
    """Of one node, whose lock on its directory says that nobody else has the socket."""

    def __init__(self, directory: Path, api: Api) -> None:
        self._directory = directory
        self._methods = api.methods
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def path(self) -> Path:
        return self._directory / SOCKET_FILE

    async def start(self) -> None:
        """Raises SocketUnusable."""
        before = os.umask(0o177)
        try:
            self.path.unlink(missing_ok=True)
            with reachable(self.path) as path:
                self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_LINE_BYTES)
        except OSError as error:
            raise SocketUnusable(f"{self.path}: {error.strerror or error}") from None
        finally:
            os.umask(before)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        room = asyncio.Semaphore(MAX_REQUESTS)
        requests: set[asyncio.Task[None]] = set()
        try:
            while line := await reader.readline():
                await room.acquire()
                request = asyncio.get_running_loop().create_task(self._handle(line, writer))
                requests.add(request)
                request.add_done_callback(requests.discard)
                request.add_done_callback(lambda _: room.release())
        except (ValueError, ConnectionError):
            pass  # a line too long, or nobody there any more
        except asyncio.CancelledError:
            pass  # by stop(); Python 3.11's streams would report it as an error
        finally:
            self._tasks.discard(task)
            for request in requests:
                request.cancel()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _handle(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        reply = await self.answer(line)
        if reply is not None and not writer.is_closing():
            writer.write(await _encoded(reply) + b"\n")
            with suppress(ConnectionError):
                await writer.drain()

    async def answer(self, line: bytes) -> dict[str, Any] | None:
        """None: a notification wants no answer."""
        try:
            request = json.loads(line)
        except ValueError:
            return _error(None, PARSE_ERROR, "no JSON")
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, INVALID_REQUEST, "no request of JSON-RPC")
        number = request.get("id")
        reply = await self._call(number, request["method"], request.get("params"))
        return reply if "id" in request else None

    async def _call(self, number: Any, name: str, params: Any) -> dict[str, Any]:
        if name not in self._methods:
            return _error(number, METHOD_NOT_FOUND, f"there is no method {name}")
        kind, method = self._methods[name]
        try:
            if isinstance(params, list):
                params = dict(zip(kind.__struct_fields__, params, strict=False))
            parsed = msgspec.convert({} if params is None else params, kind)
            return {"jsonrpc": "2.0", "id": number, "result": await method(parsed)}
        except (msgspec.ValidationError, InvalidParameter) as error:
            return _error(number, INVALID_PARAMS, str(error))
        except LightningError as error:
            return _error(number, REFUSED, str(error), type(error).__name__)
        except Exception as error:
            _LOG.exception("the method %s failed", name)
            return _error(number, INTERNAL_ERROR, repr(error))


class reachable:
    """A path of any length for a socket, whose address has room for about a hundred bytes: by way of its directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> str:
        self._descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._descriptor}/{self._path.name}"

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)


async def _encoded(reply: dict[str, Any]) -> bytes:
    """A result that is a long list in pieces, between which the loop goes on."""
    result = reply.get("result")
    if not isinstance(result, list) or len(result) <= ITEMS_A_TURN:
        return _json(reply)
    pieces = []
    for first in range(0, len(result), ITEMS_A_TURN):
        pieces.append(_json(result[first : first + ITEMS_A_TURN])[1:-1])
        await asyncio.sleep(0)
    return _json({**reply, "result": []}).removesuffix(b"]}") + b",".join(pieces) + b"]}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _error(number: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error = {"code": code, "message": message, **({} if data is None else {"data": data})}
    return {"jsonrpc": "2.0", "id": number, "error": error}
