"""A check of a SQLite database: every page, row and checksum, history included."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pyln_fast.errors import DecodeError
from pyln_fast.persist import directory as disk
from pyln_fast.persist import sqlite_file
from pyln_fast.persist.kv_store import StoreError
from pyln_fast.persist.records import FORMAT_VERSION, Header, TableSummary, unframe_batch
from pyln_fast.persist.report import MAX_PROBLEMS, DatabaseReport, Problems, TableReport


def check_sqlite(directory: Path) -> DatabaseReport:
    """The caller holds the lock. Raises StoreError if there is too little left to describe."""
    path = directory / disk.StoreKind.SQLITE.file
    with sqlite_file.translated(path):
        sqlite_file.keep_wal(path)
        db = sqlite_file.connect(path)
        try:
            report = _Check(directory, path, db).report()
        finally:
            db.close()
    if report.whole:
        sqlite_file.forget_wal(path)
    return report


class _Check:
    def __init__(self, directory: Path, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._db = db
        self._found = Problems(directory)
        self._problems = self._found.lines

    def report(self) -> DatabaseReport:
        header = sqlite_file.read_header(self._path, self._db)
        file_bytes = self._path.stat().st_size
        self._pages()
        sequence, rows, size = self._log(header)
        durable = self._found.durable(header.store_id, sequence)
        return DatabaseReport(
            path=self._path,
            format_version=FORMAT_VERSION,
            record_version=header.record_version,
            sequence=sequence,
            checkpoint=header.checkpoint,
            durable_sequence=durable,
            tail_rows=rows,
            tail_bytes=size,
            file_bytes=file_bytes,
            tables=self._tables(header),
            problems=self._found.first(),
        )

    def _pages(self) -> None:
        try:
            lines = [bytes(row[0]) for row in self._db.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})")]
        except sqlite3.Error as error:
            self._problems.append(f"SQLite: {error}")
            return
        if lines != [b"ok"]:
            self._problems += [f"SQLite: {line.decode('utf-8', 'replace')}" for line in lines]

    def _log(self, header: Header) -> tuple[int, int, int]:
        """The sequence it reaches, and the number and size of the rows that a start replays."""
        reached, rows, size = header.checkpoint, 0, 0
        query = "SELECT sequence, payload, checksum FROM log WHERE sequence > ? ORDER BY sequence"
        for sequence, payload, checksum in self._db.execute(query, (header.checkpoint,)):
            if sequence != reached + 1:
                self._problems.append(f"the log has a gap: {sequence} follows {reached}")
            reached, rows, size = sequence, rows + 1, size + (len(payload) if isinstance(payload, bytes) else 0)
            try:
                unframe_batch(sequence, payload, checksum)
            except DecodeError as error:
                self._problems.append(str(error))
        lost = sqlite_file.lost_part(self._path, self._db, reached)
        if lost is not None:
            self._problems.append(f"the {lost}")
        return reached, rows, size

    def _tables(self, header: Header) -> tuple[TableReport, ...]:
        sums: dict[str, TableSummary] = {}
        sizes: dict[str, int] = {}
        for name_bytes, key, value, checksum in self._db.execute("SELECT name, key, value, checksum FROM state"):
            name = bytes(name_bytes).decode("utf-8", "replace")
            try:
                sqlite_file.checked_row(self._path, name, key, value, checksum)
            except StoreError as error:
                self._problems.append(error.why)
                continue
            sums[name] = sums.get(name, TableSummary()).replaced(None, checksum)
            sizes[name] = sizes.get(name, 0) + len(key) + len(value)
        for name in sorted({*sums, *header.tables}):
            found, written = sums.get(name, TableSummary()), header.tables.get(name, TableSummary())
            if found != written:
                self._problems.append(
                    f"table {name} has {found.rows} records that do not add up to the {written.rows} written"
                )
        return tuple(TableReport(name, sums[name].rows, sizes[name]) for name in sorted(sums))
