"""A client for the tests of the regtest node's RPC."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pyln_fast.testing.regtest import RegtestServer

Rpc = Callable[..., Awaitable[Any]]
BURN = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"


class RpcFailure(Exception):
    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"{status} {error}")
        self.status, self.code, self.message = status, error["code"], error["message"]


def authorization(token: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(token.encode()).decode()}


async def post(server: RegtestServer, body: Any, token: str | None = None) -> tuple[int, Any]:
    headers = authorization(token if token is not None else server.cookie_path.read_text())
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as session, session.post(server.url, data=data, headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text, parse_float=Decimal) if text else None


def serve(tmp_path: Path, scenario: Callable[[RegtestServer, Rpc], Awaitable[None]]) -> None:
    async def run() -> None:
        async with RegtestServer(tmp_path, user="alice", password="secret") as server:

            async def rpc(method: str, *params: Any) -> Any:
                status, reply = await post(server, {"method": method, "params": params, "id": 7})
                assert reply["id"] == 7
                if reply["error"] is not None:
                    raise RpcFailure(status, reply["error"])
                assert status == 200
                return reply["result"]

            await scenario(server, rpc)

    asyncio.run(run())


async def refused(call: Awaitable[Any]) -> tuple[int, str]:
    with pytest.raises(RpcFailure) as failure:
        await call
    return failure.value.code, failure.value.message
