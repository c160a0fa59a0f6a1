"""The client and the poller against the embedded regtest node: real consensus rules behind Bitcoin Core's RPC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.chain.header_chain import HeaderChain
from pyln_fast.chain.interfaces import ConfirmationTarget
from pyln_fast.chain.scanner import WatchSet, scan
from pyln_fast.runtime.bitcoind import BitcoindClient, BroadcastFailed
from pyln_fast.runtime.bitcoind_rpc import BitcoindRpc
from pyln_fast.runtime.chain_poller import BlockConnected, BlocksDisconnected, ChainPoller, ChainUpdate, locator_of_best
from pyln_fast.tx import transaction
from pyln_fast.types import Network, OutPoint, Sat, TxOut

pytest.importorskip("pbk")
from pyln_fast.testing.regtest import RegtestNode, RegtestServer

PAY_TO_ANCHOR = bytes.fromhex("51024e73")
BURN = "0014" + "00" * 20


def scenario(tmp_path: Path, play: Callable[[RegtestServer, BitcoindClient], Awaitable[None]]) -> None:
    async def stage() -> None:
        async with RegtestServer(tmp_path) as server:
            rpc = BitcoindRpc(server.url, cookie_file=server.cookie_path)
            client = BitcoindClient(rpc)
            try:
                await play(server, client)
            finally:
                await client.close()

    asyncio.run(asyncio.wait_for(stage(), 60))


class Wallet:
    """Watches a script and counts what it holds, block by block, through reorgs."""

    def __init__(self, script_pubkey: bytes) -> None:
        self.watch_set = WatchSet()
        self.watch_set.add_script(script_pubkey)
        self.locator = BlockLocator.from_network(Network.REGTEST)
        self.received: dict[int, list[OutPoint]] = {}
        self.log: list[str] = []

    async def deliver(self, update: ChainUpdate) -> None:
        match update:
            case BlockConnected():
                hits = scan(self.watch_set, update.block).hits
                outpoints = [OutPoint(hit.txid, vout) for hit in hits for vout in hit.outputs]
                self.received[update.height] = outpoints
                self.locator = update.locator
                self.log.append(f"block {update.height}")
            case BlocksDisconnected():
                self.locator = update.fork_point
                self.received = {h: found for h, found in self.received.items() if h <= update.fork_point.height}
                self.log.append(f"back to {update.fork_point.height}")

    def outpoints(self) -> list[OutPoint]:
        return [outpoint for found in self.received.values() for outpoint in found]


def child_of(raw: bytes) -> tuple[OutPoint, bytes]:
    """The anchor of this transaction, and a transaction that spends it."""
    parent = transaction.parse(raw)
    vout = next(i for i, output in enumerate(parent.outputs) if output.script_pubkey == PAY_TO_ANCHOR)
    anchor = OutPoint(transaction.txid(parent), vout)
    spends = b"\x01" + anchor.txid + vout.to_bytes(4, "little") + b"\x00" + b"\xfd" + b"\xff" * 3
    pays = b"\x01" + (5_000).to_bytes(8, "little") + bytes([len(BURN) // 2]) + bytes.fromhex(BURN)
    return anchor, (2).to_bytes(4, "little") + spends + pays + bytes(4)


def test_a_watched_script_through_a_reorg(tmp_path: Path) -> None:
    async def play(server: RegtestServer, client: BitcoindClient) -> None:
        node, wallet = server.node, Wallet(PAY_TO_ANCHOR)
        chain = HeaderChain(Network.REGTEST, wallet.locator)
        poller = ChainPoller(client, chain, wallet.deliver)
        await poller.synchronize()
        assert wallet.log == [f"block {n}" for n in range(1, node.height + 1)]
        start = node.height
        txid = node.send_to_script(PAY_TO_ANCHOR, 20_000)
        node.mine(2)
        await poller.synchronize()
        [outpoint] = wallet.outpoints()
        assert outpoint.txid == txid
        assert await client.get_utxo(outpoint) == TxOut(Sat(20_000), PAY_TO_ANCHOR)
        wallet.log.clear()
        node.reorg(2, 3)
        await poller.synchronize()
        assert wallet.log == [f"back to {start}", *(f"block {n}" for n in range(start + 1, start + 4))]
        assert wallet.outpoints() == ([outpoint] if await client.get_utxo(outpoint) else [])

    scenario(tmp_path, play)


def test_broadcast(tmp_path: Path) -> None:
    async def play(server: RegtestServer, client: BitcoindClient) -> None:
        node = server.node
        parent = node.faucet.create(PAY_TO_ANCHOR, 20_000)
        anchor, child = child_of(parent)
        with pytest.raises(BroadcastFailed, match=r"missingorspent|missing-inputs"):
            await client.broadcast([child])
        await client.broadcast([child, parent])
        await client.broadcast([parent])
        await client.broadcast([child, parent])
        node.mine()
        assert node.confirmations(anchor.txid) == 1
        await client.broadcast([parent])
        assert await client.get_utxo(anchor) is None
        assert await client.get_utxo(OutPoint(transaction.txid(transaction.parse(child)), 0)) == TxOut(
            Sat(5_000), bytes.fromhex(BURN)
        )

    scenario(tmp_path, play)


def test_fees(tmp_path: Path) -> None:
    async def play(server: RegtestServer, client: BitcoindClient) -> None:
        await client.refresh_fees()
        assert client.get_est_sat_per_1000_weight(ConfirmationTarget.URGENT_ON_CHAIN_SWEEP) == 5000
        server.node.set_feerate(7_000)
        await client.refresh_fees()
        assert client.get_est_sat_per_1000_weight(ConfirmationTarget.URGENT_ON_CHAIN_SWEEP) == 7000

    scenario(tmp_path, play)


def test_bitcoind_restarts_with_a_new_cookie_on_another_branch(tmp_path: Path) -> None:
    async def play() -> None:
        with RegtestNode() as node:
            first = RegtestServer(tmp_path, node=node)
            await first.start()
            port = first.port
            client = BitcoindClient(BitcoindRpc(first.url, cookie_file=first.cookie_path))
            wallet = Wallet(PAY_TO_ANCHOR)
            wallet.locator = await locator_of_best(client, Network.REGTEST)
            start = wallet.locator.height
            chain = HeaderChain(Network.REGTEST, wallet.locator)
            poller = ChainPoller(client, chain, wallet.deliver, poll_seconds=0.01, first_pause_seconds=0.02)
            following = asyncio.ensure_future(poller.run())
            node.mine(2)
            await reaches(wallet, node)
            await first.stop()
            node.reorg(2, 4)
            await asyncio.sleep(0.1)
            second = RegtestServer(tmp_path, node=node, port=port)
            await second.start()
            await reaches(wallet, node)
            following.cancel()
            await client.close()
            await second.stop()
            heights = range(start + 1, start + 5)
            assert wallet.log == [
                *(f"block {n}" for n in heights[:2]),
                f"back to {start}",
                *(f"block {n}" for n in heights),
            ]

    asyncio.run(asyncio.wait_for(play(), 60))


async def reaches(wallet: Wallet, node: RegtestNode) -> None:
    while wallet.locator.block_hash != node.best_block_hash:
        await asyncio.sleep(0.01)
