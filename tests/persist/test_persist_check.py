from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from pyln_fast.persist.check import check
from pyln_fast.persist.kv_store import DatabaseDamaged, DatabaseLocked
from pyln_fast.persist.report import TableReport, describe
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.records import Batch, Put


def made(directory: Path) -> SqliteStore:
    """20 batches, of which the tables have 10."""
    store = SqliteStore(directory, reserve_bytes=0, low_space_bytes=0)
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


def test_a_whole_database_is_described_without_what_it_holds(tmp_path: Path) -> None:
    made(tmp_path).close()
    report = check(tmp_path)
    assert report.whole
    assert (report.sequence, report.checkpoint, report.durable_sequence, report.tail_rows) == (20, 11, 20, 9)
    assert report.tables == (TableReport("channels", 7, 7 * 32), TableReport("revoked", 1, 7))
    text = describe(report)
    assert text.splitlines()[0] == f"{tmp_path / 'node.db'}: whole"
    assert "secret" not in text
    assert check(tmp_path) == report
    SqliteStore(tmp_path, reserve_bytes=0).close()


def test_a_database_in_use_is_not_checked(tmp_path: Path) -> None:
    store = made(tmp_path)
    with pytest.raises(DatabaseLocked):
        check(tmp_path)
    store.close()


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
    made(tmp_path).close()
    damage(tmp_path, statement)
    report = check(tmp_path)
    assert report.problems == problems
    assert describe(report).count("problem: ") == len(problems)


def test_a_missing_tail_file_is_a_problem(tmp_path: Path) -> None:
    made(tmp_path).close()
    (tmp_path / "tail").unlink()
    report = check(tmp_path)
    assert report.durable_sequence == -1
    assert report.problems == (f"{tmp_path / 'tail'}: No such file or directory",)


def test_pages_that_sqlite_cannot_follow_are_a_problem_or_an_error(tmp_path: Path) -> None:
    made(tmp_path).close()
    whole = (tmp_path / "node.db").read_bytes()
    for page in range(1, len(whole) // 4096):
        data = bytearray(whole)
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
        (tmp_path / "node.db").write_bytes(data)
        with contextlib.suppress(DatabaseDamaged):
            assert not check(tmp_path).whole
