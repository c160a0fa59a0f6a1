"""A run: rows sorted by table and key in a file that is written once, and found through blocks of blocks.

Blocks of rows come first; then blocks that name them (first key, place, checksum), blocks that name those, and at the
end one root, which the manifest names. So memory and start time do not depend on a run's size, and whoever follows the
root sees every row that was written or an error: each block's checksum lies in the block above it. The manifest names
a filter of the keys too, with its checksum: most look-ups of a key that is not there end at it, and read nothing.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import msgspec

from pyln_fast.persist.kv_store import DatabaseDamaged, DatabaseUnwritable
from pyln_fast.persist.manifest import BlockRef, RunInfo
from pyln_fast.persist.run_filter import RunFilter

BLOCK_BYTES = 16 << 10
"""A block is closed once it is as large: what one record more costs to read."""
_REF_BYTES = 48
"""What a reference takes beside its key, roughly."""

Row = tuple[bytes, bytes | None]
"""Table and key in one (`row_key`), and the value; None: deleted."""

_ROWS: msgspec.msgpack.Decoder[list[Row]] = msgspec.msgpack.Decoder(list[tuple[bytes, bytes | None]])
_REFS: msgspec.msgpack.Decoder[list[BlockRef]] = msgspec.msgpack.Decoder(list[BlockRef])


def row_key(table: str, key: bytes) -> bytes:
    """Sorts by table, then by key."""
    return table.encode() + b"\0" + key


def split_row_key(key: bytes) -> tuple[str, bytes]:
    table, _, rest = key.partition(b"\0")
    return table.decode(), rest


def run_name(number: int) -> str:
    return f"run-{number:012d}"


class RunWriter:
    """Rows come in order. Raises OSError; what was written of it then is rubbish that no manifest names."""

    def __init__(self, directory: Path, number: int, rows: int) -> None:
        """Of so many rows at most."""
        self.path = directory / run_name(number)
        self.filter = RunFilter.empty(rows)
        self._filter_ref: BlockRef | None = None
        self._number = number
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._levels: list[list[Row] | list[BlockRef]] = [[]]
        self._sizes = [0]
        self._firsts: list[bytes] = [b""]
        self._offset = 0
        self._rows = 0
        self._tables: dict[str, None] = {}

    def add(self, key: bytes, value: bytes | None) -> None:
        self._rows += 1
        self._tables[split_row_key(key)[0]] = None
        self.filter.add(key)
        self._push(0, key, (key, value), len(key) + len(value or b""))

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def write_filter(self, part_bytes: int) -> Iterator[None]:
        """After the last row: in parts, between which there is time for a sync."""
        data, start, digest = self.filter.encode(), self._offset, _hasher()
        for at in range(0, len(data), part_bytes):
            if at:
                yield
            part = data[at : at + part_bytes]
            digest.update(part)
            self._write(part)
        self._filter_ref = BlockRef(b"", start, len(data), digest.digest())

    def finish(self) -> RunInfo | None:
        """Durable when it returns, but for its name. None if there were no rows: then there is no file."""
        if self._rows == 0:
            self.abandon()
            return None
        level = 0
        while level == 0 or level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            self._close_block(level)
            level += 1
        (root,) = self._levels[level]
        assert isinstance(root, BlockRef)
        self.sync()
        self._close()
        return RunInfo(self._number, self._offset, self._rows, level - 1, root, tuple(self._tables), self._filter_ref)

    def abandon(self) -> None:
        """Also after `finish`. Raises nothing."""
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self.path.unlink()

    def _close(self) -> None:
        """Once: the number of a closed descriptor may be somebody else's by now."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _push(self, level: int, first: bytes, entry: Row | BlockRef, size: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._sizes.append(0)
            self._firsts.append(b"")
        entries = self._levels[level]
        if not entries:
            self._firsts[level] = first
        entries.append(entry)  # type: ignore[arg-type]
        self._sizes[level] += size
        if self._sizes[level] >= BLOCK_BYTES and (level == 0 or len(entries) > 1):
            self._close_block(level)

    def _close_block(self, level: int) -> None:
        if not self._levels[level]:
            return
        data = msgspec.msgpack.encode(self._levels[level])
        ref = BlockRef(self._firsts[level], self._offset, len(data), _checksum(data))
        self._write(data)
        self._levels[level], self._sizes[level] = [], 0
        self._push(level + 1, ref.first, ref, len(ref.first) + _REF_BYTES)

    def _write(self, data: bytes) -> None:
        if os.pwrite(self._descriptor, data, self._offset) != len(data):
            raise DatabaseUnwritable(self.path, "it was written in part")
        self._offset += len(data)


class Run:
    """A run to read. Raises DatabaseDamaged, OSError."""

    def __init__(self, directory: Path, info: RunInfo, run_filter: RunFilter | None = None) -> None:
        """The filter is read when it is first wanted, unless whoever wrote the run still has it."""
        self.info = info
        self._filter = run_filter
        self.path = directory / run_name(info.number)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DatabaseDamaged(self.path, "it is missing") from None
        size = os.fstat(self._descriptor).st_size
        if size != info.size:
            os.close(self._descriptor)
            raise DatabaseDamaged(self.path, f"it has {size} bytes, not {info.size}")

    def rows(self, start: bytes = b"", end: bytes | None = None) -> Iterator[Row]:
        """From `start` to before `end`, in order."""
        return self._walk(self.info.root, self.info.height, start, end)

    def find(self, key: bytes) -> tuple[bytes | None] | None:
        """The value in a tuple of one (None in it: deleted); None if it has no such row."""
        if self.may_have(key):
            for _, value in self.rows(key, key + b"\0"):
                return (value,)
        return None

    def may_have(self, key: bytes) -> bool:
        """False: it has no such row."""
        if self._filter is None:
            if self.info.filter is None:
                return True
            self._filter = RunFilter(self._block(self.info.filter))
        return self._filter.may_have(key)

    def close(self) -> None:
        os.close(self._descriptor)

    def _walk(self, ref: BlockRef, height: int, start: bytes, end: bytes | None) -> Iterator[Row]:
        data = self._block(ref)
        if height == 0:
            for row in _ROWS.decode(data):
                if row[0] >= start and (end is None or row[0] < end):
                    yield row
            return
        children = _REFS.decode(data)
        for child, following in zip(children, [*children[1:], None], strict=True):
            if following is not None and following.first <= start:
                continue
            if end is not None and child.first >= end:
                return
            yield from self._walk(child, height - 1, start, end)

    def _block(self, ref: BlockRef) -> bytes:
        data = os.pread(self._descriptor, ref.length, ref.offset)
        if len(data) != ref.length or _checksum(data) != ref.checksum:
            raise DatabaseDamaged(self.path, f"its block at byte {ref.offset} does not match its checksum")
        return data


def merged_rows(runs: Sequence[Run], start: bytes = b"", end: bytes | None = None) -> Iterator[Row]:
    """From the oldest run to the newest, whose rows count."""
    streams = [_aged(run.rows(start, end), -age) for age, run in enumerate(runs)]
    for _, rows in groupby(heapq.merge(*streams), key=itemgetter(0)):
        key, _, value = next(rows)
        yield key, value


def _aged(rows: Iterable[Row], age: int) -> Iterator[tuple[bytes, int, bytes | None]]:
    for key, value in rows:
        yield key, age, value


def first_to_merge(sizes: Sequence[int]) -> int:
    """The oldest run that is no larger than all newer ones together: from it on they become one. Their number if none.

    So every run that stays is larger than all behind it, and their number grows with the logarithm of the data.
    """
    first, newer = len(sizes), 0
    for index in reversed(range(len(sizes))):
        if 0 < sizes[index] <= newer:
            first = index
        newer += sizes[index]
    return first


def _checksum(data: bytes) -> bytes:
    return _hasher(data).digest()


def _hasher(data: bytes = b"") -> blake2b:
    return blake2b(data, digest_size=16, person=b"lnfblock")
