"""`RegtestNode`: chain, mempool, miner and faucet in one object of this process, without any network."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pyln_fast.testing.regtest.accept import Acceptance, Candidate, decode
from pyln_fast.testing.regtest.addresses import script_of_address
from pyln_fast.testing.regtest.block_store import Block, BlockStore
from pyln_fast.testing.regtest.chain import Chain, Move
from pyln_fast.testing.regtest.consensus import is_final, relative_locks_passed
from pyln_fast.testing.regtest.errors import Rejected
from pyln_fast.testing.regtest.faucet import Faucet
from pyln_fast.testing.regtest.kernel import transactions_of_block
from pyln_fast.testing.regtest.mempool import Entry, Mempool, parents_first
from pyln_fast.testing.regtest.miner import build_block, select
from pyln_fast.testing.regtest.package import PackageAcceptance, PackageResult
from pyln_fast.testing.regtest.policy import Policy
from pyln_fast.types import BlockHash, FeeratePerKw, Sat, Txid

DEFAULT_PREMINE = 120
"""Blocks that a new chain starts with, for the faucet: twenty of their coinbases are mature."""
_MAX_TIP_AGE_SECONDS = 24 * 60 * 60
_SEED_BYTES = 32


class RegtestNode:
    """A regtest chain under the consensus rules of libbitcoinkernel, with the mempool policy of Bitcoin Core 29.

    `data_dir` None: everything is in memory. Otherwise blocks are kept there (and restored after a SIGKILL), as is
    the mempool over a `close()`. Hashes and txids are bytes in internal order (`pyln_fast.types.txid_hex` shows them),
    amounts satoshi. Not thread-safe. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        premine: int = DEFAULT_PREMINE,
        policy: Policy | None = None,
        seed: bytes | None = None,
    ) -> None:
        """`premine`: blocks for the faucet if the chain is new. `seed`: 32 bytes, the faucet's keys.

        Raises DataDirectoryInUse.
        """
        self._data_dir = Path(data_dir) if data_dir is not None else None
        self._mock_time = 0
        self._left_initial_download = False
        self.policy = policy or Policy()
        self.started_at = int(time.time())
        self.feerate_sat_per_kvb: int | None = None
        """What `estimatesmartfee` answers; None: not enough data, as on any regtest chain."""
        self.chain = Chain(BlockStore(self._data_dir), self.now())
        self.mempool = Mempool(self.chain)
        self._acceptance = Acceptance(self.chain, self.mempool, self.policy)
        self._packages = PackageAcceptance(self._acceptance, self.mempool, self.policy, self.now)
        self.faucet = Faucet(self._load_seed(seed), self.chain, self.mempool, self.policy)
        self._load_mempool()
        if self.chain.height == 0 and premine:
            self.mine(premine)

    def __enter__(self) -> RegtestNode:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Keeps the mempool, then releases the kernel and the data directory."""
        if self._data_dir is not None:
            raws = [entry.raw for entry in parents_first(self.mempool.entries.values())]
            new = self._data_dir / "mempool.new"
            new.write_bytes(msgspec.msgpack.encode(raws))
            new.replace(self._data_dir / "mempool.dat")
        self.chain.close()

    # Time

    def now(self) -> int:
        """Seconds since 1970: the system's clock, or the time that `set_time` set."""
        return self._mock_time or int(time.time())

    def set_time(self, unix_time: int) -> None:
        """Stops the clock at a time; 0 lets it run again. Blocks still come after the median of their ancestors."""
        self._mock_time = unix_time

    # Blocks

    @property
    def height(self) -> int:
        return self.chain.height

    @property
    def best_block_hash(self) -> BlockHash:
        return self.chain.tip.hash

    def mine(self, blocks: int = 1, address: str | None = None) -> list[BlockHash]:
        """Mines blocks with what the mempool holds to an address, or to the faucet. Raises InvalidAddress."""
        script = script_of_address(address) if address is not None else self.faucet.own_script
        hashes = []
        for _ in range(blocks):
            entries = select(self.mempool)
            fees = sum(entry.fee_sat for entry in entries)
            hashes.append(self._mine_block(script, entries, fees))
        return hashes

    def _mine_block(self, script: bytes, entries: Sequence[Entry], fees_sat: int) -> BlockHash:
        raw = build_block(
            self.chain, script, [entry.raw for entry in entries], [entry.tx for entry in entries], fees_sat, self.now()
        )
        self.process_block(raw)
        return self.chain.tip.hash

    def mine_transactions(self, address: str, raw_transactions: Sequence[bytes], submit: bool = True) -> bytes:
        """A raw block of exactly these transactions, in this order, valid under consensus whatever policy says of them.

        `submit` False: it is checked, but not processed. Raises DecodeError, Rejected (an input is missing),
        BlockRejected.
        """
        candidates = [decode(raw) for raw in raw_transactions]
        known = {c.txid: c.tx for c in candidates}
        fees = 0
        for candidate in candidates:
            for tx_input in candidate.tx.inputs:
                parent = known.get(tx_input.outpoint.txid)
                coin = self.chain.coins.get(tx_input.outpoint)
                if parent is not None and tx_input.outpoint.vout < len(parent.outputs):
                    fees += parent.outputs[tx_input.outpoint.vout].value_sat
                elif coin is not None:
                    fees += coin.output.value_sat
                else:
                    raise Rejected("bad-txns-inputs-missingorspent")
            fees -= sum(out.value_sat for out in candidate.tx.outputs)
        script, transactions = script_of_address(address), [candidate.tx for candidate in candidates]
        raw = build_block(self.chain, script, raw_transactions, transactions, max(fees, 0), self.now())
        if submit:
            self.process_block(raw)
        else:
            greedy = build_block(self.chain, script, raw_transactions, transactions, max(fees, 0) + 1, self.now())
            self.chain.check_transactions_of(greedy, self.now())
        return raw

    def process_block(self, raw: bytes) -> Move:
        """Gives the kernel a block, as from a peer. Raises BlockRejected."""
        return self._moved(self.chain.process_block(raw, self.now()))

    def invalidate(self, block_hash: BlockHash) -> Move:
        """Leaves the block and all that build on it, as if it were invalid. Raises UnknownBlock."""
        return self._moved(self.chain.invalidate(block_hash, self.now()))

    def reconsider(self, block_hash: BlockHash) -> Move:
        """Undoes `invalidate`. Raises UnknownBlock."""
        return self._moved(self.chain.reconsider(block_hash, self.now()))

    def reorg(self, depth: int, blocks: int | None = None) -> list[BlockHash]:
        """Replaces the newest `depth` blocks by `blocks` empty ones (one more than went). What they held waits."""
        self.invalidate(self.chain.active[-depth])
        script = self.faucet.own_script
        return [self._mine_block(script, (), 0) for _ in range(depth + 1 if blocks is None else blocks)]

    def block_in_bytes(self, block_hash: BlockHash) -> bytes:
        """Raises UnknownBlock."""
        return self.chain.block(block_hash).raw

    @property
    def in_initial_download(self) -> bool:
        """Core's: until the tip was once younger than a day."""
        if not self._left_initial_download:
            self._left_initial_download = self.chain.tip.header.time > self.now() - _MAX_TIP_AGE_SECONDS
        return not self._left_initial_download

    # Transactions

    def broadcast(self, raw: bytes) -> Txid:
        """Offers a transaction to the mempool. Raises DecodeError; Rejected with Core's reason."""
        candidate = decode(raw)
        self._acceptance.check(candidate)
        self._acceptance.enter(candidate, self.now())
        return candidate.txid

    def test_accept(self, raw: bytes) -> Entry:
        """What `broadcast` would let in, without doing it. Raises as `broadcast` does."""
        candidate = decode(raw)
        self._acceptance.check(candidate)
        return candidate.entry()

    def broadcast_package(
        self, raw_transactions: Sequence[bytes], max_feerate_sat_per_kvb: int | None = None
    ) -> PackageResult:
        """Offers a child with its parents (last the child), or one transaction. Raises DecodeError."""
        return self._packages.submit([decode(raw) for raw in raw_transactions], max_feerate_sat_per_kvb)

    def test_accept_package(self, raw_transactions: Sequence[bytes]) -> PackageResult:
        """What the mempool would say to several transactions, one after the other. Raises DecodeError."""
        return self._packages.test([decode(raw) for raw in raw_transactions])

    def send_to(self, address: str, amount_sat: int, feerate_sat_per_vb: int | None = None) -> Txid:
        """The faucet pays an address. Raises InvalidAddress, InsufficientFunds, Rejected."""
        return self.send_to_script(script_of_address(address), amount_sat, feerate_sat_per_vb)

    def send_to_script(self, script_pubkey: bytes, amount_sat: int, feerate_sat_per_vb: int | None = None) -> Txid:
        return self.broadcast(self.faucet.create(script_pubkey, amount_sat, feerate_sat_per_vb))

    def transaction(self, txid: Txid) -> bytes | None:
        """The raw bytes of a transaction of the mempool or the active chain."""
        entry = self.mempool.entries.get(txid)
        if entry is not None:
            return entry.raw
        block_hash = self.chain.blocks_of_transactions.get(txid)
        if block_hash is None:
            return None
        block = self.chain.blocks[block_hash]
        return block.raw_transactions[block.txids.index(txid)]

    def confirmations(self, txid: Txid) -> int:
        """0 while it waits, or is not known."""
        block_hash = self.chain.blocks_of_transactions.get(txid)
        return self.chain.confirmations(block_hash) if block_hash is not None else 0

    def set_feerate(self, feerate_per_kw: FeeratePerKw | None) -> None:
        """What fee estimation answers from now on."""
        self.feerate_sat_per_kvb = feerate_per_kw * 4 if feerate_per_kw is not None else None

    # How

    def _moved(self, move: Move) -> Move:
        """Brings the mempool after the chain: what was disconnected waits again if it still may."""
        for block in move.connected:
            self.mempool.block_connected(block)
        if move.disconnected:
            # Children of what comes back may be waiting: nothing is dropped before it is there.
            self._resurrect(move.disconnected)
        return move

    def _resurrect(self, disconnected: Sequence[Block]) -> None:
        for block in reversed(disconnected):
            for raw in block.raw_transactions[1:]:
                self._return_to_mempool(raw)
        self._drop_unminable()

    def _return_to_mempool(self, raw: bytes) -> None:
        candidate = Candidate(raw)
        try:
            self._acceptance.check(candidate, bypass_limits=True)
        except Rejected:
            return
        self._acceptance.enter(candidate, self.now())

    def _drop_unminable(self) -> None:
        """A shorter or other chain may lack inputs, maturity or time that a waiting transaction needs."""
        height, median = self.chain.height + 1, self.chain.median_time_past(self.chain.tip.hash)
        for entry in list(self.mempool.entries.values()):
            if entry.txid not in self.mempool.entries:
                continue
            coins = [self.mempool.coin(tx_input.outpoint) for tx_input in entry.tx.inputs]
            present = [coin for coin in coins if coin is not None]
            mature = all(not coin.coinbase or height - coin.height >= 100 for coin in present)
            if (
                len(present) < len(coins)
                or not mature
                or not is_final(entry.tx, height, median)
                or not relative_locks_passed(entry.tx, present, self.chain)
            ):
                self.mempool.remove_with_descendants([entry])

    def _load_seed(self, seed: bytes | None) -> bytes:
        if self._data_dir is None or seed is not None:
            return seed or os.urandom(_SEED_BYTES)
        path = self._data_dir / "faucet.seed"
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(os.urandom(_SEED_BYTES))
        return path.read_bytes()

    def _load_mempool(self) -> None:
        path = self._data_dir / "mempool.dat" if self._data_dir is not None else None
        if path is None or not path.exists():
            return
        for raw in msgspec.msgpack.decode(path.read_bytes(), type=list[bytes]):
            # Each was let in before, perhaps for the fee of a child that comes later.
            self._return_to_mempool(raw)
        path.unlink()


def coins_total_sat(node: RegtestNode, address: str) -> Sat:
    """What an address owns in confirmed coins."""
    chain = node.chain
    outpoints = chain.coins_of_script.get(script_of_address(address), set())
    return Sat(sum(chain.coins[outpoint].output.value_sat for outpoint in outpoints))


__all__ = ["DEFAULT_PREMINE", "RegtestNode", "coins_total_sat", "transactions_of_block"]
