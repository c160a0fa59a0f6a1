"""The simulated disk is a log with checkpoints, as the real ones are."""

from __future__ import annotations

import pytest

from pyln_fast.node.state import NODE, PEER_ADDRESSES, PeerAddress
from pyln_fast.persist.overlay import SLICE_KEYS, Overlay
from pyln_fast.records import Batch
from pyln_fast.testing.sim_store import DurableStateLost, SimDisk

HOST = PeerAddress("host", 9735)


def key(number: int) -> bytes:
    return number.to_bytes(33, "big")


def filled(batches: int, keys: int) -> SimDisk:
    disk = SimDisk()
    for sequence in range(1, batches + 1):
        writes = tuple(PEER_ADDRESSES.put(key(n), PeerAddress("host", sequence)) for n in range(keys))
        disk.submit(Batch(sequence, writes))
        disk.finish()
    return disk


def test_a_start_reads_the_tables_and_replays_the_rest() -> None:
    disk = filled(3, SLICE_KEYS + 10)
    assert disk.checkpoint(trim=True) == 0, "a slice that ends within the first batch reaches none"
    before = disk.load()
    assert before.sequence == 3
    assert len(before.tables[PEER_ADDRESSES.name]) == SLICE_KEYS + 10
    assert disk.checkpoint(trim=False) == 0
    assert disk.checkpoint(trim=False) == 3
    assert not disk.has_tail
    assert disk.load() == before


def test_what_was_not_finished_is_gone_and_what_was_kept_is_there() -> None:
    disk = filled(1, 1)
    for sequence in (2, 3):
        disk.submit(Batch(sequence, (PEER_ADDRESSES.delete(key(0)), PEER_ADDRESSES.put(key(sequence), HOST))))
    disk.crash(keep=1, torn=True)
    loaded = disk.load()
    assert (loaded.sequence, list(loaded.tables[PEER_ADDRESSES.name])) == (2, [key(2)])


@pytest.mark.parametrize("lost", ["row", "batch"])
def test_a_start_that_lacks_something_is_noticed(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = filled(2, 3)
    honest = Overlay.next_slice
    if lost == "row":
        monkeypatch.setattr(Overlay, "next_slice", lambda self, last: (honest(self, last)[0][:-1], last))
    else:
        monkeypatch.setattr(Overlay, "next_slice", lambda self, last: ([], last))
    disk.checkpoint(trim=True)
    with pytest.raises(DurableStateLost, match="a start finds batch 2 of 2, or other records"):
        disk.load()


def test_records_of_unknown_tables_are_not_written() -> None:
    disk = SimDisk()
    disk.submit(Batch(1, (NODE.put(b"node", None),)))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="a record NodeRecord"):
        disk.finish()
