"""What every store on a disk does alike."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.kv_store import LoadedState, Store, WrongStore
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.persist.stores import STORES
from pyln_fast.records import Batch, Delete, Put, Write
from tests.persist.batches import TABLES, batch
from tests.persist.conftest import OpenStore

FILES = {
    StoreKind.SQLITE: ("node.db", "node.db-wal", "tail", "lock", "reserve"),
    StoreKind.FILESYSTEM: ("manifest", f"log-{1:020}", "tail", "lock", "reserve"),
}


def test_what_was_appended_is_there_after_a_restart(tmp_path: Path, open_store: OpenStore) -> None:
    store: Store = open_store(tmp_path / "db")
    assert store.load(TABLES) == LoadedState({name: {} for name in TABLES}, 0)
    store.append(Batch(1, (Put("channels", b"a", b"1"), Put("payments", b"a", b"2"))))
    store.append(Batch(2, (Delete("channels", b"a"), Put("channels", b"b", b"3"), Delete("payments", b"none"))))
    for _ in range(2):
        assert store.load(TABLES) == LoadedState({"channels": {b"b": b"3"}, "payments": {b"a": b"2"}, "revoked": {}}, 2)
        store.close()
        store = open_store(tmp_path / "db")
    store.append(Batch(3, (Put("channels", b"b", b"4"),)))
    assert store.read("channels", b"b") == b"4"


def test_only_the_next_sequence_is_appended(tmp_path: Path, open_store: OpenStore) -> None:
    store = open_store(tmp_path)
    for wrong in (0, 2):
        with pytest.raises(AssertionError):
            store.append(batch(wrong))
    store.append(batch(1))


def test_history_is_read_from_the_tail_and_from_the_tables_but_not_loaded(
    tmp_path: Path, open_store: OpenStore
) -> None:
    store = open_store(tmp_path)
    store.append(Batch(1, tuple(Put("revoked", b"chan%03d" % n, b"%d" % n) for n in range(100))))
    while store.checkpoint():
        pass
    assert store.tail_rows == 0
    store.append(Batch(2, (Put("revoked", b"chan005", b"new"), Delete("revoked", b"chan006"))))
    assert store.load(["channels"]) == LoadedState({"channels": {}}, 2)
    assert store.read("revoked", b"chan005") == b"new"
    assert store.read("revoked", b"chan006") is None
    assert store.read("revoked", b"chan099") == b"99"
    assert store.read("revoked", b"chan100") is None
    assert store.scan("revoked", b"chan00") == [
        (b"chan%03d" % n, b"new" if n == 5 else b"%d" % n) for n in range(10) if n != 6
    ]
    assert store.scan("revoked", b"\xff\xff") == []
    assert len(store.scan("revoked")) == 99


def test_when_a_checkpoint_is_worth_it(tmp_path: Path, open_store: OpenStore) -> None:
    store = open_store(tmp_path)
    for sequence in range(1, 601):
        store.append(Batch(sequence, (Put("channels", b"hot", b"%d" % sequence),)))
        assert store.checkpoint_due == (sequence >= 512)
        assert not store.checkpoint_urgent
    while store.checkpoint():
        pass
    assert not store.checkpoint_due
    assert store.tail_rows == 0
    assert store.load() == LoadedState({"channels": {b"hot": b"600"}}, 600)


WRITES = st.lists(
    st.builds(Put, st.sampled_from(TABLES), st.binary(max_size=2), st.binary(max_size=20))
    | st.builds(Delete, st.sampled_from(TABLES), st.binary(max_size=2)),
    max_size=100,
    unique_by=lambda write: (write.table, write.key),
).map(tuple)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(WRITES | st.sampled_from(["checkpoint", "restart"]), max_size=20))
def test_it_always_equals_a_dict(tmp_path: Path, kind: StoreKind, steps: list[tuple[Write, ...] | str]) -> None:
    def open_it() -> Store:
        return STORES[kind](tmp_path / "db", reserve_bytes=0, low_space_bytes=0)

    shutil.rmtree(tmp_path / "db", ignore_errors=True)
    store, model = open_it(), MemoryStore()
    for step in steps:
        if step == "checkpoint":
            store.checkpoint()
        elif step == "restart":
            store.close()
            store = open_it()
        else:
            assert not isinstance(step, str)
            new = Batch(model.sequence + 1, step)
            store.append(new)
            model.append(new)
        assert store.load(TABLES) == model.load(TABLES)
        assert [store.scan(name, b"\x00") for name in TABLES] == [model.scan(name, b"\x00") for name in TABLES]
        assert store.read("channels", b"\x00") == model.read("channels", b"\x00")
    store.close()


def test_files_are_the_owners_alone(tmp_path: Path, kind: StoreKind, open_store: OpenStore) -> None:
    directory = tmp_path / "db"
    directory.mkdir(mode=0o755)
    store = open_store(directory)
    store.append(batch(1))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == dict.fromkeys(FILES[kind], 0o600)


def test_a_database_of_the_other_kind_is_refused(tmp_path: Path, kind: StoreKind, open_store: OpenStore) -> None:
    store = open_store(tmp_path)
    store.append(batch(1))
    store.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (other,) = set(StoreKind) - {kind}
    with pytest.raises(WrongStore) as caught:
        STORES[other](tmp_path)
    expected = f"{tmp_path}: it holds a database of the {kind.value} store, not of the {other.value} store"
    assert str(caught.value) == expected
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert open_store(tmp_path).sequence == 1
