"""Writes tests/vectors/store-v1 or filesystem-store-v1: the database of a node in full work. Run by hand, once for each
format of each store: `python -m tests.node.make_store_vector filesystem`. What a later version must read is what an
earlier one wrote.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from pyln_fast.config import UserConfig
from pyln_fast.events import PaymentClaimable
from pyln_fast.persist import directory as disk
from pyln_fast.persist import run_file
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.filesystem_store import FilesystemStore
from pyln_fast.persist.stores import open_store
from pyln_fast.records import Batch
from tests.node.world import Host, World

VECTORS = Path(__file__).parents[1] / "vectors"
DIRECTORIES = {StoreKind.SQLITE: VECTORS / "store-v1", StoreKind.FILESYSTEM: VECTORS / "filesystem-store-v1"}
LOG_TAIL = 4
"""Batches that only the log has."""
CHECKPOINT = 50
"""Batches between two checkpoints."""
BLOCK_BYTES = 1024
"""So that runs as small as these have blocks of blocks."""


def busy(world: World) -> Host:
    """Bob: two channels with HTLCs both ways, one that is closing, payments pending, done and failed, one claimable."""
    config = UserConfig(accept_forwards_to_priv_channels=True)
    alice, bob, carol = (world.host(name, config) for name in ("alice", "bob", "carol"))
    for host in (alice, bob):
        world.fund(host)
    world.connect(alice, bob)
    world.connect(bob, carol)
    world.open(alice, bob, 1_000_000, 400_000_000)
    world.open(bob, carol, 2_000_000, 500_000_000)
    closed = world.open(bob, carol, 300_000)
    bob.call(lambda node: node.channel_manager.close_channel(closed, carol.node.core.node_id))
    world.mine(1)
    world.pay(bob, world.invoice(carol, 7_000_000), "bob paid")
    world.pay(alice, world.invoice(carol, 5_000_000), "bob forwarded")
    invoice = world.invoice(carol, 6_000_000)
    world.pay(carol, world.invoice(bob, 2_000_000), "bob received")
    for host in (alice, bob, carol):
        host.hold_claims = True
    bob.ignore_events = True
    world.pay(bob, invoice, "bob pays")
    world.pay(bob, world.invoice(alice, 8_000_000), "bob pays alice")
    world.pay(alice, world.invoice(carol, 9_000_000), "bob forwards")
    world.pay(carol, world.invoice(bob, 11_000_000), "bob is paid")
    assert len([event for event in bob.events if isinstance(event, PaymentClaimable)]) == 2
    assert world.rejected == []
    return bob


def write(directory: Path, kind: StoreKind, batches: list[Batch]) -> None:
    store = open_store(directory, kind, reserve_bytes=0, low_space_bytes=0)
    for batch in batches[:-LOG_TAIL]:
        store.append(batch)
        while batch.sequence % CHECKPOINT == 0 and store.checkpoint():
            pass
    while store.tail_rows:  # files: a newer run with deletions in it
        store.checkpoint()
    store.close()
    if kind is StoreKind.SQLITE:
        with closing(sqlite3.connect(directory / kind.file)) as database:
            database.execute("VACUUM")
    store = open_store(directory, kind, reserve_bytes=0, low_space_bytes=0)
    for batch in batches[-LOG_TAIL:]:
        store.append(batch)
    if isinstance(store, FilesystemStore):
        store._log.cut()  # a megabyte of zeros
    store.close()
    for name in (disk.LOCK, disk.RESERVE):
        (directory / name).unlink(missing_ok=True)


def main() -> None:
    kind = StoreKind(sys.argv[1])
    directory = DIRECTORIES[kind]
    if directory.exists():
        sys.exit(f"{directory} is there: it is never written again")
    run_file.BLOCK_BYTES = BLOCK_BYTES
    world = World()
    try:
        host = busy(world)
        write(directory, kind, host.store.batches)
        print([channel_id.hex() for channel_id in host.node.core.state.channels])
    finally:
        world.close_all()
    for path in sorted(directory.iterdir()):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
