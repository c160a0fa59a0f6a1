"""What a check of a database finds, and how it is told without showing what the database holds."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pyln_fast.persist import directory as disk
from pyln_fast.persist.kv_store import StoreError
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


class Problems:
    """Collects the lines."""

    def __init__(self, directory: Path) -> None:
        self.lines: list[str] = []
        self._tail_path = directory / disk.TAIL

    def durable(self, store_id: bytes, sequence: int) -> int:
        """What the tail file says, against a log that reaches `sequence`."""
        try:
            durable = read_tail(self._tail_path, self._tail_path.read_bytes(), store_id)
        except OSError as error:
            self.lines.append(f"{self._tail_path}: {error.strerror}")
            return -1
        except StoreError as error:
            self.lines.append(str(error))
            return -1
        if durable > sequence:
            self.lines.append(f"the log ends at batch {sequence}, but {durable} was durable: a part is lost")
        return durable

    def first(self) -> tuple[str, ...]:
        return tuple(self.lines[:MAX_PROBLEMS])


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
