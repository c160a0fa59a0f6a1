"""How a node that runs reads what it does not keep in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pyln_fast.persist.kv_store import StoreError
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.persist.store_writer import StoreWriter
from pyln_fast.records import Batch, Put
from pyln_fast.runtime.background_processor import NodeStopped
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


def test_a_walk_that_a_stop_overtakes_ends() -> None:
    """The writer would never answer."""

    async def nothing() -> None: ...

    def no_failure(error: StoreError) -> None:
        raise AssertionError(error)

    async def scene() -> None:
        store: Any = MemoryStore([Batch(1, (Put("table", b"k", b"v"),))])
        store.checkpoint_due = False
        store.idle = lambda: None
        writer, stopped = StoreWriter(store, no_failure), NodeStopped("it was stopped")
        processor = SimpleNamespace(node=None, stop=nothing, stopped=lambda: stopped)
        running = Running(*cast(Any, (SimpleNamespace(close=nothing), writer, processor, None)))
        assert await running.scan("table", None, 1) == [(b"k", b"v")]
        assert await running.read("table", b"k") == b"v"
        await running.stop()
        for late in (running.scan("table", b"k", 1), running.read("table", b"k")):
            with pytest.raises(NodeStopped) as caught:
                await asyncio.wait_for(late, 10)
            assert caught.value is stopped

    asyncio.run(scene())
