"""`pyln-fast demo`: the main job on an embedded regtest chain, with everything that it needs in one command."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

if TYPE_CHECKING:
    from pyln_fast.cli.demo_payments import PaymentsScenario, Progress, Result

SCENARIOS = ("payments",)


def demo(
    scenario: Annotated[str, typer.Option(help="payments: open, pay, forward, crash, restart, close.")] = "payments",
    payments: Annotated[int, typer.Option(help="How many payments alice makes to carol.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Of the amounts.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result there.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep databases and logs there; it must be empty or not exist.")
    ] = None,
) -> None:
    """Three Lightning nodes on a real regtest chain, each a process with its own keys, database and TCP port.

    They open channels, pay and forward, lose one node to SIGKILL in the middle, come back, and close. The exit status
    is 0 only if every payment succeeded exactly once, every msat is accounted for, and every close confirmed.
    """
    console = Console()
    try:
        if scenario not in SCENARIOS:
            raise typer.BadParameter(f"{scenario}: there is {', '.join(SCENARIOS)}")
        _check_prerequisites()
        with tempfile.TemporaryDirectory(prefix="pyln-fast-demo-") as temporary:
            where = Path(temporary) if data_dir is None else _empty_directory(data_dir)
            status = asyncio.run(_run(console, where, payments, seed, json_file))
    except _Refused as error:
        typer.echo(f"pyln-fast demo: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(status)


class _Refused(Exception):
    """One line for people."""


def _check_prerequisites() -> None:
    try:
        import pyln_fast.testing.regtest  # noqa: F401
    except ImportError as error:
        raise _Refused(str(error)) from None


def _empty_directory(path: Path) -> Path:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise _Refused(f"{path} is not an empty directory")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _Refused(f"{path}: {error.strerror}") from None
    return path.resolve()


async def _run(console: Console, where: Path, payments: int, seed: int, json_file: Path | None) -> int:
    from pyln_fast.cli.demo_payments import PaymentsScenario
    from pyln_fast.cli.demo_world import DemoFailed

    display = _Display(console, payments)
    scenario = PaymentsScenario(where, payments, seed, display.show)
    with display:
        try:
            result = await scenario.run()
        except DemoFailed as error:
            raise _Refused(str(error)) from None
    _print_result(console, scenario, result)
    if json_file is not None:
        json_file.write_text(json.dumps(msgspec.to_builtins(result), indent=2) + "\n")
    succeeded = result.payments_succeeded == result.payments_sent and result.payments_failed == 0
    closed = all(close.confirmed for close in result.closes)
    return 0 if succeeded and closed and result.funds_conserved else 1


class _Display:
    """A live bar on a terminal, a line for each step otherwise."""

    def __init__(self, console: Console, payments: int) -> None:
        self._console = console
        self._live: Live | None = None
        self._step = ""
        if console.is_terminal:
            self._bars = Bars(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
                console=console,
            )
            self._task: TaskID = self._bars.add_task("starting", total=payments, state="")
            self._live = Live(self._bars, console=console, refresh_per_second=10)

    def __enter__(self) -> _Display:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def show(self, progress: Progress) -> None:
        if progress.step != self._step:
            self._step = progress.step
            self._console.print(f"{progress.done:5d}/{progress.total}  {progress.step}", highlight=False)
        if self._live is not None:
            state = "[red]bob is down[/]" if progress.bob_is_down else f"{progress.in_flight} in flight"
            self._bars.update(self._task, completed=progress.done, description="payments", state=state)


def _print_result(console: Console, scenario: PaymentsScenario, result: Result) -> None:
    table = Table(title="alice → bob → carol", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("payments succeeded", f"{result.payments_succeeded} of {result.payments_sent}")
    table.add_row("payments per second", f"{result.payments_per_second:,.1f}")
    table.add_row("latency p50 / p99", f"{result.latency_ms['p50']:,.1f} / {result.latency_ms['p99']:,.1f} ms")
    table.add_row("restarts of bob after SIGKILL", str(result.restarts))
    table.add_row("forwarded by bob", str(result.forwarded))
    table.add_row("fees earned by bob", f"{scenario.fees_earned_msat:,} msat")
    for side in scenario.sides:
        change = side.after_msat - side.before_msat
        table.add_row(f"{side.node}'s balance", f"{side.after_msat:,} msat ({change:+,})")
    table.add_row("every msat accounted for", "yes" if result.funds_conserved else "NO")
    for close in result.closes:
        state = "confirmed" if close.confirmed else "NOT CONFIRMED"
        table.add_row(f"close of {close.channel[:16]}…", f"{close.kind}, {state}")
    console.print(table)
