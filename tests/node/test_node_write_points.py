"""Every kind of batch that a node writes, on both real stores: a crash before, inside and after its row, and in the
checkpoint of it, leaves exactly what was durable."""

from __future__ import annotations

import os
import shutil
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyln_fast.node import state
from pyln_fast.persist import log_file
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import LoadedState
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.persist.stores import open_store
from pyln_fast.records import Batch
from pyln_fast.wallet import utxos
from tests.node.write_points import Kind, kind_of, lives

TABLES = tuple(table.name for table in (*state.TABLES, *utxos.TABLES))
DELETED = {
    "channels",
    "claimable_payments",
    "events",
    "forwarding_infos",
    "htlcs",
    "missed_blocks",
    "monitors",
    "payments",
    "wallet_transactions",
    "wallet_utxos",
}
"""Of the others nothing is ever deleted: history, and what is one record for good."""
Files = dict[str, bytes]
SMALL_LOG = 64 << 10


def files_of(directory: Path) -> Files:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name not in ("lock", "reserve")}


def torn(before: bytes, after: bytes) -> Iterator[bytes]:
    """A file of which only the first part of a write has come, as it may be cut: at its ends and between."""
    padded = before.ljust(len(after), b"\0")
    places = range(len(after))
    first = bisect_left(places, True, key=lambda at: padded[: at + 1] != after[: at + 1])
    last = len(after) - 1 - bisect_left(places, True, key=lambda at: padded[-at - 1 :] != after[-at - 1 :])
    for cut in sorted({first + 1, first + (last - first) // 3, first + 2 * (last - first) // 3, last}):
        yield after[:cut] + before[cut:]


class Bench:
    """A live store, its model, and a place where copies of its files are opened."""

    def __init__(self, directory: Path, kind: StoreKind) -> None:
        self._live = directory / "live"
        self._copy = directory / "copy"
        self._kind = kind
        self._model = MemoryStore()
        self.store = self._open(self._live)
        self.checked = 0

    def _open(self, directory: Path) -> JournalStore:
        return open_store(directory, self._kind, reserve_bytes=0, low_space_bytes=0)

    def append(self, batch: Batch) -> None:
        self.store.append(batch)
        self._model.append(batch)

    def append_with_crashes(self, batch: Batch) -> None:
        before, expected = files_of(self._live), self._model.load(TABLES)
        self._expect(before, expected)
        self.append(batch)
        after = files_of(self._live)
        log = next(name for name, data in after.items() if data != before.get(name) and name != "tail")
        for part in torn(before.get(log, b""), after[log]):
            self._expect({**before, log: part}, expected)
        written = self._model.load(TABLES)
        self._expect({**after, "tail": before["tail"]}, written)
        self._expect(after, written)

    def checkpoint_with_crashes(self) -> None:
        expected = self._model.load(TABLES)
        images = self._sqlite_checkpoint() if isinstance(self.store, SqliteStore) else self._file_checkpoint()
        for files in images:
            self._expect(files, expected)
        assert self.store.tail_rows == 0
        self._expect(files_of(self._live), expected)

    def _sqlite_checkpoint(self) -> Iterator[Files]:
        """In each slice's transaction, and while SQLite folds its log into the database."""
        store = self.store
        assert isinstance(store, SqliteStore)
        more = True
        while more:
            before = files_of(self._live)
            more = store.checkpoint()
            after = files_of(self._live)
            for part in torn(before["node.db-wal"], after["node.db-wal"]):
                yield {**after, "node.db-wal": part}
        store._fold_wal()
        folded = files_of(self._live)
        middle = len(folded["node.db"]) // 8192 * 4096
        yield {**after, "node.db": folded["node.db"][:middle] + after["node.db"][middle:]}
        yield {**after, "node.db": folded["node.db"]}

    def _file_checkpoint(self) -> Iterator[Files]:
        """Before and after each rename, and before each old file goes."""
        images: list[Files] = []
        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "unlink"):
                true = getattr(os, name)

                def call(*arguments: object, true=true) -> None:  # type: ignore[no-untyped-def]
                    images.append(files_of(self._live))
                    true(*arguments)
                    images.append(files_of(self._live))

                patch.setattr(os, name, call)
            while self.store.checkpoint():
                pass
        assert any("manifest.new" in files for files in images)
        yield from images

    def _expect(self, files: Files, expected: LoadedState) -> None:
        shutil.rmtree(self._copy, ignore_errors=True)
        self._copy.mkdir(mode=0o700)
        for name, data in files.items():
            (self._copy / name).write_bytes(data)
        store = self._open(self._copy)
        try:
            assert store.load(TABLES) == expected
        finally:
            store.close()
        self.checked += 1


def test_the_lives_write_all_that_a_node_writes() -> None:
    """A table or a kind of change that is new must be lived through here."""
    changes = {change for life in lives() for batch in life for change in kind_of(batch)}
    assert changes == {f"{name}+" for name in TABLES} | {f"{name}-" for name in DELETED}


@pytest.mark.parametrize("kind", list(StoreKind), ids=lambda kind: kind.value)
def test_a_crash_at_every_kind_of_batch(tmp_path: Path, kind: StoreKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "AHEAD_BYTES", SMALL_LOG)
    tried: set[Kind] = set()
    for number, life in enumerate(lives()):
        bench = Bench(tmp_path / str(number), kind)
        for batch in life:
            if kind_of(batch) in tried:
                bench.append(batch)
                continue
            tried.add(kind_of(batch))
            try:
                bench.append_with_crashes(batch)
                bench.checkpoint_with_crashes()
            except BaseException as error:
                error.add_note(f"life {number}, batch {batch.sequence}: {kind_of(batch)}")
                raise
        bench.store.close()
    assert tried == {kind_of(batch) for life in lives() for batch in life}
    assert len(tried) >= 40
