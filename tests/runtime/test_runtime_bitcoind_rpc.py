from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pyln_fast.runtime.bitcoind_rpc import (
    BitcoindRefusedLogin,
    BitcoindRpc,
    BitcoindUnreachable,
    BitcoindWarmingUp,
    RpcError,
)
from tests.runtime.fake_bitcoind import FakeBitcoind, Fault


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 20))


def raising(code: int, message: str) -> Any:
    def answer(*_: object) -> None:
        raise Fault(code, message)

    return answer


def test_one_session_for_all_calls() -> None:
    async def scenario() -> None:
        fake = FakeBitcoind()
        fake.answers["echo"] = lambda *params: list(params)
        async with fake.rpc() as rpc:
            for n in range(20):
                assert await rpc.call("echo", n, "x", True) == [n, "x", True]
        assert len(fake.connections) == 1

    run(scenario())


def test_numbers_keep_their_digits() -> None:
    async def scenario() -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text='{"result": {"feerate": 0.00001001, "height": 7}, "error": null, "id": 1}')

        app = web.Application()
        app.router.add_post("/", answer)
        async with TestServer(app) as server:
            rpc = BitcoindRpc(str(server.make_url("/")))
            assert await rpc.call("x") == {"feerate": Decimal("0.00001001"), "height": 7}
            await rpc.close()

    run(scenario())


def test_wrong_password() -> None:
    async def scenario() -> None:
        fake = FakeBitcoind()
        async with fake.rpc(user="alice", password="wrong") as rpc:
            with pytest.raises(BitcoindRefusedLogin) as caught:
                await rpc.call("getbestblockhash")
            assert str(caught.value) == f"bitcoind at {rpc.url} refuses the user name or password"
            assert "wrong" not in str(caught.value)

    run(scenario())


def test_password_in_the_url_works_and_is_not_shown() -> None:
    async def scenario() -> None:
        fake = FakeBitcoind()
        async with fake.server() as server:
            rpc = BitcoindRpc(f"alice:secret@127.0.0.1:{server.port}")
            assert await rpc.call("getbestblockhash") == fake.best[::-1].hex()
            assert rpc.url == f"http://127.0.0.1:{server.port}/" or rpc.url == f"http://127.0.0.1:{server.port}"
            await rpc.close()

    run(scenario())


def test_no_password() -> None:
    async def scenario() -> None:
        fake = FakeBitcoind()
        async with fake.server() as server:
            rpc = BitcoindRpc(f"127.0.0.1:{server.port}")
            with pytest.raises(BitcoindRefusedLogin, match="refuses to answer without a password"):
                await rpc.call("getbestblockhash")
            await rpc.close()

    run(scenario())


def test_cookie_is_read_again_after_a_restart_of_bitcoind(tmp_path: Path) -> None:
    async def scenario() -> None:
        fake = FakeBitcoind()
        cookie = tmp_path / ".cookie"
        async with fake.rpc(cookie_file=cookie) as rpc:
            with pytest.raises(BitcoindUnreachable, match=r"cookie file .* cannot be read .*: is it running\?"):
                await rpc.call("getbestblockhash")
            for password in ("first", "second"):
                fake.login = ("__cookie__", password)
                cookie.write_text(f"__cookie__:{password}\n")
                assert await rpc.call("getbestblockhash") == fake.best[::-1].hex()
            fake.login = ("__cookie__", "third")
            with pytest.raises(BitcoindRefusedLogin, match="refuses the cookie of"):
                await rpc.call("getbestblockhash")

    run(scenario())


def test_connection_refused() -> None:
    async def scenario() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        rpc = BitcoindRpc(f"http://127.0.0.1:{port}", user="a", password="b")
        with pytest.raises(BitcoindUnreachable) as caught:
            await rpc.call("getbestblockhash")
        assert str(caught.value) == f"bitcoind at {rpc.url} cannot be reached: connection refused: is it running?"
        await rpc.close()

    run(scenario())


def test_errors_of_bitcoind() -> None:
    async def scenario() -> None:
        fake = FakeBitcoind()
        fake.answers["getblockhash"] = raising(-28, "Loading block index…")
        fake.answers["getblock"] = raising(-1, "Block not available (pruned data)")
        async with fake.rpc() as rpc:
            with pytest.raises(BitcoindWarmingUp) as warming:
                await rpc.call("getblockhash", 0)
            assert str(warming.value) == f"bitcoind at {rpc.url} is starting: Loading block index…"
            with pytest.raises(RpcError) as caught:
                await rpc.call("getblock", "00", 0)
            assert str(caught.value) == "bitcoind: getblock: Block not available (pruned data) (code -1)"
            with pytest.raises(RpcError) as caught:
                await rpc.call("nonsense")
            assert (caught.value.method, caught.value.code) == ("nonsense", -32601)

    run(scenario())


def test_a_dropped_connection_is_opened_again() -> None:
    async def scenario() -> None:
        fake = FakeBitcoind()
        async with fake.rpc() as rpc:
            await rpc.call("getbestblockhash")
            fake.break_on = "getbestblockhash"
            assert await rpc.call("getbestblockhash") == fake.best[::-1].hex()

    run(scenario())


@pytest.mark.parametrize(("status", "text"), [(503, "Work queue depth exceeded"), (200, "<html>"), (403, "")])
def test_not_json(status: int, text: str) -> None:
    async def scenario() -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status, text=text)

        app = web.Application()
        app.router.add_post("/", answer)
        async with TestServer(app) as server:
            rpc = BitcoindRpc(str(server.make_url("/")))
            with pytest.raises(BitcoindUnreachable) as caught:
                await rpc.call("x")
            assert caught.value.why == f"HTTP status {status}: {text or 'an empty answer'}"
            await rpc.close()

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [b'{"result": "\xff"}', b'{"result": ' + b"[" * 5000, b'{"result": 1e99999999999999999999}'],
    ids=["not UTF-8", "nested", "number"],
)
def test_json_that_cannot_be_read(answer: bytes) -> None:
    rpc = BitcoindRpc("http://127.0.0.1:8332")
    with pytest.raises(BitcoindUnreachable) as caught:
        rpc._result("x", 200, answer)
    assert caught.value.why == f"HTTP status 200: {answer[:80].decode(errors='replace')}"
