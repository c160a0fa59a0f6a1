from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyln_fast.persist.check import check, find_database
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.filesystem_store import FilesystemStore
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import DatabaseDamaged, DatabaseLocked, StoreError
from pyln_fast.persist.report import TableReport, describe
from pyln_fast.persist.run_file import Run
from pyln_fast.persist.run_filter import RunFilter
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.persist.stores import STORES
from pyln_fast.records import Batch, Put
from tests.persist.conftest import OpenStore


def made(store: JournalStore) -> JournalStore:
    """20 batches, of which the tables have 11."""
    for sequence in range(1, 21):
        store.append(Batch(sequence, (Put("channels", b"c%d" % (sequence % 7), b"secret" * 5),)))
        if sequence == 10:
            store.append(Batch(11, (Put("revoked", b"r", b"secret"),)))
            while store.checkpoint():
                pass
            break
    for sequence in range(12, 21):
        store.append(Batch(sequence, (Put("channels", b"c%d" % (sequence % 7), b"secret" * 5),)))
    return store


def damage(directory: Path, statement: str) -> None:
    db = sqlite3.connect(directory / "node.db", isolation_level=None)
    db.execute(statement)
    db.close()


def test_a_whole_database_is_described_without_what_it_holds(
    tmp_path: Path, kind: StoreKind, open_store: OpenStore
) -> None:
    made(open_store(tmp_path)).close()
    report = check(tmp_path)
    assert report.whole
    assert (report.sequence, report.checkpoint, report.durable_sequence, report.tail_rows) == (20, 11, 20, 9)
    assert report.tables == (TableReport("channels", 7, 7 * 32), TableReport("revoked", 1, 7))
    text = describe(report)
    assert text.splitlines()[0] == f"{tmp_path / kind.file}: whole"
    assert "secret" not in text
    assert check(tmp_path) == report
    assert open_store(tmp_path).sequence == 20


def test_a_database_in_use_is_not_checked(tmp_path: Path, open_store: OpenStore) -> None:
    made(open_store(tmp_path))
    with pytest.raises(DatabaseLocked):
        check(tmp_path)


def test_no_database_is_not_made_into_one(tmp_path: Path) -> None:
    with pytest.raises(DatabaseDamaged, match="there is no database"):
        check(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "problems"),
    [
        ("DELETE FROM log WHERE sequence = 15", ("the log has a gap: 16 follows 14",)),
        ("DELETE FROM log WHERE sequence = 20", ("the log ends at batch 19, but 20 was durable: a part is lost",)),
        ("UPDATE log SET checksum = x'00' WHERE sequence = 15", ("log row 15: its checksum does not match",)),
        (
            "UPDATE state SET value = x'00' WHERE name = 'revoked'",
            (
                "a record of table revoked does not match its checksum",
                "table revoked has 0 records that do not add up to the 1 written",
            ),
        ),
        (
            "DELETE FROM state WHERE key = x'6331'",
            ("table channels has 6 records that do not add up to the 7 written",),
        ),
    ],
)
def test_damage_is_found_in_history_too(tmp_path: Path, statement: str, problems: tuple[str, ...]) -> None:
    made(SqliteStore(tmp_path, reserve_bytes=0, low_space_bytes=0)).close()
    damage(tmp_path, statement)
    report = check(tmp_path)
    assert report.problems == problems
    assert describe(report).count("problem: ") == len(problems)


def test_a_missing_tail_file_is_a_problem(tmp_path: Path, open_store: OpenStore) -> None:
    made(open_store(tmp_path)).close()
    (tmp_path / "tail").unlink()
    report = check(tmp_path)
    assert report.durable_sequence == -1
    assert report.problems == (f"{tmp_path / 'tail'}: No such file or directory",)


def test_pages_that_sqlite_cannot_follow_are_a_problem_or_an_error(tmp_path: Path) -> None:
    made(SqliteStore(tmp_path, reserve_bytes=0, low_space_bytes=0)).close()
    whole = (tmp_path / "node.db").read_bytes()
    for page in range(1, len(whole) // 4096):
        data = bytearray(whole)
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
        (tmp_path / "node.db").write_bytes(data)
        with contextlib.suppress(DatabaseDamaged):
            assert not check(tmp_path).whole


PART = "the log ends at batch {}, but 20 was durable: a part is lost"
LOG, RUN = f"log-{12:020}", "run-000000000001"


@pytest.mark.parametrize(
    ("name", "at", "problems", "reached"),
    [
        (
            LOG,
            0,
            (f"{LOG}: its head is not that of this log: it is damaged, or of another database", PART.format(11)),
            11,
        ),
        (LOG, 60, (f"{LOG}: log row 12 is damaged, although row 13 follows", PART.format(11)), 11),
        (LOG, -1, (PART.format(19),), 19),
        (RUN, 0, (f"{RUN}: its block at byte 0 does not match its checksum",), 20),
        (RUN, 17, (f"{RUN}: its block at byte 16 does not match its checksum",), 20),
        (RUN, -1, (f"{RUN}: its block at byte 16 does not match its checksum",), 20),
    ],
)
def test_damage_of_files_is_found_in_history_too(
    tmp_path: Path, name: str, at: int, problems: tuple[str, ...], reached: int
) -> None:
    made(FilesystemStore(tmp_path, reserve_bytes=0, low_space_bytes=0)).close()
    path = tmp_path / name
    data = bytearray(path.read_bytes().rstrip(b"\0"))
    data[at] ^= 1
    path.write_bytes(data)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    report = check(tmp_path)
    assert tuple(problem.removeprefix(f"{tmp_path}/") for problem in report.problems) == problems
    assert report.sequence == reached
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_that_is_missing_is_a_problem_and_a_manifest_leaves_nothing_to_describe(tmp_path: Path) -> None:
    made(FilesystemStore(tmp_path, reserve_bytes=0, low_space_bytes=0)).close()
    (tmp_path / RUN).unlink()
    report = check(tmp_path)
    assert (report.problems, report.tables) == ((f"{tmp_path / RUN}: it is missing",), ())
    (tmp_path / "manifest").unlink()
    with pytest.raises(DatabaseDamaged, match="its database is missing, although its tail file is there"):
        check(tmp_path)


def test_a_filter_that_hides_a_row_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFilter, "add", lambda self, key: None)
    made(FilesystemStore(tmp_path, reserve_bytes=0, low_space_bytes=0)).close()
    assert check(tmp_path).problems == (f"{tmp_path / RUN}: its filter hides a row",)


def test_a_run_that_cannot_be_read_is_a_problem_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = STORES[StoreKind.FILESYSTEM](tmp_path, reserve_bytes=0, low_space_bytes=0)
    store.append(Batch(1, (Put("payments", b"1", b"1"),)))
    while store.tail_rows:
        store.checkpoint()
    store.close()

    def fails(self: Run) -> Iterator[object]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Run, "rows", fails)
    assert check(tmp_path).problems == (f"{tmp_path / 'run-000000000001'}: Input/output error",)


def test_a_directory_that_one_may_not_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exists(self: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", exists)
    with pytest.raises(StoreError, match=f"^{re.escape(str(tmp_path))}: it cannot be read: Permission denied$"):
        find_database(tmp_path)
