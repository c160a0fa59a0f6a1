"""Our node as users run it: `python -m pyln_fast run`, its own data directory, database and TCP port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyln_fast.cli.demo_world import Process
from pyln_fast.rpc.client import RpcClient
from pyln_fast.testing.regtest import RegtestServer
from tests.interop.chain import Chain
from tests.interop.waiting import check, until_async

_POLL_SECONDS = 0.1
_CONFIG = """\
[channel_handshake_config]
minimum_depth = 1
negotiate_anchors_zero_fee_htlc_tx = {anchors}
our_max_accepted_htlcs = 400

[channel_handshake_limits]
force_announced_channel_preference = false
"""


class ProcessNode:
    """It sees the harness's chain as it would see Bitcoin Core's: over JSON-RPC.

    async with ProcessNode("ours", chain, directory, anchors=True) as us:
        await us.call("getinfo")
    """

    def __init__(self, name: str, chain: Chain, directory: Path, anchors: bool) -> None:
        self.name = name
        self.chain = chain
        self.data_dir = directory / "node"
        self.data_dir.mkdir(parents=True, mode=0o700)
        (self.data_dir / "config.toml").write_text(_CONFIG.format(anchors=str(anchors).lower()))
        self._log = directory / "log"
        self._server = RegtestServer(directory, node=chain.node)
        self._process: Process | None = None
        self._listen = "127.0.0.1:0"

    async def __aenter__(self) -> ProcessNode:
        await self._server.start()
        try:
            await self.start()
        except BaseException:
            await self._server.stop()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._process is not None and self._process.running:
            await self.kill()
        await self._server.stop()

    async def start(self) -> None:
        """After a kill: from the same data directory, at the same port."""
        options = {
            "--data-dir": self.data_dir,
            "--bitcoind-url": self._server.url,
            "--bitcoind-cookie": self._server.cookie_path,
            "--listen": self._listen,
            "--poll-seconds": _POLL_SECONDS,
        }
        arguments = [str(each) for option in options.items() for each in option]
        self._process = Process(self.name, ["run", *arguments, "--json"], self._log)
        await self._process.start()
        self.node_id: str = self._process.ready["node_id"]
        self._listen = self._process.ready["addresses"][0].rpartition("@")[2]
        self._client = RpcClient(self.data_dir)
        await self._client.connect()

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        await self._process.kill()
        await self._client.close()

    async def stop(self) -> None:
        """SIGTERM, and what it logged as an error is a failure."""
        assert self._process is not None
        await self._client.close()
        await self._process.stop()
        wrong = [line for line in self._log.read_text().splitlines() if "level=ERROR" in line or "Traceback" in line]
        check(not wrong, f"our process reports {wrong[:3]}")

    async def call(self, method: str, **params: object) -> Any:
        """Raises LocalError: what the node refused, or that it is away."""
        return await self._client.call(method, **params)

    async def mine(self, blocks: int) -> None:
        """And until it has seen them."""
        await self.chain.mine(blocks)

        async def seen() -> bool:
            return bool((await self.call("getinfo"))["block_height"] == self.chain.height)

        await until_async(seen, f"{self.name} to see block {self.chain.height}")
