"""The SQLite file of a database: its schema, its header, what its errors mean. No state: see sqlite_store."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyln_fast.persist import directory as disk
from pyln_fast.persist import wal_file
from pyln_fast.persist.kv_store import (
    DatabaseDamaged,
    DatabaseLocked,
    DatabaseUnwritable,
    DiskFull,
    StoreError,
)
from pyln_fast.persist.records import FORMAT_VERSION, Header, frame_header, refuse_newer, row_checksum, unframe_header
from pyln_fast.records import RECORD_VERSION

APPLICATION_ID = 0x6C6E6631
"""SQLite's mark of whose file it is: `lnf1`."""

# `state` has an index of its keys beside it. Were it the index itself (WITHOUT ROWID), inner pages would hold whole
# records, six payments a page: a deep tree, and three pages written for each new payment instead of one and a third.
_SCHEMA = """
CREATE TABLE header (id INTEGER PRIMARY KEY CHECK (id = 1), payload BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE log (sequence INTEGER PRIMARY KEY, checksum BLOB NOT NULL, payload BLOB NOT NULL);
CREATE TABLE state (
  name TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (name, key)
);
"""


def connect(path: Path) -> sqlite3.Connection:
    """For writing, locked against every other process until it is closed."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    # Text as bytes: damage can make text of a record, and the error of decoding it would quote the record.
    db.text_factory = bytes
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        mode = single(db, "PRAGMA journal_mode = WAL")
        if mode != b"wal":
            raise DatabaseUnwritable(path, "its file system cannot do write-ahead logging")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        db.close()
        raise
    return db


def keep_wal(path: Path) -> None:
    """Before `connect`: a second name for SQLite's log, which closing deletes although recovery may have dropped of it.

    What was dropped may be the one copy of a state, and the one proof that there was more: `forget_wal` is for a
    database that turned out to be whole. Raises OSError.
    """
    if not _wal(path).exists() or _kept_wal(path).exists():
        return
    try:
        os.link(_wal(path), _kept_wal(path))
    except OSError:  # a file system without second names
        try:
            disk.replace_file(_kept_wal(path), _wal(path).read_bytes())
        except OSError as error:
            # A node that does not start on a full disk loses more than a copy that only a damaged log needs.
            if error.errno != errno.ENOSPC:
                raise
            return
    disk.sync_directory(path.parent)


def lost_part(path: Path, db: sqlite3.Connection, sequence: int) -> str | None:
    """What proves that the journal, which SQLite ends at `sequence`, went on behind damage to SQLite's log; None if
    nothing does. A log that an earlier start refused is looked into too. Raises OSError."""
    page_bytes = single(db, "PRAGMA page_size")
    assert isinstance(page_bytes, int)
    wals = [each for each in (_wal(path), _kept_wal(path)) if each.exists()]
    for wal in wals[:1] if len(wals) == 2 and wals[0].samefile(wals[1]) else wals:
        found = wal_file.highest_row(wal, page_bytes, sequence)
        if found > sequence + 1:
            return f"log ends at batch {sequence}, but {wal.name} holds batch {found} behind damage: a part is lost"
    return None


def sync_wal(path: Path) -> None:
    """Before `connect`: what a killed process wrote and did not sync is read, so it must be durable before anybody
    builds on it. Raises OSError."""
    with suppress(FileNotFoundError):
        descriptor = os.open(_wal(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def forget_wal(path: Path) -> None:
    with suppress(OSError):
        _kept_wal(path).unlink(missing_ok=True)


def wal_bytes(path: Path) -> int:
    """What a life that did not end cleanly has left in SQLite's log, and a start reads through."""
    return _wal(path).stat().st_size if _wal(path).exists() else 0


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _kept_wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal.kept")


def is_empty(db: sqlite3.Connection) -> bool:
    return single(db, "SELECT count(*) FROM sqlite_schema") == 0


def create(db: sqlite3.Connection) -> None:
    """All of it in one transaction: a crash leaves an empty file or a whole database."""
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO header VALUES (1, ?, ?)", frame_header(Header(os.urandom(16))))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    db.execute("COMMIT")


def read_header(path: Path, db: sqlite3.Connection) -> Header:
    """Raises DatabaseNewer, DatabaseDamaged, DecodeError."""
    if single(db, "PRAGMA application_id") != APPLICATION_ID:
        raise DatabaseDamaged(path, "it is not a database of this program")
    version = single(db, "PRAGMA user_version")
    if not isinstance(version, int) or version < 1:
        raise DatabaseDamaged(path, f"its format {version} is unknown")
    refuse_newer(path, "it has format", "formats", version, FORMAT_VERSION)
    rows = db.execute("SELECT payload, checksum FROM header").fetchall()
    if len(rows) != 1:
        raise DatabaseDamaged(path, f"it has {len(rows)} headers, not one")
    header = unframe_header(*rows[0])
    refuse_newer(path, "its records have version", "versions", header.record_version, RECORD_VERSION)
    return header


def checked_row(path: Path, table: str, key: object, value: object, checksum: object) -> tuple[bytes, bytes]:
    """The key and the value of a row of the tables. Raises DatabaseDamaged."""
    if isinstance(key, bytes) and isinstance(value, bytes) and row_checksum(table, key, value) == checksum:
        return key, value
    raise DatabaseDamaged(path, f"a record of table {table} does not match its checksum")


def single(db: sqlite3.Connection, query: str) -> object:
    row = db.execute(query).fetchone()
    return None if row is None else row[0]


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite, of the system and of decoding become StoreErrors."""
    with disk.translated(path):
        try:
            yield
        except sqlite3.Error as error:
            raise sqlite_error(path, error) from error


def sqlite_error(path: Path, error: sqlite3.Error) -> StoreError:
    """What SQLite's error means here; the line carries its name for it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseLocked(path, f"another process has it open ({name})")
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(path, f"the disk is full ({name})")
    # SQLITE_ERROR: a statement that was right when the schema was whole.
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT):
        return DatabaseDamaged(path, f"it is damaged: {error} ({name})")
    return DatabaseUnwritable(path, f"it cannot be written: {error} ({name})")
