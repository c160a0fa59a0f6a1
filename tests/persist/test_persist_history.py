"""What is long past costs nothing: neither a start, nor a write, nor a look-up grows with what the tables hold."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from pyln_fast.persist import sqlite_file
from pyln_fast.persist.check import check
from pyln_fast.persist.filesystem_store import FilesystemStore
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.manifest import BlockRef
from pyln_fast.persist.run_file import Run
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.records import Batch, Delete, Put

HISTORY = "finished_payments"
RECORDS_A_BATCH = 50
WITHOUT_ROWID = "PRIMARY KEY (name, key)\n) WITHOUT ROWID;"


def open_store(directory: Path) -> SqliteStore:
    return SqliteStore(directory, reserve_bytes=0, low_space_bytes=0)


def keys(seed: int, count: int) -> list[bytes]:
    """As PaymentIds are: nobody can tell where the next one belongs."""
    source = random.Random(seed)
    return [source.randbytes(32) for _ in range(count)]


def fill(store: JournalStore, history: list[bytes]) -> None:
    """That history, and three channels."""
    for first in range(0, len(history), RECORDS_A_BATCH):
        records = tuple(Put(HISTORY, key, key * 16) for key in history[first : first + RECORDS_A_BATCH])
        store.append(Batch(store.sequence + 1, records))
        checkpoint(store)
    store.append(Batch(store.sequence + 1, tuple(Put("channels", b"%d" % n, bytes(1500)) for n in range(3))))
    checkpoint(store)


def checkpoint(store: JournalStore) -> None:
    while store.checkpoint():
        pass


def pages_written(store: SqliteStore) -> int:
    """Into SQLite's own log, since it was folded last."""
    return int(store._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])


class Steps:
    """Counts what SQLite does: instructions of its virtual machine, each of which is at most a step over one record."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._taken = 0
        connect = sqlite_file.connect

        def counted(path: Path) -> sqlite3.Connection:
            db = connect(path)
            db.set_progress_handler(self._step, 1)
            return db

        monkeypatch.setattr(sqlite_file, "connect", counted)

    def _step(self) -> None:
        self._taken += 1

    def take(self) -> int:
        taken, self._taken = self._taken, 0
        return taken


def test_a_start_and_a_look_up_take_the_same_steps_whatever_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    starts, look_ups = [], []
    for count in (100, 3000):
        history = keys(count, count)
        directory = tmp_path / str(count)
        store = open_store(directory)
        fill(store, history)
        store.close()
        steps.take()
        store = open_store(directory)
        assert {name: len(records) for name, records in store.load(["channels", "payments"]).tables.items()} == {
            "channels": 3,
            "payments": 0,
        }
        starts.append(steps.take())
        assert store.read(HISTORY, history[0]) == history[0] * 16
        assert store.read(HISTORY, bytes(32)) is None
        look_ups.append(steps.take())
        assert len(store.scan(HISTORY)) == count
        assert steps.take() > count, "it would have been noticed"
        store.close()
    assert starts[0] == starts[1]
    assert look_ups[0] == look_ups[1]


def test_a_page_takes_the_same_steps_whatever_the_history_and_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    taken = set()
    for count in (100, 3000):
        history = sorted(keys(count, count))
        store = open_store(tmp_path / str(count))
        fill(store, history)
        for first in (0, count // 2, count - 30):
            steps.take()
            page = store.scan(HISTORY, after=history[first], limit=20)
            assert page == [(key, key * 16) for key in history[first + 1 : first + 21]]
            taken.add(steps.take())
        store.close()
    assert len(taken) == 1


def test_a_page_reads_few_blocks_of_runs_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each run those on the way to its rows, and those that hold them."""
    history = sorted(keys(7, 4000))
    store = FilesystemStore(tmp_path, reserve_bytes=0, low_space_bytes=0)
    fill(store, history)
    read: list[Run] = []
    block = Run._block

    def counted(run: Run, ref: BlockRef) -> bytes:
        read.append(run)
        return block(run, ref)

    monkeypatch.setattr(Run, "_block", counted)
    for first in (0, 2000, 3979):
        read.clear()
        page = store.scan(HISTORY, after=history[first], limit=20)
        assert page == [(key, key * 16) for key in history[first + 1 : first + 21]]
        assert max(read.count(run) for run in read) <= 4
    read.clear()
    assert len(store.scan(HISTORY)) == len(history)
    assert max(read.count(run) for run in read) > 50, "it would have been noticed"
    store.close()


def test_a_record_costs_the_same_pages_whatever_the_history(tmp_path: Path) -> None:
    """One page of keys each, for they are scattered; their records lie together."""
    store = open_store(tmp_path)
    fill(store, keys(1, 6000))
    pages_written(store)
    records = tuple(Put(HISTORY, key, key * 16) for key in keys(2, 64))
    store.append(Batch(store.sequence + 1, records))
    pages_written(store)
    checkpoint(store)
    assert pages_written(store) <= 64 * 3 // 2
    store.close()


def test_a_database_made_without_rowids_is_written_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older databases are like that: they are slower, and as good."""
    now = "PRIMARY KEY (name, key)\n);"
    assert now in sqlite_file._SCHEMA
    monkeypatch.setattr(sqlite_file, "_SCHEMA", sqlite_file._SCHEMA.replace(now, WITHOUT_ROWID))
    store = open_store(tmp_path)
    history = keys(3, 200)
    fill(store, history)
    changes = (Put("channels", b"0", b"new"), Delete("channels", b"1"), Put("channels", b"3", b"three"))
    store.append(Batch(store.sequence + 1, changes))
    checkpoint(store)
    with pytest.raises(sqlite3.OperationalError, match="rowid"):
        store._db.execute("SELECT rowid FROM state")
    store.close()
    monkeypatch.undo()
    assert check(tmp_path).problems == ()
    again = open_store(tmp_path)
    assert again.load(["channels"]).tables == {"channels": {b"0": b"new", b"2": bytes(1500), b"3": b"three"}}
    assert again.read(HISTORY, history[77]) == history[77] * 16
    again.close()
