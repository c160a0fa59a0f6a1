"""One regtest chain under real consensus and relay rules, and who hears of its blocks and fills its mempool."""

from __future__ import annotations

from typing import Protocol

from pyln_fast.testing.regtest import RegtestNode, Rejected
from pyln_fast.tx.transaction import parse, txid
from pyln_fast.types import BlockHash, Txid, txid_hex


class BlockListener(Protocol):
    async def block_height(self) -> int: ...

    async def block_connected(self, raw: bytes, height: int) -> None: ...


class Chain:
    def __init__(self) -> None:
        self.node = RegtestNode()
        self.listeners: list[BlockListener] = []
        self.rejected: list[str] = []
        """What the nodes broadcast and the mempool refused, other than what it had already."""

    def close(self) -> None:
        self.node.close()

    @property
    def height(self) -> int:
        return self.node.height

    def hash_at(self, height: int) -> BlockHash:
        return self.node.chain.active[height]

    @property
    def tip(self) -> tuple[str, int]:
        return txid_hex(Txid(self.node.best_block_hash)), self.height

    async def follow(self, listener: BlockListener) -> None:
        """From its own height on, now and with every block."""
        self.listeners.append(listener)
        await self._catch_up(listener)

    def leave(self, listener: BlockListener) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)

    async def _catch_up(self, listener: BlockListener) -> None:
        for height in range(await listener.block_height() + 1, self.height + 1):
            await listener.block_connected(self.node.block_in_bytes(self.hash_at(height)), height)

    async def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.node.mine(1)
            for listener in list(self.listeners):
                await self._catch_up(listener)

    def broadcast(self, who: str, transactions: tuple[bytes, ...]) -> None:
        try:
            if len(transactions) == 1:
                self.node.broadcast(transactions[0])
            else:
                self.node.broadcast_package(transactions)
        except Rejected as error:
            if self.knows(transactions[-1]):
                return
            self.rejected.append(f"{who}: {txid_hex(txid(parse(transactions[-1])))}: {error}")

    def knows(self, raw: bytes) -> bool:
        return self.node.transaction(txid(parse(raw))) is not None

    def spender_of(self, funding_txid: Txid, vout: int) -> Txid | None:
        """The transaction that spends an output, confirmed or waiting."""

        def spends(raw: bytes) -> bool:
            return any((i.outpoint.txid, i.outpoint.vout) == (funding_txid, vout) for i in parse(raw).inputs)

        for entry in self.node.mempool.entries.values():
            if spends(entry.raw):
                return entry.txid
        for height in range(self.height, 0, -1):
            block = self.node.chain.blocks[self.hash_at(height)]
            for name, raw in zip(block.txids, block.raw_transactions):
                if spends(raw):
                    return name
        return None
