"""A check of a filesystem database: every block of every run and every row of the log, history included."""

from __future__ import annotations

from pathlib import Path

from pyln_fast.errors import LightningError
from pyln_fast.persist import directory as disk
from pyln_fast.persist.journal_store import TAIL_SYNC_BATCHES
from pyln_fast.persist.log_file import LogContents, log_files, read_logs
from pyln_fast.persist.manifest import FORMAT_VERSION, Manifest, RunInfo, read_manifest
from pyln_fast.persist.report import DatabaseReport, Problems, TableReport
from pyln_fast.persist.run_file import Run, merged_rows, split_row_key


def check_filesystem(directory: Path) -> DatabaseReport:
    """The caller holds the lock. Writes nothing. Raises StoreError if there is too little left to describe."""
    path = directory / disk.StoreKind.FILESYSTEM.file
    with disk.translated(path):
        manifest = read_manifest(path)
        found = Problems(directory)
        contents = _log(directory, manifest, found)
        sequence = manifest.checkpoint + sum(len(each.rows) for each in contents)
        runs = [run for info in manifest.runs for run in _checked(directory, info, found)]
        try:
            tables = _tables(runs) if len(runs) == len(manifest.runs) else ()
        finally:
            for run in runs:
                run.close()
        logs = [file for _, file in log_files(directory)]
        return DatabaseReport(
            path=path,
            format_version=FORMAT_VERSION,
            record_version=manifest.record_version,
            sequence=sequence,
            checkpoint=manifest.checkpoint,
            durable_sequence=found.durable(manifest.store_id, sequence),
            tail_rows=sequence - manifest.checkpoint,
            tail_bytes=sum(row.size for each in contents for row in each.rows),
            file_bytes=sum(file.stat().st_size for file in (path, *logs, *(run.path for run in runs))),
            tables=tables,
            problems=found.first(),
        )


def _log(directory: Path, manifest: Manifest, found: Problems) -> list[LogContents]:
    try:
        return read_logs(directory, manifest.store_id, manifest.checkpoint, TAIL_SYNC_BATCHES)
    except LightningError as error:
        found.lines.append(str(error))
        return []


def _checked(directory: Path, info: RunInfo, found: Problems) -> list[Run]:
    """The run, if all of it is what was written."""
    try:
        run = Run(directory, info)
    except (LightningError, OSError) as error:
        found.lines.append(str(error))
        return []
    rows, last = 0, b""
    try:
        for key, _ in run.rows():
            rows += 1
            if rows > 1 and key <= last:
                found.lines.append(f"{run.path}: its rows are not in order")
                break
            if not run.may_have(key):
                found.lines.append(f"{run.path}: its filter hides a row")
                break
            last = key
        else:
            if rows != info.rows:
                found.lines.append(f"{run.path}: it has {rows} rows, not {info.rows}")
    except (LightningError, OSError) as error:
        found.lines.append(str(error) if isinstance(error, LightningError) else f"{run.path}: {error.strerror}")
        run.close()
        return []
    return [run]


def _tables(runs: list[Run]) -> tuple[TableReport, ...]:
    counts: dict[str, tuple[int, int]] = {}
    for key, value in merged_rows(runs):
        if value is not None:
            table, rest = split_row_key(key)
            records, size = counts.get(table, (0, 0))
            counts[table] = (records + 1, size + len(rest) + len(value))
    return tuple(TableReport(name, *counts[name]) for name in sorted(counts))
