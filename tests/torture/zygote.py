"""Starts node processes quickly: one process has imported everything and forks for each.

Most of what a start of Python costs is imports, about half a second of processor time. A fork has none of it, but its
own memory, descriptors, threads and database: to the kernel and to the disk it is a process like any other.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

_MAX_REQUEST_BYTES = 1 << 16


class Zygote:
    """The harness's end."""

    def __init__(self, log: Path) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=file,
            )

    def run(self, arguments: list[str], stdout: int, stderr: int) -> int:
        """The new process's number. The descriptors are copied."""
        socket.send_fds(self._socket, [json.dumps({"run": arguments}).encode()], [stdout, stderr])
        return int(self._answer())

    def reap(self, pid: int) -> int:
        """Waits for its end; until then nobody else gets its number. Returns its status as `os.waitpid` does."""
        self._socket.send(json.dumps({"reap": pid}).encode())
        return int(self._answer())

    def _answer(self) -> Any:
        answer = self._socket.recv(_MAX_REQUEST_BYTES)
        if not answer:
            raise RuntimeError("the process that starts nodes is gone: see its log")
        return json.loads(answer)

    def close(self) -> None:
        """It kills what it has started, then ends."""
        self._socket.close()
        self._process.wait()


def _serve(harness: socket.socket) -> None:
    children: set[int] = set()
    try:
        while True:
            message, descriptors, _, _ = socket.recv_fds(harness, _MAX_REQUEST_BYTES, 2)
            if not message:
                break
            request = json.loads(message)
            if "run" in request:
                answer = _fork(harness, request["run"], descriptors)
                children.add(answer)
            else:
                answer = os.waitpid(request["reap"], 0)[1]
                children.discard(request["reap"])
            harness.send(json.dumps(answer).encode())
    except ConnectionError:
        pass  # the harness was killed
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _fork(harness: socket.socket, arguments: list[str], descriptors: list[int]) -> int:
    pid = os.fork()
    if pid == 0:
        harness.close()
        _become(arguments, *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _become(arguments: list[str], stdout: int, stderr: int) -> NoReturn:
    from tests.torture import node

    status = 1
    try:
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        node.main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    # Ctrl-C is the harness's matter.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import tests.torture.node  # noqa: F401

    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as harness:
        _serve(harness)


if __name__ == "__main__":
    main()
