"""The control socket's life, without a node behind it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pyln_fast.rpc.methods import Api
from pyln_fast.rpc.server import RpcServer, _encoded, reachable


def test_a_stop_with_a_client_connected_is_no_error(tmp_path: Path) -> None:
    """Every stop of a node whose user watches it: nothing of it belongs into the log as an error."""
    reported: list[dict[str, Any]] = []

    async def scenario() -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        server = RpcServer(tmp_path, cast(Api, SimpleNamespace(methods={})))
        await server.start()
        with reachable(server.path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"id": 1, "method": "none"}\n')
        answer = await reader.readline()
        await server.stop()
        rest = await reader.read()
        writer.close()
        await asyncio.sleep(0)
        return answer + rest

    answer = asyncio.run(scenario())
    assert answer == b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"there is no method none"}}\n'
    assert reported == []
    assert not list(tmp_path.iterdir())


def test_a_long_list_is_written_in_pieces_and_the_same() -> None:
    async def scenario(result: Any) -> tuple[bytes, int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        text = await _encoded({"jsonrpc": "2.0", "id": "]}", "result": result})
        counting.cancel()
        return text, turns

    for result, least in (
        ([{"n": n, "x": [n, "ä"]} for n in range(1001)], 5),
        ([], 0),
        ([[]] * 201, 2),
        ({"a": []}, 0),
    ):
        text, turns = asyncio.run(scenario(result))
        whole = {"jsonrpc": "2.0", "id": "]}", "result": result}
        assert text == json.dumps(whole, separators=(",", ":")).encode()
        assert turns >= least
