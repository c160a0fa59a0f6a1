"""Whole nodes in one process over real TCP, SQLite and the embedded regtest chain, for the tests of the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from pyln_fast.config import ChannelConfig, ChannelHandshakeConfig, UserConfig
from pyln_fast.node.details import ChannelDetails
from pyln_fast.node.node import Node
from pyln_fast.runtime.builder import NodeBuilder
from pyln_fast.runtime.lightning_node import LightningNode
from pyln_fast.types import Msat, Network, Sat

pytest.importorskip("pbk")
from pyln_fast.testing.regtest import RegtestServer

CONFIG = UserConfig(
    accept_forwards_to_priv_channels=True,
    channel_handshake_config=ChannelHandshakeConfig(our_max_accepted_htlcs=483),
    channel_config=ChannelConfig(forwarding_fee_base_msat=Msat(1000)),
)


class World:
    """A chain, and nodes by name."""

    def __init__(self, server: RegtestServer, directory: Path) -> None:
        self.server = server
        self.chain = server.node
        self.directory = directory
        self.nodes: list[LightningNode] = []

    def builder(self, name: str) -> NodeBuilder:
        return (
            NodeBuilder()
            .set_network(Network.REGTEST)
            .set_storage_dir_path(self.directory / name)
            .set_chain_source_bitcoind_rpc(self.server.url, cookie_file=self.server.cookie_path, poll_seconds=0.05)
            .set_listening_addresses("127.0.0.1:0")
            .set_user_config(CONFIG)
        )

    async def start(
        self, name: str, build: Callable[[NodeBuilder], NodeBuilder] = lambda builder: builder
    ) -> LightningNode:
        node = build(self.builder(name)).build()
        await node.start()
        self.nodes.append(node)
        return node

    async def fund(self, node: LightningNode, sat: int = 10_000_000) -> None:
        self.chain.send_to(await node.new_onchain_address(), sat)
        await self.mine(1)

    async def mine(self, blocks: int) -> None:
        """Returns when every running node has seen them."""
        self.chain.mine(blocks)
        for node in self.nodes:
            if node._running is not None:
                await node.wait_for_height(self.chain.height)

    async def mine_when_waiting(self, blocks: int = 6) -> None:
        """Once something waits in the mempool."""
        while not self.chain.mempool.entries:
            await asyncio.sleep(0.01)
        await self.mine(blocks)

    async def channel(
        self, opener: LightningNode, acceptor: LightningNode, sat: int = 1_000_000, push_msat: int = 0
    ) -> ChannelDetails:
        """Open, confirmed, usable on both sides."""
        await opener.connect_peer(address_of(acceptor))
        opened = await opener.open_channel(acceptor.node_id, Sat(sat), Msat(push_msat))
        await opener.wait_for_channel(opened, usable=False)
        await self.mine_when_waiting()
        details = await opener.wait_for_channel(opened)
        await usable(acceptor, details.channel_id)
        # Its channel_update comes behind channel_ready: invoices hint at the channel from then on.
        await acceptor.wait_until(lambda core: core.core.state.forwarding_infos.get(details.channel_id))
        return details


def address_of(node: LightningNode) -> str:
    return f"{node.node_id.hex()}@{node.listening_addresses[0]}"


async def usable(node: LightningNode, channel_id: bytes) -> ChannelDetails:
    return await node.wait_until(
        lambda core: next(
            (each for each in core.channel_manager.list_usable_channels() if each.channel_id == channel_id), None
        )
    )


def play(directory: Path, scene: Callable[[World], Awaitable[None]], seconds: float = 60) -> None:
    """Runs the scene on uvloop, then stops whatever still runs."""

    async def stage() -> None:
        async with RegtestServer(directory / "chain") as server:
            world = World(server, directory)
            try:
                await asyncio.wait_for(scene(world), seconds)
            finally:
                for node in world.nodes:
                    with suppress(Exception):
                        await asyncio.wait_for(node.stop(), 10)

    uvloop.run(stage())


async def settled(*nodes: LightningNode) -> None:
    """Until no HTLC is left in any channel: then balances are what was paid."""

    def idle(core: Node) -> bool | None:
        channels = core.channel_manager.list_channels()
        return None if any(each.pending_inbound_htlcs or each.pending_outbound_htlcs for each in channels) else True

    for node in nodes:
        await node.wait_until(idle)
