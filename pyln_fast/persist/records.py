"""How records lie in a store: the framing and checksums of log rows and table rows, and the header of a database."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import msgspec

from pyln_fast.errors import DecodeError
from pyln_fast.persist.kv_store import DatabaseNewer
from pyln_fast.records import RECORD_VERSION, Batch, decode, encode

FORMAT_VERSION = 1
"""Of the store itself. Raised when an older program could not read, or would spoil, what a newer one writes."""
CHECKSUM_BYTES = 16


class TableSummary(msgspec.Struct, frozen=True, array_like=True):
    """What the rows of a table add up to: a row that is lost, added or changed behind our back does not."""

    rows: int = 0
    total: int = 0
    """The sum of the rows' checksums, modulo 2^64."""

    def replaced(self, old: bytes | None, new: bytes | None) -> TableSummary:
        """After a row's checksum went from `old` to `new`; None is no row."""
        rows = self.rows - (old is not None) + (new is not None)
        total = self.total - (_addend(old) if old else 0) + (_addend(new) if new else 0)
        return TableSummary(rows, total % (1 << 64))


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What a database says of itself; it changes in one transaction with the tables."""

    store_id: bytes
    """16 random bytes: the tail file carries the same."""
    checkpoint: int = 0
    """The tables hold the results of every batch up to this one, and perhaps of some later ones."""
    record_version: int = RECORD_VERSION
    tables: dict[str, TableSummary] = {}


def frame_batch(batch: Batch) -> tuple[bytes, bytes]:
    """The payload of a log row and its checksum."""
    payload = encode(batch)
    return payload, log_checksum(batch.sequence, payload)


def log_checksum(sequence: int, payload: bytes) -> bytes:
    """Of a log row."""
    return _checksum(b"log", sequence.to_bytes(8, "big", signed=True), payload)


def unframe_batch(sequence: int, payload: object, checksum: object) -> Batch:
    """Raises DecodeError."""
    what = f"log row {sequence}"
    if not isinstance(payload, bytes) or checksum != log_checksum(sequence, payload):
        raise DecodeError(what, "its checksum does not match")
    batch = decode(Batch, payload)
    if batch.sequence != sequence:
        raise DecodeError(what, f"it holds batch {batch.sequence}")
    return batch


def row_checksum(table: str, key: bytes, value: bytes) -> bytes:
    """Of a row of the tables."""
    return _checksum(b"row", table.encode(), key, value)


def frame_header(header: Header) -> tuple[bytes, bytes]:
    payload = msgspec.msgpack.encode(header)
    return payload, _checksum(b"header", payload)


def unframe_header(payload: object, checksum: object) -> Header:
    """Raises DecodeError."""
    if not isinstance(payload, bytes) or checksum != _checksum(b"header", payload):
        raise DecodeError("the header", "its checksum does not match")
    try:
        return msgspec.msgpack.decode(payload, type=Header)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError("the header", str(error)) from None


def refuse_newer(path: Path, what: str, plural: str, version: int, known: int) -> None:
    """Raises DatabaseNewer."""
    if version > known:
        raise DatabaseNewer(path, f"{what} {version}; this program reads {plural} up to {known}")


def _addend(checksum: bytes) -> int:
    return int.from_bytes(checksum[:8], "big")


def _checksum(*parts: bytes) -> bytes:
    """Against faults of disks, not against whoever can write to them: hence no key."""
    digest = blake2b(digest_size=CHECKSUM_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
