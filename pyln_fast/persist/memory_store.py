"""A store in memory for tests and simulations, whose disk can fail and whose crashes lose what was not synced."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pyln_fast.persist.kv_store import LoadedState, StoreError
from pyln_fast.records import Batch, Delete


class MemoryStore:
    """`Store`. Set `failure` to make the next append fail, and with it every one after."""

    def __init__(self, batches: Iterable[Batch] = ()) -> None:
        self.batches: list[Batch] = []
        self.failure: StoreError | None = None
        self.low_space = False
        self._tables: dict[str, dict[bytes, bytes]] = {}
        for batch in batches:
            self.append(batch)

    @property
    def sequence(self) -> int:
        return len(self.batches)

    def load(self, tables: Iterable[str] | None = None) -> LoadedState:
        names = list(tables) if tables is not None else sorted(self._tables)
        return LoadedState({name: dict(self._tables.get(name, {})) for name in names}, self.sequence)

    def append(self, batch: Batch) -> None:
        if self.failure is not None:
            raise self.failure
        assert batch.sequence == self.sequence + 1, f"batch {batch.sequence} after {self.sequence}"
        self.batches.append(batch)
        for write in batch.writes:
            records = self._tables.setdefault(write.table, {})
            if isinstance(write, Delete):
                records.pop(write.key, None)
            else:
                records[write.key] = write.value

    def checkpoint(self) -> bool:
        return False

    def read(self, table: str, key: bytes) -> bytes | None:
        return self._tables.get(table, {}).get(key)

    def scan(
        self, table: str, prefix: bytes = b"", after: bytes | None = None, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        found = sorted(item for item in self._tables.get(table, {}).items() if item[0].startswith(prefix))
        return [item for item in found if after is None or item[0] > after][:limit]

    def close(self) -> None:
        pass


class MemoryWriter:
    """Stands in for `StoreWriter` without a thread: a batch becomes durable when the test says so."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self._waiting: list[tuple[Batch, Callable[[int, StoreError | None], None]]] = []

    @property
    def unsynced(self) -> int:
        return len(self._waiting)

    def submit(self, batch: Batch, on_done: Callable[[int, StoreError | None], None]) -> None:
        self._waiting.append((batch, on_done))

    def sync(self, count: int | None = None) -> None:
        """Write the oldest `count` batches (None: all), and report each."""
        due, self._waiting = self._waiting[:count], self._waiting[len(self._waiting[:count]) :]
        for batch, on_done in due:
            try:
                self.store.append(batch)
            except StoreError as error:
                on_done(batch.sequence, error)
            else:
                on_done(batch.sequence, None)

    def crash(self, keep: int = 0) -> MemoryStore:
        """What a restart finds: all that was synced, and the oldest `keep` of the rest (on disk, but unreported)."""
        survivors = [batch for batch, _ in self._waiting[:keep]]
        self._waiting.clear()
        return MemoryStore([*self.store.batches, *survivors])
