"""What SQLite's write-ahead log holds beyond what SQLite takes of it.

SQLite ends its log at the first frame that is damaged, without a word. A power failure leaves such a frame too, but in
the transaction alone that was being written, for each is synced before the next one begins. Batches are numbered, so a
row of the journal tells which of the two it was: batch n + 2 was begun only when batch n + 1 was durable. That holds
for frames of every age, in any order, so neither salts nor the ends of transactions have to be believed here; only the
frame that holds the row must be whole. Source: sqlite.org/fileformat2.html, sections 1.6 and 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_HEADER_BYTES = 32
_FRAME_BYTES = 24
"""What stands before a page: its number, the size of the database, two salts, two checksums."""
_TABLE_LEAF = 0x0D
_ROW_COLUMNS = bytes((0, 2 * 16 + 12))
"""How a row of `log` begins behind the length of its header: its number is its key, and its checksum has 16 bytes."""


def highest_row(path: Path, page_bytes: int, reached: int) -> int:
    """The highest sequence above `reached` of a journal row in a whole frame of that file; `reached` if there is none.

    Raises OSError.
    """
    with path.open("rb") as file:
        for frame, seeds in _frames(file, _FRAME_BYTES + page_bytes):
            sequence = _last_row(frame[_FRAME_BYTES:])
            if sequence > reached and any(_checksum(frame, seed, order) == frame[16:24] for seed, order in seeds):
                reached = sequence
    return reached


def _frames(file: BinaryIO, size: int) -> Iterator[tuple[bytes, Iterator[tuple[bytes, str]]]]:
    """Every frame, and what its checksum may count on from, in which byte order."""
    before, written = b"", file.read(_HEADER_BYTES)[24:]
    previous = b""
    while len(frame := file.read(size)) == size:
        yield frame, _seeds(previous, before, written)
        before, written, previous = written, frame[16:24], frame


def _seeds(previous: bytes, before: bytes, written: bytes) -> Iterator[tuple[bytes, str]]:
    """The checksum that the frame before has, or the one that it should have: either may be what is damaged."""
    for order in "<>":
        yield written, order
        if previous:
            yield _checksum(previous, before, order), order


def _checksum(frame: bytes, seed: bytes, order: str) -> bytes:
    """Of a frame, counting on from that of the frame before."""
    first, second = struct.unpack(">2I", seed)
    words = struct.unpack(f"{order}{len(frame) // 4 - 4}I", frame[:8] + frame[_FRAME_BYTES:])
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return struct.pack(">2I", first, second)


def _last_row(page: bytes) -> int:
    """The highest sequence in a page of `log`; 0 if it is a page of something else."""
    cells = int.from_bytes(page[3:5], "big")
    if page[0] != _TABLE_LEAF or not cells:
        return 0
    start = int.from_bytes(page[6 + 2 * cells : 8 + 2 * cells], "big")
    _, start = _varint(page, start)
    sequence, start = _varint(page, start)
    return sequence if page[start + 1 : start + 3] == _ROW_COLUMNS else 0


def _varint(page: bytes, start: int) -> tuple[int, int]:
    """The number at that byte, and where it ends. Sequences need no ninth byte."""
    value = 0
    for byte in page[start : start + 8]:
        value, start = value << 7 | byte & 0x7F, start + 1
        if byte < 0x80:
            break
    return value, start
