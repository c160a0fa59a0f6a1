"""`db check`: verify a database that no node has open, and describe it without showing what it holds."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from pyln_fast.errors import DecodeError
from pyln_fast.persist import directory as disk
from pyln_fast.persist import sqlite_file
from pyln_fast.persist.kv_store import DatabaseDamaged, StoreError
from pyln_fast.persist.records import FORMAT_VERSION, Header, TableSummary, unframe_batch
from pyln_fast.persist.tail_file import read_tail

MAX_PROBLEMS = 100
"""A database with more is not told apart by the rest of them."""


class TableReport(msgspec.Struct, frozen=True):
    """What the tables hold; what only the log has yet is not in it."""

    name: str
    records: int
    bytes: int


class DatabaseReport(msgspec.Struct, frozen=True):
    """`problems` is empty for a database that a node would start with, and every line names what is wrong."""

    path: Path
    format_version: int
    record_version: int
    sequence: int
    checkpoint: int
    durable_sequence: int
    """What the tail file says; -1 if it cannot be read."""
    tail_rows: int
    tail_bytes: int
    file_bytes: int
    tables: tuple[TableReport, ...]
    problems: tuple[str, ...]

    @property
    def whole(self) -> bool:
        return not self.problems


def check(directory: Path) -> DatabaseReport:
    """Read every page, row and checksum, history included. Changes no record, and keeps what SQLite drops.

    Raises DatabaseLocked while a node runs, and another StoreError if there is too little left to describe.
    """
    path = directory / disk.StoreKind.SQLITE.file
    if not path.is_file():
        raise DatabaseDamaged(path, "there is no database")
    lock = disk.DirectoryLock(directory)
    try:
        sqlite_file.keep_wal(path)
        with sqlite_file.translated(path):
            db = sqlite_file.connect(path)
            try:
                report = _Check(directory, path, db).report()
            finally:
                db.close()
        if report.whole:
            sqlite_file.forget_wal(path)
        return report
    finally:
        lock.close()


class _Check:
    def __init__(self, directory: Path, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._tail_path = directory / disk.TAIL
        self._db = db
        self._problems: list[str] = []

    def report(self) -> DatabaseReport:
        header = sqlite_file.read_header(self._path, self._db)
        file_bytes = self._path.stat().st_size
        self._pages()
        sequence, rows, size = self._log(header)
        durable = self._durable(header, sequence)
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
            problems=tuple(self._problems[:MAX_PROBLEMS]),
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
        return reached, rows, size

    def _durable(self, header: Header, sequence: int) -> int:
        try:
            durable = read_tail(self._tail_path, self._tail_path.read_bytes(), header.store_id)
        except OSError as error:
            self._problems.append(f"{self._tail_path}: {error.strerror}")
            return -1
        except StoreError as error:
            self._problems.append(str(error))
            return -1
        if durable > sequence:
            self._problems.append(f"the log ends at batch {sequence}, but {durable} was durable: a part is lost")
        return durable

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


def describe(report: DatabaseReport) -> str:
    """Lines for people: what there is, then what is wrong with it."""
    lines = [
        f"{report.path}: {'whole' if report.whole else f'DAMAGED, {len(report.problems)} problems'}",
        f"format {report.format_version}, records of version {report.record_version}, {report.file_bytes} bytes",
        f"batch {report.sequence} is the last, {report.durable_sequence} the last known to be durable",
        f"tables reach batch {report.checkpoint}; {report.tail_rows} batches ({report.tail_bytes} bytes) to replay",
        *(f"table {table.name}: {table.records} records, {table.bytes} bytes" for table in report.tables),
        *(f"problem: {problem}" for problem in report.problems),
    ]
    return "\n".join(lines)
