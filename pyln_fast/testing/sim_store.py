"""A disk that is slow, fails, and forgets what was not synced.

Batches wait here until the simulator finishes them one by one. A crash keeps what was finished, and as many of the
waiting ones as the simulator says: those reached the disk and the node never learnt of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pyln_fast.node.state import (
    CHANNELS,
    CLAIMABLE,
    COMMITMENTS,
    EVENTS,
    FINISHED_PAYMENTS,
    FORWARDED,
    FORWARDING_INFOS,
    HTLCS,
    MONITORS,
    NODE,
    PAYMENTS,
    PEER_ADDRESSES,
)
from pyln_fast.persist.kv_store import LoadedState
from pyln_fast.persist.records import frame_batch, unframe_batch
from pyln_fast.records import Batch, Put, Table, Write
from pyln_fast.wallet.utxos import KEY_INDEXES, TRANSACTIONS, UTXOS

TABLES: dict[str, Table[object]] = {
    table.name: table  # type: ignore[misc]
    for table in (
        CHANNELS,
        HTLCS,
        MONITORS,
        COMMITMENTS,
        PAYMENTS,
        FINISHED_PAYMENTS,
        CLAIMABLE,
        EVENTS,
        FORWARDING_INFOS,
        FORWARDED,
        PEER_ADDRESSES,
        NODE,
        UTXOS,
        TRANSACTIONS,
        KEY_INDEXES,
    )
}
"""Every table that a node writes."""

OnRecord = Callable[[Write, object | None], None]
"""Told of every write that became durable, with its decoded record (None: it was deleted)."""


class RecordDoesNotRoundTrip(AssertionError):
    """decode(encode(record)) is not the record."""


class SimDisk:
    """One node's store."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}
        self.sequence = 0
        self.waiting: deque[Batch] = deque()
        self.on_record: OnRecord = lambda write, record: None

    def load(self, in_key_order: bool = False) -> LoadedState:
        """What a restart finds. Stores differ in the order in which they give the records of a table."""
        tables = {
            name: dict(sorted(rows.items()) if in_key_order else rows.items()) for name, rows in self.tables.items()
        }
        return LoadedState(tables, self.sequence)

    def read(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def submit(self, batch: Batch) -> None:
        self.waiting.append(batch)

    def finish(self) -> Batch:
        """The oldest waiting batch is durable."""
        batch = self.waiting.popleft()
        self._append(batch)
        return batch

    def crash(self, keep: int = 0, torn: bool = False) -> None:
        """Power is lost: `keep` of the waiting batches are on disk, and perhaps half of the next one's log row."""
        for _ in range(keep):
            self._append(self.waiting.popleft())
        if torn and self.waiting:
            self._append_half(self.waiting[0])
        self.waiting.clear()

    def _append(self, batch: Batch) -> None:
        assert batch.sequence == self.sequence + 1, f"batch {batch.sequence} after {self.sequence}"
        self.sequence = batch.sequence
        for write in batch.writes:
            rows = self.tables.setdefault(write.table, {})
            if isinstance(write, Put):
                rows[write.key] = write.value
            else:
                rows.pop(write.key, None)
        # All of a batch is there before anybody looks.
        for write in batch.writes:
            self.on_record(write, _checked(write) if isinstance(write, Put) else None)

    @staticmethod
    def _append_half(batch: Batch) -> None:
        """A log row that was cut is recognised by its checksum, so a restart does as if it were not there."""
        payload, checksum = frame_batch(batch)
        try:
            unframe_batch(batch.sequence, payload[: len(payload) // 2], checksum)
        except Exception:
            return
        raise AssertionError("half a log row was read as a whole one")


def _checked(put: Put) -> object:
    table = TABLES[put.table]
    record = table.decode(put.value)
    if table.put(put.key, record) != put:
        raise RecordDoesNotRoundTrip(put.table)
    return record
