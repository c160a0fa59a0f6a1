from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from pyln_fast.persist.kv_store import (
    DatabaseDamaged,
    DatabaseLocked,
    DatabaseNewer,
    DatabaseUnwritable,
    LoadedState,
    StoreError,
)
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.records import Batch, Delete, Put
from tests.persist.batches import batch, fill, one_line


def open_store(directory: Path) -> SqliteStore:
    return SqliteStore(directory, reserve_bytes=0, low_space_bytes=0)


def filled(directory: Path, batches: int, checkpoint_until: int = 0) -> dict[bytes, bytes]:
    """A database of so many batches, cleanly closed; what its table `channels` holds."""
    return fill(open_store(directory), batches, checkpoint_until)


def test_a_hot_key_is_written_once_a_checkpoint_and_the_log_shrinks(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for sequence in range(1, 601):
        store.append(Batch(sequence, (Put("channels", b"hot", b"%d" % sequence),)))
    assert store.checkpoint_due
    assert not store.checkpoint_urgent
    slices = 1
    while store.checkpoint():
        slices += 1
    assert slices == 2  # the log's rows: 512 a slice
    assert store.tail_rows == 0
    store.close()
    with sqlite3.connect(tmp_path / "node.db") as db:
        assert db.execute("SELECT count(*) FROM log").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM state").fetchone() == (1,)
    db.close()
    again = open_store(tmp_path)
    assert again.load() == LoadedState({"channels": {b"hot": b"600"}}, 600)
    again.close()


@pytest.mark.parametrize(("slices", "reached"), [(1, 0), (2, 0), (3, 3)])
def test_a_slice_does_not_reach_past_what_is_left_over(tmp_path: Path, slices: int, reached: int) -> None:
    keys = [b"%03d" % n for n in range(150)]
    store, model = open_store(tmp_path), MemoryStore()
    for new in (
        Batch(1, tuple(Put("channels", key, b"old") for key in keys)),
        Batch(2, tuple(Put("channels", key, b"new") for key in (keys[64], keys[128]))),
        Batch(3, (Delete("channels", keys[149]), Delete("channels", keys[0]))),
    ):
        store.append(new)
        model.append(new)
    for _ in range(slices):
        store.checkpoint()
    assert store._header.checkpoint == reached
    assert store.load() == model.load()
    store.close()
    store = open_store(tmp_path)
    assert store.load() == model.load()
    store.close()


def test_every_commit_is_synced(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == (b"wal",)
    store.close()


def test_a_reader_of_the_sqlite_file_is_named_as_a_lock(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    reader = sqlite3.connect(tmp_path / "node.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM log").fetchone()
    with pytest.raises(DatabaseLocked):
        open_store(tmp_path).append(batch(4))
    reader.close()
    open_store(tmp_path).close()


@pytest.mark.parametrize("pragma", ["user_version = 2", "user_version = 900"])
def test_a_newer_format_is_refused(tmp_path: Path, pragma: str) -> None:
    filled(tmp_path, 3)
    _sql(tmp_path, f"PRAGMA {pragma}")
    with pytest.raises(DatabaseNewer, match=r"node\.db: it has format \d+; this program reads formats up to 1$"):
        open_store(tmp_path)


def test_newer_records_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyln_fast.persist.sqlite_store.RECORD_VERSION", 2)
    filled(tmp_path, 3, checkpoint_until=3)
    monkeypatch.undo()
    with pytest.raises(DatabaseNewer, match=r"its records have version 2; this program reads versions up to 1$"):
        open_store(tmp_path)


def _sql(directory: Path, *statements: str) -> None:
    db = sqlite3.connect(directory / "node.db", isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM log WHERE sequence = 20", "its log ends at batch 19, but 20 was durable: a part is lost"),
        ("DELETE FROM log WHERE sequence = 15", "its log has a gap: 16 follows 14"),
        ("DELETE FROM log", "its log ends at batch 10, but 20 was durable: a part is lost"),
        ("UPDATE log SET payload = payload || x'00' WHERE sequence = 15", "log row 15: its checksum does not match"),
        ("UPDATE log SET payload = 5 WHERE sequence = 15", "log row 15: its checksum does not match"),
        ("UPDATE log SET sequence = -1 WHERE sequence = 20", "its log ends at batch 19, but 20 was durable"),
        (
            "UPDATE state SET value = x'00' WHERE key = x'6331'",
            "a record of table channels does not match",
        ),
        ("UPDATE state SET value = 'text' WHERE key = x'6331'", "a record of table channels does not match"),
        ("UPDATE state SET name = 'payments' WHERE key = x'6331'", "do not add up to the 7 written"),
        ("DELETE FROM state WHERE key = x'6331'", "table channels has 6 records that do not add up to the 7 written"),
        ("UPDATE header SET payload = payload || x'00'", "the header: its checksum does not match"),
        ("DELETE FROM header", "it has 0 headers, not one"),
        ("DROP TABLE log", "no such table: log"),
        ("PRAGMA application_id = 1", "it is not a database of this program"),
        ("PRAGMA user_version = 0", "its format 0 is unknown"),
    ],
)
def test_damage_inside_the_database_is_refused(tmp_path: Path, statement: str, why: str) -> None:
    filled(tmp_path, 20, checkpoint_until=10)
    _sql(tmp_path, statement)
    with pytest.raises(DatabaseDamaged, match=why) as caught:
        open_store(tmp_path).load()
    one_line(caught.value, tmp_path)


def test_a_whole_row_that_is_repeated_under_another_number_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 5)
    _sql(tmp_path, "UPDATE log SET payload = (SELECT payload FROM log WHERE sequence = 2) WHERE sequence = 3")
    with pytest.raises(DatabaseDamaged, match="log row 3: its checksum does not match"):
        open_store(tmp_path)


def running_copy(tmp_path: Path) -> tuple[Path, dict[str, bytes], dict[bytes, bytes]]:
    """The files of a database as a kill leaves them: a write-ahead log with checkpoints and 30 batches in it."""
    live = tmp_path / "live"
    store = open_store(live)
    for sequence in range(1, 31):
        store.append(batch(sequence))
        if sequence == 12:
            store.checkpoint()
    files = {name: (live / name).read_bytes() for name in ("node.db", "node.db-wal", "tail")}
    expected = store.load().tables["channels"]
    store.close()
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    return copy, files, expected


def outcome(copy: Path, files: dict[str, bytes]) -> LoadedState | StoreError:
    for path in copy.iterdir():
        path.unlink()
    for name, data in files.items():
        (copy / name).write_bytes(data)
    try:
        store = open_store(copy)
    except StoreError as error:
        one_line(error, copy)
        return error
    try:
        return store.load()
    except StoreError as error:
        return error
    finally:
        store.close()


def test_a_damaged_log_of_sqlite_is_kept_for_repair(tmp_path: Path) -> None:
    copy, files, expected = running_copy(tmp_path)
    damaged = bytearray(files["node.db-wal"])
    damaged[-2000] ^= 1
    for _ in range(2):
        result = outcome(copy, {**files, "node.db-wal": bytes(damaged)})
        assert isinstance(result, DatabaseDamaged)
        assert (copy / "node.db-wal.kept").read_bytes() == bytes(damaged)
    with pytest.raises(DatabaseDamaged):
        open_store(copy)
    assert (copy / "node.db-wal.kept").read_bytes() == bytes(damaged)
    assert outcome(copy, files) == LoadedState({"channels": expected}, 30)
    assert not (copy / "node.db-wal.kept").exists()


def test_bits_flipped_in_a_folded_database_are_refused_or_change_nothing(tmp_path: Path) -> None:
    """Without a write-ahead log every record lies in the database file, whose pages SQLite does not check."""
    expected = filled(tmp_path / "live", 40, checkpoint_until=30)
    whole = LoadedState({"channels": expected}, 40)
    files = {name: (tmp_path / "live" / name).read_bytes() for name in ("node.db", "tail")}
    (tmp_path / "copy").mkdir(mode=0o700)
    chance = random.Random(8)
    refused = 0
    for _ in range(150):
        data = bytearray(files["node.db"])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        result = outcome(tmp_path / "copy", {**files, "node.db": bytes(data)})
        assert isinstance(result, StoreError) or result == whole
        refused += isinstance(result, StoreError)
    assert refused > 10


def test_a_failed_write_is_the_last(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(batch(1))
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(DatabaseUnwritable) as caught:
        store.append(batch(2))
    one_line(caught.value, tmp_path)
    store._db.execute("PRAGMA query_only = OFF")
    for again in (lambda: store.append(batch(2)), store.checkpoint, store.idle):
        with pytest.raises(DatabaseUnwritable):
            again()
    assert store.sequence == 1
    assert store.read("channels", b"c1") is not None
    store.close()
    store = open_store(tmp_path)
    assert store.load().sequence == 1
    store.close()


def test_a_failed_checkpoint_is_the_last_write_and_leaves_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    for sequence in range(1, 10):
        store.append(batch(sequence))
    expected = store.load()
    monkeypatch.setattr("pyln_fast.persist.sqlite_store.frame_header", lambda header: (None, None))
    with pytest.raises(StoreError):
        store.checkpoint()
    monkeypatch.undo()
    with pytest.raises(StoreError):
        store.append(batch(10))
    assert store.load() == expected
    store.close()
    again = open_store(tmp_path)
    assert again.load() == expected
    again.close()


def test_rows_are_made_durable_before_a_start_builds_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process may have written a row and not synced it: it is read, and power may fail later."""
    copy, files, _ = running_copy(tmp_path)
    for name, data in files.items():
        (copy / name).write_bytes(data)
    synced: list[str] = []
    true = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")) or true(fd))
    open_store(copy).close()
    assert synced[0] == str(copy / "node.db-wal")


def test_what_sqlite_drops_of_its_log_is_missed(tmp_path: Path) -> None:
    """SQLite ends a damaged log before the damage without a word; the tail file says what was there."""
    copy, files, _ = running_copy(tmp_path)
    for cut in (1, 24, 4096 + 24):
        result = outcome(copy, {**files, "node.db-wal": files["node.db-wal"][:-cut]})
        assert isinstance(result, DatabaseDamaged)
        assert "its log ends at batch 29, but 30 was durable: a part is lost" in str(result)
    without_wal = {name: data for name, data in files.items() if name != "node.db-wal"}
    assert isinstance(outcome(copy, without_wal), StoreError)
