"""A disk that is slow, fails, and forgets what was not synced.

Batches wait here until the simulator finishes them one by one. A crash keeps what was finished, and as many of the
waiting ones as the simulator says: those reached the disk and the node never learnt of it. As in the real stores, what
is finished is a log row, which checkpoints carry over into tables slice by slice, and a start reads the tables and
replays the rest of the log: `tables` is what must come out of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pyln_fast.node import state
from pyln_fast.persist.kv_store import LoadedState
from pyln_fast.persist.overlay import Overlay
from pyln_fast.persist.records import frame_batch, unframe_batch
from pyln_fast.records import Batch, Delete, Put, Table, Write
from pyln_fast.wallet import utxos

TABLES: dict[str, Table[Any]] = {table.name: table for table in (*state.TABLES, *utxos.TABLES)}
"""Every table that a node writes."""

OnRecord = Callable[[Write, object | None], None]
"""Told of every write that became durable, with its decoded record (None: it was deleted)."""


class RecordDoesNotRoundTrip(AssertionError):
    """decode(encode(record)) is not the record."""


class DurableStateLost(AssertionError):
    """What a start reads is not what was written."""


class SimDisk:
    """One node's store."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}
        """What is durable, whether in the log or checkpointed."""
        self.sequence = 0
        self.waiting: deque[Batch] = deque()
        self.on_record: OnRecord = lambda write, record: None
        self._log: dict[int, tuple[bytes, bytes]] = {}
        self._checkpointed: dict[str, dict[bytes, bytes]] = {}
        self._checkpoint = 0
        self._overlay = Overlay()
        """In memory: a crash loses it, and a start makes it again from the log."""

    def load(self, in_key_order: bool = False) -> LoadedState:
        """What a restart finds. Stores differ in the order in which they give the records of a table."""
        replayed = {name: dict(rows) for name, rows in self._checkpointed.items()}
        self._overlay = Overlay()
        sequence = self._checkpoint
        while sequence + 1 in self._log:
            sequence += 1
            payload, checksum = self._log[sequence]
            batch = unframe_batch(sequence, payload, checksum)
            self._overlay.add(sequence, batch.writes, len(payload))
            for write in batch.writes:
                _apply(replayed, write)
        if sequence != self.sequence or _without_empty(replayed) != _without_empty(self.tables):
            raise DurableStateLost(f"a start finds batch {sequence} of {self.sequence}, or other records")
        tables = {name: dict(sorted(rows.items()) if in_key_order else rows.items()) for name, rows in replayed.items()}
        return LoadedState(tables, sequence)

    @property
    def has_tail(self) -> bool:
        """Whether a checkpoint has something to do."""
        return self._overlay.rows > 0

    def checkpoint(self, trim: bool) -> int:
        """One slice, in one transaction; returns the sequence that the tables reach. Unless `trim`, the log keeps the
        rows that they have now: a crash came between."""
        taken, reached = self._overlay.next_slice(self.sequence)
        for table, key, value in taken:
            _apply(self._checkpointed, Delete(table, key) if value is None else Put(table, key, value))
        self._overlay.drop(taken, self._checkpoint, reached)
        self._checkpoint = reached
        if trim:
            self._log = {sequence: row for sequence, row in self._log.items() if sequence > reached}
        return reached

    def put_back(self, tables: Mapping[str, Mapping[bytes, bytes]], sequence: int) -> None:
        """Another content: an older copy, or a damaged one. All of it is in the tables."""
        self.tables = {name: dict(rows) for name, rows in tables.items()}
        self._checkpointed = {name: dict(rows) for name, rows in tables.items()}
        self.sequence = self._checkpoint = sequence
        self._log, self._overlay = {}, Overlay()
        self.waiting.clear()

    def read(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def submit(self, batch: Batch) -> None:
        """It is being written until `finish`."""
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
        self._log[batch.sequence] = row = frame_batch(batch)
        self._overlay.add(batch.sequence, batch.writes, len(row[0]))
        for write in batch.writes:
            _apply(self.tables, write)
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


def _apply(tables: dict[str, dict[bytes, bytes]], write: Write) -> None:
    rows = tables.setdefault(write.table, {})
    if isinstance(write, Put):
        rows[write.key] = write.value
    else:
        rows.pop(write.key, None)


def _without_empty(tables: dict[str, dict[bytes, bytes]]) -> dict[str, dict[bytes, bytes]]:
    return {name: rows for name, rows in tables.items() if rows}


def _checked(put: Put) -> object:
    table = TABLES[put.table]
    record = table.decode(put.value)
    if table.put(put.key, record) != put:
        raise RecordDoesNotRoundTrip(put.table)
    return record
