"""A long history that is listed while the node writes: what an append waits meanwhile, and what a page costs."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.prefill import prefill
from pyln_fast.cli.run import SWITCH_SECONDS
from pyln_fast.node.state import FINISHED_PAYMENTS
from pyln_fast.payment.outbound import OutboundPayment
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import PAGE_RECORDS, StoreError, walk
from pyln_fast.persist.store_writer import StoreWriter
from pyln_fast.persist.stores import open_store
from pyln_fast.records import Batch, Put
from pyln_fast.runtime import history
from pyln_fast.runtime.running import Running

PAYMENTS = int(os.environ.get("PYLN_BENCH_HISTORY", "50000"))
"""Filling a database with 200,000 takes half a minute; a page of it costs the same."""
NODE = Path(__file__).parent.parent / "tests" / "vectors" / "store-v1"
APPENDS = 200
PAUSE_SECONDS = 0.002
STORES = pytest.mark.parametrize("kind", list(StoreKind), ids=lambda kind: kind.value)

Stores = dict[StoreKind, Path]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """The same payments in each kind of store."""
    made = {kind: tmp_path_factory.mktemp(kind.value) / "node" for kind in StoreKind}
    shutil.copytree(NODE, made[StoreKind.SQLITE])
    prefill(made[StoreKind.SQLITE], PAYMENTS)
    source, copy = reopened(made, StoreKind.SQLITE), reopened(made, StoreKind.FILESYSTEM)
    writes = [Put(FINISHED_PAYMENTS.name, key, value) for key, value in walk(source, FINISHED_PAYMENTS.name)]
    for first in range(0, len(writes), 2000):
        copy.append(Batch(copy.sequence + 1, tuple(writes[first : first + 2000])))
        while copy.checkpoint():
            pass
    for store in (source, copy):
        store.close()
    return made


def reopened(stores: Stores, kind: StoreKind) -> JournalStore:
    return open_store(stores[kind], kind, reserve_bytes=0, low_space_bytes=0)


def name_of(kind: StoreKind, name: str) -> str:
    return f"history of {PAYMENTS}: {name}" + ("" if kind is StoreKind.SQLITE else f" ({kind.value} store)")


@STORES
def test_a_page(stores: Stores, report: Callable[..., None], kind: StoreKind) -> None:
    store = reopened(stores, kind)
    start = time.perf_counter()
    whole = store.scan(FINISHED_PAYMENTS.name)
    in_one = time.perf_counter() - start
    assert len(whole) > PAYMENTS
    assert list(walk(store, FINISHED_PAYMENTS.name)) == whole
    spent = []
    for first in range(0, len(whole) - PAGE_RECORDS, PAGE_RECORDS):
        start = time.perf_counter()
        store.scan(FINISHED_PAYMENTS.name, after=whole[first][0], limit=PAGE_RECORDS)
        spent.append(time.perf_counter() - start)
    store.close()
    spent.sort()
    for what, page in (("median", spent[len(spent) // 2]), ("99th of 100", spent[len(spent) * 99 // 100])):
        report(
            name=name_of(kind, f"a page of {PAGE_RECORDS}, {what}"),
            figure=page * 1e3,
            unit="ms",
            reference="all of it in one",
            reference_figure=in_one * 1e3,
            ratio=page / in_one,
            target="10 ms",
            reached=page <= 0.01,
        )


@STORES
def test_an_append_while_it_is_listed(stores: Stores, report: Callable[..., None], kind: StoreKind) -> None:
    """On one loop, as in a node: whoever lists decodes what comes, and so stands in the way as well."""
    store = reopened(stores, kind)
    expected = [FINISHED_PAYMENTS.decode(value) for _, value in store.scan(FINISHED_PAYMENTS.name)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        idle, listing, lists = asyncio.run(appended(store, expected))
    finally:
        sys.setswitchinterval(before)
    for what, place in (("median", 50), ("99th of 100", 99)):
        alone, meanwhile = (sorted(waits)[len(waits) * place // 100] for waits in (idle, listing))
        report(
            name=name_of(kind, f"an append while it is listed, {what}"),
            figure=meanwhile * 1e3,
            unit="ms",
            reference="nobody lists",
            reference_figure=alone * 1e3,
            ratio=meanwhile / alone,
            target="20 ms",
            reached=meanwhile <= 0.02,
        )
    report(name=name_of(kind, "listing it, with appends in between"), figure=min(lists), unit="s")


async def appended(
    store: JournalStore, expected: list[OutboundPayment]
) -> tuple[list[float], list[float], list[float]]:
    """Seconds that appends took while nobody listed and while somebody did, and that each list took."""

    def on_failure(error: StoreError) -> None:
        raise error

    writer = StoreWriter(store, on_failure)
    running = Running(*cast(Any, (None, writer, SimpleNamespace(node=None), None)))
    lists: list[float] = []

    async def list_it() -> None:
        while True:
            start, count = time.perf_counter(), 0
            async for _ in history.walk(running, FINISHED_PAYMENTS):
                count += 1
            lists.append(time.perf_counter() - start)
            assert count == whole

    try:
        found = [each async for each in history.walk(running, FINISHED_PAYMENTS)]
        assert found == expected
        whole = len(expected)
        del found
        expected.clear()  # or the collector looks through all of them again and again
        first = store.sequence + 1
        idle = await append_some(writer, first)
        listing = asyncio.ensure_future(list_it())
        waits = await append_some(writer, first + APPENDS)
        while not lists:
            waits += await append_some(writer, store.sequence + 1)
        assert not listing.done(), listing.result()
        listing.cancel()
        await asyncio.gather(listing, return_exceptions=True)
    finally:
        await asyncio.to_thread(writer.close)
    return idle, waits, lists


async def append_some(writer: StoreWriter, first: int) -> list[float]:
    """Turns of four records of 1000 bytes; seconds from submitting one until the loop knows that it is durable."""
    loop = asyncio.get_running_loop()
    waits = []
    for sequence in range(first, first + APPENDS):
        writes = tuple(Put("bench", (sequence * 4 + n & 0xFF).to_bytes(4, "big"), bytes(1000)) for n in range(4))
        durable: asyncio.Future[None] = loop.create_future()

        def on_done(_: int, error: StoreError | None, durable: asyncio.Future[None] = durable) -> None:
            assert error is None
            loop.call_soon_threadsafe(durable.set_result, None)

        start = time.perf_counter()
        writer.submit(Batch(sequence, writes), on_done)
        await durable
        waits.append(time.perf_counter() - start)
        await asyncio.sleep(PAUSE_SECONDS)
    return waits
