"""Real nodes with real databases, killed (SIGKILL) under load again and again: `make torture`.

Three nodes, each a process with its own keys, database and TCP port, on a regtest chain that is a process too; two to
six channels between each pair of neighbours, opened and closed all the time, at feerates that move; payments in both
directions all the time, some of them held, some that must fail. At intervals and at the end all is quiet for a moment,
and the books of all sides, the wallets and the blocks are compared to the msat.

    node.py       one node, which also writes its events down
    zygote.py     starts nodes quickly
    world.py      the chain and the nodes
    load.py       the payments
    turnover.py   the channels that come and go, and the feerates
    accounts.py   what was asked for and what came of it: payments
    coins.py      the same of channels, wallets and blocks
    torture.py    the kills and the checks

    make torture ARGS="--kills 2000 --store sqlite --json results.json --seed 7"

The exit status is 0 only if every payment ended exactly once, every msat and every satoshi is accounted for, no channel
was lost or force-closed, and all channels closed cooperatively at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from pyln_fast.persist.directory import StoreKind
from tests.torture.torture import Result, Torture

STORES = tuple(kind.value for kind in StoreKind)
TEMPORARY = Path("/var/tmp")
"""On a disk: /tmp is often in memory."""


def table_of(tortures: list[tuple[Torture, Result]]) -> Table:
    table = Table(title="SIGKILL under load")
    table.add_column("")
    for _, result in tortures:
        table.add_column(result.store, justify="right")

    def row(title: str, *cells: object) -> None:
        table.add_row(title, *map(str, cells))

    results = [result for _, result in tortures]
    row("kills", *(each.kills for each in results))
    for kind in sorted({kind for torture, _ in tortures for kind in torture.kinds}):
        row(f"  {kind}", *(torture.kinds[kind] for torture, _ in tortures))
    for name in ("alice", "bob", "carol"):
        row(f"  of {name}", *(each.kills_by_node.get(name, 0) for each in results))
    row("restart p50 / max", *(f"{each.restart_s['p50']:.2f} / {each.restart_s['max']:.2f} s" for each in results))
    row("payments made", *(f"{each.payments_succeeded} of {each.payments}" for each in results))
    row("payments failed", *(each.payments_failed for each in results))
    row("channels opened", *(f"{each.openings}, {each.used} of them used" for each in results))
    row("openings undone by a kill", *(f"{each.undone}, {each.abandoned} of them signed" for each in results))
    row("channels closed", *(each.closes for each in results))
    row("feerates followed", *(each.estimates for each in results))
    row("lost", *(each.lost for each in results))
    row("paid twice", *(each.paid_twice for each in results))
    row("force-closes", *(each.force_closes for each in results))
    row("every msat accounted for", *("yes" if each.funds_conserved else "NO" for each in results))
    row("checks", *(each.checks for each in results))
    row("elapsed", *(f"{each.elapsed_s:.0f} s" for each in results))
    row("all held", *("[green]yes[/]" if torture.held else "[bold red]NO[/]" for torture, _ in tortures))
    return table


async def run_all(arguments: argparse.Namespace, directory: Path, console: Console) -> list[tuple[Torture, Result]]:
    stores = STORES if arguments.store == "both" else (arguments.store,)
    tortures = []
    for position, store in enumerate(stores):
        kills = arguments.kills * (position + 1) // len(stores) - arguments.kills * position // len(stores)
        torture = Torture(store, kills, arguments.seed, directory / store, console.print)
        result = await torture.run()
        if torture.failure:
            console.print(f"{store}: {torture.failure}")
        for line in torture.findings.lines[:20]:
            console.print(f"{store}: {line}")
        tortures.append((torture, result))
    return tortures


def main() -> int:
    parser = argparse.ArgumentParser(prog="make torture", description="nodes killed under load, again and again")
    parser.add_argument("--kills", type=int, default=40, help="over all stores (40)")
    parser.add_argument("--store", default="both", choices=(*STORES, "both"))
    parser.add_argument("--seed", type=int, default=1, help="of victims, moments and amounts; time itself has none")
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs there; it must be empty or not exist")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    if arguments.data_dir is not None:
        arguments.data_dir.mkdir(parents=True, exist_ok=True)
        if any(arguments.data_dir.iterdir()):
            parser.error(f"{arguments.data_dir} is not empty")
    console = Console(width=120 if not sys.stdout.isatty() else None, highlight=False, soft_wrap=True)
    where = TEMPORARY if TEMPORARY.is_dir() else None
    directory = arguments.data_dir or Path(tempfile.mkdtemp(prefix="pyln-fast-torture-", dir=where))
    # What is written to a node that has just been killed is no news.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    held = False
    try:
        tortures = asyncio.run(run_all(arguments, directory.resolve(), console))
        held = all(torture.held for torture, _ in tortures)
        console.print(table_of(tortures))
        if arguments.json is not None:
            results = [msgspec.to_builtins(result) for _, result in tortures]
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        if held and arguments.data_dir is None:
            shutil.rmtree(directory)
        else:
            console.print(f"databases and logs: {directory}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
