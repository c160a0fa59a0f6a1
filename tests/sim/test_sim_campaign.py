"""A campaign goes on where it was stopped, and its sums are those of its pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sim import campaign

FIGURES: dict[str, Any] = {"seeds": 2, "steps": 900, "simulated_s": 70, "payments": 9, "crashes": 3, "failures": []}


def test_pieces_that_are_there_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "PIECE", 2)
    failure = {"seed": 8, "step": 5, "invariant": "4 conserved", "detail": ""}
    (tmp_path / "7.json").write_text(json.dumps({**FIGURES, "elapsed_s": 1.5, "failures": [failure]}))
    monkeypatch.setattr("sys.argv", ["campaign", str(tmp_path), "--from", "7", "--steps", "901"])
    assert campaign.main() == 1
    first, second = json.loads((tmp_path / "7.json").read_text()), json.loads((tmp_path / "9.json").read_text())
    assert (first["steps"], second["seeds"], second["failures"]) == (900, 2, [])
    said = capsys.readouterr().out
    total = json.loads(said[said.index("{\n") :])
    assert total["seeds"] == 4
    assert total["steps"] == 900 + second["steps"]
    assert total["failures"] == [failure]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["7.json", "9.json"]
