"""`pyln-fast`: every command is a typer function in a file of its own beside this one."""

from __future__ import annotations

import typer

from pyln_fast.cli.client import client
from pyln_fast.cli.db import db
from pyln_fast.cli.demo import demo
from pyln_fast.cli.regtest import regtest
from pyln_fast.cli.run import run
from pyln_fast.cli.simulate import simulate

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


@app.callback()
def root() -> None:
    """A Lightning node in Python."""


app.command()(run)
app.add_typer(client, name="cli")
app.add_typer(db, name="db")
app.command()(regtest)
app.command()(demo)
app.command()(simulate)


def main() -> None:
    app()
