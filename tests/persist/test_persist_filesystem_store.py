from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path

import pytest

from pyln_fast.persist import filesystem_store, log_file, run_file
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.filesystem_store import FilesystemStore
from pyln_fast.persist.kv_store import DatabaseDamaged, DatabaseNewer, LoadedState, StoreError
from pyln_fast.persist.log_file import log_path
from pyln_fast.persist.manifest import encode_manifest, read_manifest
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.persist.run_file import first_to_merge, run_name
from pyln_fast.persist.store_writer import StoreWriter
from pyln_fast.records import Batch, Delete, Put, Write
from tests.node.make_store_vector import DIRECTORIES
from tests.persist.batches import batch, fill, one_line
from tests.persist.disk_recorder import DiskRecorder


def open_store(directory: Path) -> FilesystemStore:
    return FilesystemStore(directory, reserve_bytes=0, low_space_bytes=0)


def filled(directory: Path, batches: int, checkpoint_until: int = 0) -> dict[bytes, bytes]:
    return fill(open_store(directory), batches, checkpoint_until)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name not in ("lock", "reserve"))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, slices and logs so small that a few records make many."""
    monkeypatch.setattr(run_file, "BLOCK_BYTES", 400)
    monkeypatch.setattr(filesystem_store, "SLICE_BYTES", 2000)
    monkeypatch.setattr(log_file, "AHEAD_BYTES", 4096)


def test_a_checkpoint_is_one_more_run_and_a_new_log(tmp_path: Path) -> None:
    """In slices of a few syncs each: the new log, the run, the manifest. A merge needs no new log."""
    store = open_store(tmp_path)
    first, second, third = (log_path(tmp_path, number).name for number in (1, 4, 8))
    for sequence in range(1, 4):
        store.append(batch(sequence))
    steps = []
    for sequence in (4, 8):
        more = True
        while more:
            steps.append(names(tmp_path)[:-1])
            more = store.checkpoint()
        steps.append(names(tmp_path)[:-1])
        assert (store.tail_rows, store.sequence) == (0, sequence - 1)
        for number in range(sequence, sequence + 4):
            store.append(batch(number))
    assert steps == [
        [first, "manifest"],
        [first, second, "manifest"],
        [first, second, "manifest", run_name(1)],
        [second, "manifest", run_name(1)],
        [second, "manifest", run_name(1)],
        [second, third, "manifest", run_name(1)],
        [second, third, "manifest", run_name(1), run_name(2)],
        [third, "manifest", run_name(1), run_name(2)],
        [third, "manifest", run_name(1), run_name(2), run_name(3)],
        [third, "manifest", run_name(3)],
    ]
    store.close()


@pytest.mark.parametrize(
    ("sizes", "first"),
    [
        ([], 0),
        ([5], 1),
        ([5, 4], 2),
        ([5, 5], 0),
        ([9, 5, 5], 0),
        ([11, 5, 5], 1),
        ([100, 40, 20, 5, 3], 5),
        ([4, 9], 0),
    ],
)
def test_which_runs_are_merged(sizes: list[int], first: int) -> None:
    assert first_to_merge(sizes) == first


def test_history_is_written_again_as_often_as_the_data_doubles(tmp_path: Path) -> None:
    """Not at every checkpoint: what was written for 64 checkpoints, against what it would be with one file."""
    store = open_store(tmp_path)
    written, size = 0, 4000
    for sequence in range(1, 65):
        puts = (Put("revoked", b"%08d" % sequence, bytes(size)), Put("channels", b"c", b"%d" % sequence))
        store.append(Batch(sequence, puts))
        before = set(store._runs)
        while store.checkpoint():
            pass
        written += sum(run.info.size for run in store._runs if run not in before)
    assert len(store._runs) <= 7
    assert 64 * size * 3 < written < 64 * size * 7
    assert store.load(["channels"]) == LoadedState({"channels": {b"c": b"64"}}, 64)
    assert len(store.scan("revoked")) == 64
    store.close()


def test_a_start_and_a_read_do_not_read_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    history = tuple(Put("revoked", b"%08d" % n, bytes(200)) for n in range(20_000))
    store.append(Batch(1, (Put("channels", b"c", b"1"), *history)))
    while store.checkpoint():
        pass
    assert store._runs[0].info.size > 4_000_000
    store.close()
    read: list[int] = []
    true = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(arguments[1]) or true(*arguments))
    store = open_store(tmp_path)
    assert store.load(["channels"]) == LoadedState({"channels": {b"c": b"1"}}, 1)
    assert sum(read) < 5 * run_file.BLOCK_BYTES
    read.clear()
    assert store.read("revoked", b"%08d" % 12_345) == bytes(200)
    assert store.read("revoked", b"none") is None
    assert sum(read) < 7 * run_file.BLOCK_BYTES
    store.close()


def test_a_look_up_of_a_key_that_is_not_there_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the filters are read, and but for one key in some forty. A deleted one is found as deleted."""
    store = open_store(tmp_path)
    for sequence in range(1, 5):
        history = tuple(Put("revoked", b"%d %d" % (sequence, n), b"1") for n in range(4000 >> sequence))
        store.append(Batch(sequence, (*history, *((Delete("revoked", b"1 7"),) if sequence == 4 else ()))))
        while store.tail_rows:
            store.checkpoint()
    assert len(store._runs) == 4
    store.close()
    store = open_store(tmp_path)
    read: list[int] = []
    true = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(arguments[1]) or true(*arguments))
    assert store.read("revoked", b"none") is None
    assert sum(read) == sum(run.info.filter.length for run in store._runs if run.info.filter)
    read.clear()
    assert all(store.read("revoked", b"none %d" % n) is None for n in range(1000))
    assert len(read) < 1000 // 4
    assert store.read("revoked", b"1 7") is None
    assert [store.read("revoked", b"%d 8" % n) for n in range(1, 6)] == [b"1"] * 4 + [None]
    while store.checkpoint():
        pass
    for n in range(1, 5):
        assert all(store.read("revoked", b"%d %d" % (n, m)) == b"1" for m in range(9, 4000 >> n, 30))
    store.close()


def test_a_run_of_an_older_program_has_no_filter_until_it_is_merged(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    shutil.copytree(DIRECTORIES[StoreKind.FILESYSTEM], directory)
    store = open_store(directory)
    assert [run.info.filter for run in store._runs] == [None, None]
    tables = store.load().tables

    def every_key_is_found() -> bool:
        rows = [(name, key, value) for name, records in tables.items() for key, value in records.items()]
        assert len(rows) > 40
        return all(store.read(name, key) == value and store.read(name, key + b"+") is None for name, key, value in rows)

    assert every_key_is_found()
    while store.checkpoint():
        pass
    assert store._runs[-1].info.filter is not None
    assert every_key_is_found()
    store.close()


def test_a_damaged_filter_hides_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 20, checkpoint_until=10)
    for byte in range(16):
        flip(tmp_path / run_name(1), byte)
        store = open_store(tmp_path)
        with pytest.raises(DatabaseDamaged, match="its block at byte 0 does not match its checksum"):
            store.read("channels", b"none")
        store.close()
        flip(tmp_path / run_name(1), byte)


@pytest.mark.usefixtures("tiny")
def test_slices_are_small_and_appends_come_between_them(tmp_path: Path) -> None:
    store, model = open_store(tmp_path), MemoryStore()
    chance = random.Random(2)

    def append() -> None:
        keys = {chance.randbytes(1) for _ in range(20)}
        writes: list[Write] = [Put("channels", key, chance.randbytes(90)) for key in sorted(keys)]
        writes[0] = Delete("channels", writes[0].key)
        new = Batch(model.sequence + 1, tuple(writes))
        store.append(new)
        model.append(new)

    for _ in range(20):
        append()
    slices = 0
    while store.checkpoint():
        append()
        assert store.load(["channels"]) == model.load(["channels"])
        slices += 1
        assert slices < 500
    assert slices > 8
    store.close()
    store = open_store(tmp_path)
    assert store.load(["channels"]) == model.load(["channels"])
    store.close()


def test_a_merge_waits_for_the_room_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    monkeypatch.setattr(store._reserve, "free_bytes", lambda: 5 << 20)
    for sequence in range(1, 5):
        store.append(Batch(sequence, (Put("revoked", b"%d" % sequence, bytes(1 << 20)),)))
        while store.checkpoint():
            pass
    assert [run.info.number for run in store._runs] == [1, 2, 3, 4]
    monkeypatch.undo()
    while store.checkpoint():
        pass
    assert len(store._runs) == 1
    store.close()


def test_with_too_many_runs_each_append_waits_for_a_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a merge, and not for the whole of it: claims wait too."""
    monkeypatch.setattr(filesystem_store, "URGENT_RUNS", 2)
    store = open_store(tmp_path)
    for sequence in (1, 2):
        store.append(batch(sequence))
        assert not store.merge_urgent
        while store.tail_rows:
            store.checkpoint()
    assert store.merge_urgent
    assert not store.checkpoint_urgent
    slices, checkpoint = [], store.checkpoint

    def sliced() -> bool:
        slices.append(store.sequence)
        return checkpoint()

    monkeypatch.setattr(store, "checkpoint", sliced)
    writer = StoreWriter(store, raise_it)
    done = threading.Event()
    writer.submit(batch(3), lambda sequence, error: done.set())
    assert done.wait(10)
    assert slices[0] == 2, "before the batch"
    assert slices.count(2) == 1, "and one of them"
    writer.close()


def raise_it(error: StoreError) -> None:
    raise error


# --- crashes ---


def turn(sequence: int) -> Batch:
    chance = random.Random(sequence)
    writes: dict[bytes, Write] = {}
    for _ in range(chance.randrange(1, 9)):
        key = bytes([chance.randrange(12)])
        writes[key] = Put("channels", key, chance.randbytes(200)) if chance.random() < 0.8 else Delete("channels", key)
    return Batch(sequence, tuple(writes.values()))


def model(sequence: int) -> LoadedState:
    return MemoryStore(turn(number) for number in range(1, sequence + 1)).load(["channels"])


def restart_from(directory: Path, files: dict[str, bytes]) -> LoadedState:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    store = open_store(directory)
    try:
        return store.load(["channels"])
    finally:
        store.close()


@pytest.mark.usefixtures("tiny")
def test_a_crash_at_any_call_of_the_system_leaves_what_was_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a kill or a power failure: while it is made, in appends, in checkpoints, in merges, in a second start."""
    directory = tmp_path / "live"
    directory.mkdir(mode=0o700)
    disk = DiskRecorder(directory)
    disk.mark = (0, 0)
    with disk.recording(monkeypatch):
        for life in range(2):
            store = open_store(directory)
            for sequence in range(store.sequence + 1, store.sequence + 8):
                disk.mark = (sequence - 1, sequence)
                store.append(turn(sequence))
                disk.mark = (sequence, sequence)
                for _ in range(6 if life else sequence % 4):
                    store.checkpoint()
            store.close()
    models = [model(sequence) for sequence in range(15)]
    images = {tuple(sorted(files.items())): (mark, call) for mark, call, files in disk.images()}
    assert len(images) > 300
    assert any(call.startswith("unlink") and "run-" in call for _, call in images.values()), "no merge came to its end"
    for image, ((least, most), call) in images.items():
        found = restart_from(tmp_path / "copy", dict(image))
        assert least <= found.sequence <= most, call
        assert found == models[found.sequence], call


def test_nothing_is_left_of_a_log_that_a_crash_kept_from_its_name(tmp_path: Path) -> None:
    """Each would have a name of its own, so a node that is killed again and again would gather them."""
    filled(tmp_path, 3)
    left = log_path(tmp_path, 4).name + ".new"
    (tmp_path / left).write_bytes(bytes(48))
    store = open_store(tmp_path)
    assert store.load(["channels"]).sequence == 3
    assert names(tmp_path) == [log_path(tmp_path, 1).name, "manifest", "tail"]
    store.close()


@pytest.mark.usefixtures("tiny")
def test_a_torn_row_is_cut_away_and_never_comes_back(tmp_path: Path) -> None:
    store = open_store(tmp_path / "live")
    for sequence in range(1, 4):
        store.append(turn(sequence))
    log = log_path(tmp_path / "live", 1)
    before, tail = log.read_bytes(), (tmp_path / "live" / "tail").read_bytes()
    manifest = (tmp_path / "live" / "manifest").read_bytes()
    start = store._log._end
    store.append(turn(4))
    end, after = store._log._end, log.read_bytes()
    store.close()
    for cut in (*range(start, start + 40, 3), *range(start + 40, end, 97), end - 1):
        # What is not written yet is zeros, or nothing at all.
        for torn in (after[:cut] + before[cut:], after[:cut]):
            files = {"manifest": manifest, "tail": tail, log.name: torn}
            assert restart_from(tmp_path / "copy", files) == model(3)
    store = open_store(tmp_path / "copy")
    assert log_path(tmp_path / "copy", 1).stat().st_size == start
    store.append(turn(4))
    store.close()
    assert log_path(tmp_path / "copy", 1).read_bytes()[:end] == after[:end]


def test_rubbish_before_a_row_is_damage_even_where_the_tail_file_is_behind(tmp_path: Path) -> None:
    """A power failure may leave the tail file behind: what then looks torn and has rows behind it never was."""
    store = open_store(tmp_path)
    ends = []
    for sequence in range(1, 9):
        store.append(turn(sequence))
        ends.append(store._log._end)
        if sequence == 2:
            tail = (tmp_path / "tail").read_bytes()
    store.close()
    (tmp_path / "tail").write_bytes(tail)
    log = log_path(tmp_path, 1)
    data = bytearray(log.read_bytes())
    for damaged in (slice(ends[1], ends[1] + 20), slice(ends[1], ends[4] - 3), slice(ends[1] + 50, ends[1] + 51)):
        log.write_bytes(data[: damaged.start] + b"\xff" * (damaged.stop - damaged.start) + data[damaged.stop :])
        whole = log.read_bytes()
        with pytest.raises(DatabaseDamaged, match=r"log row 3 is damaged, although row \d follows$") as caught:
            open_store(tmp_path)
        one_line(caught.value, tmp_path)
        assert log.read_bytes() == whole


# --- what is refused ---


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_missing_log_file_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 20, checkpoint_until=10)
    log = log_path(tmp_path, 11)
    log.rename(tmp_path / "elsewhere")
    with pytest.raises(DatabaseDamaged) as caught:
        open_store(tmp_path)
    assert str(caught.value) == f"{log}: it is missing"


def test_a_gap_between_log_files_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for sequence in range(1, 21):
        store.append(batch(sequence))
    (tmp_path / "backup").write_bytes(log_path(tmp_path, 1).read_bytes())
    manifest = (tmp_path / "manifest").read_bytes()
    while store.checkpoint():
        pass
    store.append(batch(21))
    store.close()
    (tmp_path / "manifest").write_bytes(manifest)
    with pytest.raises(DatabaseDamaged, match="the log has a gap: 21 follows 0"):
        open_store(tmp_path)
    (tmp_path / "backup").rename(log_path(tmp_path, 1))
    assert open_store(tmp_path).sequence == 21


@pytest.mark.parametrize(
    ("name", "at", "why"),
    [
        ("manifest", 0, "it is not a database of this program"),
        ("manifest", 20, "its checksum does not match"),
        ("manifest", -1, "its checksum does not match"),
        (f"log-{11:020}", 0, "its head is not that of this log: it is damaged, or of another database"),
        (f"log-{11:020}", 12, "its head is not that of this log: it is damaged, or of another database"),
        (f"log-{11:020}", 60, "log row 11 is damaged, although row 12 follows"),
        (run_name(1), 17, "its block at byte 16 does not match its checksum"),
        (run_name(1), -5, "its block at byte"),
    ],
)
def test_a_flipped_bit_is_named(tmp_path: Path, name: str, at: int, why: str) -> None:
    filled(tmp_path, 20, checkpoint_until=10)
    flip(tmp_path / name, at)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(DatabaseDamaged) as caught:
        open_store(tmp_path).load()
    one_line(caught.value, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}: {why}")
    if not name.startswith("run"):
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_that_is_missing_or_of_another_size_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 20, checkpoint_until=10)
    run = tmp_path / run_name(1)
    data = run.read_bytes()
    run.write_bytes(data[:-1])
    with pytest.raises(DatabaseDamaged, match=f"it has {len(data) - 1} bytes, not {len(data)}"):
        open_store(tmp_path)
    run.unlink()
    with pytest.raises(DatabaseDamaged, match=r"run-000000000001: it is missing$"):
        open_store(tmp_path)


@pytest.mark.parametrize("part", [f"log-{11:020}", run_name(1), "tail"])
def test_a_missing_manifest_is_no_new_database(tmp_path: Path, part: str) -> None:
    filled(tmp_path, 20, checkpoint_until=10)
    for path in tmp_path.iterdir():
        if path.name != part:
            path.unlink()
    with pytest.raises(DatabaseDamaged, match=f"manifest: it is missing, although {part} is there$"):
        open_store(tmp_path)


def test_a_newer_format_and_newer_records_are_refused(tmp_path: Path) -> None:
    filled(tmp_path, 20, checkpoint_until=10)
    path = tmp_path / "manifest"
    data, manifest = path.read_bytes(), read_manifest(path)
    path.write_bytes(data[:8] + (2).to_bytes(4, "big") + os.urandom(30))
    with pytest.raises(DatabaseNewer, match=r"it has format 2; this program reads formats up to 1$"):
        open_store(tmp_path)
    newer = type(manifest)(manifest.store_id, manifest.checkpoint, 2, manifest.runs)
    path.write_bytes(encode_manifest(newer))
    with pytest.raises(DatabaseNewer, match=r"its records have version 2; this program reads versions up to 1$"):
        open_store(tmp_path)


def test_rows_are_made_durable_before_a_start_builds_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process may have written a row and not synced it: it is read, and power may fail later."""
    filled(tmp_path, 3)
    synced: list[str] = []
    true = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")) or true(fd))
    open_store(tmp_path).close()
    assert str(log_path(tmp_path, 1)) in synced
