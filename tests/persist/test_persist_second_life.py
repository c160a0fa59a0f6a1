"""A process is killed, another works on with what it finds, and then the power fails: nothing durable is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pyln_fast.persist import directory as disk
from pyln_fast.persist.filesystem_store import FilesystemStore
from pyln_fast.persist.manifest import read_manifest
from pyln_fast.records import Batch, Put
from tests.persist.disk_recorder import DiskRecorder


class Killed(BaseException):
    """SIGKILL: nothing is done any more."""


def batch(sequence: int, size: int = 2) -> Batch:
    return Batch(sequence, (Put("payments", b"%d" % (sequence % 7), b"%d" % sequence * size),))


def open_store(directory: Path) -> FilesystemStore:
    return FilesystemStore(directory, reserve_bytes=0, low_space_bytes=0)


def flush(store: FilesystemStore) -> None:
    while store.tail_rows:
        store.checkpoint()


def flush_and_merge(store: FilesystemStore) -> None:
    while store.checkpoint():
        pass


def die(store: FilesystemStore) -> None:
    """Descriptors and the lock go, and nothing is written."""
    store._flush = store._merge = None
    for descriptor in (store._log._descriptor, store._tail._descriptor, *(run._descriptor for run in store._runs)):
        os.close(descriptor)
    store._lock.close()


def a_log_was_begun(directory: Path) -> bool:
    return (directory / "log-00000000000000000007").exists()


def a_flush_was_installed(directory: Path) -> bool:
    return read_manifest(directory / "manifest").checkpoint == 6


def a_merge_was_installed(directory: Path) -> bool:
    return [run.number for run in read_manifest(directory / "manifest").runs] == [3]


@pytest.mark.parametrize("killed_when", [a_log_was_begun, a_flush_was_installed, a_merge_was_installed])
def test_killed_before_a_name_was_synced_and_the_power_fails_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_when: Callable[[Path], bool]
) -> None:
    directory = tmp_path / "database"
    directory.mkdir(mode=0o700)
    recorder = DiskRecorder(directory)
    sync = disk.sync_directory

    def killed_instead(where: Path) -> None:
        if killed_when(where):
            raise Killed
        sync(where)

    with recorder.recording(monkeypatch):
        store = open_store(directory)
        for sequence in range(1, 4):
            store.append(batch(sequence))
        flush(store)
        for sequence in range(4, 7):
            store.append(batch(sequence))
        with monkeypatch.context() as patch:
            patch.setattr(disk, "sync_directory", killed_instead)
            patch.setattr(FilesystemStore, "_roll_back", lambda self: None)
            with pytest.raises(Killed):
                flush_and_merge(store)
        die(store)
        store = open_store(directory)
        assert store.sequence == 6
        for sequence in range(7, 10):
            store.append(batch(sequence))
            recorder.mark = (sequence, sequence)
        die(store)
    images = [files for mark, _, files in recorder.images() if mark == (9, 9)]
    assert images
    for files in images:
        found = tmp_path / "found"
        found.mkdir(mode=0o700)
        for name, data in files.items():
            (found / name).write_bytes(data)
        again = open_store(found)
        assert again.sequence == 9
        expected = {b"%d" % (n % 7): b"%d" % n * 2 for n in range(1, 10)}
        assert again.load(("payments",)).tables["payments"] == expected
        again.close()
        shutil.rmtree(found)


def test_a_new_directory_has_its_name_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    disk.prepare(tmp_path / "nodes" / "alice")
    assert synced == [tmp_path / "nodes", tmp_path]
    disk.prepare(tmp_path / "nodes" / "alice")
    assert len(synced) == 2


def test_a_descriptor_is_closed_once(tmp_path: Path) -> None:
    """Its number belongs to somebody else by then."""
    store = open_store(tmp_path)
    for sequence in range(1, 4):
        store.append(batch(sequence))
    store.checkpoint()
    store.checkpoint()
    assert store._flush is not None
    (run,) = tmp_path.glob("run-*")
    assert run.stat().st_size > 0, "it is written and closed, but not installed"
    with (tmp_path / "of somebody else").open("w") as file:
        store.close()
        file.write("whole")
    assert (tmp_path / "of somebody else").read_text() == "whole"
    open_store(tmp_path).close()


def test_small_runs_are_merged_where_the_disk_has_no_room_for_the_largest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.DiskReserve, "free_bytes", lambda self: disk.WRITE_MARGIN_BYTES + (1 << 20))
    store = open_store(tmp_path)
    sequence = 0
    for size in (100_000, 100_000, *[10] * 60):
        for _ in range(5):
            sequence += 1
            store.append(batch(sequence, size))
        flush_and_merge(store)
    sizes = [run.info.size for run in store._runs]
    assert sizes[1] >= sizes[0] > 300_000, "the two largest stay apart"
    assert len(sizes) < 12
    assert store.load().sequence == sequence
    store.close()


def test_what_has_just_come_waits_for_merges(tmp_path: Path) -> None:
    """Each flush makes a run more: under a load without a pause there would be no end of them."""
    store = open_store(tmp_path)
    for sequence in range(1, 7):
        store.append(batch(sequence))
        if sequence % 3 == 0:
            flush(store)
    assert len(store._runs) == 2
    store.append(batch(7))
    while len(store._runs) == 2:
        assert store._flush is None
        store.checkpoint()
    assert len(store._runs) == 1
    assert store.tail_rows == 1
    flush(store)
    assert store.tail_rows == 0
    store.close()
