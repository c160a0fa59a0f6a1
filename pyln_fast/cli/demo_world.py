"""The demo's world: a regtest chain and nodes, each a process with its own keys, database and TCP port."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from pyln_fast.rpc.client import NodeNotReachable, RpcClient
from pyln_fast.runtime.bitcoind_rpc import BitcoindRpc

START_SECONDS = 60
"""Until a process has said that it is ready: a busy machine with a cold disk."""
STOP_SECONDS = 20


class DemoFailed(Exception):
    """The demo cannot go on. One line for people."""


class Process:
    """A child process that prints one line of JSON when it is ready."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        self._arguments = arguments
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "pyln_fast",
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), START_SECONDS)
        except TimeoutError:
            raise DemoFailed(f"{self.name} did not start within {START_SECONDS} s: see {self._log}") from None
        if not line:
            await self._process.wait()
            raise DemoFailed(f"{self.name} did not start: {self._last_line()}")
        self.ready = json.loads(line)

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with status {self._process.returncode if self._process else None}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        if not self.running:
            return
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            await self.kill()


class Chain:
    """`pyln-fast regtest` and a client of its RPC."""

    def __init__(self, data_dir: Path) -> None:
        self._process = Process(
            "the chain", ["regtest", "--data-dir", str(data_dir / "chain"), "--port", "0"], data_dir / "chain.log"
        )

    async def start(self) -> None:
        await self._process.start()
        self.url: str = self._process.ready["url"]
        self.cookie: str = self._process.ready["cookie"]
        self._rpc = BitcoindRpc(self.url, cookie_file=Path(self.cookie))

    async def stop(self) -> None:
        if self._process.running:
            await self._rpc.close()
        await self._process.stop()

    async def call(self, method: str, *arguments: object) -> Any:
        return await self._rpc.call(method, *arguments)

    async def mine(self, blocks: int) -> None:
        address = await self.call("getnewaddress")
        await self.call("generatetoaddress", blocks, address)

    async def height(self) -> int:
        return int(await self.call("getblockcount"))


class DemoNode:
    """`pyln-fast run` and a client of its local socket."""

    def __init__(self, name: str, data_dir: Path, chain: Chain, config: str) -> None:
        self.name = name
        self.data_dir = data_dir / name
        self.data_dir.mkdir(mode=0o700)
        config_file = data_dir / f"{name}.toml"
        config_file.write_text(config)
        self._chain = chain
        self._log = data_dir / f"{name}.log"
        self._config_file = config_file
        self._listen = "127.0.0.1:0"
        self._process: Process
        self.restarts = -1

    async def start(self) -> None:
        """After a kill: the same data directory, and the same port, where its peers look for it."""
        arguments = [
            "run",
            "--network",
            "regtest",
            "--bitcoind-url",
            self._chain.url,
            "--bitcoind-cookie",
            self._chain.cookie,
            "--data-dir",
            str(self.data_dir),
            "--listen",
            self._listen,
            "--config",
            str(self._config_file),
            "--json",
        ]
        self._process = Process(self.name, arguments, self._log)
        await self._process.start()
        self.restarts += 1
        self.node_id: str = self._process.ready["node_id"]
        self.address: str = self._process.ready["addresses"][0]
        self._listen = self.address.rpartition("@")[2]
        self._client = RpcClient(self.data_dir)
        await self._client.connect()

    @property
    def running(self) -> bool:
        return self._process.running

    async def call(self, method: str, **params: object) -> Any:
        """Raises LocalError: what the node refused, or that it is away."""
        if not self.running:
            raise NodeNotReachable(self.data_dir, "it was killed")
        return await self._client.call(method, **params)

    async def kill(self) -> None:
        await self._process.kill()
        await self._client.close()

    async def stop(self) -> None:
        if self.restarts >= 0:
            await self._client.close()
            await self._process.stop()
