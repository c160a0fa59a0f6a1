"""Batches and databases for the tests of the stores."""

from __future__ import annotations

from pathlib import Path

from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import StoreError
from pyln_fast.records import Batch, Put, Write

TABLES = ("channels", "payments", "revoked")


def batch(sequence: int, *writes: Write) -> Batch:
    return Batch(sequence, writes or (Put("channels", b"c%d" % (sequence % 7), b"%d" % sequence * 50),))


def fill(store: JournalStore, batches: int, checkpoint_until: int = 0) -> dict[bytes, bytes]:
    """So many batches, then it is closed; what its table `channels` holds."""
    for sequence in range(1, batches + 1):
        store.append(batch(sequence))
        if sequence == checkpoint_until:
            while store.checkpoint():
                pass
    expected = store.load().tables["channels"]
    store.close()
    return expected


def one_line(error: BaseException, directory: Path) -> None:
    assert isinstance(error, StoreError)
    assert "\n" not in str(error)
    assert str(directory) in str(error)
