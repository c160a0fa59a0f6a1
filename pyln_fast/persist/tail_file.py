"""A small file beside the database that says how far its log reached.

SQLite drops the tail of a damaged write-ahead log without a word. What was dropped may be a revocation, so the log must
not be shorter at start than this file says. It is written after each commit, into two places in turn, so that a torn
write leaves the one before it. It is not synced with every commit: where power fails it may say too little, which
refuses nothing, but never too much.
"""

from __future__ import annotations

import errno
import os
from hashlib import blake2b
from pathlib import Path

from pyln_fast.persist import directory as disk
from pyln_fast.persist.kv_store import DatabaseDamaged

_MAGIC = b"lnftail1"
_SLOT_BYTES = 4096
"""The sector of a disk: a torn write destroys what lies in it."""
_OLD_SLOT_BYTES = 512
"""Where an older program put the second place: both in one sector of many a disk."""
_CONTENT_BYTES = 8 + 16 + 8
_CHECKSUM_BYTES = 16


class TailFile:
    """`sequence` is what it says. Raises OSError where a call to the system fails."""

    def __init__(self, path: Path, store_id: bytes) -> None:
        """Raises DatabaseDamaged, FileNotFoundError."""
        self._path = path
        self._store_id = store_id
        self._synced = False
        self._slot_bytes = _SLOT_BYTES
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.sequence = read_tail(path, os.pread(self._descriptor, 2 * _SLOT_BYTES, 0), store_id)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, path: Path, store_id: bytes) -> None:
        """For a log without batches."""
        disk.replace_file(path, _file(store_id, 0))

    def begin(self, sequence: int) -> None:
        """The first write of a start, which found everything up to `sequence`; durable when it returns."""
        is_old = os.fstat(self._descriptor).st_size < 2 * _SLOT_BYTES
        if not is_old or not self._replace(sequence):
            self.write(sequence)
            self.sync()

    def _replace(self, sequence: int) -> bool:
        """By a file whose places lie further apart; False on a full disk, where the old one has to do."""
        try:
            disk.replace_file(self._path, _file(self._store_id, sequence))
            new = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._slot_bytes = _OLD_SLOT_BYTES
            return False
        self.close()
        self._descriptor, self.sequence = new, sequence
        return True

    def write(self, sequence: int) -> None:
        offset = sequence % 2 * self._slot_bytes
        written = os.pwrite(self._descriptor, _slot(self._store_id, sequence), offset)
        if written != _CONTENT_BYTES + _CHECKSUM_BYTES:
            raise OSError("the tail file was written in part")
        self.sequence = sequence
        self._synced = False

    def sync(self) -> None:
        """Costs nothing if nothing was written since."""
        if not self._synced:
            os.fdatasync(self._descriptor)
            self._synced = True

    def close(self) -> None:
        os.close(self._descriptor)


def read_tail(path: Path, data: bytes, store_id: bytes) -> int:
    """The highest sequence in the file's bytes. Raises DatabaseDamaged if no place is readable."""
    found = []
    for offset in (0, _OLD_SLOT_BYTES, _SLOT_BYTES):
        content = data[offset : offset + _CONTENT_BYTES]
        checksum = data[offset + _CONTENT_BYTES : offset + _CONTENT_BYTES + _CHECKSUM_BYTES]
        if content.startswith(_MAGIC) and checksum == _checksum(content):
            if content[8:24] != store_id:
                raise DatabaseDamaged(path, "it belongs to another database: files of two databases were mixed")
            found.append(int.from_bytes(content[24:], "big"))
    if not found:
        raise DatabaseDamaged(path, "it is damaged, so nobody can tell whether the database is complete")
    return max(found)


def _file(store_id: bytes, sequence: int) -> bytes:
    """In both places: whichever the next write goes to, one stays readable."""
    return _slot(store_id, sequence).ljust(_SLOT_BYTES, b"\0") * 2


def _slot(store_id: bytes, sequence: int) -> bytes:
    content = _MAGIC + store_id + sequence.to_bytes(8, "big")
    return content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
