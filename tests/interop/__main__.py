"""Our node against other implementations, on a chain with real consensus rules: `make interop PEERS=ldk`.

Self-tests hide mistakes that both sides share; this does not. The chain is `pyln_fast.testing.regtest` in this process;
our side is `node.Node` in a small shell of sockets and a store in memory (`our_node.py`), so that a link can be cut at
any chosen message (`cuts.py`) and a crash can lose what was not yet synced; the peer is a process of its own. One
scenario has the whole of us as a process too, with its database and its sockets (`process_node.py`).

    world.py       the parties of a scenario and what is done with them
    scenarios*.py  what every peer is put through
    ldk/           LDK 0.1.2 (npm, WASM) behind lines of JSON, and `ldk_peer.py` its handle

    make interop PEERS=ldk ARGS="--json results.json --only 'forward' --type anchors --role opener --verbose"

`result` is `pass`, `fail` (with `why`), or `cannot` where the peer lacks what the scenario needs. The exit status is 0
if nothing failed. Packages are installed into ~/.cache/pyln_fast, outside of the checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import traceback
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from tests.interop import ldk_peer, scenarios_cuts, scenarios_links, scenarios_payments, scenarios_process
from tests.interop.scenarios import SCENARIOS, Scenario
from tests.interop.waiting import Cannot
from tests.interop.world import ChannelType, Role, Setting, World

LIMIT_SECS = 120.0
# Importing them has registered what is in them.
_ = (scenarios_payments, scenarios_links, scenarios_cuts, scenarios_process)
VERSIONS = {"ldk": ldk_peer.VERSION}


class Result(msgspec.Struct, frozen=True):
    peer: str
    version: str
    scenario: str
    role: str
    channel_type: str
    result: str
    why: str
    seconds: float


async def run_one(name: str, scenario: Scenario, setting: Setting, verbose: bool) -> Result:
    began = time.monotonic()
    result, why = "pass", ""
    world = World(setting)
    try:
        async with world:
            await asyncio.wait_for(scenario(world), LIMIT_SECS)
            world.check_clean()
    except Cannot as error:
        result, why = "cannot", str(error)
    except Exception as error:
        result, why = "fail", f"{type(error).__name__}: {error}"
        if verbose:
            traceback.print_exc()
    if verbose and result == "fail":
        for party in world.parties:
            print(f"--- {party.name}", *party.log[-40:], *map(str, party.events[-12:]), sep="\n")
    elapsed = round(time.monotonic() - began, 2)
    role, channel_type = setting.role.value, setting.channel_type.value
    return Result("ldk", VERSIONS["ldk"], name, role, channel_type, result, why, elapsed)


def table_of(results: list[Result]) -> Table:
    table = Table(title="peer × scenario")
    settings = [(role, kind) for kind in ChannelType for role in Role]
    table.add_column("peer")
    table.add_column("scenario")
    for role, kind in settings:
        table.add_column(f"{kind.value}\nwe are {role.value}")
    colours = {"pass": "green", "fail": "bold red", "cannot": "yellow"}
    for key in dict.fromkeys((each.peer, each.version, each.scenario) for each in results):
        cells = []
        for role, kind in settings:
            found = [
                each
                for each in results
                if (each.peer, each.version, each.scenario) == key
                and (each.role, each.channel_type) == (role.value, kind.value)
            ]
            cells.append(f"[{colours[found[0].result]}]{found[0].result}[/] {found[0].seconds:.1f} s" if found else "")
        table.add_row(f"{key[0]} {key[1]}", key[2], *cells)
    return table


async def run_all(arguments: argparse.Namespace, console: Console) -> list[Result]:
    results = []
    for name, scenario in SCENARIOS.items():
        if arguments.only and arguments.only not in name:
            continue
        for kind in ChannelType:
            for role in Role:
                if arguments.type not in (None, kind.value) or arguments.role not in (None, role.value):
                    continue
                result = await run_one(name, scenario, Setting(role, kind), arguments.verbose)
                console.print(
                    f"{result.result:7}{result.seconds:6.1f} s  {name}, {kind.value}, we are {role.value}  {result.why}"
                )
                results.append(result)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="make interop", description="our node against other implementations")
    parser.add_argument("--peers", default="ldk", choices=sorted(VERSIONS))
    parser.add_argument("--only", help="scenarios whose name has this in it")
    parser.add_argument("--type", choices=[each.value for each in ChannelType])
    parser.add_argument("--role", choices=[each.value for each in Role])
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--verbose", action="store_true", help="the end of every log, where something failed")
    arguments = parser.parse_args()
    console = Console(width=160 if not sys.stdout.isatty() else None, highlight=False, soft_wrap=True)
    try:
        ldk_peer.prepare()
    except Cannot as error:
        console.print(f"make interop: {error}")
        return 1
    began = time.monotonic()
    results = asyncio.run(run_all(arguments, console))
    console.print(table_of(results))
    failed = sum(1 for each in results if each.result == "fail")
    console.print(f"{len(results)} runs, {failed} failed, {time.monotonic() - began:.0f} s")
    if arguments.json is not None:
        fields = ("peer", "version", "scenario", "role", "channel_type", "result", "why")
        arguments.json.write_text(
            json.dumps([{name: getattr(each, name) for name in fields} for each in results], indent=1) + "\n"
        )
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
