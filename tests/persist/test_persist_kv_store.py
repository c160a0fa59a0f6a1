"""Pages of a table, which every store reads alike whatever lies where."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyln_fast.persist import filesystem_store, kv_store, overlay, run_file
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.kv_store import Store, walk
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.persist.stores import STORES
from pyln_fast.records import Batch, Delete, Put, Write
from tests.persist.conftest import OpenStore

KEYS = st.lists(st.sampled_from([0, 1, 2, 254, 255]), max_size=3).map(bytes)
NAMES = ("history", "history2")
WRITES = st.lists(
    st.builds(Put, st.sampled_from(NAMES), KEYS, st.binary(max_size=8))
    | st.builds(Delete, st.sampled_from(NAMES), KEYS),
    max_size=40,
    unique_by=lambda write: (write.table, write.key),
).map(lambda writes: Batch(0, tuple(writes)))
STEPS = st.lists(
    WRITES | st.sampled_from(["checkpoint", "checkpoints", "restart"]) | st.integers(1, 6), min_size=4, max_size=30
)


class Oracle:
    """Two dicts, and what was there all the time since a walk began."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {name: {} for name in NAMES}
        self.always: set[bytes] = set()

    def apply(self, writes: tuple[Write, ...]) -> None:
        for write in writes:
            if isinstance(write, Put):
                self.tables[write.table][write.key] = write.value
            else:
                self.tables[write.table].pop(write.key, None)
        self.always &= self.tables[NAMES[0]].keys()

    def page(self, prefix: bytes, after: bytes | None, limit: int | None) -> list[tuple[bytes, bytes]]:
        return sorted(
            (key, value)
            for key, value in self.tables[NAMES[0]].items()
            if key[: len(prefix)] == prefix and (after is None or key > after)
        )[:limit]


def reopened(store: Store, directory: Path) -> Store:
    if isinstance(store, MemoryStore):
        return MemoryStore(store.batches)
    store.close()
    return type(store)(directory, reserve_bytes=0, low_space_bytes=0)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [*StoreKind, None], ids=lambda kind: "memory" if kind is None else kind.value)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, prefix=st.sampled_from([b"", b"", b"\x01", b"\xff", b"\xff\xff"]))
def test_a_walk_equals_a_dicts_whatever_is_written_meanwhile(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: StoreKind | None,
    steps: list[Batch | str | int],
    prefix: bytes,
) -> None:
    monkeypatch.setattr(overlay, "SLICE_KEYS", 3)
    monkeypatch.setattr(run_file, "BLOCK_BYTES", 16)
    monkeypatch.setattr(filesystem_store, "SLICE_BYTES", 400)
    directory = tmp_path / "db"
    shutil.rmtree(directory, ignore_errors=True)
    store: Store = MemoryStore() if kind is None else STORES[kind](directory, reserve_bytes=0, low_space_bytes=0)
    oracle, after = Oracle(), None
    seen: list[bytes] = []
    for step in [*steps, *[3] * 60]:
        if isinstance(step, Batch):
            store.append(Batch(store.sequence + 1, step.writes))
            oracle.apply(step.writes)
        elif step == "restart":
            store = reopened(store, directory)
        elif isinstance(step, str):
            while store.checkpoint() and step == "checkpoints":
                pass
        else:
            page = store.scan(NAMES[0], prefix, after, step)
            assert page == oracle.page(prefix, after, step)
            seen += [key for key, _ in page]
            after = seen[-1] if seen else None
            if len(page) < step:
                assert len(set(seen)) == len(seen)
                assert set(seen) >= {key for key in oracle.always if key.startswith(prefix)}
                seen, after, oracle.always = [], None, set(oracle.tables[NAMES[0]])
    assert store.scan(NAMES[0]) == oracle.page(b"", None, None)
    store.close()


def test_a_walk_sees_what_checkpoints_and_merges_move_exactly_once(
    tmp_path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_store, "PAGE_RECORDS", 7)
    store = open_store(tmp_path)
    old = [b"%04d" % n for n in range(0, 1000, 10)]

    def write(*writes: Write) -> None:
        store.append(Batch(store.sequence + 1, writes))
        store.checkpoint()

    for first in range(0, 100, 20):
        write(*(Put("history", key, b"old") for key in old[first : first + 20]))
        while store.checkpoint():
            pass
    write(*(Put("history", key, b"new") for key in old[::3]), *(Delete("history", key) for key in old[1::3]))

    def walked() -> Iterator[tuple[bytes, bytes]]:
        for number, record in enumerate(walk(store, "history")):
            write(Put("history", record[0] + b"+", b"behind"), Put("history", b"%04d" % number, b"before"))
            yield record

    expected = [(key, b"new" if index % 3 == 0 else b"old") for index, key in enumerate(old) if index % 3 != 1]
    assert [row for row in walked() if not row[0].endswith(b"+") and row[1] != b"before"] == expected
    assert list(walk(store, "none")) == []


def test_a_walk_asks_for_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_store, "PAGE_RECORDS", 2)
    store = MemoryStore([Batch(1, tuple(Put("t", bytes([n]), b"v") for n in range(5)))])
    asked: list[tuple[bytes | None, int | None]] = []
    scan = store.scan

    def watched(
        table: str, prefix: bytes = b"", after: bytes | None = None, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        asked.append((after, limit))
        return scan(table, prefix, after, limit)

    monkeypatch.setattr(store, "scan", watched)
    assert list(walk(store, "t")) == [(bytes([n]), b"v") for n in range(5)]
    assert asked == [(None, 2), (b"\x01", 2), (b"\x03", 2)]
