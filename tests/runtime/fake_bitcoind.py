"""A bitcoind that tells what it is told to tell: JSON-RPC over HTTP with Bitcoin Core's names, codes and statuses."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from pyln_fast.runtime.bitcoind_rpc import BitcoindRpc
from tests.oracle.block import sha256d
from tests.oracle.mine import REGTEST_GENESIS, mine_block


class Fault(Exception):
    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message


class FakeBitcoind:
    def __init__(self) -> None:
        self.genesis = REGTEST_GENESIS
        self.blocks: dict[bytes, bytes] = {}
        self.mined = 0
        self.heights = {REGTEST_GENESIS: 0}
        self.best = REGTEST_GENESIS
        self.login = ("alice", "secret")
        self.calls: list[tuple[str, list[Any]]] = []
        self.answers: dict[str, Callable[..., Any]] = {}
        """Replaces or adds methods; may raise Fault."""
        self.break_on: str | None = None
        """The next call of this method loses its connection."""
        self.hangs_up = False
        """Every connection is lost as soon as a request comes."""
        self.connections: set[Any] = set()

    def mine(self, count: int = 1, on: bytes | None = None) -> list[bytes]:
        """Blocks on top of `on` or the best one; the last one becomes the best."""
        mined = []
        prev = self.best if on is None else on
        for _ in range(count):
            self.mined += 1
            block = mine_block(prev, self.mined.to_bytes(4, "big"))
            height, prev = self.heights[prev], sha256d(block[:80])
            self.blocks[prev], self.heights[prev] = block, height + 1
            mined.append(prev)
        self.best = prev
        return mined

    def do_getblockchaininfo(self) -> dict[str, Any]:
        height = self.heights[self.best]
        return {"chain": "regtest", "blocks": height, "headers": height, "initialblockdownload": True, "pruned": False}

    def do_getblockhash(self, height: int) -> str:
        assert height == 0
        return self.genesis[::-1].hex()

    def do_getbestblockhash(self) -> str:
        return self.best[::-1].hex()

    def do_getblockheader(self, block_hash: str, verbose: bool) -> Any:
        key = self.find(block_hash)
        return {"height": self.heights[key]} if verbose else self.blocks[key][:80].hex()

    def do_getblock(self, block_hash: str, verbosity: int) -> str:
        assert verbosity == 0
        return self.blocks[self.find(block_hash)].hex()

    def find(self, block_hash: str) -> bytes:
        key = bytes.fromhex(block_hash)[::-1]
        if key not in self.heights:
            raise Fault(-5, "Block not found")
        return key

    async def handle(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        given = request.headers.get("Authorization")
        if given != "Basic " + b64encode(":".join(self.login).encode()).decode():
            return web.Response(status=401)
        call = await request.json()
        name, params = call["method"], call["params"]
        self.calls.append((name, params))
        if self.hangs_up or name == self.break_on:
            self.break_on = None
            assert request.transport is not None
            request.transport.close()
        method = self.answers.get(name) or getattr(self, f"do_{name}", None)
        try:
            if method is None:
                raise Fault(-32601, "Method not found")
            return reply(200, {"result": method(*params), "error": None, "id": call["id"]})
        except Fault as fault:
            error = {"code": fault.code, "message": fault.message}
            return reply(500, {"result": None, "error": error, "id": call["id"]})

    def server(self) -> TestServer:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/", self.handle)
        return TestServer(app)

    @asynccontextmanager
    async def rpc(self, **login: Any) -> AsyncIterator[BitcoindRpc]:
        """A client of a server that runs as long."""
        async with self.server() as server:
            rpc = BitcoindRpc(
                str(server.make_url("/")), **(login or {"user": self.login[0], "password": self.login[1]})
            )
            try:
                yield rpc
            finally:
                await rpc.close()


def reply(status: int, body: Any) -> web.Response:
    text = json.dumps(body)
    return web.Response(status=status, text=text, content_type="application/json")
