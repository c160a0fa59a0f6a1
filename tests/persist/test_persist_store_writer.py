from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.kv_store import DiskFull, StoreError
from pyln_fast.persist.memory_store import MemoryStore, MemoryWriter
from pyln_fast.persist.overlay import SLICE_KEYS, Overlay
from pyln_fast.persist.store_writer import StoreWriter
from pyln_fast.records import Batch, Put
from tests.persist.conftest import OpenStore


def batch(sequence: int) -> Batch:
    return Batch(sequence, (Put("channels", b"%d" % (sequence % 50), b"%d" % sequence),))


class Told:
    """Collects what the writer reports, and waits for it."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self._changed = threading.Condition()

    def __call__(self, *what: object) -> None:
        with self._changed:
            self.seen.append(what if len(what) > 1 else what[0])
            self._changed.notify_all()

    def wait(self, count: int) -> list[object]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, timeout=30)
            return self.seen


def no_failure(error: StoreError) -> None:
    raise AssertionError(error)


def test_batches_become_durable_in_order_on_another_thread(tmp_path: Path, open_store: OpenStore) -> None:
    writer, told = StoreWriter(open_store(tmp_path), no_failure), Told()
    threads: set[int] = set()

    def on_done(sequence: int, error: StoreError | None) -> None:
        threads.add(threading.get_ident())
        told(sequence, error)

    for sequence in range(1, 6):
        writer.submit(batch(sequence), on_done)
    assert told.wait(5) == [(sequence, None) for sequence in range(1, 6)]
    assert threading.get_ident() not in threads
    writer.close()
    writer.close()
    store = open_store(tmp_path)
    assert store.sequence == 5
    store.close()


def test_reads_see_every_batch_submitted_before(tmp_path: Path, open_store: OpenStore) -> None:
    writer, told = StoreWriter(open_store(tmp_path), no_failure), Told()
    writer.submit(batch(1), lambda sequence, error: None)
    writer.read("channels", b"1", told)
    writer.scan("channels", told)
    writer.read("channels", b"2", told)
    assert told.wait(3) == [(b"1", None), ([(b"1", b"1")], None), (None, None)]
    writer.close()


def test_batches_go_in_between_two_pages(tmp_path: Path, open_store: OpenStore) -> None:
    """Whoever walks a table asks for the next page when it has one: what was submitted meanwhile is before it."""
    store, order = open_store(tmp_path), Told()
    store.append(Batch(1, tuple(Put("history", b"%d" % n, b"v") for n in range(5))))
    writer = StoreWriter(store, no_failure)

    def on_page(records: list[tuple[bytes, bytes]], error: StoreError | None) -> None:
        order([key for key, _ in records], error)
        if len(records) == 2:
            writer.submit(batch(store.sequence + 1), order)
            writer.scan("history", on_page, records[-1][0], 2)

    writer.scan("history", on_page, None, 2)
    assert order.wait(5) == [([b"0", b"1"], None), (2, None), ([b"2", b"3"], None), (3, None), ([b"4"], None)]
    writer.close()


def test_it_checkpoints_when_it_has_nothing_else_to_do(
    tmp_path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Overlay, "due", property(lambda overlay: overlay.rows >= 30))
    store, told = open_store(tmp_path), Told()
    writer = StoreWriter(store, no_failure)
    for sequence in range(1, 101):
        writer.submit(batch(sequence), told)
    told.wait(100)
    # Between two jobs it finds a moment for a slice.
    for reads in range(1, 1000):
        if store.tail_rows < 30:
            break
        writer.read("channels", b"0", told)
        told.wait(100 + reads)
    writer.close()
    assert store.tail_rows < 30
    again = open_store(tmp_path)
    assert again.load() == MemoryStore(batch(sequence) for sequence in range(1, 101)).load()
    again.close()


def test_a_tail_that_is_far_too_long_goes_first(
    tmp_path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Overlay, "due", property(lambda overlay: False))
    monkeypatch.setattr(Overlay, "urgent", property(lambda overlay: overlay.rows >= 10))
    store, told = open_store(tmp_path), Told()
    writer = StoreWriter(store, no_failure)
    for sequence in range(1, 101):
        writer.submit(batch(sequence), told)
    told.wait(100)
    assert store.tail_rows <= 10
    writer.close()


def test_a_load_without_a_pause_keeps_the_tail_bounded(
    tmp_path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the size of a batch: each of these is as much as several slices."""
    monkeypatch.setattr(Overlay, "due", property(lambda overlay: False))
    monkeypatch.setattr(Overlay, "urgent", property(lambda overlay: overlay.rows >= 10))
    store, told = open_store(tmp_path), Told()
    writer = StoreWriter(store, no_failure)
    batches = [
        Batch(sequence, tuple(Put("payments", b"%d %d" % (sequence, n), b"p") for n in range(4 * SLICE_KEYS)))
        for sequence in range(1, 41)
    ]
    for each in batches:
        writer.submit(each, lambda sequence, error: told(error, store.tail_rows))
    writer.close()
    assert [error for error, _ in told.seen] == [None] * 40
    assert max(rows for _, rows in told.seen) == 10
    again = open_store(tmp_path)
    assert again.tail_rows <= 10
    assert again.load() == MemoryStore(batches).load()
    again.close()


def test_after_a_failure_every_batch_fails_and_nothing_is_checkpointed(
    tmp_path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told = open_store(tmp_path), Told()
    full = DiskFull(store.path, "the disk is full")

    def fail(batch: Batch) -> tuple[bytes, bytes]:
        raise full

    writer = StoreWriter(store, no_failure)
    writer.submit(batch(1), told)
    told.wait(1)
    monkeypatch.setattr("pyln_fast.persist.journal_store.frame_batch", fail)
    writer.submit(batch(2), told)
    writer.submit(batch(3), told)
    assert told.wait(3) == [(1, None), (2, full), (3, full)]
    monkeypatch.undo()
    writer.submit(batch(2), told)
    assert told.wait(4)[3] == (2, full)
    writer.close()


def test_a_failed_checkpoint_is_reported_and_fails_every_batch_after(
    tmp_path: Path, kind: StoreKind, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    monkeypatch.setattr(Overlay, "due", property(lambda overlay: overlay.rows >= 1))
    broken = {StoreKind.SQLITE: "sqlite_store.frame_header", StoreKind.FILESYSTEM: "filesystem_store.encode_manifest"}
    monkeypatch.setattr(f"pyln_fast.persist.{broken[kind]}", lambda header: (None, None))
    told, failed = Told(), Told()
    writer = StoreWriter(store, failed)
    writer.submit(batch(1), told)
    told.wait(1)
    failed.wait(1)
    writer.submit(batch(2), told)
    assert told.wait(2)[1] == (2, failed.seen[0])
    writer.close()


def test_the_writer_in_memory_is_synced_and_crashed_by_hand() -> None:
    told = Told()
    writer = MemoryWriter(MemoryStore())
    for sequence in (1, 2, 3):
        writer.submit(batch(sequence), told)
    assert (writer.unsynced, told.seen) == (3, [])
    writer.sync(1)
    assert told.seen == [(1, None)]
    restarted = writer.crash(keep=1)
    assert restarted.sequence == 2
    assert restarted.load() == MemoryStore([batch(1), batch(2)]).load()
    writer = MemoryWriter(restarted)
    writer.submit(batch(3), told)
    restarted.failure = full = DiskFull(Path("memory"), "the disk is full")
    writer.sync()
    assert told.seen[1:] == [(3, full)]
    assert restarted.sequence == 2
