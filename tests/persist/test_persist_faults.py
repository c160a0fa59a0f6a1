"""Both stores on disks that fail: one clear line, nothing reported durable, nothing lost, nothing written after it."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyln_fast.persist import directory as disk
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import DatabaseLocked, DatabaseNewer, DatabaseUnwritable, DiskFull, StoreError
from pyln_fast.persist.manifest import read_manifest
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.persist.store_writer import StoreWriter
from pyln_fast.persist.stores import STORES
from pyln_fast.records import Batch, Put
from tests.persist.batches import batch, fill, one_line
from tests.persist.conftest import OpenStore
from tests.persist.test_persist_damage import files_of

SQLITE_ERRORS = {
    errno.ENOSPC: (sqlite3.SQLITE_FULL, "SQLITE_FULL", "database or disk is full"),
    errno.EIO: (sqlite3.SQLITE_IOERR, "SQLITE_IOERR_FSYNC", "disk I/O error"),
    errno.EROFS: (sqlite3.SQLITE_READONLY, "SQLITE_READONLY", "attempt to write a readonly database"),
}
WRITES = ("write", "pwrite", "posix_fallocate", "fsync", "fdatasync", "replace")


class Failing:
    """A connection that fails whatever writes. A rollback works."""

    def __init__(self, true: sqlite3.Connection, number: int) -> None:
        self._true = true
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._true, name)

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement.startswith(("INSERT", "COMMIT")):
            code, name, text = SQLITE_ERRORS[self._number]
            error = sqlite3.OperationalError(text)
            error.sqlite_errorcode, error.sqlite_errorname = code, name
            raise error
        return self._true.execute(statement, *arguments)


def break_disk(patch: pytest.MonkeyPatch, store: JournalStore, number: int, calls: tuple[str, ...] = WRITES) -> None:
    """From now on what writes fails with that errno, or with SQLite's error for it."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    if isinstance(store, SqliteStore):
        patch.setattr(store, "_db", Failing(store._db, number))
    else:
        for name in calls:
            patch.setattr(os, name, fail)


FAULTS = [
    (errno.ENOSPC, DiskFull, "the disk is full"),
    (errno.EIO, DatabaseUnwritable, "it cannot be written: "),
    (errno.EROFS, DatabaseUnwritable, "it cannot be written: "),
]


@pytest.mark.parametrize(("number", "error_type", "why"), FAULTS)
@pytest.mark.parametrize("job", ["append", "checkpoint"])
def test_a_failed_write_is_the_last_and_loses_nothing(
    tmp_path: Path, open_store: OpenStore, number: int, error_type: type[StoreError], why: str, job: str
) -> None:
    store = open_store(tmp_path)
    for sequence in range(1, 6):
        store.append(batch(sequence))
    while store.checkpoint():
        pass
    store.append(batch(6))
    expected = store.load()
    write: Callable[[], object] = (lambda: store.append(batch(7))) if job == "append" else store.checkpoint
    with pytest.MonkeyPatch.context() as patch:
        break_disk(patch, store, number)
        with pytest.raises(error_type) as caught:
            write()
    one_line(caught.value, tmp_path)
    assert caught.value.why.startswith(why)
    before = files_of(tmp_path)
    for again in (lambda: store.append(batch(7)), store.checkpoint, store.idle):
        with pytest.raises(error_type) as repeated:
            again()
        assert repeated.value is caught.value
    assert files_of(tmp_path) == before
    assert store.sequence == 6
    assert store.load() == expected
    store.close()
    again_opened = open_store(tmp_path)
    assert again_opened.load() == expected
    again_opened.append(batch(7))


def flush(store: JournalStore) -> None:
    while store.tail_rows:
        store.checkpoint()


@pytest.mark.parametrize("call", WRITES)
def test_whichever_call_fails_in_a_checkpoint_on_files(tmp_path: Path, call: str) -> None:
    def open_it() -> JournalStore:
        return STORES[StoreKind.FILESYSTEM](tmp_path, reserve_bytes=0, low_space_bytes=0)

    store = open_it()
    for sequence in range(1, 6):
        store.append(batch(sequence))
    flush(store)
    for sequence in range(6, 20):
        store.append(batch(sequence))
    expected = store.load()
    with pytest.MonkeyPatch.context() as patch:
        break_disk(patch, store, errno.EIO, (call,))
        if call == "posix_fallocate":  # the first row of the new log allocates
            flush(store)
            with pytest.raises(DatabaseUnwritable):
                store.append(batch(20))
        else:
            with pytest.raises(DatabaseUnwritable):
                flush(store)
    assert store.load() == expected
    store.close()
    store = open_it()
    assert store.load() == expected
    store.close()


class FailsAt:
    """A disk on which the call of that number fails, and every later one. What a call of ours should do may be done."""

    def __init__(self, patch: pytest.MonkeyPatch, store: JournalStore, at: int, number: int, done: bool) -> None:
        self.calls = 0
        self._at = at
        self._done = done
        self._number = number
        if isinstance(store, SqliteStore):
            patch.setattr(store, "_db", SimpleNamespace(execute=self._statement(store._db), in_transaction=True))
        for name in (*WRITES, "rename", "ftruncate"):
            patch.setattr(os, name, self._call(getattr(os, name)))

    def _failing(self) -> bool:
        self.calls += 1
        return self.calls >= self._at

    def _statement(self, true: sqlite3.Connection) -> Callable[..., Any]:
        def execute(statement: str, *arguments: Any) -> Any:
            if not statement.startswith(("INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT")) or not self._failing():
                return true.execute(statement, *arguments)
            code, name, text = SQLITE_ERRORS[self._number]
            error = sqlite3.OperationalError(text)
            error.sqlite_errorcode, error.sqlite_errorname = code, name
            raise error

        return execute

    def _call(self, true: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if not self._failing():
                return true(*arguments, **options)
            if self._done and self.calls == self._at:
                true(*arguments, **options)
            raise OSError(self._number, os.strerror(self._number))

        return call


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(("number", "error_type", "why"), FAULTS[:2])
@pytest.mark.parametrize("job", ["append", "checkpoint"])
def test_whichever_call_fails_to_the_very_last_it_is_the_last_write_and_loses_nothing(
    tmp_path: Path, kind: StoreKind, number: int, error_type: type[StoreError], why: str, job: str, done: bool
) -> None:
    """A sync that fails may have written: then a batch that nobody was told of may be found, as after a crash."""

    def open_it() -> JournalStore:
        return STORES[kind](directory, reserve_bytes=0, low_space_bytes=0)

    failed, at = 0, 0
    while failed == at:
        at += 1
        directory = tmp_path / str(at)
        store = open_it()
        for sequence in range(1, 6):
            store.append(batch(sequence))
        flush(store)
        for sequence in range(6, 64):
            store.append(batch(sequence))
        expected, more = store.load().tables, MemoryStore(batch(sequence) for sequence in range(1, 65)).load().tables
        with pytest.MonkeyPatch.context() as patch:
            disk_fails = FailsAt(patch, store, at, number, done)
            try:
                if job == "append":  # with the tail file's sync
                    store.append(batch(64))
                else:
                    flush(store)
            except error_type as caught:
                one_line(caught, directory)
                failed += 1
        if failed == at:
            for again in (partial(store.append, batch(64)), store.checkpoint, store.idle):
                with pytest.raises(error_type):
                    again()
            assert (store.sequence, store.load().tables) == (63, expected)
        else:
            assert disk_fails.calls == at - 1 >= 3
        store.close()
        store = open_it()
        found = (store.sequence, store.load().tables)
        if job == "append" and failed < at:
            assert found == (64, more)
        else:
            assert found in ((63, expected), (64, more))
        store.append(batch(store.sequence + 1))
        store.close()


@pytest.mark.parametrize(("number", "error_type", "why"), FAULTS)
def test_a_writer_reports_nothing_durable(
    tmp_path: Path, open_store: OpenStore, number: int, error_type: type[StoreError], why: str
) -> None:
    store = open_store(tmp_path)
    told: list[tuple[int, StoreError | None]] = []
    done = threading.Semaphore(0)

    def on_done(sequence: int, error: StoreError | None) -> None:
        told.append((sequence, error))
        done.release()

    writer = StoreWriter(store, lambda error: None)
    try:
        writer.submit(batch(1), on_done)
        assert done.acquire(timeout=30)
        with pytest.MonkeyPatch.context() as patch:
            break_disk(patch, store, number)
            for sequence in (2, 3):
                writer.submit(batch(sequence), on_done)
                assert done.acquire(timeout=30)
    finally:
        writer.close()
    assert told[0] == (1, None)
    (_, first), (_, second) = told[1:]
    assert isinstance(first, error_type)
    assert first.why.startswith(why)
    assert second is first
    assert open_store(tmp_path).sequence == 1


FILE_BYTES = 300_000
LIMITED = """
import resource, sys
from pathlib import Path
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.kv_store import StoreError
from pyln_fast.persist.stores import open_store
from pyln_fast.records import Batch, Put

store = open_store(Path(sys.argv[1]), StoreKind(sys.argv[2]), reserve_bytes=0, low_space_bytes=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    for sequence in range(1, 1000):
        store.append(Batch(sequence, (Put("payments", sequence.to_bytes(4, "big"), bytes([sequence % 256]) * 5000),)))
except StoreError as error:
    print(store.sequence, error, sep="\\n")
store.close()
"""


def test_files_that_may_not_grow_lose_nothing(tmp_path: Path, kind: StoreKind, open_store: OpenStore) -> None:
    """The kernel's own error in the middle of a write: RLIMIT_FSIZE."""
    limit = FILE_BYTES if kind is StoreKind.SQLITE else (1 << 20) + FILE_BYTES
    command = [sys.executable, "-c", LIMITED, str(tmp_path), kind.value, str(limit)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    written, line = run.stdout.splitlines()
    expected = {
        StoreKind.SQLITE: f"{tmp_path}/node.db: it cannot be written: disk I/O error (SQLITE_IOERR_WRITE)",
        StoreKind.FILESYSTEM: f"{tmp_path}/log-{1:020}: it cannot be written: File too large",
    }
    assert (line, run.stderr) == (expected[kind], "")
    assert int(written) > 10
    store = open_store(tmp_path)
    assert store.sequence == int(written)
    found = store.load().tables["payments"]
    assert found == {n.to_bytes(4, "big"): bytes([n % 256]) * 5000 for n in range(1, int(written) + 1)}
    store.append(Batch(store.sequence + 1, (Put("payments", b"last", b"1"),)))


def test_a_full_disk_by_sqlites_word(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, reserve_bytes=0, low_space_bytes=0)
    store._db.execute("PRAGMA max_page_count = 40")

    def fill_it() -> None:
        for sequence in range(1, 100):
            store.append(Batch(sequence, (Put("payments", sequence.to_bytes(4, "big"), bytes(5000)),)))

    with pytest.raises(DiskFull) as caught:
        fill_it()
    assert str(caught.value) == f"{tmp_path / 'node.db'}: the disk is full (SQLITE_FULL)"
    written = store.sequence
    store.close()
    store = SqliteStore(tmp_path, reserve_bytes=0, low_space_bytes=0)
    assert (store.sequence, len(store.load().tables["payments"])) == (written, written)
    store.close()


def test_a_read_only_file_system_stops_the_start(
    tmp_path: Path, kind: StoreKind, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(open_store(tmp_path), 3)
    before = files_of(tmp_path)
    true = os.open

    def read_only(path: Any, flags: int, *rest: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return true(path, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    for _ in range(2):
        with pytest.raises(DatabaseUnwritable) as caught:
            STORES[kind](tmp_path)
        assert str(caught.value) == f"{tmp_path / 'lock'}: it cannot be written: Read-only file system"
    assert files_of(tmp_path) == before


class FakeDisk:
    """Of so many free bytes, in which a reserve counts."""

    def __init__(self, directory: Path, free: int) -> None:
        self._reserve = directory / disk.RESERVE
        self.free = free

    def statvfs(self, path: object) -> SimpleNamespace:
        held = self._reserve.stat().st_size if self._reserve.exists() else 0
        return SimpleNamespace(f_bavail=max(0, self.free - held), f_frsize=1)


def test_the_reserve_is_given_up_before_a_write_fails(
    tmp_path: Path, kind: StoreKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeDisk(tmp_path, 24 << 20)
    monkeypatch.setattr(os, "statvfs", fake.statvfs)
    store = STORES[kind](tmp_path, reserve_bytes=8 << 20, low_space_bytes=6 << 20)
    assert not store.low_space
    assert (tmp_path / "reserve").stat().st_size == 8 << 20
    fake.free = 13 << 20
    assert store.low_space
    store.append(batch(1))
    assert (tmp_path / "reserve").exists()
    fake.free = 11 << 20
    store.append(batch(2))
    assert not (tmp_path / "reserve").exists()
    store.idle()
    assert store.low_space, "the reserve is not taken while that would leave the disk low"
    assert not (tmp_path / "reserve").exists()
    fake.free = 24 << 20
    store.idle()
    assert not store.low_space
    assert (tmp_path / "reserve").stat().st_size == 8 << 20
    store.close()


def make_newer(directory: Path, kind: StoreKind) -> None:
    if kind is StoreKind.SQLITE:
        db = sqlite3.connect(directory / "node.db")
        db.execute("PRAGMA user_version = 2")
        db.close()
    else:
        path = directory / "manifest"
        assert read_manifest(path).checkpoint == 0
        path.write_bytes(path.read_bytes()[:8] + (2).to_bytes(4, "big") + b"what only a newer program knows")


def test_a_newer_database_is_left_alone(tmp_path: Path, kind: StoreKind, open_store: OpenStore) -> None:
    fill(open_store(tmp_path), 3)
    make_newer(tmp_path, kind)
    before = files_of(tmp_path)
    with pytest.raises(DatabaseNewer) as caught:
        open_store(tmp_path)
    one_line(caught.value, tmp_path)
    assert caught.value.why == "it has format 2; this program reads formats up to 1"
    assert files_of(tmp_path) == before


SECOND = """
import sys
from pathlib import Path
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.kv_store import DatabaseLocked
from pyln_fast.persist.stores import open_store
for kind in (StoreKind(sys.argv[2]), *StoreKind):
    try: open_store(Path(sys.argv[1]), kind)
    except DatabaseLocked as error: print(error)
"""


def test_a_second_process_changes_nothing(tmp_path: Path, kind: StoreKind, open_store: OpenStore) -> None:
    store = open_store(tmp_path)
    for sequence in range(1, 4):
        store.append(batch(sequence))
    before = files_of(tmp_path)
    command = [sys.executable, "-c", SECOND, str(tmp_path), kind.value]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    line = f"{tmp_path}: another process has it open (process {os.getpid()})"
    assert run.stdout.splitlines() == [line] * 3
    with pytest.raises(DatabaseLocked):
        open_store(tmp_path)
    assert files_of(tmp_path) == before
    store.append(batch(4))
    expected = store.load()
    store.close()
    assert open_store(tmp_path).load() == expected


def test_a_start_that_fails_at_its_reserve_leaves_nothing_open(
    tmp_path: Path, kind: StoreKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: disk.DiskReserve) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(disk.DiskReserve, "free_bytes", fails)
        with pytest.raises(StoreError, match="Input/output error"):
            STORES[kind](tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    STORES[kind](tmp_path, reserve_bytes=0, low_space_bytes=0).close()
