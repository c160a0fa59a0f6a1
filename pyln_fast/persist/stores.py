"""The stores that there are, by name."""

from __future__ import annotations

from pathlib import Path

from pyln_fast.persist import directory as disk
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.filesystem_store import FilesystemStore
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.sqlite_store import SqliteStore

STORES: dict[StoreKind, type[JournalStore]] = {each.kind: each for each in (SqliteStore, FilesystemStore)}


def open_store(
    directory: Path,
    kind: StoreKind,
    *,
    reserve_bytes: int = disk.RESERVE_BYTES,
    low_space_bytes: int = disk.LOW_SPACE_BYTES,
) -> JournalStore:
    """Open the database in that directory, or make one. Locks the directory. Raises StoreError."""
    return STORES[kind](directory, reserve_bytes=reserve_bytes, low_space_bytes=low_space_bytes)
