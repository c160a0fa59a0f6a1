"""What was long ago, read from the store a page at a time: it is not kept in memory, and may be millions of records."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, Protocol, TypeVar

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.persist.kv_store import PAGE_RECORDS
from pyln_fast.records import Table

T = TypeVar("T")
Key = TypeVar("Key", bound=bytes)

DEFAULT_LIMIT = 100
MOST_RECORDS = 1000
"""On a page: what turns them into an answer stops the loop for some milliseconds, and payments with it."""


class LimitRefused(LocalError):
    def __init__(self, limit: int) -> None:
        super().__init__(f"limit: {limit} is not between 1 and {MOST_RECORDS}")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of many records, in the order of their keys, which tells nothing of time."""

    records: list[T]
    next: bytes | None
    """The key to go on after; None: there are no more."""


class Source(Protocol):
    """Where records lie: `Running`."""

    async def scan(self, table: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]: ...


async def page_of(
    source: Source, table: Table[T], after: bytes | None, limit: int, current: dict[Key, T] | None = None
) -> Page[T]:
    """At most `limit` records with keys above `after`. Those of `current`, in memory, count before what is stored.

    Raises LimitRefused, StoreError.
    """
    if not 1 <= limit <= MOST_RECORDS:
        raise LimitRefused(limit)
    found: dict[bytes, T] = {}
    last, whole = after, False
    while len(found) <= limit and not whole:  # one more than asked for tells whether there are more
        wanted = min(limit + 1 - len(found), PAGE_RECORDS)
        rows = await source.scan(table.name, last, wanted)
        found |= {key: table.decode(value) for key, value in rows}
        last, whole = (rows[-1][0] if rows else last), len(rows) < wanted
    for key, record in (current or {}).items():
        if after is None or key > after:
            found[key] = record
    keys = sorted(found)
    return Page([found[key] for key in keys[:limit]], keys[limit - 1] if len(keys) > limit else None)


async def walk(source: Source, table: Table[T], current: dict[Key, T] | None = None) -> AsyncIterator[T]:
    """Every record, a page of them in memory. Whatever is written meanwhile, one that is there all the time comes
    once."""
    after: bytes | None = None
    while True:
        page = await page_of(source, table, after, PAGE_RECORDS - 1, current)
        for record in page.records:
            yield record
        if page.next is None:
            return
        after = page.next


async def sorted_by(key: Callable[[T], int], records: AsyncIterator[T]) -> list[T]:
    """All of them in another order; of two that are alike in it the first stays the first. In pieces and on another
    thread: sorting them all at once would stop the loop."""
    parts: list[list[T]] = []
    async for record in records:
        if not parts or len(parts[-1]) == MOST_RECORDS:
            parts.append([])
        parts[-1].append(record)
    return await asyncio.to_thread(_merged, parts, key)


def _merged(parts: Iterable[list[T]], key: Callable[[T], int]) -> list[T]:
    return list(heapq.merge(*(sorted(part, key=key) for part in parts), key=key))
