"""The whole of the torture with one kill: the processes, the load, the checks and the closes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = [sys.executable, "-m", "tests.torture"]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("store", ["sqlite", "filesystem"])
def test_a_run_with_one_kill(tmp_path: Path, store: str) -> None:
    results, data_dir = tmp_path / "results.json", tmp_path / "data"
    arguments = ["--kills", "1", "--store", store, "--json", str(results), "--data-dir", str(data_dir)]
    ran = subprocess.run([*TORTURE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (result,) = json.loads(results.read_text())
    payments, seconds, restarts = result.pop("payments"), result.pop("elapsed_s"), result.pop("restart_s")
    assert payments == result.pop("payments_succeeded") + result.pop("payments_failed") >= 2
    assert seconds > 0
    assert 0 < restarts["p50"] == restarts["max"] < seconds
    assert result.pop("openings") == result.pop("closes") >= max(4, result.pop("used"))
    assert result.pop("undone") >= result.pop("abandoned") >= 0
    assert result.pop("estimates") >= 0
    assert sorted(result.pop("kills_by_node").values()) == [0, 0, 1]
    assert result == {
        "store": store,
        "kills": 1,
        "restarts": 1,
        "force_closes": 0,
        "lost": 0,
        "paid_twice": 0,
        "funds_conserved": True,
        "checks": 1,
    }
    assert ran.stdout.splitlines()[-1] == f"databases and logs: {data_dir}"
    assert {each.name for each in (data_dir / store).iterdir()} >= {"alice", "bob", "carol", "chain"}


def test_a_data_directory_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("mine")
    ran = subprocess.run([*TORTURE, "--data-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == f"make torture: error: {tmp_path} is not empty"
    assert [each.name for each in tmp_path.iterdir()] == ["something"]
