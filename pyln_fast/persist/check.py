"""`db check`: verify a database that no node has open, whichever store wrote it."""

from __future__ import annotations

from pathlib import Path

from pyln_fast.persist import directory as disk
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.filesystem_check import check_filesystem
from pyln_fast.persist.kv_store import DatabaseDamaged, StoreError
from pyln_fast.persist.report import DatabaseReport
from pyln_fast.persist.sqlite_check import check_sqlite


def check(directory: Path) -> DatabaseReport:
    """Read everything, history included. Changes no record, and keeps what SQLite drops.

    Raises DatabaseLocked while a node runs, and another StoreError if there is too little left to describe.
    """
    kind = find_database(directory)
    lock = disk.DirectoryLock(directory)
    try:
        return {StoreKind.SQLITE: check_sqlite, StoreKind.FILESYSTEM: check_filesystem}[kind](directory)
    finally:
        lock.close()


def find_database(directory: Path) -> StoreKind:
    """Which database is there. Raises StoreError."""
    try:
        kind = disk.kind_of(directory)
        has_tail = (directory / disk.TAIL).exists()
    except OSError as error:
        raise StoreError(directory, f"it cannot be read: {error.strerror}") from None
    if kind is None:
        missing = "its database is missing, although its tail file is there"
        raise DatabaseDamaged(directory, missing if has_tail else "there is no database")
    disk.refuse_other_kind(directory, kind)
    return kind
