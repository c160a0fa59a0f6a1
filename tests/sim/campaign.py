"""A campaign: so many steps of the simulator, in pieces that are kept, so that it goes on where it was stopped.

`python -m tests.sim.campaign DIR --steps 20000000 --from 1` runs seed after seed, a file of figures for each piece in
DIR, and prints the sums of all that are there. The exit code is 1 if a seed failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PIECE = 200
"""Seeds: some minutes."""


def piece(directory: Path, first: int) -> dict[str, Any]:
    """The figures of one piece, from its file if it was run before."""
    file = directory / f"{first}.json"
    if not file.exists():
        unfinished = file.with_suffix(".part")
        command = [sys.executable, "-m", "pyln_fast", "simulate", "--seeds", str(PIECE), "--from", str(first)]
        subprocess.run([*command, "--json", str(unfinished)], check=False)
        unfinished.rename(file)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def total(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum((each[name] for each in pieces[1:]), pieces[0][name]) for name in pieces[0]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.campaign", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--steps", type=int, default=20_000_000)
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    pieces: list[dict[str, Any]] = []
    while not pieces or total(pieces)["steps"] < arguments.steps:
        pieces.append(piece(arguments.directory, arguments.first + PIECE * len(pieces)))
    print(json.dumps(total(pieces), indent=1))
    return 1 if total(pieces)["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
