"""`pyln-fast db`: look at the database of a node that does not run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from pyln_fast.cli.shown import lines, shown
from pyln_fast.errors import LightningError, LocalError
from pyln_fast.node import state
from pyln_fast.persist import check as checking
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import DatabaseDamaged, walk
from pyln_fast.persist.report import DatabaseReport, describe
from pyln_fast.persist.stores import open_store
from pyln_fast.records import Table
from pyln_fast.wallet import utxos

DAMAGED, NOT_LOOKED_AT = 1, 2
"""Exit codes."""
TABLES: dict[str, Table[Any]] = {table.name: table for table in (*state.TABLES, *utxos.TABLES)}

DataDir = Annotated[Path, typer.Option(help="The node's data directory.")]
AsJson = Annotated[bool, typer.Option("--json")]

db = typer.Typer(no_args_is_help=True, help="Look at the database of a node that does not run.")


class NoSuchTable(LocalError):
    """Nothing is dumped."""


@db.command()
def check(data_dir: DataDir, as_json: AsJson = False) -> None:
    """Read all of it. Exit code 0: whole; 1: damaged; 2: it could not be looked at, for a node runs, say."""
    with _errors("check"):
        report = checking.check(data_dir)
        typer.echo(json.dumps(_as_json(report)) if as_json else describe(report))
        if not report.whole:
            raise typer.Exit(DAMAGED)


@db.command()
def dump(
    data_dir: DataDir,
    table: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every record, without secrets: of preimages their hashes, of other bytes that nobody else knows their number.

    With --json a line for each. Exit codes as of check.
    """
    with _errors("dump"):
        store = open_store(data_dir, checking.find_database(data_dir), reserve_bytes=0, low_space_bytes=0)
        try:
            for name in _names(store, table):
                for key, value in walk(store, name):
                    typer.echo(_told(name, key, value, as_json))
        finally:
            store.close()


def _names(store: JournalStore, wanted: str | None) -> list[str]:
    """Raises NoSuchTable."""
    names = store.table_names() if wanted is None else {wanted}
    unknown = sorted(names - TABLES.keys())
    if unknown:
        raise NoSuchTable(f"{unknown[0]}: there is no such table; there are {', '.join(sorted(TABLES))}")
    return sorted(names)


def _told(name: str, key: bytes, value: bytes, as_json: bool) -> str:
    """Raises DecodeError, which never quotes the record."""
    table = TABLES[name]
    record = shown(table.decode(value), table.kind)
    if as_json:
        return json.dumps({"table": name, "key": key.hex(), "record": record})
    return "\n  ".join([f"{name} {key.hex()}", *lines(record)])


def _as_json(report: DatabaseReport) -> dict[str, Any]:
    return {"whole": report.whole, **msgspec.to_builtins(report, enc_hook=str)}


@contextmanager
def _errors(command: str) -> Iterator[None]:
    """One line and an exit code."""
    try:
        yield
    except LightningError as error:
        typer.echo(f"pyln-fast db {command}: {error}", err=True)
        raise typer.Exit(DAMAGED if isinstance(error, DatabaseDamaged) else NOT_LOOKED_AT) from None
