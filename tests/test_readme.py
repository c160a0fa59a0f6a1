"""What the README says: its program runs, its paths exist, its targets and commands too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pyln_fast.cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def section(title: str) -> str:
    return README.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def run(program: str, tmp_path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_of_the_readme_runs(tmp_path: Path) -> None:
    pytest.importorskip("pbk")
    (program,) = re.findall(r"```python\n(.*?)```", section("Embedding a node"), re.DOTALL)
    assert re.fullmatch(r"paid, and the proof is [0-9a-f]{64}\n", run(program, tmp_path))


def test_the_scenario_of_the_readme_holds(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", section("Testing on it"), re.DOTALL)
    assert run(program, tmp_path) == ""


def test_every_path_that_the_readme_names_exists() -> None:
    first_cells = re.findall(r"^\| (`.*?) \|", section("Layout"), re.MULTILINE)
    named = re.findall(r"`((?:pyln_fast|ext|tests|benchmarks|\.ci)/[^`*]*)`", README)
    assert len(named) > 30
    # `pyln_fast/a/` `b/` in one cell: b is beside a.
    for cell in first_cells:
        first, *others = re.findall(r"`([^`]*)`", cell)
        named += [other if (ROOT / other).exists() else f"{Path(first).parent}/{other}" for other in others]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_source_directory_has_its_place_in_the_layout() -> None:
    packages = {path.parent.name for path in (ROOT / "pyln_fast").glob("*/__init__.py")}
    assert {name for name in packages if f"{name}/`" not in section("Layout")} == set()


def test_every_target_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"(?<!`)\bmake ([a-z]+)\b", re.sub(r"(?m)^(?!    ).*?(`[^`]*`)?", r"\1", README)))
    named |= set(re.findall(r"`make ([a-z]+)", README))
    assert {"demo", "test", "bench", "lint"} <= named <= TARGETS


def test_every_command_that_the_readme_shows_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert set(re.findall(r"pyln-fast ([a-z]+)", README)) <= set(commands)
    client = commands["cli"].commands
    shown = set(re.findall(r"pyln-fast cli --data-dir \w+ ([a-z-]+)", README))
    assert len(shown) > 5
    assert shown <= set(client)
    options = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200"}).output
    for option in re.findall(r"--[a-z-]+", section("Running a node against bitcoind").split("\n\n")[1]):
        assert option in options
