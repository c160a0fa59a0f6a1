"""What is read back from the disk: records of every table, rows of the log, the header and the tail file."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

from pyln_fast import records
from pyln_fast.errors import DecodeError
from pyln_fast.node import state
from pyln_fast.persist import records as framing
from pyln_fast.persist.kv_store import DatabaseDamaged
from pyln_fast.persist.tail_file import read_tail
from pyln_fast.records import Batch, Table
from pyln_fast.wallet import utxos

TABLES: tuple[Table[Any], ...] = tuple(
    value for module in (state, utxos) for value in vars(module).values() if isinstance(value, Table)
)
STORE_ID = bytes(range(16))


def record(data: bytes) -> None:
    """The first byte is the table."""
    if not data:
        return
    table = TABLES[data[0] % len(TABLES)]
    try:
        found = table.decode(data[1:])
    except DecodeError as error:
        assert "\n" not in str(error)
        return
    written = records.encode(found)
    assert table.decode(written) == found
    assert records.encode(table.decode(written)) == written


def store_row(data: bytes) -> None:
    """The first byte decides: a log row, a header or a tail file, each with a checksum that matches or not."""
    if not data:
        return
    mode, rest = data[0] % 5, data[1:]
    try:
        if mode == 0:
            sequence = 7
            number = sequence.to_bytes(8, "big")
            batch = framing.unframe_batch(sequence, rest, framing._checksum(b"log", number, rest))
            assert batch == records.decode(Batch, rest)
            framing.unframe_batch(sequence, *framing.frame_batch(batch))
        elif mode == 1:
            header = framing.unframe_header(rest, framing._checksum(b"header", rest))
            assert framing.unframe_header(*framing.frame_header(header)) == header
        elif mode == 2:
            framing.unframe_batch(7, rest[16:], rest[:16])
            raise AssertionError("a checksum of 16 bytes was guessed")
        elif mode == 3:
            assert read_tail(Path("tail"), rest, STORE_ID) >= 0
        else:
            slots = [_tail_slot(rest[at : at + 8]) for at in (0, 8)]
            numbers = [int.from_bytes(rest[at : at + 8].rjust(8, b"\0"), "big") for at in (0, 8)]
            assert read_tail(Path("tail"), b"".join(slots), STORE_ID) == max(numbers)
    except (DecodeError, DatabaseDamaged):
        assert mode != 4


def _tail_slot(number: bytes) -> bytes:
    content = b"lnftail1" + STORE_ID + number.rjust(8, b"\0")
    return (content + blake2b(content, digest_size=16).digest()).ljust(4096, b"\0")
