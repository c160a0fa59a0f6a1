"""A handful of seeds in every run of the tests; `pyln-fast simulate` runs as many as one likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pyln_fast.cli.main import app
from pyln_fast.testing.simulator import Simulator

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(1, 21, 5))
def test_a_few_seeds(first: int) -> None:
    outcomes = [Simulator(seed).run(800) for seed in range(first, first + 5)]
    assert [outcome.line for outcome in outcomes if outcome.invariant is not None] == []
    assert sum(outcome.payments for outcome in outcomes) > 0


@pytest.mark.parametrize("arguments", ["5", "9, adversary=True"])
def test_a_seed_is_the_same_run_in_every_process(arguments: str) -> None:
    """9: whatever PYTHONHASHSEED."""
    program = f"from pyln_fast.testing.simulator import Simulator; print(Simulator({arguments}).run(700))"
    printed = set()
    for hash_seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, cwd=ROOT, check=True
        )
        printed.add(done.stdout)
    assert len(printed) == 1, printed
    assert "invariant=None" in printed.pop()


def test_the_trace_says_every_step() -> None:
    lines: list[str] = []
    outcome = Simulator(3, trace=lines.append).run(300)
    assert len(lines) == outcome.steps
    assert outcome == Simulator(3).run(300)


def test_the_command_writes_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    arguments = ["simulate", "--seeds", "2", "--from", "7", "--steps", "200", "--json", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert list(report) == ["seeds", "steps", "simulated_s", "elapsed_s", "payments", "crashes", "failures"]
    assert (report["seeds"], report["failures"]) == (2, [])
    assert report["steps"] >= 400


def test_the_command_replays_a_seed() -> None:
    result = CliRunner().invoke(app, ["simulate", "--seed", "7", "--steps", "50"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split()[0] == "1"
    assert lines[-1].startswith("seed=7 step=")
