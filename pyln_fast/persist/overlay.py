"""What the log has and the tables do not: the newest value of each key, in the order in which checkpoints take them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from pyln_fast.records import Delete, Write

SLICE_KEYS = 64
"""Keys a checkpoint slice writes: scattered over the tables they cost a few milliseconds, which an append may wait."""
SLICE_BYTES = 256 << 10
TAIL_ROWS_DUE = 512
TAIL_BYTES_DUE = 4 << 20
"""From here on checkpoints are worth their fsyncs: the tail costs memory and the next start's time."""
URGENT_TIMES = 8
"""With a tail so many times longer, appends wait for checkpoints."""

Change = tuple[str, bytes, bytes | None]
"""Table, key and the newest value; None is no record."""


class Overlay:
    """Grows with every batch, shrinks with every slice."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, bytes], tuple[int, bytes | None]] = {}
        self._row_bytes: dict[int, int] = {}
        self._bytes = 0
        self._ordered: dict[str, list[bytes]] = {}
        """Of tables that were looked at in order since keys were dropped last: their keys, sorted."""

    @property
    def rows(self) -> int:
        """Log rows that a start would replay."""
        return len(self._row_bytes)

    @property
    def due(self) -> bool:
        return self.rows >= TAIL_ROWS_DUE or self._bytes >= TAIL_BYTES_DUE

    @property
    def urgent(self) -> bool:
        return self.rows >= URGENT_TIMES * TAIL_ROWS_DUE or self._bytes >= URGENT_TIMES * TAIL_BYTES_DUE

    def add(self, sequence: int, writes: Iterable[Write], row_bytes: int) -> None:
        """A key keeps the place of its oldest write that the tables lack: the checkpoint cannot pass it."""
        for write in writes:
            name = (write.table, write.key)
            value = None if isinstance(write, Delete) else write.value
            before = self._entries.get(name)
            self._entries[name] = (sequence if before is None else before[0], value)
            if before is None and write.table in self._ordered:
                insort(self._ordered[write.table], write.key)
        self._row_bytes[sequence] = row_bytes
        self._bytes += row_bytes

    def find(self, table: str, key: bytes) -> tuple[bytes | None] | None:
        """The newest value in a tuple of one (None in it: deleted); None if the tables have the newest."""
        entry = self._entries.get((table, key))
        return None if entry is None else (entry[1],)

    def ordered(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
        """From key `start` to before `end`, in order; None is no record."""
        if table not in self._ordered:
            self._ordered[table] = sorted(key for name, key in self._entries if name == table)
        keys = self._ordered[table]
        for index in range(bisect_left(keys, start), len(keys) if end is None else bisect_left(keys, end)):
            yield keys[index], self._entries[table, keys[index]][1]

    def tables(self) -> set[str]:
        return {table for table, _ in self._entries}

    def changes(self) -> Iterator[Change]:
        for (table, key), (_, value) in self._entries.items():
            yield table, key, value

    def next_slice(self, last: int) -> tuple[list[Change], int]:
        """The oldest changes, within the bounds of a slice, and the sequence that the tables reach with them.

        `last` is the newest sequence there is.
        """
        taken: list[Change] = []
        size = 0
        for (table, key), (oldest, value) in self._entries.items():
            if len(taken) >= SLICE_KEYS or size >= SLICE_BYTES:
                return taken, oldest - 1
            taken.append((table, key, value))
            size += len(key) + len(value or b"")
        return taken, last

    def drop(self, taken: Iterable[Change], after: int, reached: int) -> None:
        """The tables have these changes now, and reach `reached`; they reached `after` before.

        A key that was written again since they were taken stays.
        """
        self._ordered.clear()
        for table, key, value in taken:
            if self._entries[table, key][1] is value:
                del self._entries[table, key]
        for sequence in range(after + 1, reached + 1):
            self._bytes -= self._row_bytes.pop(sequence)
