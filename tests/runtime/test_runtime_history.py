"""Pages of what was long ago, beside what is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.records import Batch, Table
from pyln_fast.runtime import history
from pyln_fast.runtime.history import LimitRefused, Page, page_of, sorted_by, walk

NUMBERS: Table[int] = Table("numbers", int, history=True)


class Stored:
    """A source whose store is written between two pages, if a test wants that."""

    def __init__(self, records: dict[bytes, int]) -> None:
        self.store = MemoryStore()
        self.put(records)
        self.asked: list[int] = []
        self.meanwhile: list[dict[bytes, int]] = []

    def put(self, records: dict[bytes, int]) -> None:
        writes = tuple(NUMBERS.put(key, value) for key, value in records.items())
        self.store.append(Batch(self.store.sequence + 1, writes))

    async def scan(self, table: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        self.asked.append(limit)
        found = self.store.scan(table, after=after, limit=limit)
        if self.meanwhile:
            self.put(self.meanwhile.pop(0))
        return found


def numbered(*numbers: int) -> dict[bytes, int]:
    return {bytes([number]): number for number in numbers}


async def pages(source: Stored, limit: int, current: dict[bytes, int] | None = None) -> list[Page[int]]:
    found = [await page_of(source, NUMBERS, None, limit, current)]
    while found[-1].next is not None:
        found.append(await page_of(source, NUMBERS, found[-1].next, limit, current))
    return found


def test_a_page_says_whether_there_are_more() -> None:
    source = Stored(numbered(1, 2, 3, 4, 5, 6))
    assert asyncio.run(pages(source, 4)) == [Page([1, 2, 3, 4], b"\x04"), Page([5, 6], None)]
    assert asyncio.run(pages(source, 3)) == [Page([1, 2, 3], b"\x03"), Page([4, 5, 6], None)]
    assert asyncio.run(pages(source, 6)) == [Page([1, 2, 3, 4, 5, 6], None)]
    assert asyncio.run(pages(Stored({}), 3)) == [Page([], None)]
    assert asyncio.run(page_of(source, NUMBERS, b"\x09", 3)) == Page([], None)


def test_what_is_in_memory_counts_and_takes_its_place() -> None:
    source = Stored(numbered(1, 3, 5, 7))
    current = numbered(2, 8, 9) | {b"\x05": 50}
    assert asyncio.run(pages(source, 3, current)) == [
        Page([1, 2, 3], b"\x03"), Page([50, 7, 8], b"\x08"), Page([9], None),
    ]  # fmt: skip
    assert asyncio.run(pages(Stored({}), 2, current)) == [Page([2, 50], b"\x05"), Page([8, 9], None)]


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(1, 10), st.integers(1, 5))
def test_pages_together_are_the_whole(stored: set[int], current: set[int], limit: int, page_records: int) -> None:
    source = Stored(numbered(*stored))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "PAGE_RECORDS", page_records)
        found = asyncio.run(pages(source, limit, {bytes([key]): -key for key in current}))
    assert [len(page.records) for page in found[:-1]] == [limit] * (len(found) - 1)
    whole = {**{key: key for key in stored}, **{key: -key for key in current}}
    assert [record for page in found for record in page.records] == [whole[key] for key in sorted(whole)]
    assert max(source.asked) <= page_records


def test_a_walk_asks_once_a_page_and_sees_what_is_there_all_the_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE_RECORDS", 3)
    source = Stored(numbered(10, 20, 30, 40, 50))
    source.meanwhile = [numbered(5, 25) | {bytes([30]): 31}, {bytes([45]): 46}, numbered(60)]

    async def walked() -> list[int]:
        # 45 was under way when the walk began, and is over before the walk comes to it.
        return [number async for number in walk(source, NUMBERS, numbered(35, 45))]

    assert asyncio.run(walked()) == [10, 20, 25, 31, 35, 40, 45, 50, 60]
    assert source.asked == [3] * 5


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_all_of_them_in_another_order_and_ties_as_they_came(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(history, "MOST_RECORDS", 2)
    records = [(3, "a"), (1, "b"), (1, "c"), (2, "d"), (1, "e")][:count]

    async def each() -> AsyncIterator[tuple[int, str]]:
        for record in records:
            yield record

    async def all_of_them() -> list[tuple[int, str]]:
        return await sorted_by(lambda record: record[0], each())

    assert asyncio.run(all_of_them()) == sorted(records, key=lambda record: record[0])


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_bounds_is_refused(limit: int) -> None:
    with pytest.raises(LimitRefused, match=f"^limit: {limit} is not between 1 and 1000$"):
        asyncio.run(page_of(Stored({}), NUMBERS, None, limit))
