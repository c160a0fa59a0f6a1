"""The process that starts nodes leaves none behind, however the harness ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HARNESS = """
import os, socket, sys, time
from pathlib import Path
from tests.torture.zygote import Zygote

zygote = Zygote(Path(sys.argv[1]))
nobody = os.open(os.devnull, os.O_WRONLY)
assert zygote.reap(zygote.run(["run", "--help"], nobody, nobody)) == 0
assert zygote.reap(zygote.run(["fly"], nobody, nobody)) != 0
# A chain that never answers: it waits for it.
listener = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listener.getsockname()[1]}"
pid = zygote.run(["run", "--data-dir", sys.argv[2], "--bitcoind-url", url, "--bitcoind-user", "a"], 1, 2)
listener.accept()
print(pid, flush=True)
time.sleep(60)
"""


def test_nobody_survives_a_harness_that_is_killed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HARNESS, str(tmp_path / "log"), str(tmp_path / "node")]
    harness = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert harness.stdout is not None
    line = harness.stdout.readline()
    assert line.strip().isdigit(), line + harness.stdout.read()
    os.kill(harness.pid, signal.SIGKILL)
    harness.wait()
    # The node has the other end of this pipe too: it ends with the last of them.
    assert harness.stdout.read() == b""
    harness.stdout.close()
