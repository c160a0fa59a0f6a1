from __future__ import annotations

import base64
import json
import signal
import stat
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

COMMAND = [sys.executable, "-c", "from pyln_fast.cli.main import main; main()", "regtest"]


def start(data_dir: Path, *more: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    command = [*COMMAND, "--data-dir", str(data_dir), "--port", "0", *more]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, json.loads(child.stdout.readline())


def call(ready: dict[str, str], method: str, *params: object) -> object:
    request = urllib.request.Request(ready["url"], json.dumps({"method": method, "params": params}).encode())
    token = base64.b64encode(Path(ready["cookie"]).read_bytes()).decode()
    request.add_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["result"]


def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    child, ready = start(tmp_path, "--premine", "3")
    assert ready["url"].startswith("http://127.0.0.1:")
    assert stat.S_IMODE(Path(ready["cookie"]).stat().st_mode) == 0o600
    assert call(ready, "getblockcount") == 3
    second = subprocess.run([*COMMAND, "--data-dir", str(tmp_path), "--port", "0"], capture_output=True, text=True)
    assert second.returncode == 1
    assert second.stderr == f"pyln-fast regtest: {tmp_path} is in use by another regtest node\n"
    assert call(ready, "getblockcount") == 3, "the second process left the first one's cookie alone"
    assert call(ready, "stop") == "Bitcoin Core stopping"
    assert child.communicate(timeout=10) == ("", "")
    assert child.returncode == 0
    child, ready = start(tmp_path)
    assert call(ready, "getblockcount") == 3
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)
    assert child.returncode == 0


def test_without_the_kernel_there_is_one_clear_line() -> None:
    program = textwrap.dedent(
        """
        import sys
        sys.modules["pbk"] = None
        from pyln_fast.cli.main import main
        main()
        """
    )
    done = subprocess.run([sys.executable, "-c", program, "regtest"], capture_output=True, text=True)
    expected = "pyln_fast.testing.regtest needs py-bitcoinkernel: pip install 'pyln-fast[regtest]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)
