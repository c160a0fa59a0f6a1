"""The store on SQLite: one log row and one fsync a batch, and tables that checkpoints bring up to date.

`log` holds batches as they came, `state` holds records. What the log has and the tables do not is in memory too (the
overlay), so every read is of the newest durable value. A checkpoint slice writes the oldest part of the overlay; a key
that was written again since is then newer in the tables than the sequence which the slice reaches, and replay puts that
right, for rows hold results. A start that cannot prove that nothing is missing is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from pyln_fast.persist import directory as disk
from pyln_fast.persist import sqlite_file
from pyln_fast.persist.kv_store import DatabaseDamaged, DatabaseUnwritable, LoadedState, StoreError
from pyln_fast.persist.overlay import Overlay
from pyln_fast.persist.records import Header, TableSummary, frame_batch, frame_header, row_checksum, unframe_batch
from pyln_fast.persist.tail_file import TailFile
from pyln_fast.records import RECORD_VERSION, Batch

SLICE_LOG_ROWS = 512
"""Log rows that a slice deletes at most: each may be several pages."""
WAL_BYTES = 4 << 20
"""SQLite's own log is folded into the database about this often; it is read through at every start."""
PAGES_BYTES = 8 << 10
"""What a change adds to SQLite's log beside its value, roughly: the pages on the way to it."""
TAIL_SYNC_BATCHES = 64
"""Batches after which the tail file is synced although the writer was never idle."""


class SqliteStore:
    """`Store` in a directory. Not for two threads at a time; any one thread may use it."""

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int = disk.RESERVE_BYTES,
        low_space_bytes: int = disk.LOW_SPACE_BYTES,
    ) -> None:
        """Open or make the database. Raises StoreError: no program runs on a database that is not whole."""
        self._directory = directory
        self._path = directory / disk.DATABASE
        self._failure: StoreError | None = None
        self._overlay = Overlay()
        self._sequence = 0
        self._log_start = 1
        self._tail: TailFile
        self._wal_estimate = 0
        self._closed = False
        disk.prepare(directory)
        self._lock = disk.DirectoryLock(directory)
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise
        self._reserve = disk.DiskReserve(directory, reserve_bytes, low_space_bytes)

    # --- what a Store is ---

    @property
    def sequence(self) -> int:
        return self._sequence

    @property
    def low_space(self) -> bool:
        return self._reserve.low_space

    def load(self, tables: Iterable[str] | None = None) -> LoadedState:
        """Reads what is asked for and nothing else, so history costs nothing; each table must add up."""
        every = {*self._header.tables, *self._overlay.tables()}
        with sqlite_file.translated(self._path):
            loaded = {name: self._load_table(name) for name in (sorted(every) if tables is None else tables)}
        for name, key, value in self._overlay.changes():
            if name in loaded:
                _set(loaded[name], key, value)
        return LoadedState(loaded, self._sequence)

    def append(self, batch: Batch) -> None:
        assert self._failure or batch.sequence == self._sequence + 1, f"batch {batch.sequence} after {self._sequence}"
        payload, checksum = frame_batch(batch)
        with self._writing():
            self._reserve.keep_up(len(payload))
            self._db.execute("INSERT INTO log VALUES (?, ?, ?)", (batch.sequence, checksum, payload))
            self._tail.write(batch.sequence)
            if batch.sequence % TAIL_SYNC_BATCHES == 0:
                self._tail.sync()
        self._sequence = batch.sequence
        self._overlay.add(batch.sequence, batch.writes, len(payload))
        self._wal_estimate += len(payload) + PAGES_BYTES

    def checkpoint(self) -> bool:
        with self._writing():
            if self._unfinished():
                self._checkpoint_slice()
            if self._wal_estimate >= WAL_BYTES:
                self._fold_wal()
        return self._unfinished()

    def read(self, table: str, key: bytes) -> bytes | None:
        waiting = self._overlay.find(table, key)
        if waiting is not None:
            return waiting[0]
        with sqlite_file.translated(self._path):
            query = "SELECT value, checksum FROM state WHERE name = ? AND key = ?"
            row = self._db.execute(query, (table, key)).fetchone()
        return None if row is None else sqlite_file.checked_row(self._path, table, key, *row)[1]

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        query, arguments = "SELECT key, value, checksum FROM state WHERE name = ? AND key >= ?", [table, prefix]
        end = _after(prefix)
        if end is not None:
            query, arguments = query + " AND key < ?", [*arguments, end]
        with sqlite_file.translated(self._path):
            found = dict(sqlite_file.checked_row(self._path, table, *row) for row in self._db.execute(query, arguments))
        for name, key, value in self._overlay.changes():
            if name == table and key.startswith(prefix):
                _set(found, key, value)
        return sorted(found.items())

    def close(self) -> None:
        """Idempotent. The tail of the log stays what it is: the next start replays it."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._failure is None:
                self._tail.sync()
        finally:
            self._tail.close()
            self._db.close()
            self._lock.close()

    # --- what its writer asks ---

    @property
    def path(self) -> Path:
        return self._path

    @property
    def checkpoint_due(self) -> bool:
        return self._overlay.due

    @property
    def checkpoint_urgent(self) -> bool:
        return self._overlay.urgent

    @property
    def tail_rows(self) -> int:
        """Log rows that the next start would replay."""
        return self._overlay.rows

    def idle(self) -> None:
        """Nothing is waiting to be written: the moment for what can wait. Raises StoreError."""
        with self._writing():
            self._tail.sync()
            self._reserve.take_again()

    # --- opening ---

    def _open(self) -> None:
        tail_path = self._directory / disk.TAIL
        if tail_path.exists() and not self._path.exists():
            raise DatabaseDamaged(self._path, "it is missing, although its tail file is there")
        disk.create_private(self._path)
        sqlite_file.keep_wal(self._path)
        with sqlite_file.translated(self._path):
            self._db = sqlite_file.connect(self._path)
            try:
                if sqlite_file.is_empty(self._db):
                    if tail_path.exists():
                        raise DatabaseDamaged(self._path, "it is empty, although its tail file is there")
                    sqlite_file.create(self._db)
                    disk.sync_directory(self._directory)
                self._header: Header = sqlite_file.read_header(self._path, self._db)
                self._replay()
                self._open_tail(tail_path)
                sqlite_file.forget_wal(self._path)
            except BaseException:
                self._db.close()
                raise

    def _replay(self) -> None:
        """Every row after the checkpoint into the overlay."""
        self._sequence = self._header.checkpoint
        first = sqlite_file.single(self._db, "SELECT min(sequence) FROM log")
        self._log_start = first if isinstance(first, int) else self._sequence + 1
        query = "SELECT sequence, payload, checksum FROM log WHERE sequence > ? ORDER BY sequence"
        for sequence, payload, checksum in self._db.execute(query, (self._sequence,)):
            if sequence != self._sequence + 1:
                raise DatabaseDamaged(self._path, f"its log has a gap: {sequence} follows {self._sequence}")
            batch = unframe_batch(sequence, payload, checksum)
            self._sequence = sequence
            self._overlay.add(sequence, batch.writes, len(payload))

    def _open_tail(self, path: Path) -> None:
        """The log must reach what the tail file says. It may reach further: by what no one was told is durable."""
        if not path.exists():
            if self._sequence != 0:
                raise DatabaseDamaged(path, f"it is missing, although the log reaches batch {self._sequence}")
            TailFile.create(path, self._header.store_id)
            disk.sync_directory(self._directory)
        tail = TailFile.open(path, self._header.store_id)
        if tail.sequence > self._sequence:
            tail.close()
            raise DatabaseDamaged(
                self._path, f"its log ends at batch {self._sequence}, but {tail.sequence} was durable: a part is lost"
            )
        tail.write(self._sequence)
        tail.sync()
        self._tail = tail

    # --- working ---

    def _unfinished(self) -> bool:
        return self._overlay.rows > 0 or self._log_start <= self._header.checkpoint

    def _checkpoint_slice(self) -> None:
        """The oldest changes into the tables, and the header that says so, in one transaction."""
        taken, reached = self._overlay.next_slice(self._sequence)
        log_start = min(reached + 1, self._log_start + SLICE_LOG_ROWS)
        summaries = dict(self._header.tables)
        self._db.execute("BEGIN IMMEDIATE")
        for table, key, value in taken:
            summaries[table] = summaries.get(table, TableSummary()).replaced(*self._write_row(table, key, value))
        self._db.execute("DELETE FROM log WHERE sequence < ?", (log_start,))
        header = msgspec.structs.replace(
            self._header, checkpoint=reached, record_version=RECORD_VERSION, tables=summaries
        )
        self._db.execute("UPDATE header SET payload = ?, checksum = ? WHERE id = 1", frame_header(header))
        self._db.execute("COMMIT")
        self._overlay.drop(taken, self._header.checkpoint, reached)
        self._header = header
        self._log_start = log_start
        self._wal_estimate += sum(len(value or b"") + PAGES_BYTES for _, _, value in taken)

    def _write_row(self, table: str, key: bytes, value: bytes | None) -> tuple[bytes | None, bytes | None]:
        """The checksum of the row before, and of the row now."""
        row = self._db.execute("SELECT checksum FROM state WHERE name = ? AND key = ?", (table, key)).fetchone()
        old: bytes | None = None if row is None else row[0]
        if value is None:
            if old is not None:
                self._db.execute("DELETE FROM state WHERE name = ? AND key = ?", (table, key))
            return old, None
        new = row_checksum(table, key, value)
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)", (table, key, value, new))
        return old, new

    def _fold_wal(self) -> None:
        busy = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0]
        assert not busy, "somebody else reads an exclusively locked database"
        self._wal_estimate = 0

    def _load_table(self, name: str) -> dict[bytes, bytes]:
        records: dict[bytes, bytes] = {}
        summary = TableSummary()
        for row in self._db.execute("SELECT key, value, checksum FROM state WHERE name = ?", (name,)):
            key, value = sqlite_file.checked_row(self._path, name, *row)
            records[key] = value
            summary = summary.replaced(None, row[2])
        expected = self._header.tables.get(name, TableSummary())
        if summary != expected:
            raise DatabaseDamaged(
                self._path, f"table {name} has {summary.rows} records that do not add up to the {expected.rows} written"
            )
        return records

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Whatever goes wrong inside, nothing is written ever after: what the file then holds is not known."""
        if self._failure is not None:
            raise self._failure
        try:
            with sqlite_file.translated(self._path):
                yield
        except BaseException as error:
            self._failure = error if isinstance(error, StoreError) else DatabaseUnwritable(self._path, repr(error))
            with suppress(sqlite3.Error):  # the first failure is the one to report
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise


def _set(records: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        records.pop(key, None)
    else:
        records[key] = value


def _after(prefix: bytes) -> bytes | None:
    """The first key after all that begin with `prefix`; None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
