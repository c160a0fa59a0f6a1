"""`RegtestServer`: the node behind HTTP on loopback, as Bitcoin Core serves its JSON-RPC."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import os
import secrets
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import msgspec
from aiohttp import web

from pyln_fast.testing.regtest import errors, rpc_chain, rpc_control, rpc_mempool, rpc_table
from pyln_fast.testing.regtest.block_store import open_locked
from pyln_fast.testing.regtest.errors import RpcError
from pyln_fast.testing.regtest.node import RegtestNode

LOOPBACK = "127.0.0.1"
_COOKIE_USER = "__cookie__"
_MAX_REQUEST_BYTES = 32 * 1024 * 1024
_AUTHENTICATE = {"WWW-Authenticate": 'Basic realm="jsonrpc"'}
_LOG = logging.getLogger(__name__)
_STATUS = {errors.INVALID_REQUEST: 400, errors.METHOD_NOT_FOUND: 404}

# The modules fill the table of methods.
_METHODS = (rpc_chain, rpc_control, rpc_mempool)


class RegtestServer:
    """Serves one node. Every start writes a fresh cookie file; user and password work beside it.

        server = RegtestServer(data_dir=path)
        await server.start()
        server.url, server.cookie_path, server.node
        await server.stop()

    Requests run one after the other in the event loop: a node in the same process sees them in that order.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        node: RegtestNode | None = None,
        port: int = 0,
        user: str | None = None,
        password: str | None = None,
        make_node: Callable[[], RegtestNode] | None = None,
    ) -> None:
        """`data_dir` holds the cookie, and the chain unless `node` or `make_node` brings another one.

        `port` 0: a free one. `node` stays the caller's to close; one that the server makes, it closes.
        """
        self._data_dir = Path(data_dir)
        self._make_node = make_node or (lambda: RegtestNode(self._data_dir))
        self._given = node
        self._node = node
        self._port = port
        self._tokens: list[bytes] = []
        if user is not None and password is not None:
            self._tokens.append(f"{user}:{password}".encode())
        self._lock: IO[bytes] | None = None
        self._runner: web.AppRunner | None = None
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> RegtestServer:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    @property
    def node(self) -> RegtestNode:
        assert self._node is not None, "the server has not started"
        return self._node

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def cookie_path(self) -> Path:
        return self._data_dir / ".cookie"

    async def start(self) -> None:
        """Listens at once and answers -28 until the chain is loaded; returns when it is. Raises DataDirectoryInUse."""
        self._lock = open_locked(self._data_dir / ".cookie.lock")
        app = web.Application(client_max_size=_MAX_REQUEST_BYTES)
        app.router.add_route("*", "/", self._handle)
        app.router.add_route("*", "/wallet/{name}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._write_cookie()
        if self._node is None:
            self._node = await asyncio.to_thread(self._make_node)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._node is not None and self._given is None:
            self._node.close()
            self._node = None
        if self._lock is not None:
            self.cookie_path.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None
        self._stopped.set()

    async def wait_until_stopped(self) -> None:
        """Returns after the RPC `stop`; call `stop()` then."""
        await self._stopped.wait()

    def _write_cookie(self) -> None:
        token = f"{_COOKIE_USER}:{secrets.token_hex(32)}".encode()
        new = self.cookie_path.with_name(".cookie.tmp")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(token)
        new.replace(self.cookie_path)
        self._tokens.append(token)

    def _is_authorized(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except ValueError:
            return False
        matches = [hmac.compare_digest(given, token) for token in self._tokens]
        return scheme == "Basic" and any(matches)

    async def _handle(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405, text="JSONRPC server handles only POST requests")
        if not self._is_authorized(request.headers.get("Authorization", "")):
            return web.Response(status=401, headers=_AUTHENTICATE)
        try:
            body = json.loads(await request.read(), parse_float=Decimal)
        except ValueError:
            error = RpcError(errors.PARSE_ERROR, "Parse error")
            return _json(500, _reply(None, error, None, 1))
        if isinstance(body, list):
            replies = [reply for reply in map(self._one, body) if reply[1] is not None]
            return _json(200, [reply for _, reply in replies]) if replies or not body else web.Response(status=204)
        status, reply = self._one(body)
        return web.Response(status=204) if reply is None else _json(status, reply)

    def _one(self, request: Any) -> tuple[int, dict[str, Any] | None]:
        """The HTTP status and the reply; none to a JSON-RPC 2.0 notification."""
        version = 2 if isinstance(request, dict) and request.get("jsonrpc") == "2.0" else 1
        identifier = request.get("id") if isinstance(request, dict) else None
        try:
            reply = _reply(self._call(request), None, identifier, version)
            status = 200
        except RpcError as error:
            reply = _reply(None, error, identifier, version)
            status = 200 if version == 2 else _STATUS.get(error.code, 500)
        return status, None if version == 2 and "id" not in request else reply

    def _call(self, request: Any) -> Any:
        if not isinstance(request, dict):
            raise RpcError(errors.INVALID_REQUEST, "Invalid Request object")
        name = request.get("method")
        if name is None:
            raise RpcError(errors.INVALID_REQUEST, "Missing method")
        if not isinstance(name, str):
            raise RpcError(errors.INVALID_REQUEST, "Method must be a string")
        if self._node is None:
            raise RpcError(errors.IN_WARMUP, "Loading block index…")
        if name == "stop":
            asyncio.get_running_loop().call_soon(self._stopped.set)
            return "Bitcoin Core stopping"
        try:
            return rpc_table.call(self._node, name, request.get("params"))
        except RpcError:
            raise
        except Exception as error:
            _LOG.exception("%s failed", name)
            raise RpcError(errors.MISC_ERROR, f"{type(error).__name__}: {error}") from error


def _reply(result: Any, error: RpcError | None, identifier: Any, version: int) -> dict[str, Any]:
    reply: dict[str, Any] = {"jsonrpc": "2.0"} if version == 2 else {}
    if error is None or version == 1:
        reply["result"] = result
    if error is not None:
        reply["error"] = {"code": error.code, "message": error.message}
    elif version == 1:
        reply["error"] = None
    reply["id"] = identifier
    return reply


def _json(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value) + b"\n", content_type="application/json")
