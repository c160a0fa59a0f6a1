"""How a node that runs reads what it does not keep in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from pyln_fast.runtime.running import Running


def test_one_page_at_a_time_waits_in_the_writer_whoever_asks() -> None:
    """So a batch has to wait for one page, however many look at the history."""
    waiting: list[tuple[bytes | None, Callable[[list[tuple[bytes, bytes]], None], None]]] = []

    def scan(table: str, on_scan: Any, after: bytes | None, limit: int) -> None:
        waiting.append((after, on_scan))

    async def scene() -> list[list[tuple[bytes, bytes]]]:
        writer, processor = SimpleNamespace(scan=scan), SimpleNamespace(node=None)
        running = Running(*cast(Any, (None, writer, processor, None)))
        asked = [asyncio.ensure_future(running.scan("table", bytes([number]), 10)) for number in range(3)]
        for number in range(3):
            while not waiting:
                await asyncio.sleep(0)
            [(after, on_scan)] = waiting
            waiting.clear()
            assert after == bytes([number])
            on_scan([(after, b"v")], None)
        return await asyncio.gather(*asked)

    assert asyncio.run(scene()) == [[(bytes([number]), b"v")] for number in range(3)]
