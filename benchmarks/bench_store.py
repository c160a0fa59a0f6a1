"""The journal's write: one batch of a turn made durable, beside the disk's bare fsync of as many bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.persist.stores import open_store
from pyln_fast.records import Batch, Put

ROUNDS = 400


def turn(sequence: int, size: int, keys: int) -> Batch:
    """A turn of so many channels, of 2000 channels in all."""
    first = sequence * 7919
    return Batch(
        sequence, tuple(Put("channels", ((first + n * 31) % 2000).to_bytes(4, "big"), bytes(size)) for n in range(keys))
    )


STORES = pytest.mark.parametrize("kind", list(StoreKind), ids=lambda kind: kind.value)


def name_of(kind: StoreKind, name: str) -> str:
    return name if kind is StoreKind.SQLITE else f"{name} ({kind.value} store)"


def reopened(directory: Path, kind: StoreKind) -> JournalStore:
    return open_store(directory, kind, reserve_bytes=0, low_space_bytes=0)


def filled(directory: Path, kind: StoreKind) -> JournalStore:
    """A store that has checkpointed, as that of a node that has run for a while."""
    store = reopened(directory, kind)
    while store.sequence < 500:
        store.append(turn(store.sequence + 1, 4000, 4))
    while store.checkpoint():
        pass
    if isinstance(store, SqliteStore):
        store._fold_wal()
    return store


def medians(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Seconds a call, in turns: a disk's speed changes from moment to moment."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for function, spent in zip((first, second), times, strict=True):
            start = time.perf_counter()
            function()
            spent.append(time.perf_counter() - start)
    return sorted(times[0])[ROUNDS // 2], sorted(times[1])[ROUNDS // 2]


@STORES
@pytest.mark.parametrize(("size", "keys"), [(1000, 1), (1000, 20)])
def test_append(tmp_path: Path, report: Callable[..., None], kind: StoreKind, size: int, keys: int) -> None:
    store = filled(tmp_path / "db", kind)
    descriptor = os.open(tmp_path / "bare", os.O_RDWR | os.O_CREAT, 0o600)
    block = bytes(size * keys + 4096)
    os.pwrite(descriptor, bytes((4 << 20) + len(block)), 0)  # blocks that exist, as in a log that is written over
    os.fsync(descriptor)
    offset = 0

    def bare() -> None:
        nonlocal offset
        os.pwrite(descriptor, block, offset % (4 << 20))
        os.fdatasync(descriptor)
        offset += len(block)

    def append() -> None:
        store.append(turn(store.sequence + 1, size, keys))

    before = store.sequence
    ours, floor = medians(append, bare)
    assert store.sequence == before + ROUNDS
    os.close(descriptor)
    store.close()
    report(
        name=name_of(kind, f"append a turn of {keys} records of {size} B"),
        figure=ours * 1e6,
        unit="us",
        reference="fdatasync of as many bytes",
        reference_figure=floor * 1e6,
        ratio=ours / floor,
        target=2.0,
        reached=ours / floor <= 2.0,
    )


@STORES
def test_checkpoint_slice(tmp_path: Path, report: Callable[..., None], kind: StoreKind) -> None:
    store = filled(tmp_path / "db", kind)
    spent = []
    for _ in range(5):
        for _ in range(100):
            store.append(turn(store.sequence + 1, 1000, 20))
        more = True
        while more:
            start = time.perf_counter()
            more = store.checkpoint()
            spent.append(time.perf_counter() - start)
    assert store.tail_rows == 0
    store.close()
    worst = sorted(spent)[len(spent) * 95 // 100]
    report(
        name=name_of(kind, "a checkpoint slice, 95th of 100: what an append may wait"),
        figure=worst * 1e3,
        unit="ms",
        target="20 ms",
        reached=worst <= 0.02,
    )


@STORES
def test_start(tmp_path: Path, report: Callable[..., None], kind: StoreKind) -> None:
    """500 batches to replay and 20,000 records of history, which must not matter."""
    store = filled(tmp_path / "db", kind)
    for sequence in range(store.sequence + 1, store.sequence + 41):
        writes = tuple(
            Put("revoked", sequence.to_bytes(4, "big") + n.to_bytes(4, "big"), bytes(200)) for n in range(500)
        )
        store.append(Batch(sequence, writes))
    while store.checkpoint():
        pass
    for _ in range(500):
        store.append(turn(store.sequence + 1, 1000, 4))
    expected = store.load(["channels"])
    store.close()
    start = time.perf_counter()
    store = reopened(tmp_path / "db", kind)
    found = store.load(["channels"])
    took = time.perf_counter() - start
    assert found == expected
    store.close()
    report(
        name=name_of(kind, "start: replay 500 batches, load 2000 records"),
        figure=took * 1e3,
        unit="ms",
        target="200 ms",
        reached=took <= 0.2,
    )
