"""Does a node slow down with its history? The two-node test with a past of many payments on both sides, and without.

Two pairs of nodes, alike but for their past, take turns on one machine: what slows the machine down slows both down.
Run by `make bench-history ARGS="--payments N --rounds R --json FILE"`; too long for the other benchmarks.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("pbk")

from benchmarks.bench_two_nodes import cpu_seconds
from benchmarks.payer import resident_bytes
from benchmarks.prefill import Prefilled
from pyln_fast.persist import directory as disk
from pyln_fast.persist.check import check
from pyln_fast.persist.report import describe
from tests.cli.processes import Chain, Daemon, start_chain

PAYMENTS_A_RUN = int(os.environ.get("PYLN_BENCH_PAYMENTS", "3000"))
RATE_TARGET = 0.9
START_TARGET_SECONDS = 2.0
_PAGE_FIGURES = ("page_count", "freelist_count", "page_size")


class Run(msgspec.Struct, frozen=True):
    """One run of one pair: seconds and bytes, (payer, receiver) where there are two."""

    rate: float
    alone: float
    p99: float
    cpu_seconds: tuple[float, float]
    """Processor time a payment."""
    resident_before: tuple[int, int]
    resident_after: tuple[int, int]
    start_seconds: tuple[float, float]
    """Process start to ready of the payer after it was stopped, of the receiver after it was killed."""
    start_cpu_seconds: tuple[float, float]


class Pair:
    """A payer and a receiver with channels between them, which keep their data from run to run."""

    def __init__(self, name: str, directory: Path, chain: Chain) -> None:
        self.name = name
        self.payer = directory / f"payer-{name}"
        self.receiver = directory / f"receiver-{name}"
        self.runs: list[Run] = []
        self.used_id = ""
        self._chain = chain

    def open_channels(self) -> None:
        with self._daemon(self.receiver) as receiver:
            self._pay(receiver, 0)

    def run(self, payments: int) -> None:
        with self._daemon(self.receiver) as receiver:
            before, spent = resident_bytes(receiver.process.pid), cpu_seconds(receiver)
            measured = self._pay(receiver, payments)
            after, spent = resident_bytes(receiver.process.pid), cpu_seconds(receiver) - spent
            start = time.perf_counter()
            receiver.kill_and_restart()
            receiver_start = time.perf_counter() - start, cpu_seconds(receiver)
        assert measured["refused"] == ("DuplicatePayment" if self.used_id else None)
        payer_start = self._start_payer()
        self.runs.append(
            Run(
                payments / measured["seconds"],
                measured["alone"],
                measured["p99"],
                (measured["cpu_seconds"] / payments, spent / payments),
                (measured["resident_before"], before),
                (measured["resident_after"], after),
                (payer_start[0], receiver_start[0]),
                (payer_start[1], receiver_start[1]),
            )
        )

    def table_bytes(self) -> tuple[int, int]:
        """Of the pages that hold the tables: neither free ones nor the log's, which are written over."""
        payer, receiver = (_table_bytes(each / disk.StoreKind.SQLITE.file) for each in (self.payer, self.receiver))
        return payer, receiver

    def _start_payer(self) -> tuple[float, float]:
        """Seconds to ready, and of them the processor's."""
        start = time.perf_counter()
        with self._daemon(self.payer) as payer:
            return time.perf_counter() - start, cpu_seconds(payer)

    def _daemon(self, data_dir: Path) -> Daemon:
        return Daemon(self._chain, data_dir, "--log-level", "warning")

    def _pay(self, receiver: Daemon, payments: int) -> dict[str, Any]:
        command = [
            *(sys.executable, "-m", "benchmarks.payer", "--data-dir", str(self.payer)),
            *("--bitcoind-url", self._chain.url, "--bitcoind-cookie", str(self._chain.cookie)),
            *("--receiver-dir", str(receiver.data_dir), "--receiver-address", receiver.address),
            *("--payments", str(payments), "--used-id", self.used_id),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def fill(pair: Pair, payments: int) -> None:
    """Both sides at once; what a node then finds must be whole, and the past in it."""
    data_dirs = (pair.payer, pair.receiver)
    command = [sys.executable, "-m", "benchmarks.prefill", "--json", "--payments", str(payments), "--data-dir"]
    fillers = [subprocess.Popen([*command, str(each)], stdout=subprocess.PIPE, text=True) for each in data_dirs]
    outputs = [filler.communicate()[0] for filler in fillers]
    for data_dir in data_dirs:
        report = check(data_dir)
        assert report.whole, describe(report)
        rows = {table.name: table.records for table in report.tables}
        assert min(rows["finished_payments"], rows["forwarded_payments"], rows["commitments"]) >= payments
    filled = [msgspec.json.decode(output, type=Prefilled) for output in outputs]
    for each in filled:
        tell(f"prefilled: {each.rows} records, {each.database_bytes} bytes, {each.seconds:.0f} s")
    pair.used_id = filled[0].an_id.hex()


def test_payments_per_second_with_a_history(
    tmp_path: Path, report: Callable[..., None], pytestconfig: pytest.Config
) -> None:
    payments, rounds = pytestconfig.getoption("--payments"), pytestconfig.getoption("--rounds")
    load = [os.getloadavg()[0]]
    with start_chain(tmp_path / "chain") as chain:
        pairs = empty, filled = Pair("empty", tmp_path, chain), Pair("filled", tmp_path, chain)
        for pair in pairs:
            pair.open_channels()
        bare = filled.table_bytes()
        fill(filled, payments)
        sizes = [pair.table_bytes() for pair in pairs]
        for number in range(rounds):
            for pair in pairs:
                pair.run(PAYMENTS_A_RUN)
                tell(f"round {number + 1}: {pair.name} {pair.runs[-1]}")
            load.append(os.getloadavg()[0])
        grown = [_difference(pair.table_bytes(), before) for pair, before in zip(pairs, sizes, strict=True)]
        for data_dir in (filled.payer, filled.receiver):
            found = check(data_dir)
            assert found.whole, describe(found)
    tell(f"load average: {', '.join(f'{each:.1f}' for each in load)}")
    report_rates(report, payments, empty, filled)
    report_memory(report, payments, empty, filled)
    report_starts(report, payments, empty, filled)
    prefilled = _difference(sizes[1], bare)
    report_sizes(report, prefilled[0] / payments, grown, PAYMENTS_A_RUN * rounds)


def report_rates(report: Callable[..., None], payments: int, empty: Pair, filled: Pair) -> None:
    ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in zip(filled.runs, empty.runs, strict=True))
    report(
        name=f"history of {payments}: payments per second, median of the runs' ratios",
        figure=statistics.median(run.rate for run in filled.runs),
        unit="payments/s",
        reference="without a history",
        reference_figure=statistics.median(run.rate for run in empty.runs),
        ratio=ratio,
        target=RATE_TARGET,
        reached=ratio >= RATE_TARGET,
    )
    figures: dict[str, Callable[[Run], float]] = {
        "one payment at a time": lambda run: run.alone,
        "latency, p99": lambda run: run.p99,
        "processor time of the payer a payment": lambda run: run.cpu_seconds[0],
        "processor time of the receiver a payment": lambda run: run.cpu_seconds[1],
    }
    for what, figure in figures.items():
        ours, theirs = (statistics.median(figure(run) for run in pair.runs) for pair in (filled, empty))
        report(
            name=f"history of {payments}: {what}",
            figure=ours * 1e3,
            unit="ms",
            reference="without a history",
            reference_figure=theirs * 1e3,
            ratio=ours / theirs,
        )


def report_memory(report: Callable[..., None], payments: int, empty: Pair, filled: Pair) -> None:
    for side, name in enumerate(("payer", "receiver")):
        figures: dict[str, Callable[[Run], float]] = {
            "at its start": lambda run: run.resident_before[side],  # noqa: B023
            "after a run": lambda run: run.resident_after[side],  # noqa: B023
            "growth over a run": lambda run: run.resident_after[side] - run.resident_before[side],  # noqa: B023
        }
        for when, figure in figures.items():
            ours, theirs = (statistics.median(figure(run) for run in pair.runs) / 1e6 for pair in (filled, empty))
            report(
                name=f"history of {payments}: memory of the {name}, {when}",
                figure=ours,
                unit="MB",
                reference="without a history",
                reference_figure=theirs,
                ratio=ours / theirs,
                target=None if "growth" in when else 1.1,
                reached=None if "growth" in when else ours <= 1.1 * theirs,
            )


def report_starts(report: Callable[..., None], payments: int, empty: Pair, filled: Pair) -> None:
    for side, name in enumerate(("payer that was stopped", "receiver that was killed")):
        ours, theirs = (statistics.median(run.start_seconds[side] for run in pair.runs) for pair in (filled, empty))
        report(
            name=f"history of {payments}: start to ready of a {name}",
            figure=ours,
            unit="s",
            reference="without a history",
            reference_figure=theirs,
            ratio=ours / theirs,
            target=f"<= {START_TARGET_SECONDS:.0f} s",
            reached=ours <= START_TARGET_SECONDS,
        )
        ours, theirs = (statistics.median(run.start_cpu_seconds[side] for run in pair.runs) for pair in (filled, empty))
        report(
            name=f"history of {payments}: processor time of the start of a {name}",
            figure=ours,
            unit="s",
            reference="without a history",
            reference_figure=theirs,
            ratio=ours / theirs,
        )


def report_sizes(report: Callable[..., None], prefilled: float, grown: list[tuple[int, int]], made: int) -> None:
    report(name="database: a payment sent and one forwarded, prefilled", figure=prefilled, unit="B")
    for side, name in enumerate(("payer", "receiver")):
        report(
            name=f"database of the {name}: growth a payment over {made} payments",
            figure=grown[1][side] / made,
            unit="B",
            reference="without a history",
            reference_figure=grown[0][side] / made,
        )


def _table_bytes(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        pages, free, size = (db.execute(f"PRAGMA {each}").fetchone()[0] for each in _PAGE_FIGURES)
        (log,) = db.execute("SELECT coalesce(sum(length(payload)), 0) FROM log").fetchone()
    return int((pages - free) * size - log)


def _difference(after: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    return after[0] - before[0], after[1] - before[1]


def tell(text: str) -> None:
    """What goes on: it takes minutes."""
    print(text, flush=True)
