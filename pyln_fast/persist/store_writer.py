"""A store on a thread of its own: the loop never waits for a disk.

Everything is done in the order of submission. With nothing to do the thread checkpoints, one slice at a time, so that a
batch waits for one slice at most; only when the tail has grown far too long do slices come before batches, as many as
it takes: what a start has to replay is bounded.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import PAGE_RECORDS, DatabaseUnwritable, StoreError
from pyln_fast.records import Batch

IDLE_SECONDS = 0.05
"""A pause this long is idleness; a shorter one is a turn being computed, whose batch should find the disk free."""

OnDone = Callable[[int, StoreError | None], None]
OnRead = Callable[[bytes | None, StoreError | None], None]
OnScan = Callable[[list[tuple[bytes, bytes]], StoreError | None], None]


class StoreWriter:
    """Owns the store from now on. Callbacks come on the writer's thread: post them to the loop, and never raise."""

    def __init__(self, store: JournalStore, on_failure: Callable[[StoreError], None]) -> None:
        """`on_failure` hears of a failed checkpoint: as after a failed batch, nothing is written any more."""
        self._store = store
        self._on_failure = on_failure
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._low_space = store.low_space
        self._failure: StoreError | None = None
        self._checkpointing = False
        self._thread = threading.Thread(target=self._run, name="store-writer")
        self._thread.start()

    @property
    def low_space(self) -> bool:
        """As of the last write."""
        return self._low_space

    def submit(self, batch: Batch, on_done: OnDone) -> None:
        """`on_done(batch.sequence, None)` once it is durable, or with why it is not; then no later one is either."""

        def job() -> None:
            if self._failure is None:
                try:
                    self._append(batch)
                except StoreError as error:
                    self._failure = error
                except Exception as error:  # a fault of ours: the node must learn that nothing is durable any more
                    self._failure = DatabaseUnwritable(self._store.path, repr(error))
            on_done(batch.sequence, self._failure)

        self._jobs.put(job)

    def read(self, table: str, key: bytes, on_read: OnRead) -> None:
        """The value after every batch submitted before."""

        def job() -> None:
            try:
                value = self._store.read(table, key)
            except StoreError as error:
                on_read(None, error)
            else:
                on_read(value, None)

        self._jobs.put(job)

    def scan(self, table: str, on_scan: OnScan, after: bytes | None = None, limit: int = PAGE_RECORDS) -> None:
        """A page of the table, after every batch submitted before: what is submitted meanwhile waits for it. Whoever
        wants more asks again, so that batches go in between."""

        def job() -> None:
            try:
                records = self._store.scan(table, after=after, limit=limit)
            except StoreError as error:
                on_scan([], error)
            else:
                on_scan(records, None)

        self._jobs.put(job)

    def close(self) -> None:
        """Wait until everything submitted is done, then close the store."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                try:
                    job()
                except Exception as error:  # a callback's fault: stop by name instead of hanging
                    self._stop(DatabaseUnwritable(self._store.path, repr(error)))
        finally:
            self._store.close()

    def _append(self, batch: Batch) -> None:
        while self._store.checkpoint_urgent and self._store.checkpoint():
            pass
        if self._store.merge_urgent:
            self._store.checkpoint()
        self._store.append(batch)
        self._low_space = self._store.low_space

    def _next(self) -> Callable[[], None] | None:
        """The next job. Until one comes: what can wait."""
        try:
            while self._failure is None and (self._store.checkpoint_due or self._checkpointing):
                with suppress(queue.Empty):
                    return self._jobs.get_nowait()
                self._checkpointing = self._store.checkpoint()
            if self._failure is None:
                with suppress(queue.Empty):
                    return self._jobs.get(timeout=IDLE_SECONDS)
                self._store.idle()
                self._low_space = self._store.low_space
        except StoreError as error:
            self._stop(error)
        except Exception as error:
            self._stop(DatabaseUnwritable(self._store.path, repr(error)))
        return self._jobs.get()

    def _stop(self, error: StoreError) -> None:
        self._failure = error
        self._on_failure(error)
