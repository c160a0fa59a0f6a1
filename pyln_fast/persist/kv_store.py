"""What a store promises, and how it fails.

A store is a log of batches with atomic, durable appends, and a space of records by table and key that the log brings up
to date. Whoever opens one calls `load` once, then appends batches in sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.records import Batch


class StoreError(LocalError):
    """What a store raises: one line that names the path. After one from a write, the store writes no more."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class DatabaseLocked(StoreError):
    """Another process has the database open."""


class DatabaseNewer(StoreError):
    """A newer program wrote the database, and this one would lose what it does not know."""


class DatabaseDamaged(StoreError):
    """What was read is not what was written, or something that was written is missing."""


class DatabaseUnwritable(StoreError):
    """The database cannot be opened for writing, or a write failed."""


class DiskFull(DatabaseUnwritable):
    """There is no space for a write."""


class WrongStore(StoreError):
    """The directory holds a database of another kind of store."""


class LoadedState(msgspec.Struct, frozen=True):
    """The records of the tables that were asked for, and the highest durable sequence."""

    tables: dict[str, dict[bytes, bytes]]
    sequence: int


class Store(Protocol):
    """One thread at a time uses a store."""

    @property
    def sequence(self) -> int:
        """The highest durable sequence; 0 before the first batch."""
        ...

    @property
    def low_space(self) -> bool:
        """Whether space runs low: new HTLCs are to be refused while what is left serves claims."""
        ...

    def load(self, tables: Iterable[str] | None = None) -> LoadedState:
        """The records of the named tables (None: of all). Every named table is there, if empty. Raises StoreError."""
        ...

    def append(self, batch: Batch) -> None:
        """Durable when it returns. `batch.sequence` is one more than `sequence`. Raises StoreError."""
        ...

    def checkpoint(self) -> bool:
        """Do a bounded piece of bringing the tables up to date; True if there is more to do. Raises StoreError."""
        ...

    def read(self, table: str, key: bytes) -> bytes | None:
        """The newest durable value. Raises StoreError."""
        ...

    def scan(
        self, table: str, prefix: bytes = b"", after: bytes | None = None, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """The newest durable records whose key begins with `prefix`, in the order of their keys. Raises StoreError.

        A page of a table that may be large: at most `limit` of those with keys above `after`. It costs what it holds,
        wherever it lies; fewer than `limit` are the last ones.
        """
        ...

    def close(self) -> None: ...


PAGE_RECORDS = 64
"""A page of so many takes less than a millisecond, and some where SQLite, whose records lie scattered, asks the disk.
Larger ones make a walk no faster, and whoever writes meanwhile waits longer."""


def walk(store: Store, table: str) -> Iterator[tuple[bytes, bytes]]:
    """Every record, in the order of keys, with a page of them in memory. Raises StoreError.

    The store may be written meanwhile: a record that is there all the time comes exactly once.
    """
    page = store.scan(table, limit=PAGE_RECORDS)
    yield from page
    while len(page) == PAGE_RECORDS:
        page = store.scan(table, after=page[-1][0], limit=PAGE_RECORDS)
        yield from page
