"""A write-ahead log of SQLite's that is damaged while the tail file is behind, and one that a power failure left: the
first is refused, the second loses nothing that was synced."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyln_fast.persist import directory as disk
from pyln_fast.persist import sqlite_file, sqlite_store
from pyln_fast.persist.check import check
from pyln_fast.persist.kv_store import DatabaseDamaged, LoadedState, StoreError
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.persist.tail_file import TailFile
from pyln_fast.persist.wal_file import highest_row
from pyln_fast.records import Batch, Put
from tests.persist.batches import batch, one_line
from tests.persist.test_persist_crash import files_of, model, small, turn

PAGE = 4096
FRAME = 24 + PAGE
WAL = "node.db-wal"


class Life:
    """A database at work, its files before each transaction and after it, and the tail file as it was last synced."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.points: list[tuple[int, dict[str, bytes]]] = []
        true = TailFile.sync

        def sync(tail: TailFile) -> None:
            true(tail)
            if os.path.samestat(os.fstat(tail._descriptor), (directory / "tail").stat()):
                self.tail = (directory / "tail").read_bytes()

        monkeypatch.setattr(TailFile, "sync", sync)
        self.store = small(directory)
        self.note()

    def note(self) -> None:
        self.points.append((self.store.sequence, {**files_of(self.directory), "tail": self.tail}))

    def run(self, steps: str) -> None:
        """b: a batch, s: a slice of a checkpoint, f: SQLite's log is folded, and begins anew with the next step."""
        for step in steps:
            if step == "b":
                self.store.append(turn(self.store.sequence + 1))
            elif step == "s":
                self.store._checkpoint_slice()
            else:
                self.store._fold_wal()
            self.note()

    @property
    def files(self) -> dict[str, bytes]:
        return self.points[-1][1]


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    made = Life(tmp_path / "live", monkeypatch)
    yield made
    made.store.close()


def without_syncs(path: Path) -> sqlite3.Connection:
    db = sqlite_file.connect(path)
    db.execute("PRAGMA synchronous = OFF")
    return db


def start(directory: Path, files: dict[str, bytes]) -> LoadedState | StoreError:
    """Thousands of starts: on a copy, whose syncs nobody waits for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_store, "sqlite_file", SimpleNamespace(**vars(sqlite_file) | {"connect": without_syncs}))
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, lambda descriptor: None)
        return _start(directory, files)


def _start(directory: Path, files: dict[str, bytes]) -> LoadedState | StoreError:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    try:
        store = small(directory)
    except StoreError as error:
        one_line(error, directory)
        return error
    try:
        return store.load(["channels"])
    finally:
        store.close()


def damaged(wal: bytes, at: int, new: bytes) -> bytes:
    return wal[:at] + new + wal[at + len(new) :]


def damages(wal: bytes, begin: int, end: int) -> Iterator[bytes]:
    """Each field of each frame flipped, its head gone, a sector of it, its page, all of it, and all of the next too."""
    for frame in range(begin, end, FRAME):
        for field in range(frame, frame + 24, 4):
            yield damaged(wal, field, bytes((wal[field] ^ 0x80,)) + wal[field + 1 : field + 4])
        for at in (frame + 24, frame + FRAME - 1, frame + 2000):
            yield damaged(wal, at, bytes((wal[at] ^ 1,)))
        sector = (frame + 511) // 512 * 512
        for at, length in ((frame, 24), (frame + 16, 40), (sector, 512), (frame, FRAME), (frame - 8, FRAME + 16)):
            for byte in (b"\0", b"\xa5"):
                yield damaged(wal, at, byte * min(length, end - at))


@pytest.mark.parametrize("steps", ["bbbbbbbb", "bbbfbbbsbb", "bbbsbbsb", "bbbbsss", "bbbbsbs", "bbbbbbfbsb", "bfbbs"])
def test_damage_anywhere_is_refused_though_the_tail_file_is_behind(tmp_path: Path, life: Life, steps: str) -> None:
    """Unless it is in the last transaction: nobody can tell that from a power failure, nor is any other part lost."""
    life.run(steps)
    whole = life.store.sequence
    wal = life.files[WAL]
    before, after = (files.get(WAL, b"") for _, files in life.points[-2:])
    changed = [at for at in range(32, len(wal), FRAME) if wal[at : at + FRAME] != before[at : at + FRAME]]
    assert after == wal
    salts = wal[16:24]
    frames = [at for at in range(32, len(wal), FRAME) if wal[at + 8 : at + 16] == salts]
    refused = 0
    for data in damages(wal, 32, frames[-1] + FRAME):
        result = start(tmp_path / "copy", {**life.files, WAL: data})
        if isinstance(result, StoreError):
            refused += 1
            continue
        hit = [at for at in frames if data[at : at + FRAME] != wal[at : at + FRAME]]
        assert result == model(whole) or (set(hit) <= set(changed) and result == model(whole - 1)), hit
    assert refused > len(frames) or steps[-1] == "s"
    for at in range(0, 32, 4):
        result = start(tmp_path / "copy", {**life.files, WAL: damaged(wal, at, b"\xee\xee\xee\xee")})
        assert isinstance(result, StoreError) or result == model(whole), at


def test_the_line_that_refuses_it_says_what_is_lost_every_time(tmp_path: Path, life: Life) -> None:
    """Closing, SQLite deletes the log that is the proof: it is kept, and a second start and a check look into it."""
    life.run("bbbbbbbb")
    third = len(life.points[3][1][WAL])
    data = damaged(life.files[WAL], third - 100, b"\xff" * 7)
    copy = tmp_path / "copy"
    line = "log ends at batch 2, but {} holds batch 8 behind damage: a part is lost"
    assert str(start(copy, {**life.files, WAL: data})) == f"{copy / 'node.db'}: its {line.format(WAL)}"
    assert not (copy / WAL).exists()
    kept = f"{WAL}.kept"
    for _ in range(2):
        with pytest.raises(DatabaseDamaged) as caught:
            small(copy)
        assert str(caught.value) == f"{copy / 'node.db'}: its {line.format(kept)}"
        assert check(copy).problems == (f"the {line.format(kept)}",)
        assert (copy / kept).read_bytes() == data
    for name, whole in life.files.items():
        (copy / name).write_bytes(whole)
    assert check(copy).whole
    assert not (copy / kept).exists()
    small(copy).close()


def test_a_file_system_without_second_names_keeps_the_log_too(
    tmp_path: Path, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    life.run("bbbb")
    data = damaged(life.files[WAL], len(life.points[2][1][WAL]) - 100, b"\xff" * 7)
    monkeypatch.setattr("os.link", link)
    for _ in range(2):
        assert isinstance(start(tmp_path / "copy", {**life.files, WAL: data}), DatabaseDamaged)
        assert (tmp_path / "copy" / f"{WAL}.kept").read_bytes() == data
    with pytest.raises(DatabaseDamaged):
        small(tmp_path / "copy")


def test_a_full_disk_without_second_names_starts(tmp_path: Path, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the log has no room, and a whole log needs none."""

    def fails(*paths: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    life.run("bbbb")
    monkeypatch.setattr("os.link", fails)
    monkeypatch.setattr(disk, "replace_file", fails)
    loaded = start(tmp_path / "copy", life.files)
    assert isinstance(loaded, LoadedState)
    assert loaded.sequence == 4


def torn(before: bytes, after: bytes, chance: random.Random) -> Iterator[bytes]:
    """What a power failure may leave of the frames that a transaction wrote: some of their sectors, in any order."""
    begin = next(at for at in range(32, len(after), FRAME) if after[at : at + FRAME] != before[at : at + FRAME])
    frames = range(begin, len(after), FRAME)
    for cut in (begin, begin + 7, begin + 12, begin + 24, begin + 2000, *(at + FRAME - 1 for at in frames)):
        yield after[:cut] + before[cut:]
    old = before.ljust(len(after), b"\0")
    for lost in frames:
        yield damaged(after, lost, old[lost : lost + FRAME])
    for share in (0.1, 0.5, 0.9):
        for _ in range(5):
            kept = bytearray(after)
            for at in range(begin // 512 * 512, len(after), 512):
                if chance.random() < share:
                    kept[at : at + 512] = old[at : at + 512]
            yield bytes(kept)[: chance.choice((len(after), max(len(before), chance.randrange(begin, len(after)))))]


@pytest.mark.parametrize("steps", ["bbbbbb", "bbbbbbbfbbbb", "bbbbbsbbsb", "bbbbbbbsfbsbb"])
def test_a_power_failure_in_any_transaction_loses_nothing_that_was_synced(
    tmp_path: Path, life: Life, steps: str
) -> None:
    life.run(steps)
    chance = random.Random(steps)
    for (synced, before), (reached, after) in zip(life.points, life.points[1:], strict=False):
        if after.get(WAL) == before.get(WAL):
            continue
        assert before["node.db"] == after["node.db"]
        old, new = before.get(WAL, b""), after[WAL]
        if old[:32] != new[:32]:
            # A log that begins anew: its head is synced before its first frame.
            for cut in range(33):
                assert start(tmp_path / "copy", {**before, WAL: new[:cut] + old[cut:]}) == model(synced), cut
            old = new[:32] + old[32:]
        for data in torn(old, new, chance):
            result = start(tmp_path / "copy", {**before, WAL: data})
            assert result in (model(synced), model(reached)), result
            if data == new:
                assert result == model(reached)


def test_what_an_earlier_life_left_behind_its_last_batch_proves_nothing(tmp_path: Path, life: Life) -> None:
    """A torn transaction, whose frames stay behind the shorter one that is written over it, which is torn too."""
    life.run("bbb")
    long = next(n for n in range(5, 200) if len(turn(n).writes) == 4)
    while life.store.sequence < long - 1:
        life.run("b")
    life.run("b")
    (_, before), (_, after) = life.points[-2:]
    begin = len(before[WAL])
    assert len(after[WAL]) >= begin + 3 * FRAME
    files = {**before, WAL: damaged(after[WAL], begin, b"\0" * FRAME)}
    copy, second = tmp_path / "copy", tmp_path / "second"
    assert start(copy, files) == model(long - 1)
    for name, data in files.items():
        (copy / name).write_bytes(data)
    store = small(copy)
    store.append(turn(long))
    lived = files_of(copy)
    store.append(turn(long + 1))
    again = files_of(copy)
    store.close()
    assert start(second, lived) == model(long)
    at = next(
        at for at in range(32, len(again[WAL]), FRAME) if lived[WAL][at : at + FRAME] != again[WAL][at : at + FRAME]
    )
    assert start(second, {**lived, WAL: damaged(again[WAL], at, b"\0" * FRAME)}) == model(long)


def test_the_highest_row_in_each_byte_order_and_page_size(tmp_path: Path) -> None:
    """SQLite writes the order of its machine, and reads both."""
    for page_bytes in (512, 4096, 65536):
        directory = tmp_path / str(page_bytes)
        directory.mkdir(mode=0o700)
        db = sqlite3.connect(directory / "node.db")
        db.execute(f"PRAGMA page_size = {page_bytes}")
        db.execute("VACUUM")
        db.close()
        store = small(directory)
        assert store._db.execute("PRAGMA page_size").fetchone() == (page_bytes,)
        for sequence in range(1, 30):
            store.append(turn(sequence))
        wal = directory / WAL
        assert highest_row(wal, page_bytes, 0) == 29
        assert highest_row(wal, page_bytes, 29) == 29
        assert highest_row(wal, page_bytes, 40) == 40
        for short in (0, 31, 32, 40):
            (tmp_path / "short").write_bytes(wal.read_bytes()[:short])
            assert highest_row(tmp_path / "short", page_bytes, 5) == 5
        swapped = tmp_path / "swapped"
        swapped.write_bytes(in_other_order(wal.read_bytes(), page_bytes))
        assert highest_row(swapped, page_bytes, 0) == 29
        store.close()


def test_a_row_in_a_frame_that_is_not_whole_proves_nothing(tmp_path: Path, life: Life) -> None:
    """A torn page may show any number. What is whole counts, wherever it lies."""
    life.run("bbbbbbbb")
    wal = life.files[WAL]
    ends = [at + FRAME - 1 for at in range(32, len(wal), FRAME)]
    (tmp_path / "wal").write_bytes(wal)
    assert highest_row(tmp_path / "wal", PAGE, 3) == 8
    data = bytearray(wal)
    for end in ends:
        data[end] ^= 1
    (tmp_path / "wal").write_bytes(data)
    assert highest_row(tmp_path / "wal", PAGE, 3) == 3
    data[ends[-1]] ^= 1
    (tmp_path / "wal").write_bytes(data)
    assert highest_row(tmp_path / "wal", PAGE, 3) == 8


def test_records_of_the_tables_are_no_batches(tmp_path: Path, life: Life) -> None:
    """SQLite numbers them too."""
    life.store.append(Batch(1, tuple(Put("channels", b"%d" % number, b"1") for number in range(300))))
    while life.store.checkpoint():
        pass
    life.note()
    result = start(tmp_path / "copy", life.files)
    assert isinstance(result, LoadedState)
    assert (result.sequence, len(result.tables["channels"])) == (1, 300)


def test_a_checksum_may_be_what_is_damaged(tmp_path: Path, life: Life) -> None:
    """Small batches are one frame each, so the one before the last is the only one to count on from."""
    for sequence in range(1, 9):
        life.store.append(batch(sequence))
        life.note()
    wal = life.files[WAL]
    before = len(wal) - 2 * FRAME
    assert len(life.points[-3][1][WAL]) == before
    for at in (before + 16, before + 23):
        result = start(tmp_path / "copy", {**life.files, WAL: damaged(wal, at, bytes((wal[at] ^ 1,)))})
        assert str(result).endswith(
            "its log ends at batch 6, but node.db-wal holds batch 8 behind damage: a part is lost"
        )


def in_other_order(wal: bytes, page_bytes: int) -> bytes:
    """The same log as a machine of the other byte order writes it, by SQLite's description of it."""

    def checksum(data: bytes, first: int, second: int) -> tuple[int, int]:
        for at in range(0, len(data), 8):
            first = (first + int.from_bytes(data[at : at + 4], "big") + second) % 2**32
            second = (second + int.from_bytes(data[at + 4 : at + 8], "big") + first) % 2**32
        return first, second

    assert wal[:4] == bytes.fromhex("377f0682")
    head = bytes.fromhex("377f0683") + wal[4:24]
    sums = checksum(head, 0, 0)
    parts = [head, *(each.to_bytes(4, "big") for each in sums)]
    for at in range(32, len(wal), 24 + page_bytes):
        frame = wal[at : at + 24 + page_bytes]
        sums = checksum(frame[:8] + frame[24:], *sums)
        parts += [frame[:16], *(each.to_bytes(4, "big") for each in sums), frame[24:]]
    return b"".join(parts)


def test_the_tail_file_is_synced_before_a_slice_and_with_the_batch_after_it(tmp_path: Path, life: Life) -> None:
    synced: list[bytes] = []
    for _ in range(5):
        life.run("b")
        synced.append(life.tail)
    assert len(set(synced)) == 1
    life.run("s")
    assert life.tail == (tmp_path / "live" / "tail").read_bytes() != synced[0]
    life.run("b")
    assert life.tail == (tmp_path / "live" / "tail").read_bytes()
    life.run("b")
    assert life.tail != (tmp_path / "live" / "tail").read_bytes()
    assert isinstance(life.store, SqliteStore)
