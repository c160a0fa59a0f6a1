from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyln_fast.persist import directory as disk
from pyln_fast.persist import tail_file
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import DatabaseDamaged
from pyln_fast.persist.stores import open_store
from pyln_fast.persist.tail_file import TailFile, read_tail
from pyln_fast.records import Batch
from tests.node.make_store_vector import DIRECTORIES
from tests.persist.disk_recorder import DiskRecorder

STORE_ID = bytes(range(16))
SECTOR = 4096


def old_file(sequence: int) -> bytes:
    """As an earlier program left it: two places in one sector of 4096 bytes."""
    return b"".join(
        tail_file._slot(STORE_ID, each).ljust(512, b"\0")
        for each in sorted((sequence, sequence - 1), key=lambda n: n % 2)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tail"


@pytest.fixture
def tail(path: Path) -> Iterator[TailFile]:
    TailFile.create(path, STORE_ID)
    made = TailFile(path, STORE_ID)
    yield made
    made.close()


def test_whichever_sector_is_torn_the_other_says_the_sequence_before(path: Path, tail: TailFile) -> None:
    for sequence in range(6):
        if sequence:
            tail.write(sequence)
        data = path.read_bytes()
        assert len(data) == 2 * SECTOR
        found = {read_tail(path, data[:at] + os.urandom(SECTOR) + data[at + SECTOR :], STORE_ID) for at in (0, SECTOR)}
        assert found == {sequence, max(sequence - 1, 0)}
        assert read_tail(path, data, STORE_ID) == sequence
    with pytest.raises(DatabaseDamaged, match="it is damaged, so nobody can tell whether the database is complete"):
        read_tail(path, bytes(2 * SECTOR), STORE_ID)


def test_it_is_synced_once_a_write(tail: TailFile, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    for _ in range(2):
        tail.sync()
        tail.sync()
        tail.write(1)
    tail.begin(1)
    assert len(synced) == 3


@pytest.mark.parametrize("sequence", [1, 6, 7])
def test_an_old_file_is_read_and_replaced_whole(path: Path, sequence: int) -> None:
    path.write_bytes(old_file(sequence))
    before = path.read_bytes()
    tail = TailFile(path, STORE_ID)
    assert (tail.sequence, path.read_bytes()) == (sequence, before)
    tail.begin(sequence + 1)
    assert tail.sequence == sequence + 1
    assert path.read_bytes() == tail_file._file(STORE_ID, sequence + 1)
    tail.write(sequence + 2)
    tail.close()
    again = TailFile(path, STORE_ID)
    assert again.sequence == sequence + 2
    again.close()


def test_a_crash_while_an_old_file_is_replaced_leaves_it_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "live"
    directory.mkdir()
    recorder = DiskRecorder(directory)
    with recorder.recording(monkeypatch):
        descriptor = os.open(directory / "tail", os.O_RDWR | os.O_CREAT)
        os.write(descriptor, old_file(7))
        os.fsync(descriptor)
        tail_file.disk.sync_directory(directory)
        os.close(descriptor)
        recorder.mark = (7, 7)
        tail = TailFile(directory / "tail", STORE_ID)
        tail.begin(7)
        tail.write(8)
        recorder.mark = (7, 8)
        tail.sync()
        recorder.mark = (8, 8)
        tail.close()
    layouts = set()
    for (least, highest), call, files in recorder.images():
        if least:
            assert least <= read_tail(Path("tail"), files["tail"], STORE_ID) <= highest, call
            layouts.add(len(files["tail"]))
    assert layouts == {1024, 2 * SECTOR}


@pytest.mark.parametrize("kind", list(StoreKind), ids=lambda kind: kind.value)
def test_a_database_of_version_1_gets_a_new_tail_file_when_it_is_found_whole(tmp_path: Path, kind: StoreKind) -> None:
    def open_it() -> JournalStore:
        return open_store(directory, kind, reserve_bytes=0, low_space_bytes=0)

    directory = tmp_path / "store"
    shutil.copytree(DIRECTORIES[kind], directory)
    old = (directory / "tail").read_bytes()
    assert len(old) == 1024
    store_id = old[8:24]
    (directory / "tail").write_bytes(tail_file._slot(store_id, 185).ljust(1024, b"\0"))
    ahead = (directory / "tail").read_bytes()
    with pytest.raises(DatabaseDamaged, match="its log ends at batch 184, but 185 was durable: a part is lost"):
        open_it()
    assert (directory / "tail").read_bytes() == ahead
    (directory / "tail").write_bytes(old)
    store = open_it()
    assert (directory / "tail").read_bytes() == tail_file._file(store_id, 184)
    store.append(Batch(185, ()))
    store.close()
    store = open_it()
    assert store.sequence == 185
    store.close()


def test_on_a_full_disk_an_old_file_has_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not start loses more than the distance of two places."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path.write_bytes(old_file(6))
    monkeypatch.setattr(disk, "replace_file", full)
    tail = TailFile(path, STORE_ID)
    tail.begin(7)
    tail.write(8)
    tail.close()
    assert path.read_bytes() == old_file(8)
    monkeypatch.undo()
    tail = TailFile(path, STORE_ID)
    assert tail.sequence == 8
    tail.begin(9)
    tail.close()
    assert (len(path.read_bytes()), read_tail(path, path.read_bytes(), STORE_ID)) == (2 * SECTOR, 9)
