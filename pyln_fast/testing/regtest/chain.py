"""The active chain as the kernel sees it, with the indexes that the kernel does not offer: coins and transactions.

The kernel decides which chain is active. After everything that may change its mind, `Chain` walks from its own tip to
the kernel's and says what was disconnected and connected on the way.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pyln_fast.errors import DecodeError
from pyln_fast.testing.regtest.block_store import HEADER_BYTES, Block, BlockStore, Record, RecordKind, assemble
from pyln_fast.testing.regtest.errors import BlockRejected
from pyln_fast.testing.regtest.kernel import Kernel, transactions_of_block
from pyln_fast.types import BlockHash, OutPoint, Txid, TxOut

COINBASE_MATURITY = 100
_MEDIAN_TIME_SPAN = 11


class Coin(msgspec.Struct, frozen=True, array_like=True):
    """An unspent output. `height`: of its block; in the mempool, the height that its block would have."""

    output: TxOut
    height: int
    coinbase: bool


class Move(msgspec.Struct, frozen=True):
    """How the active chain changed: first some were disconnected (newest first), then others connected."""

    disconnected: tuple[Block, ...] = ()
    connected: tuple[Block, ...] = ()


class UnknownBlock(KeyError):
    """No block of this hash was ever processed."""


class Chain:
    """The chain of one node. Every change is in the store before it is seen here."""

    def __init__(self, store: BlockStore, now: int) -> None:
        self._store = store
        self._kernel = Kernel(store.kernel_directory)
        genesis_raw = self._kernel.genesis()
        genesis = Block(genesis_raw, transactions_of_block(genesis_raw))
        self.blocks: dict[BlockHash, Block] = {genesis.hash: genesis}
        """Every block, also those outside the active chain, in the order of arrival."""
        self.heights: dict[BlockHash, int] = {genesis.hash: 0}
        self.active: list[BlockHash] = [genesis.hash]
        self.coins: dict[OutPoint, Coin] = {}
        self.coins_of_script: dict[bytes, set[OutPoint]] = {}
        self.blocks_of_transactions: dict[Txid, BlockHash] = {}
        """The transaction index: the block of the active chain that holds a transaction."""
        self._undo: dict[BlockHash, dict[OutPoint, Coin]] = {}
        self._invalid: set[BlockHash] = set()
        self._replay(store.load(), now)

    # What there is

    @property
    def height(self) -> int:
        return len(self.active) - 1

    @property
    def tip(self) -> Block:
        return self.blocks[self.active[-1]]

    def block(self, block_hash: BlockHash) -> Block:
        """Raises UnknownBlock."""
        try:
            return self.blocks[block_hash]
        except KeyError:
            raise UnknownBlock(block_hash[::-1].hex()) from None

    def is_active(self, block_hash: BlockHash) -> bool:
        height = self.heights.get(block_hash)
        return height is not None and height <= self.height and self.active[height] == block_hash

    def confirmations(self, block_hash: BlockHash) -> int:
        """-1 outside the active chain."""
        return self.height - self.heights[block_hash] + 1 if self.is_active(block_hash) else -1

    def median_time_past(self, block_hash: BlockHash) -> int:
        """BIP 113: the median of the times of a block and its ten ancestors, seconds since 1970."""
        times = []
        block = self.blocks[block_hash]
        for _ in range(_MEDIAN_TIME_SPAN):
            times.append(block.header.time)
            parent = self.blocks.get(block.header.previous)
            if parent is None:
                break
            block = parent
        return sorted(times)[len(times) // 2]

    def spent_coin(self, block_hash: BlockHash, outpoint: OutPoint) -> Coin | None:
        """The coin that a block of the active chain spent."""
        return self._undo.get(block_hash, {}).get(outpoint)

    def leaves(self) -> list[BlockHash]:
        """The ends of all branches, the active tip among them."""
        parents = {block.header.previous for block in self.blocks.values()}
        return [block_hash for block_hash in self.blocks if block_hash not in parents]

    def is_invalid(self, block_hash: BlockHash) -> bool:
        """Whether the block or an ancestor was invalidated by hand."""
        while block_hash in self.blocks and not self.is_active(block_hash):
            if block_hash in self._invalid:
                return True
            block_hash = self.blocks[block_hash].header.previous
        return False

    # What changes it

    def process_block(self, raw: bytes, now: int) -> Move:
        """Raises BlockRejected; a block that is known already changes nothing."""
        transactions = transactions_of_block(raw)
        # The kernel stops reading after the last transaction; what follows is no part of the block.
        raw = assemble(raw[:HEADER_BYTES], transactions)
        try:
            block = Block(raw, transactions)
        except DecodeError:
            self._kernel.process_block(raw, now)
            raise BlockRejected("bad-txns") from None
        if self.is_invalid(block.header.previous) or block.hash in self._invalid:
            raise BlockRejected("duplicate-invalid" if block.hash in self.blocks else "bad-prevblk")
        if block.hash in self.blocks:
            return Move()
        self._kernel.process_block(raw, now)
        self._store.append(Record(RecordKind.BLOCK, raw[:HEADER_BYTES], block.raw_transactions))
        self._add(block)
        return self._follow()

    def check_transactions_of(self, greedy_block: bytes, now: int) -> None:
        """Checks a block on the tip without taking it. Raises BlockRejected.

        Its coinbase must claim too much: the kernel has no dry run, but complains of that last, and only then.
        """
        try:
            self._kernel.process_block(greedy_block, now)
        except BlockRejected as error:
            if error.reason != "bad-cb-amount":
                raise
        else:
            raise AssertionError("the block did not claim too much")

    def invalidate(self, block_hash: BlockHash, now: int) -> Move:
        """Takes a block and all that build on it out of the choice. Raises UnknownBlock; ValueError for the genesis."""
        if self.heights[self.block(block_hash).hash] == 0:
            raise ValueError("the genesis block cannot be invalidated")
        self._store.append(Record(RecordKind.INVALIDATE, block_hash))
        self._invalid.add(block_hash)
        self._rebuild(now)
        return self._follow()

    def reconsider(self, block_hash: BlockHash, now: int) -> Move:
        """Undoes `invalidate` for a block, its ancestors and its descendants. Raises UnknownBlock."""
        self.block(block_hash)
        self._store.append(Record(RecordKind.RECONSIDER, block_hash))
        self._forgive(block_hash)
        self._rebuild(now)
        return self._follow()

    def close(self) -> None:
        self._kernel.close()
        self._store.close()

    # How

    def _add(self, block: Block) -> None:
        self.blocks[block.hash] = block
        self.heights[block.hash] = self.heights[block.header.previous] + 1

    def _replay(self, records: Iterable[Record], now: int) -> None:
        for record in records:
            if record.kind is RecordKind.BLOCK:
                self._add(Block(assemble(record.header, record.raw_transactions), record.raw_transactions))
            elif record.kind is RecordKind.INVALIDATE:
                self._invalid.add(BlockHash(record.header))
            else:
                self._forgive(BlockHash(record.header))
        self._feed(now)
        self._follow()

    def _forgive(self, block_hash: BlockHash) -> None:
        for other in list(self._invalid):
            older, newer = sorted((other, block_hash), key=self.heights.__getitem__)
            if self._ancestor(newer, self.heights[older]) == older:
                self._invalid.remove(other)

    def _ancestor(self, block_hash: BlockHash, height: int) -> BlockHash:
        while self.heights[block_hash] > height:
            block_hash = self.blocks[block_hash].header.previous
        return block_hash

    def _rebuild(self, now: int) -> None:
        self._kernel.close()
        self._kernel = Kernel(self._store.kernel_directory)
        self._feed(now)

    def _feed(self, now: int) -> None:
        """Gives a new kernel every block that is not invalidated. Their time was accepted once."""
        clock = max(now, *(block.header.time for block in self.blocks.values()))
        refused: set[BlockHash] = set(self._invalid)
        for block in self.blocks.values():
            if block.hash in refused or block.header.previous in refused:
                refused.add(block.hash)
            elif self.heights[block.hash] > 0:
                try:
                    self._kernel.process_block(block.raw, clock)
                except BlockRejected:
                    # A side branch is only checked in full when it becomes the longest one.
                    refused.add(block.hash)

    def _follow(self) -> Move:
        height = min(self.height, self._kernel.height())
        while self._kernel.block_hash_at(height) != self.active[height]:
            height -= 1
        disconnected = [self._disconnect_tip() for _ in range(self.height - height)]
        connected = [
            self._connect(self.blocks[self._kernel.block_hash_at(at)])
            for at in range(height + 1, self._kernel.height() + 1)
        ]
        return Move(tuple(disconnected), tuple(connected))

    def _connect(self, block: Block) -> Block:
        spent: dict[OutPoint, Coin] = {}
        height = self.heights[block.hash]
        for index, (txid, tx) in enumerate(zip(block.txids, block.transactions)):
            if index:
                for tx_input in tx.inputs:
                    spent[tx_input.outpoint] = self._spend(tx_input.outpoint)
            for vout, output in enumerate(tx.outputs):
                # An output that can never be spent is no coin (Core: CScript::IsUnspendable).
                if output.script_pubkey[:1] != b"\x6a" and len(output.script_pubkey) <= 10_000:
                    self._create(OutPoint(txid, vout), Coin(output, height, index == 0))
            self.blocks_of_transactions[txid] = block.hash
        self._undo[block.hash] = spent
        self.active.append(block.hash)
        return block

    def _disconnect_tip(self) -> Block:
        block = self.blocks[self.active.pop()]
        for txid, tx in zip(block.txids, block.transactions):
            del self.blocks_of_transactions[txid]
            for vout in range(len(tx.outputs)):
                outpoint = OutPoint(txid, vout)
                if outpoint in self.coins:
                    self._spend(outpoint)
        for outpoint, coin in self._undo.pop(block.hash).items():
            if outpoint.txid not in block.txids:
                self._create(outpoint, coin)
        return block

    def _create(self, outpoint: OutPoint, coin: Coin) -> None:
        self.coins[outpoint] = coin
        self.coins_of_script.setdefault(coin.output.script_pubkey, set()).add(outpoint)

    def _spend(self, outpoint: OutPoint) -> Coin:
        coin = self.coins.pop(outpoint)
        owners = self.coins_of_script[coin.output.script_pubkey]
        owners.remove(outpoint)
        if not owners:
            del self.coins_of_script[coin.output.script_pubkey]
        return coin
