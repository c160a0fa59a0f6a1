"""The store on SQLite: one log row and one fsync a batch, and tables that checkpoints bring up to date.

`log` holds batches as they came, `state` holds records. What the log has and the tables do not is in memory too (the
overlay), so every read is of the newest durable value. A checkpoint slice writes the oldest part of the overlay; a key
that was written again since is then newer in the tables than the sequence which the slice reaches, and replay puts that
right, for rows hold results. A start that cannot prove that nothing is missing is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, suppress

import msgspec

from pyln_fast.persist import directory as disk
from pyln_fast.persist import sqlite_file
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import DatabaseDamaged
from pyln_fast.persist.records import Header, TableSummary, frame_header, row_checksum, unframe_batch
from pyln_fast.records import RECORD_VERSION

SLICE_LOG_ROWS = 512
"""Log rows that a slice deletes at most: each may be several pages."""
WAL_BYTES = 4 << 20
"""SQLite's own log is folded into the database about this often; it is read through at every start."""
PAGES_BYTES = 8 << 10
"""What a change adds to SQLite's log beside its value, roughly: the pages on the way to it."""


class SqliteStore(JournalStore):
    """`Store` in one database file."""

    kind = disk.StoreKind.SQLITE
    _log_start = 1
    _wal_estimate = 0

    def _translated(self) -> AbstractContextManager[None]:
        return sqlite_file.translated(self._path)

    # --- opening ---

    def _open(self) -> None:
        tail_path = self._directory / disk.TAIL
        if tail_path.exists() and not self._path.exists():
            raise DatabaseDamaged(self._path, "it is missing, although its tail file is there")
        disk.create_private(self._path)
        with sqlite_file.translated(self._path):
            sqlite_file.keep_wal(self._path)
            self._wal_estimate = sqlite_file.wal_bytes(self._path)
            sqlite_file.sync_wal(self._path)
            self._db = sqlite_file.connect(self._path)
            try:
                if sqlite_file.is_empty(self._db):
                    if tail_path.exists():
                        raise DatabaseDamaged(self._path, "it is empty, although its tail file is there")
                    sqlite_file.create(self._db)
                    disk.sync_directory(self._directory)
                self._header: Header = sqlite_file.read_header(self._path, self._db)
                self._replay()
                self._tail = self._open_tail(self._header.store_id)
                try:
                    self._tail.begin(self._sequence)
                except BaseException:
                    self._tail.close()
                    raise
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
        lost = sqlite_file.lost_part(self._path, self._db, self._sequence)
        if lost is not None:
            raise DatabaseDamaged(self._path, f"its {lost}")

    def _close_files(self) -> None:
        self._db.close()

    # --- working ---

    def _append_row(self, sequence: int, payload: bytes, checksum: bytes) -> None:
        self._db.execute("INSERT INTO log VALUES (?, ?, ?)", (sequence, checksum, payload))
        self._wal_estimate += len(payload) + PAGES_BYTES

    def _checkpoint(self) -> bool:
        if self._unfinished():
            self._checkpoint_slice()
        if self._wal_estimate >= WAL_BYTES:
            self._fold_wal()
        return self._unfinished()

    def _unfinished(self) -> bool:
        return self._overlay.rows > 0 or self._log_start <= self._header.checkpoint

    def _checkpoint_slice(self) -> None:
        """The oldest changes into the tables, and the header that says so, in one transaction.

        The tail file is synced before, and with the next batch: among SQLite's transactions this one has no number by
        which a start would know that it, or the batch on either side of it, was durable (see `wal_file`).
        """
        self._tail.sync()
        self._sync_next_tail = True
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
        if old is None:
            self._db.execute("INSERT INTO state VALUES (?, ?, ?, ?)", (table, key, value, new))
        else:
            self._db.execute(
                "UPDATE state SET value = ?, checksum = ? WHERE name = ? AND key = ?", (value, new, table, key)
            )
        return old, new

    def _fold_wal(self) -> None:
        busy = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0]
        assert not busy, "somebody else reads an exclusively locked database"
        self._wal_estimate = 0

    def _stored_tables(self) -> set[str]:
        return set(self._header.tables)

    def _read_stored(self, table: str, key: bytes) -> bytes | None:
        query = "SELECT value, checksum FROM state WHERE name = ? AND key = ?"
        row = self._db.execute(query, (table, key)).fetchone()
        return None if row is None else sqlite_file.checked_row(self._path, table, key, *row)[1]

    def _stored_rows(self, table: str, start: bytes, end: bytes | None) -> Generator[tuple[bytes, bytes], None, None]:
        query, arguments = "SELECT key, value, checksum FROM state WHERE name = ? AND key >= ?", [table, start]
        if end is not None:
            query, arguments = query + " AND key < ?", [*arguments, end]
        with closing(self._db.execute(query + " ORDER BY key", arguments)) as rows:
            for row in rows:
                yield sqlite_file.checked_row(self._path, table, *row)

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

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
