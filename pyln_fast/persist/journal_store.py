"""What every store on a disk shares: overlay, tail file, reserve, lock, and that a failed write is the last.

Where log rows and tables lie is a store's own: `SqliteStore`, `FilesystemStore`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path

from pyln_fast.persist import directory as disk
from pyln_fast.persist.kv_store import DatabaseDamaged, DatabaseUnwritable, LoadedState, StoreError
from pyln_fast.persist.overlay import Overlay
from pyln_fast.persist.records import frame_batch
from pyln_fast.persist.tail_file import TailFile
from pyln_fast.records import Batch

TAIL_SYNC_BATCHES = 64
"""Batches after which the tail file is synced although the writer was never idle."""


class JournalStore(ABC):
    """`Store` in a directory. Not for two threads at a time; any one thread may use it."""

    kind: disk.StoreKind
    _sync_next_tail = False

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int = disk.RESERVE_BYTES,
        low_space_bytes: int = disk.LOW_SPACE_BYTES,
    ) -> None:
        """Open or make the database. Raises StoreError: no program runs on a database that is not whole."""
        self._directory = directory
        self._path = directory / self.kind.file
        self._failure: StoreError | None = None
        self._overlay = Overlay()
        self._sequence = 0
        self._tail: TailFile
        self._closed = False
        disk.prepare(directory)
        self._lock = disk.DirectoryLock(directory)
        try:
            disk.refuse_other_kind(directory, self.kind)
            with self._translated():
                # A process that was killed may have renamed files, or made them, and not synced their names: what is
                # found must be durable before anybody builds on it.
                disk.sync_directory(directory)
            self._open()
        except BaseException:
            self._lock.close()
            raise
        try:
            with self._translated():
                self._reserve = disk.DiskReserve(directory, reserve_bytes, low_space_bytes)
        except BaseException:
            with suppress(StoreError):
                self.close()
            raise

    # --- what a Store is ---

    @property
    def sequence(self) -> int:
        return self._sequence

    @property
    def low_space(self) -> bool:
        return self._reserve.low_space

    def load(self, tables: Iterable[str] | None = None) -> LoadedState:
        """Reads what is asked for and nothing else, so history costs nothing; each table must add up."""
        names = sorted(self.table_names()) if tables is None else tables
        with self._translated():
            loaded = {name: self._load_table(name) for name in names}
        for name, key, value in self._overlay.changes():
            if name in loaded:
                _set(loaded[name], key, value)
        return LoadedState(loaded, self._sequence)

    def append(self, batch: Batch) -> None:
        assert self._failure or batch.sequence == self._sequence + 1, f"batch {batch.sequence} after {self._sequence}"
        payload, checksum = frame_batch(batch)
        with self._writing():
            self._reserve.keep_up(len(payload))
            self._append_row(batch.sequence, payload, checksum)
            self._tail.write(batch.sequence)
            if self._sync_next_tail or batch.sequence % TAIL_SYNC_BATCHES == 0:
                self._tail.sync()
                self._sync_next_tail = False
        self._sequence = batch.sequence
        self._overlay.add(batch.sequence, batch.writes, len(payload))

    def checkpoint(self) -> bool:
        with self._writing():
            return self._checkpoint()

    def read(self, table: str, key: bytes) -> bytes | None:
        waiting = self._overlay.find(table, key)
        if waiting is not None:
            return waiting[0]
        with self._translated():
            return self._read_stored(table, key)

    def scan(
        self, table: str, prefix: bytes = b"", after: bytes | None = None, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        start, end = prefix, after_prefix(prefix)
        if after is not None:
            start = max(start, after + b"\0")
        with self._translated(), closing(self._stored_rows(table, start, end)) as stored:
            return list(islice(_newest(stored, self._overlay.ordered(table, start, end)), limit))

    def close(self) -> None:
        """Idempotent. The tail of the log stays what it is: the next start replays it."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack, self._translated():
            stack.callback(self._lock.close)
            stack.callback(self._close_files)
            stack.callback(self._tail.close)
            if self._failure is None:
                self._tail.sync()

    # --- what its writer asks ---

    @property
    def path(self) -> Path:
        return self._path

    @property
    def checkpoint_due(self) -> bool:
        return self._overlay.due

    @property
    def checkpoint_urgent(self) -> bool:
        return self._overlay.urgent

    @property
    def merge_urgent(self) -> bool:
        """A slice of a checkpoint should go before each batch, until files are merged."""
        return False

    @property
    def tail_rows(self) -> int:
        """Log rows that the next start would replay."""
        return self._overlay.rows

    def table_names(self) -> set[str]:
        """Tables that have, or had, a record."""
        return self._stored_tables() | self._overlay.tables()

    def idle(self) -> None:
        """Nothing is waiting to be written: the moment for what can wait. Raises StoreError."""
        with self._writing():
            self._tail.sync()
            self._reserve.take_again()

    # --- what a kind of store says ---

    @abstractmethod
    def _open(self) -> None:
        """Check everything, change nothing before; then bring `_sequence`, `_overlay` and `_tail` up."""

    @abstractmethod
    def _append_row(self, sequence: int, payload: bytes, checksum: bytes) -> None:
        """Durable when it returns."""

    @abstractmethod
    def _checkpoint(self) -> bool: ...

    @abstractmethod
    def _stored_tables(self) -> set[str]: ...

    @abstractmethod
    def _load_table(self, name: str) -> dict[bytes, bytes]:
        """All that the tables have under that name, proven to be all."""

    @abstractmethod
    def _read_stored(self, table: str, key: bytes) -> bytes | None: ...

    @abstractmethod
    def _stored_rows(self, table: str, start: bytes, end: bytes | None) -> Generator[tuple[bytes, bytes], None, None]:
        """From key `start` to before `end`, in order, read as they are asked for. Closed before anything is written."""

    @abstractmethod
    def _close_files(self) -> None: ...

    @abstractmethod
    def _roll_back(self) -> None:
        """After a failed write. Raises nothing."""

    def _translated(self) -> AbstractContextManager[None]:
        """Whatever a disk raises inside becomes a StoreError."""
        return disk.translated(self._path)

    # --- what they share ---

    def _open_tail(self, store_id: bytes) -> TailFile:
        """The log must reach what the tail file says. It may reach further: by what no one was told is durable."""
        path = self._directory / disk.TAIL
        if not path.exists():
            if self._sequence != 0:
                raise DatabaseDamaged(path, f"it is missing, although the log reaches batch {self._sequence}")
            TailFile.create(path, store_id)
        tail = TailFile(path, store_id)
        if tail.sequence > self._sequence:
            tail.close()
            raise DatabaseDamaged(
                self._path, f"its log ends at batch {self._sequence}, but {tail.sequence} was durable: a part is lost"
            )
        return tail

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Whatever goes wrong inside, nothing is written ever after: what the file then holds is not known."""
        if self._failure is not None:
            raise self._failure
        try:
            with self._translated():
                yield
        except BaseException as error:
            self._failure = error if isinstance(error, StoreError) else DatabaseUnwritable(self._path, repr(error))
            self._roll_back()  # the first failure is the one to report
            raise


def _set(records: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        records.pop(key, None)
    else:
        records[key] = value


def _newest(
    stored: Iterable[tuple[bytes, bytes]], waiting: Iterator[tuple[bytes, bytes | None]]
) -> Iterator[tuple[bytes, bytes]]:
    """Both are in order. Of a key that both have, what is waiting for a checkpoint counts; None is no record."""
    change = next(waiting, None)
    for row in stored:
        while change is not None and change[0] < row[0]:
            if change[1] is not None:
                yield change[0], change[1]
            change = next(waiting, None)
        if change is None or change[0] != row[0]:
            yield row
    while change is not None:
        if change[1] is not None:
            yield change[0], change[1]
        change = next(waiting, None)


def after_prefix(prefix: bytes) -> bytes | None:
    """The first key after all that begin with `prefix`; None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
