"""Both stores on files that are not what was written: a start is refused by name, or finds everything. A refused start
overwrites nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.kv_store import DatabaseDamaged, LoadedState, StoreError
from pyln_fast.persist.log_file import log_path
from pyln_fast.persist.run_file import run_name
from pyln_fast.records import Batch, Put
from tests.persist.batches import batch, fill, one_line
from tests.persist.conftest import OpenStore

NO_DATA = ("lock", "reserve")
LOG = log_path(Path(), 14).name


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.name not in NO_DATA}


class Copies:
    """A database as a kill leaves it, with a checkpoint and 18 batches after it in its log, and copies to damage."""

    def __init__(self, directory: Path, kind: StoreKind, open_store: OpenStore) -> None:
        self.kind = kind
        self._open_store = open_store
        self._copy = directory / "copy"
        store = open_store(directory / "live")
        for sequence in range(1, 31):
            store.append(batch(sequence))
            if sequence == 12:
                store.append(Batch(13, (Put("revoked", b"r", b"secret"),)))
                while store.checkpoint():
                    pass
                break
        for sequence in range(14, 31):
            store.append(batch(sequence))
        self.files = files_of(directory / "live")
        self.whole = store.load()
        store.close()

    def outcome(self, files: dict[str, bytes]) -> LoadedState | StoreError:
        """What a start on these files comes to; if it is refused, they are all there as they were."""
        shutil.rmtree(self._copy, ignore_errors=True)
        self._copy.mkdir(mode=0o700)
        for name, data in files.items():
            (self._copy / name).write_bytes(data)
        try:
            store = self._open_store(self._copy)
        except StoreError as error:
            one_line(error, self._copy)
            self._check_untouched(files)
            return error
        try:
            return store.load()
        except StoreError as error:
            one_line(error, self._copy)
            return error
        finally:
            store.close()

    def _check_untouched(self, files: dict[str, bytes]) -> None:
        found = files_of(self._copy)
        kept = found.pop("node.db-wal.kept", None)
        if kept is not None:
            # Closing, SQLite folds what it took of its log into the database. Its log is kept as it was.
            found |= {"node.db": files.get("node.db", b""), "node.db-wal": kept}
        assert {name: data for name, data in found.items() if data or name in files} == files


@pytest.fixture
def copies(tmp_path: Path, kind: StoreKind, open_store: OpenStore) -> Copies:
    return Copies(tmp_path, kind, open_store)


def test_the_whole_copy_starts(copies: Copies) -> None:
    assert copies.outcome(copies.files) == copies.whole


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(copies: Copies) -> None:
    chance = random.Random(7)
    refused = 0
    for name, data in copies.files.items():
        # Of a log that is zeros at its end only what was written counts.
        size = len(data.rstrip(b"\0")) if name.startswith("log-") else len(data)
        for _ in range(60):
            damaged = bytearray(data)
            damaged[chance.randrange(size)] ^= 1 << chance.randrange(8)
            result = copies.outcome({**copies.files, name: bytes(damaged)})
            assert isinstance(result, StoreError) or result == copies.whole, name
            refused += isinstance(result, StoreError)
    assert refused > 40


def test_a_truncated_file_is_refused_or_changes_nothing(copies: Copies) -> None:
    refused = 0
    for name, data in copies.files.items():
        size = len(data.rstrip(b"\0")) if name.startswith("log-") else len(data)
        for length in [*(size * part // 20 for part in range(20)), size - 1]:
            result = copies.outcome({**copies.files, name: data[:length]})
            assert isinstance(result, StoreError) or result == copies.whole, (name, length)
            refused += isinstance(result, StoreError)
    assert refused > 20


def test_a_missing_or_an_empty_file_is_refused(copies: Copies) -> None:
    for name in copies.files:
        without = {each: data for each, data in copies.files.items() if each != name}
        assert isinstance(copies.outcome(without), StoreError), name
        assert isinstance(copies.outcome({**copies.files, name: b""}), StoreError), name


def test_a_file_of_another_database_is_refused(tmp_path: Path, copies: Copies) -> None:
    other = Copies(tmp_path / "other", copies.kind, copies._open_store)
    assert other.whole == copies.whole
    for name in copies.files:
        mixed = copies.outcome({**copies.files, name: other.files[name]})
        # SQLite's log may have every page of its database, and a run with the same rows is the same run.
        assert isinstance(mixed, DatabaseDamaged) or (mixed == copies.whole and name in ("node.db", run_name(1))), name
    tail = copies.outcome({**copies.files, "tail": other.files["tail"]})
    assert str(tail).endswith("tail: it belongs to another database: files of two databases were mixed")


def test_an_older_copy_without_the_tail_file_is_refused(tmp_path: Path, open_store: OpenStore) -> None:
    fill(open_store(tmp_path), 3)
    older = {name: data for name, data in files_of(tmp_path).items() if name != "tail"}
    store = open_store(tmp_path)
    store.append(batch(4))
    store.close()
    for name, data in older.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DatabaseDamaged, match="its log ends at batch 3, but 4 was durable: a part is lost"):
        open_store(tmp_path)


def test_the_last_rows_are_missed(copies: Copies) -> None:
    """The log is a valid one, only shorter: what the tail file is for."""
    if copies.kind is StoreKind.FILESYSTEM:
        log = copies.files[LOG]
        shorter = {**copies.files, LOG: log[: len(log.rstrip(b"\0")) - 40]}
    else:
        shorter = {**copies.files, "node.db-wal": copies.files["node.db-wal"][:-1]}
    result = copies.outcome(shorter)
    assert str(result).endswith(": its log ends at batch 29, but 30 was durable: a part is lost")
