"""The store on plain files: an append-only log, and sorted runs that checkpoints write.

A checkpoint writes what the log has and the runs do not (the overlay) as one new run, begins a new log file, replaces
the manifest by a rename, and only then drops the old log. Runs are never changed: runs that are small beside the newer
ones are merged with them into one, so a record is written again each time the data behind it has doubled, and a read
looks into about as many runs as the data has doubled since the first checkpoint. Both jobs go in slices. A start that
cannot prove that nothing is missing is refused, and has changed nothing.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import ExitStack

from pyln_fast.persist import directory as disk
from pyln_fast.persist.journal_store import TAIL_SYNC_BATCHES, JournalStore, after_prefix
from pyln_fast.persist.kv_store import DatabaseDamaged
from pyln_fast.persist.log_file import LogContents, LogFile, has_rows, log_files, read_logs
from pyln_fast.persist.manifest import Manifest, encode_manifest, read_manifest
from pyln_fast.persist.run_file import Row, Run, RunWriter, first_to_merge, merged_rows, row_key, split_row_key

SLICE_BYTES = 256 << 10
"""What a slice reads and writes: a few milliseconds with its sync, which an append may wait."""
ROW_BYTES = 64
"""What a row costs beside its key and value, roughly: a slice of empty ones ends too."""
URGENT_RUNS = 64
"""With so many runs each append waits for a slice of a merge; doublings of the data alone never make as many."""

Job = Generator[None, None, None]


class FilesystemStore(JournalStore):
    """`Store` in files of its own."""

    kind = disk.StoreKind.FILESYSTEM
    _flush: Job | None = None
    _merge: Job | None = None

    @property
    def merge_urgent(self) -> bool:
        return len(self._runs) >= URGENT_RUNS and self._merge_is_due()

    # --- opening ---

    def _open(self) -> None:
        self._runs: list[Run] = []
        with self._translated():
            try:
                if not self._path.exists():
                    self._create()
                self._manifest = read_manifest(self._path)
                for info in self._manifest.runs:
                    self._runs.append(Run(self._directory, info))
                newest = self._replay()
                self._tail = self._open_tail(self._manifest.store_id)
            except BaseException:
                self._close_runs()
                raise
            self._last_run = max((run.info.number for run in self._runs), default=0)
            with ExitStack() as opened:
                opened.callback(self._close_runs)
                opened.callback(self._tail.close)
                self._log = LogFile(newest.path, newest.first, self._manifest.store_id, newest.end)
                opened.callback(self._log.close)
                self._log.cut()
                self._drop_leftovers()
                self._tail.begin(self._sequence)
                opened.pop_all()

    def _create(self) -> None:
        """The log first, the manifest then: what a crash leaves of it is nothing, or a log without rows."""
        tail = [self._directory / disk.TAIL] if (self._directory / disk.TAIL).exists() else []
        logs = [path for first, path in log_files(self._directory) if first > 1 or has_rows(path)]
        for part in (*tail, *logs, *self._directory.glob("run-*")):
            raise DatabaseDamaged(self._path, f"it is missing, although {part.name} is there")
        manifest = Manifest(os.urandom(16))
        LogFile.create(self._directory, manifest.store_id, 1).close()
        disk.replace_file(self._path, encode_manifest(manifest))

    def _replay(self) -> LogContents:
        """Every row after the checkpoint into the overlay. The newest file of the log."""
        checkpoint = self._manifest.checkpoint
        contents = read_logs(self._directory, self._manifest.store_id, checkpoint, TAIL_SYNC_BATCHES)
        for each in contents:
            for row in each.rows:
                self._overlay.add(row.batch.sequence, row.batch.writes, row.size)
        self._sequence = checkpoint + sum(len(each.rows) for each in contents)
        return contents[-1]

    def _drop_leftovers(self) -> None:
        """Of checkpoints that a crash ended, before their rename or after it."""
        named = {run.path for run in self._runs}
        for path in (*self._directory.glob("run-*"), *self._directory.glob("log-*.new")):
            if path not in named:
                path.unlink()
        self._drop_old_logs()

    def _drop_old_logs(self) -> None:
        for first, path in log_files(self._directory):
            if first <= self._manifest.checkpoint:
                path.unlink()

    def _close_files(self) -> None:
        for job in (self._flush, self._merge):
            if job is not None:
                job.close()
        self._log.close()
        self._close_runs()

    def _close_runs(self) -> None:
        for run in self._runs:
            run.close()

    # --- working ---

    def _append_row(self, sequence: int, payload: bytes, checksum: bytes) -> None:
        with disk.translated(self._log.path):
            self._log.append(sequence, payload, checksum)

    def _roll_back(self) -> None:
        self._log.give_up()

    def _checkpoint(self) -> bool:
        """A slice of a flush, for only that shortens the log; else of a merge. A flush of little waits for merges: each
        makes a run more."""
        if self._flush is None and self._overlay.rows:
            merges = self._merge is not None or self._merge_is_due()
            if self._overlay.due or self._overlay.urgent or not merges:
                self._flush = self._flushing()
        if self._flush is not None:
            self._flush = _advanced(self._flush)
        else:
            if self._merge is None and self._merge_is_due():
                self._merge = self._merging(self._runs[self._first_to_merge() :])
            self._merge = _advanced(self._merge)
        return self._flush is not None or self._merge is not None or self._merge_is_due()

    def _flushing(self) -> Job:
        taken, reached = list(self._overlay.changes()), self._sequence
        if self._log.first <= reached:
            old, self._log = self._log, LogFile.create(self._directory, self._manifest.store_id, reached + 1)
            old.close()
            yield
        rows = sorted((row_key(table, key), value) for table, key, value in taken)
        run = yield from self._write_run(rows, len(rows), keep_deletes=bool(self._runs))
        before = self._manifest.checkpoint
        self._install([*self._runs, *run], reached)
        self._overlay.drop(taken, before, reached)
        self._drop_old_logs()

    def _merging(self, old: list[Run]) -> Job:
        first = self._runs.index(old[0])
        most = sum(each.info.rows for each in old)
        run = yield from self._write_run(merged_rows(old), most, keep_deletes=first > 0)
        newer = self._runs[first + len(old) :]
        self._install([*self._runs[:first], *run, *newer], self._manifest.checkpoint)
        for each in old:
            each.close()
            each.path.unlink()

    def _write_run(self, rows: Iterable[Row], most: int, *, keep_deletes: bool) -> Generator[None, None, list[Run]]:
        """One, or none if no rows are left of at most so many."""
        self._last_run += 1
        writer = RunWriter(self._directory, self._last_run, most)
        size = 0
        try:
            with disk.translated(writer.path):
                for key, value in rows:
                    if value is not None or keep_deletes:
                        writer.add(key, value)
                    size += len(key) + len(value or b"") + ROW_BYTES
                    if size >= SLICE_BYTES:
                        self._reserve.keep_up(size)
                        writer.sync()
                        size = 0
                        yield
                for _ in writer.write_filter(SLICE_BYTES):
                    self._reserve.keep_up(SLICE_BYTES)
                    writer.sync()
                    yield
                info = writer.finish()
                yield
        except BaseException:
            writer.abandon()
            raise
        return [] if info is None else [Run(self._directory, info, writer.filter)]

    def _install(self, runs: list[Run], checkpoint: int) -> None:
        manifest = Manifest(self._manifest.store_id, checkpoint, runs=tuple(run.info for run in runs))
        disk.sync_directory(self._directory)
        disk.replace_file(self._path, encode_manifest(manifest))
        self._manifest, self._runs = manifest, runs

    def _first_to_merge(self) -> int:
        """Of what the disk has room to write again: where the largest merge has not, smaller ones still go on."""
        sizes = [run.info.size for run in self._runs]
        start = 0
        while start < len(sizes) and not self._reserve.has_room(sum(sizes[start:])):
            start += 1
        return start + first_to_merge(sizes[start:])

    def _merge_is_due(self) -> bool:
        return self._first_to_merge() < len(self._runs)

    # --- reading ---

    def _stored_tables(self) -> set[str]:
        return {table for run in self._runs for table in run.info.tables}

    def _load_table(self, name: str) -> dict[bytes, bytes]:
        return dict(self._stored_rows(name, b"", None))

    def _read_stored(self, table: str, key: bytes) -> bytes | None:
        name = row_key(table, key)
        for run in reversed(self._runs):
            found = run.find(name)
            if found is not None:
                return found[0]
        return None

    def _stored_rows(self, table: str, start: bytes, end: bytes | None) -> Generator[tuple[bytes, bytes], None, None]:
        last = after_prefix(row_key(table, b"")) if end is None else row_key(table, end)
        for key, value in merged_rows(self._runs, row_key(table, start), last):
            if value is not None:
                yield split_row_key(key)[1], value


def _advanced(job: Job | None) -> Job | None:
    """A slice of it; None once it is done."""
    if job is not None:
        for _ in job:
            return job
    return None
