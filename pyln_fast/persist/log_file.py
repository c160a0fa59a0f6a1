"""The log of a filesystem database: files of rows in sequence, each named after its first, one fdatasync a row.

A row is its sequence, its length, the checksum of its payload, a check of these three, and the payload. Behind the last
row lie zeros, allocated ahead so that a sync need not change the file's size.
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from pyln_fast.persist import directory as disk
from pyln_fast.persist.kv_store import DatabaseDamaged
from pyln_fast.persist.records import log_checksum, unframe_batch
from pyln_fast.records import Batch

AHEAD_BYTES = 1 << 20
"""Allocated at a time."""

_MAGIC = b"lnflog01"
_HEADER = struct.Struct(">8s16sQ16s")
_ROW = struct.Struct(">QI16s8s")
_NAME = re.compile(r"log-(\d{20})")


class LogRow(msgspec.Struct, frozen=True):
    batch: Batch
    size: int
    """Of its payload."""


class LogContents(msgspec.Struct, frozen=True):
    """What was read of one file."""

    path: Path
    first: int
    rows: list[LogRow]
    end: int
    """The byte behind the last row."""
    torn: bool
    """Whether there is something behind it that is no row: one that was being written, perhaps."""


class LogFile:
    """The newest file, to append to. Raises OSError."""

    def __init__(self, path: Path, first: int, store_id: bytes, end: int) -> None:
        self.path = path
        self.first = first
        self._store_id = store_id
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._end = end
        self._allocated = os.fstat(self._descriptor).st_size

    @classmethod
    def create(cls, directory: Path, store_id: bytes, first: int) -> LogFile:
        path = log_path(directory, first)
        disk.replace_file(path, _header(store_id, first))
        return cls(path, first, store_id, _HEADER.size)

    def cut(self) -> None:
        """Remove what lies behind the last row, and make the rows durable that a crash left unsynced."""
        os.ftruncate(self._descriptor, self._end)
        self._allocated = self._end
        os.fsync(self._descriptor)

    def append(self, sequence: int, payload: bytes, checksum: bytes) -> None:
        row = _head(self._store_id, sequence, len(payload), checksum) + payload
        if self._end + len(row) > self._allocated:
            more = max(AHEAD_BYTES, len(row))
            os.posix_fallocate(self._descriptor, self._end, more)
            self._allocated = self._end + more
        if os.pwrite(self._descriptor, row, self._end) != len(row):
            raise OSError("a log row was written in part")
        os.fdatasync(self._descriptor)
        self._end += len(row)

    def give_up(self) -> None:
        """After a failed write: what it left of a row that nobody was told of need not be there at the next start."""
        with suppress(OSError):
            self.cut()

    def close(self) -> None:
        os.close(self._descriptor)


def log_path(directory: Path, first: int) -> Path:
    return directory / f"log-{first:020d}"


def log_files(directory: Path) -> list[tuple[int, Path]]:
    """In sequence, each with the first row that it is for."""
    found = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def has_rows(path: Path) -> bool:
    """Or anything else behind its head. Raises OSError."""
    return bool(path.read_bytes()[_HEADER.size :].rstrip(b"\0"))


def read_logs(directory: Path, store_id: bytes, checkpoint: int, unsynced_rows: int) -> list[LogContents]:
    """The files that begin after the checkpoint, in sequence; all but the newest are whole. Raises as `read_log`."""
    files: list[LogContents] = []
    following = checkpoint + 1
    for first, path in log_files(directory):
        if first <= checkpoint:
            continue
        if files and files[-1].torn:
            raise DatabaseDamaged(files[-1].path, f"log row {following} is damaged, although {path.name} follows")
        if first != following:
            raise DatabaseDamaged(path, f"the log has a gap: {first} follows {following - 1}")
        files.append(read_log(path, first, store_id, unsynced_rows))
        following += len(files[-1].rows)
    if not files:
        raise DatabaseDamaged(log_path(directory, following), "it is missing")
    return files


def read_log(path: Path, first: int, store_id: bytes, unsynced_rows: int) -> LogContents:
    """Raises DatabaseDamaged, DecodeError, OSError.

    A crash leaves one torn row at most, for each is synced before the next is written: rubbish with a row behind it is
    damage. How many rows behind it there may be that the tail file does not know of is `unsynced_rows`.
    """
    data = path.read_bytes()
    if data[: _HEADER.size] != _header(store_id, first):
        raise DatabaseDamaged(path, "its head is not that of this log: it is damaged, or of another database")
    rows: list[LogRow] = []
    end, sequence = _HEADER.size, first
    while (row := _row_at(data, end, sequence, store_id)) is not None:
        payload, checksum = row
        rows.append(LogRow(unframe_batch(sequence, payload, checksum), len(payload)))
        end += _ROW.size + len(payload)
        sequence += 1
    rest = data[end:].rstrip(b"\0")
    for later in range(sequence + 1, sequence + 1 + unsynced_rows) if rest else ():
        for match in re.finditer(re.escape(later.to_bytes(8, "big")), data[end:]):
            if _row_at(data, end + match.start(), later, store_id) is not None:
                raise DatabaseDamaged(path, f"log row {sequence} is damaged, although row {later} follows")
    return LogContents(path, first, rows, end, bool(rest))


def _row_at(data: bytes, offset: int, sequence: int, store_id: bytes) -> tuple[bytes, bytes] | None:
    """The payload and the checksum of a whole row of that sequence; None if there is none."""
    head = data[offset : offset + _ROW.size]
    if len(head) < _ROW.size:
        return None
    found, length, checksum, _ = _ROW.unpack(head)
    payload = data[offset + _ROW.size : offset + _ROW.size + length]
    if found != sequence or head != _head(store_id, sequence, length, checksum):
        return None
    return (payload, checksum) if len(payload) == length and checksum == log_checksum(sequence, payload) else None


def _header(store_id: bytes, first: int) -> bytes:
    return _HEADER.pack(_MAGIC, store_id, first, _check(16, store_id, first.to_bytes(8, "big")))


def _head(store_id: bytes, sequence: int, length: int, checksum: bytes) -> bytes:
    check = _check(8, store_id, sequence.to_bytes(8, "big") + length.to_bytes(4, "big") + checksum)
    return _ROW.pack(sequence, length, checksum, check)


def _check(size: int, store_id: bytes, data: bytes) -> bytes:
    """Of this database alone: what a peer makes us log cannot look like a row."""
    return blake2b(data, digest_size=size, key=store_id, person=b"lnflog").digest()
