"""The file that says which files a filesystem database consists of. Each checkpoint replaces it by a rename."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import msgspec

from pyln_fast.persist.kv_store import DatabaseDamaged
from pyln_fast.persist.records import refuse_newer
from pyln_fast.records import RECORD_VERSION

FORMAT_VERSION = 1
"""Of the filesystem database. Raised when an older program could not read, or would spoil, what a newer one writes."""

_MAGIC = b"lnfstore"
_CHECKSUM_BYTES = 16


class BlockRef(msgspec.Struct, frozen=True, array_like=True):
    """Where a block of a run lies, and what it must hash to."""

    first: bytes
    """The first key in it or below it."""
    offset: int
    length: int
    checksum: bytes


class RunInfo(msgspec.Struct, frozen=True, array_like=True):
    """A sorted file that never changes. Its root proves every other block of it."""

    number: int
    size: int
    rows: int
    height: int
    """Levels of index blocks above the rows."""
    root: BlockRef
    tables: tuple[str, ...]
    """Those that it has rows of."""
    filter: BlockRef | None = None
    """Of its keys; an older program wrote none."""


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    store_id: bytes
    """16 random bytes: the log and the tail file carry the same."""
    checkpoint: int = 0
    """The runs hold the results of every batch up to this one, and perhaps of some later ones."""
    record_version: int = RECORD_VERSION
    runs: tuple[RunInfo, ...] = ()
    """From the oldest to the newest, whose rows count."""


def encode_manifest(manifest: Manifest) -> bytes:
    payload = msgspec.msgpack.encode(manifest)
    return _MAGIC + FORMAT_VERSION.to_bytes(4, "big") + _checksum(payload) + payload


def read_manifest(path: Path) -> Manifest:
    """Raises DatabaseNewer, DatabaseDamaged, OSError."""
    data = path.read_bytes()
    start = len(_MAGIC) + 4
    if len(data) < start + _CHECKSUM_BYTES or not data.startswith(_MAGIC):
        raise DatabaseDamaged(path, "it is not a database of this program")
    version = int.from_bytes(data[len(_MAGIC) : start], "big")
    if version < 1:
        raise DatabaseDamaged(path, f"its format {version} is unknown")
    refuse_newer(path, "it has format", "formats", version, FORMAT_VERSION)
    payload = data[start + _CHECKSUM_BYTES :]
    if data[start : start + _CHECKSUM_BYTES] != _checksum(payload):
        raise DatabaseDamaged(path, "its checksum does not match")
    try:
        manifest = msgspec.msgpack.decode(payload, type=Manifest)
    except msgspec.DecodeError as error:
        raise DatabaseDamaged(path, str(error)) from None
    refuse_newer(path, "its records have version", "versions", manifest.record_version, RECORD_VERSION)
    return manifest


def _checksum(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=_CHECKSUM_BYTES, person=b"lnfmanifest").digest()
