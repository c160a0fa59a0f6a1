"""Nodes and chains as processes of their own, for tests."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyln_fast.rpc.client import call
from tests.cli.bitcoin_rpc import BitcoinRpc

PROGRAM = [sys.executable, "-c", "from pyln_fast.cli.main import main; main()"]


class Chain:
    """The embedded regtest node as `pyln-fast regtest` runs it."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process = process
        self.url: str = ready["url"]
        self.cookie = Path(ready["cookie"])
        self.rpc = BitcoinRpc(self.url, self.cookie)

    @property
    def height(self) -> int:
        return int(self.rpc("getblockcount"))

    def mine(self, blocks: int) -> None:
        self.rpc("generatetoaddress", blocks, self.rpc("getnewaddress"))

    def send_to(self, address: str, sat: int) -> None:
        self.rpc("sendtoaddress", address, f"{sat // 100_000_000}.{sat % 100_000_000:08}")

    def wait_for_mempool(self, seconds: float = 20) -> list[str]:
        end = time.monotonic() + seconds
        while not (found := self.rpc("getrawmempool")):
            assert time.monotonic() < end, "nothing came into the mempool"
            time.sleep(0.02)
        return list(found)

    def mine_when_waiting(self, blocks: int) -> None:
        """In the background: once something waits."""

        def mine() -> None:
            self.wait_for_mempool()
            self.mine(blocks)

        threading.Thread(target=mine, daemon=True).start()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def start_chain(directory: Path) -> Iterator[Chain]:
    process = subprocess.Popen(
        [*PROGRAM, "regtest", "--data-dir", str(directory), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield Chain(process, json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(10)


class Daemon:
    """`pyln-fast run` until the block ends."""

    def __init__(self, chain: Chain, data_dir: Path, *options: str, listen: str = "127.0.0.1:0") -> None:
        self.data_dir = data_dir
        self._log = data_dir.with_name(data_dir.name[:50] + ".log").open("a")
        self._command = [
            *PROGRAM, "run", "--data-dir", str(data_dir), "--bitcoind-url", chain.url,
            "--bitcoind-cookie", str(chain.cookie), "--listen", listen, "--json",
            "--poll-seconds", "0.05", *options,
        ]  # fmt: skip

    def __enter__(self) -> Daemon:
        self._start()
        return self

    def kill_and_restart(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the node did not start: see {self._log.name}\n{Path(self._log.name).read_text()[-2000:]}"
        ready = json.loads(line)
        self.node_id: str = ready["node_id"]
        self.address: str = ready["addresses"][0]

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._log.close()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def call(self, method: str, **params: Any) -> Any:
        return call(self.data_dir, method, **params)

    def wait_until_settled(self, seconds: float = 20) -> list[dict[str, Any]]:
        """The channels, once no HTLC is left in any."""
        end = time.monotonic() + seconds
        while True:
            channels: list[dict[str, Any]] = self.call("list-channels")
            if not any(each["pending_inbound_htlcs"] or each["pending_outbound_htlcs"] for each in channels):
                return channels
            assert time.monotonic() < end, channels
            time.sleep(0.02)

    def wait_for_height(self, chain: Chain, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while self.call("getinfo")["block_height"] < chain.height:
            assert time.monotonic() < end, "the node does not follow the chain"
            time.sleep(0.02)
