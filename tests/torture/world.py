"""The torture's world: a regtest chain and three nodes, each a process, with several channels between them."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from pyln_fast.cli.demo_world import Chain
from pyln_fast.errors import LocalError
from pyln_fast.rpc.client import NodeNotReachable, RpcClient
from tests.torture.accounts import NAMES, Observation
from tests.torture.coins import Coins, Tx, transactions_of
from tests.torture.event_log import EventLog
from tests.torture.node import EVENT_FILE
from tests.torture.zygote import Zygote

T = TypeVar("T")

CHANNELS = (("alice", "bob"), ("bob", "alice"), ("bob", "carol"), ("carol", "bob"))
"""(who opens it, the peer)"""
COIN_SAT, COINS = 17_000_000, 5
"""Of each node: one for each channel that it opens at first, the others for those that follow."""
CONFIRMATIONS = 6
CHAIN_POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.01
ANSWER_SECONDS = 60.0
"""A node that takes longer for an answer hangs."""
STATUSES_AT_ONCE = 1000
EXPECTED = re.compile(
    # The opener is gone before its request is accepted.
    r"a command failed: no channel [0-9a-f]{64} with that peer"
    # The opener has forgotten what the acceptor has signed, and says so.
    r"|peer [0-9a-f]{66} sent error: unknown channel in ChannelReestablish"
    # A close that was agreed on twice: its opener died before it knew of the first time, and has another estimate now.
    r"|bitcoind refuses to broadcast: [0-9a-f]{64}: insufficient fee, rejecting replacement [^;]*;[^;]*$"
    # The same, when the other of both is in a block that the node has not seen yet.
    r"|bitcoind refuses to broadcast: [0-9a-f]{64}: bad-txns-inputs-missingorspent$"
)
CONFIG = """\
accept_forwards_to_priv_channels = true

[channel_handshake_config]
minimum_depth = 1
"""


class TortureFailed(Exception):
    """Something that must hold does not. One line for people."""


async def until(what: str, look: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE_SECONDS) -> T:
    """The first true answer; a node that is away or refuses has none yet. Raises TortureFailed."""
    end = time.monotonic() + seconds
    why = ""
    while time.monotonic() < end:
        try:
            if found := await look():
                return found
        except LocalError as error:
            why = f": {error}"
        await asyncio.sleep(POLL_SECONDS)
    raise TortureFailed(f"waited {seconds:.0f} s in vain for {what}{why}")


def free_port(chance: random.Random) -> int:
    """Below the ports that the kernel gives to outgoing connections: it must be free again after each restart."""
    while True:
        port = chance.randrange(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class TortureNode:
    """A node's life after life, and a client of its local socket."""

    def __init__(self, name: str, directory: Path, chain: Chain, zygote: Zygote, port: int, options: list[str]) -> None:
        self.name = name
        self.data_dir = directory / name
        self.data_dir.mkdir(mode=0o700)
        (self.data_dir / "config.toml").write_text(CONFIG)
        self.log = directory / f"{name}.log"
        self.events = EventLog(self.data_dir / EVENT_FILE)
        self.is_up = False
        """It has said that it is ready, and has not been seen to die."""
        self.kills = 0
        self.restart_seconds: list[float] = []
        self._zygote = zygote
        self._arguments = [
            *("run", "--network", "regtest", "--json"),
            *("--bitcoind-url", chain.url, "--bitcoind-cookie", chain.cookie),
            *("--poll-seconds", str(CHAIN_POLL_SECONDS)),
            *("--data-dir", str(self.data_dir), "--listen", f"127.0.0.1:{port}"),
            *options,
        ]
        self._pid = 0
        self._gone = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._client: RpcClient | None = None

    @property
    def runs(self) -> bool:
        return self._pid != 0

    async def start(self) -> bool:
        """True once it is ready, False if it was killed before. Raises TortureFailed if it ends by itself."""
        began, kills = time.monotonic(), self.kills
        gone = self._gone = asyncio.Event()
        reader = await self._spawn()
        try:
            line = await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
        except TimeoutError:
            raise TortureFailed(f"{self.name} has not started within {PATIENCE_SECONDS:.0f} s: {self.log}") from None
        self._watching = asyncio.get_running_loop().create_task(self._watch(reader, gone))
        if not line:
            await asyncio.sleep(POLL_SECONDS)
            if self.kills == kills:
                raise TortureFailed(f"{self.name} does not start again: {self._last_line()}")
            return False
        client = RpcClient(self.data_dir)
        try:
            await client.connect()
            info = await asyncio.wait_for(client.call("getinfo"), ANSWER_SECONDS)
        except NodeNotReachable:
            return False
        except TimeoutError:
            raise TortureFailed(f"{self.name} has started, and does not answer: {self.log}") from None
        if self.kills != kills or gone.is_set():
            await client.close()
            return False
        self._client = client
        self.node_id: str = info["node_id"]
        self.address: str = info["addresses"][0]
        self.is_up = True
        if kills:
            self.restart_seconds.append(time.monotonic() - began)
        return True

    async def _spawn(self) -> asyncio.StreamReader:
        ours, theirs = os.pipe()
        with self.log.open("ab") as log:
            self._pid = self._zygote.run(self._arguments, theirs, log.fileno())
        os.close(theirs)
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(ours, "rb", 0))
        return reader

    async def _watch(self, reader: asyncio.StreamReader, gone: asyncio.Event) -> None:
        """The pipe ends with the process."""
        while await reader.read(1 << 12):
            pass
        self.is_up = False
        gone.set()

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it says nothing"

    async def call(self, method: str, **params: object) -> Any:
        """Raises LocalError: what the node refused, or that it is away. TortureFailed: it hangs."""
        if not self.is_up or self._client is None:
            raise NodeNotReachable(self.data_dir, "it was killed")
        try:
            return await asyncio.wait_for(self._client.call(method, **params), ANSWER_SECONDS)
        except TimeoutError:
            raise TortureFailed(f"{self.name} has not answered {method} for {ANSWER_SECONDS:.0f} s") from None

    async def kill(self) -> None:
        """SIGKILL, also of one that is only starting, or that was told to kill itself."""
        self.kills += 1
        os.kill(self._pid, signal.SIGKILL)
        await self.buried()

    async def buried(self) -> None:
        """Returns when the process is gone and its locks with it."""
        self._zygote.reap(self._pid)
        self._pid = 0
        self.is_up = False
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def dies(self, seconds: float) -> bool:
        """Whether it ends by itself within so many seconds."""
        try:
            await asyncio.wait_for(self._gone.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """SIGTERM."""
        if self.runs:
            os.kill(self._pid, signal.SIGTERM)
            if not await self.dies(PATIENCE_SECONDS):
                os.kill(self._pid, signal.SIGKILL)
            await self.buried()

    def complaints(self) -> list[str]:
        """What it has logged, but for information and what a death in an opening or a close brings with it: its peers
        are honest, and its chain is there."""
        words = ("level=WARNING", "level=ERROR", "level=CRITICAL", "Traceback")
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(word in line for word in words) and not EXPECTED.search(line)]


class World:
    def __init__(self, directory: Path, chance: random.Random, options: list[str]) -> None:
        self.directory = directory
        self.chain = Chain(directory)
        self.nodes: dict[str, TortureNode] = {}
        self._chance = chance
        self._options = options
        self._zygote: Zygote | None = None
        self._transactions: list[Tx] = []
        self._read_height = 0

    async def start(self) -> None:
        self._zygote = Zygote(self.directory / "zygote.log")
        await self.chain.start()
        self._read_height = await self.chain.height()
        for name in NAMES:
            port = free_port(self._chance)
            self.nodes[name] = TortureNode(name, self.directory, self.chain, self._zygote, port, self._options)
        for node in self.nodes.values():
            await node.start()

    async def stop(self) -> None:
        for node in self.nodes.values():
            await node.stop()
        await self.chain.stop()
        if self._zygote is not None:
            self._zygote.close()

    async def mine(self, blocks: int) -> None:
        """And until every node has seen them."""
        await self.chain.mine(blocks)
        height = await self.chain.height()

        async def seen() -> bool:
            infos = [await node.call("getinfo") for node in self.nodes.values()]
            return all(info["block_height"] >= height for info in infos)

        await until(f"all nodes to see block {height}", seen)

    async def fund(self, coins: Coins) -> None:
        """The nodes' wallets get all their coins, and each pair of neighbours is connected."""
        for name, node in self.nodes.items():
            for _ in range(COINS):
                address = (await node.call("newaddress"))["address"]
                coins.gifts.add(await self.chain.call("sendtoaddress", address, COIN_SAT / 1e8))
            coins.given_sat[name] = COINS * COIN_SAT
        await self.mine(1)
        # Both ways, so that each knows where to call the other.
        for one, other in CHANNELS:
            await self.nodes[one].call("connect", address=self.nodes[other].address)

    async def channels(self) -> dict[str, list[dict[str, Any]]]:
        return {name: await node.call("list-channels") for name, node in self.nodes.items()}

    async def is_spent(self, outpoint: str) -> bool:
        """In a block or in the mempool."""
        txid, _, vout = outpoint.partition(":")
        return await self.chain.call("gettxout", txid, int(vout), True) is None

    async def transactions(self) -> list[Tx]:
        """In all blocks since the beginning."""
        for height in range(self._read_height + 1, await self.chain.height() + 1):
            block = await self.chain.call("getblock", await self.chain.call("getblockhash", height), 2)
            self._transactions += transactions_of(block)
            self._read_height = height
        return self._transactions

    async def observe(self, payment_ids: dict[str, list[str]]) -> Observation:
        """`payment_ids`: whose statuses are wanted, by their payers."""
        statuses: dict[str, list[Any] | None] = {}
        for name, wanted in payment_ids.items():
            for start in range(0, len(wanted), STATUSES_AT_ONCE):
                some = wanted[start : start + STATUSES_AT_ONCE]
                statuses.update(zip(some, await self.nodes[name].call("statuses", payment_ids=some), strict=True))
        return Observation(
            channels=await self.channels(),
            statuses=statuses,
            totals={name: await node.call("totals") for name, node in self.nodes.items()},
            wallets={name: await node.call("balance") for name, node in self.nodes.items()},
            transactions=await self.transactions(),
            waiting=await self.chain.call("getrawmempool"),
        )
