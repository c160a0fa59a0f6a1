"""Crashes at every point of a write of SQLite's, and of processes with either store: nothing acknowledged is lost,
nothing half done is seen."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.kv_store import LoadedState
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.persist.sqlite_store import WAL_BYTES, SqliteStore
from pyln_fast.records import Batch, Delete, Put, Write
from tests.persist.conftest import OpenStore

FILES = ("node.db", "node.db-wal", "tail")


def turn(sequence: int) -> Batch:
    """What the batch of that number holds, so that parent and child need not talk about it."""
    chance = random.Random(sequence)
    writes: dict[bytes, Write] = {}
    for _ in range(chance.randrange(1, 5)):
        key = bytes([chance.randrange(40)])
        put = Put("channels", key, chance.randbytes(chance.randrange(1, 3000)))
        writes[key] = put if chance.random() < 0.8 else Delete("channels", key)
    return Batch(sequence, tuple(writes.values()))


def model(sequence: int) -> LoadedState:
    return MemoryStore(turn(number) for number in range(1, sequence + 1)).load(["channels"])


def small(directory: Path) -> SqliteStore:
    return SqliteStore(directory, reserve_bytes=0, low_space_bytes=0)


def files_of(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in FILES if (directory / name).exists()}


def restart_from(directory: Path, files: dict[str, bytes]) -> LoadedState:
    directory.mkdir(mode=0o700, exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    store = small(directory)
    try:
        return store.load(["channels"])
    finally:
        store.close()


def cuts(before: int, after: int) -> list[int]:
    """Places at which a write of a file may have ended: its edges, SQLite's frames, and some between."""
    return sorted({*range(before, after, 1031), *range(before, after, 24 + 4096), after - 1, after})


def test_a_crash_inside_an_append_leaves_the_batch_before_or_the_batch(tmp_path: Path) -> None:
    store = small(tmp_path / "live")
    for sequence in range(1, 9):
        before = files_of(tmp_path / "live")
        store.append(turn(sequence))
        after = files_of(tmp_path / "live")
        assert after["node.db"] == before["node.db"]
        wal = after["node.db-wal"]
        for cut in cuts(len(before.get("node.db-wal", b"")), len(wal)):
            found = restart_from(tmp_path / "copy", {**before, "node.db-wal": wal[:cut]})
            assert found == model(sequence if cut == len(wal) else sequence - 1)
        assert restart_from(tmp_path / "copy", after) == model(sequence)
    store.close()


def test_a_crash_inside_a_checkpoint_changes_nothing(tmp_path: Path) -> None:
    store = small(tmp_path / "live")
    sequence = 0
    for _ in range(3):
        for _ in range(60):
            sequence += 1
            store.append(turn(sequence))
        before = files_of(tmp_path / "live")
        store.checkpoint()
        after = files_of(tmp_path / "live")
        for cut in cuts(len(before["node.db-wal"]), len(after["node.db-wal"]))[::10]:
            found = restart_from(tmp_path / "copy", {**after, "node.db-wal": after["node.db-wal"][:cut]})
            assert found == model(sequence)
    store.close()


def test_a_crash_while_sqlites_log_is_folded_changes_nothing(tmp_path: Path) -> None:
    store = small(tmp_path / "live")
    for sequence in range(1, 61):
        store.append(turn(sequence))
    before = files_of(tmp_path / "live")
    store._fold_wal()
    after = files_of(tmp_path / "live")
    pages = {"old": before["node.db"].ljust(len(after["node.db"]), b"\0"), "new": after["node.db"]}
    chance = random.Random(1)
    for _ in range(12):
        # Pages reach the disk in any order.
        mixed = b"".join(
            pages[chance.choice(("old", "new"))][at : at + 4096] for at in range(0, len(pages["new"]), 4096)
        )
        assert restart_from(tmp_path / "copy", {**before, "node.db": mixed}) == model(60)
    store.append(turn(61))
    assert restart_from(tmp_path / "copy", files_of(tmp_path / "live")) == model(61)
    store.close()


def test_sqlites_log_is_folded_however_short_the_lives(tmp_path: Path) -> None:
    """It is read through at every start, so a node that is killed again and again must not let it grow for ever."""
    directory, sequence, sizes = tmp_path / "life 0", 0, []
    for life in range(1, 9):
        store = small(directory)
        for _ in range(300):
            sequence += 1
            store.append(turn(sequence))
            if store.checkpoint_due:
                while store.checkpoint():
                    pass
        files = files_of(directory)
        sizes.append(len(files["node.db-wal"]))
        store.close()
        # As SIGKILL leaves it: nothing was closed.
        directory = tmp_path / f"life {life}"
        directory.mkdir(mode=0o700)
        for name, data in files.items():
            (directory / name).write_bytes(data)
    assert max(sizes) < 3 * WAL_BYTES, sizes
    assert restart_from(tmp_path / "copy", files) == model(sequence)


def test_a_crash_while_the_database_is_made_leaves_none_or_an_empty_one(tmp_path: Path) -> None:
    store = small(tmp_path / "live")
    files = files_of(tmp_path / "live")
    store.close()
    without_tail = {name: data for name, data in files.items() if name != "tail"}
    assert restart_from(tmp_path / "copy", {}) == model(0)
    assert restart_from(tmp_path / "copy", {"node.db": b""}) == model(0)
    assert restart_from(tmp_path / "copy", without_tail) == model(0)
    for cut in cuts(0, len(files["node.db-wal"])):
        assert restart_from(tmp_path / "copy", {**without_tail, "node.db-wal": files["node.db-wal"][:cut]}) == model(0)


def test_a_torn_tail_file_is_the_one_before(tmp_path: Path) -> None:
    store = small(tmp_path / "live")
    for sequence in range(1, 5):
        store.append(turn(sequence))
    files = files_of(tmp_path / "live")
    store.close()
    for sector in (0, 4096):
        torn = bytearray(files["tail"])
        torn[sector : sector + 4096] = os.urandom(4096)
        assert restart_from(tmp_path / "copy", {**files, "tail": bytes(torn)}) == model(4)


CHILD = """
import os, sys
from pathlib import Path
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.store_writer import StoreWriter
from pyln_fast.persist.stores import open_store
from tests.persist.test_persist_crash import turn

store = open_store(Path(sys.argv[1]), StoreKind(sys.argv[2]), reserve_bytes=0, low_space_bytes=0)
first = store.sequence + 1
def on_done(sequence, error):
    assert error is None
    os.write(1, sequence.to_bytes(4, "big"))
writer = StoreWriter(store, lambda error: os._exit(3))
store._overlay.__class__.due = property(lambda overlay: overlay.rows >= 20)  # checkpoints all the time
for sequence in range(first, first + 100000):
    writer.submit(turn(sequence), on_done)
    while writer._jobs.qsize() > 2:
        pass
"""


def test_a_killed_process_loses_nothing_that_it_was_told_is_durable(
    tmp_path: Path, kind: StoreKind, open_store: OpenStore
) -> None:
    chance = random.Random(3)
    reached = 0
    for _ in range(6):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "db"), kind.value]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            told = child.stdout.read(4)
            time.sleep(chance.random() * 0.3)
            child.send_signal(signal.SIGKILL)
            told += child.stdout.read()
        last = int.from_bytes(told[len(told) // 4 * 4 - 4 : len(told) // 4 * 4], "big")
        store = open_store(tmp_path / "db")
        found = store.load(["channels"])
        store.close()
        assert last <= found.sequence <= last + 1
        assert found == model(found.sequence)
        assert found.sequence > reached
        reached = found.sequence
