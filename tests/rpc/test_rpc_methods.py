"""What the methods answer, with a node behind them that only has a history."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

from pyln_fast.node.state import FORWARDED, ForwardedPayment
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.records import Batch
from pyln_fast.rpc.methods import Api
from pyln_fast.rpc.server import RpcServer
from pyln_fast.runtime.lightning_node import LightningNode
from pyln_fast.types import ChannelId, Msat, UnixTime

CHANNEL = ChannelId(b"\x0c" * 32)
KEYS = [CHANNEL + number.to_bytes(8, "big") for number in range(5)]
FORWARDS = [ForwardedPayment(CHANNEL, CHANNEL, Msat(1000 + n), Msat(n), UnixTime(100 - n)) for n in range(5)]
SHOWN = [
    {"prev_channel_id": "0c" * 32, "next_channel_id": "0c" * 32, "amount_msat": 1000 + n, "fee_msat": n, "at": 100 - n}
    for n in range(5)
]


class OnlyHistory(LightningNode):
    def __init__(self) -> None:
        self.on_event = []
        self._store = MemoryStore([Batch(1, tuple(map(FORWARDED.put, KEYS, FORWARDS)))])

    @property
    def _up(self) -> Any:
        return SimpleNamespace(scan=self._scan)

    async def _scan(self, table: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        return self._store.scan(table, after=after, limit=limit)


def asked(**params: Any) -> Any:
    """The result of list-forwards, or the error."""

    async def ask() -> Any:
        server = RpcServer(cast(Any, None), Api(OnlyHistory(), lambda: None))
        reply = await server.answer(json.dumps({"id": 1, "method": "list-forwards", "params": params}).encode())
        assert reply is not None
        return reply.get("result", reply.get("error"))

    return asyncio.run(ask())


def test_without_options_all_of_them_the_oldest_first() -> None:
    assert asked() == SHOWN[::-1]


def test_page_by_page() -> None:
    assert asked(limit=2) == {"forwards": SHOWN[:2], "next": KEYS[1].hex()}
    assert asked(limit=3, after=KEYS[1].hex()) == {"forwards": SHOWN[2:], "next": None}
    assert asked(after=KEYS[3].hex()) == {"forwards": SHOWN[4:], "next": None}
    assert asked(after=KEYS[4].hex()) == {"forwards": [], "next": None}


def test_a_wrong_limit_or_cursor_is_named() -> None:
    for limit, wanted in ((0, ">= 1"), (1001, "<= 1000")):
        assert asked(limit=limit) == {"code": -32602, "message": f"Expected `int` {wanted} - at `$.limit`"}
    for after in ("0c", "no hex"):
        assert asked(after=after) == {"code": -32602, "message": "after: 40 bytes of hex are wanted"}
