import json
import subprocess
import sys
from pathlib import Path

ARGUMENTS = [sys.executable, "-m", "pyln_fast", "demo"]


def test_the_demo_loses_bob_and_no_msat(tmp_path: Path) -> None:
    result_file = tmp_path / "result.json"
    ran = subprocess.run(
        [*ARGUMENTS, "--payments", "20", "--json", str(result_file), "--data-dir", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(result_file.read_text())
    assert set(result) == {
        "scenario", "payments_sent", "payments_succeeded", "payments_failed", "forwarded", "payments_per_second",
        "latency_ms", "restarts", "closes", "funds_conserved", "elapsed_s",
    }  # fmt: skip
    assert result["scenario"] == "payments"
    assert (result["payments_sent"], result["payments_succeeded"], result["payments_failed"]) == (20, 20, 0)
    assert (result["forwarded"], result["restarts"], result["funds_conserved"]) == (20, 1, True)
    assert [(close["kind"], close["confirmed"]) for close in result["closes"]] == [("cooperative", True)] * 2
    assert set(result["latency_ms"]) == {"p50", "p99"}


def test_a_data_directory_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("mine")
    ran = subprocess.run([*ARGUMENTS, "--data-dir", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr == f"pyln-fast demo: {tmp_path} is not an empty directory\n"
    assert (tmp_path / "something").read_text() == "mine"
