"""What every benchmark reports, and the table of `make bench`.

A benchmark is a test of `bench_<hot path>.py`. It first checks that the work is right, then measures it and its
reference in the same run, and calls the fixture `report` once a figure:

    def test_peel(best_of, report):
        assert peel(packet) == expected
        ours, floor = best_of(lambda: peel(packet), lambda: ecdh_and_multiply())
        report(name="onion peel", figure=ours * 1e6, unit="us", reference="one ECDH + one point multiplication",
               reference_figure=floor * 1e6, ratio=ours / floor, target=1.25, reached=ours / floor <= 1.25)

`ratio` is figure to reference in whatever direction the target is written; `reached` is the benchmark's own verdict. A
target missed is a line of the table, not a failure: machines differ. `--json FILE` writes the same lines as a list.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

_COLUMNS = ("name", "figure", "unit", "reference", "reference_figure", "ratio", "target", "reached")
_LINES = pytest.StashKey[list]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--json", metavar="FILE", type=Path, help="write what the benchmarks report as JSON")
    parser.addoption("--payments", metavar="N", type=int, default=1_000_000, help="of the past in history.py")
    parser.addoption("--rounds", metavar="R", type=int, default=5, help="runs of each pair in history.py")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`report(name, figure, unit, reference, reference_figure, ratio, target, reached)`: one line of the table.

    name: what was measured. figure, reference_figure: numbers in `unit`. reference: what it is compared with, or None
    (then reference_figure and ratio are None too). target: a number for `ratio`, or a text. reached: bool.
    """

    def add(
        name: str,
        figure: float,
        unit: str,
        reference: str | None = None,
        reference_figure: float | None = None,
        ratio: float | None = None,
        target: float | str | None = None,
        reached: bool | None = None,
    ) -> None:
        values = (name, figure, unit, reference, reference_figure, ratio, target, reached)
        request.config.stash[_LINES].append(dict(zip(_COLUMNS, values, strict=True)))

    return add


@pytest.fixture
def best_of() -> Callable[..., list[float]]:
    """`best_of(*functions, seconds=0.5)`: the best seconds a call of each, measured in turns.

    In turns, because a machine that slows down for a moment must not slow down one of them alone; the best, because
    noise only ever adds.
    """

    def measure(*functions: Callable[[], object], seconds: float = 0.5) -> list[float]:
        calls = [_calls_in(function, 0.01) for function in functions]
        best = [float("inf")] * len(functions)
        end = time.perf_counter() + seconds * len(functions)
        while time.perf_counter() < end:
            for i, function in enumerate(functions):
                best[i] = min(best[i], _time(function, calls[i]) / calls[i])
        return best

    return measure


def _time(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def _calls_in(function: Callable[[], object], seconds: float) -> int:
    function()
    calls = 1
    while (spent := _time(function, calls)) < seconds / 2:
        calls = calls * 2 if spent < seconds / 8 else max(calls + 1, int(calls * seconds / spent))
    return calls


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash[_LINES]
    if not lines:
        return
    table = Table(title="benchmarks")
    for column in _COLUMNS:
        table.add_column(column.replace("_", " "), justify="left" if column in ("name", "reference") else "right")
    for line in lines:
        style = "red" if line["reached"] is False else None
        table.add_row(*(_text(line[column]) for column in _COLUMNS), style=style)
    terminalreporter.write_line("")
    Console(file=terminalreporter._tw._file, width=150).print(table)
    target = config.getoption("--json")
    if target is not None:
        target.write_text(json.dumps(lines, indent=1) + "\n")
        terminalreporter.write_line(f"written to {target}")
