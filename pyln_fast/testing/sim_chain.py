"""A chain without consensus: blocks that a node's header checks and scanner accept, a mempool, and reorganisations.

No script is run and no signature checked; what is kept is which output exists and which is spent, so that a
transaction without its inputs, or against one that is known already, goes nowhere. Scripts are the business of the
embedded regtest node (`testing.regtest`); this one makes thousands of blocks a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

import msgspec

from pyln_fast.tx.transaction import Transaction, TxInput, compact_size, parse, serialize, serialize_stripped, txid
from pyln_fast.types import BlockHash, BlockHeight, Network, OutPoint, Sat, Txid, TxOut

REGTEST_BITS = 0x207FFFFF
_TARGET = 0x7FFFFF << 8 * (0x20 - 3)
_FAUCET = Txid(b"\xfa" * 32)
"""Every output of this transaction exists, once: where the simulated money comes from."""


class SimTx(msgspec.Struct, frozen=True):
    txid: Txid
    raw: bytes
    tx: Transaction


class SimBlock(msgspec.Struct, frozen=True):
    height: BlockHeight
    block_hash: BlockHash
    raw: bytes
    transactions: tuple[SimTx, ...]
    """Without the coinbase."""


class SimChain:
    """The best chain, with the blocks that left it, and one mempool for everybody."""

    def __init__(self, network: Network = Network.REGTEST) -> None:
        self.active: list[SimBlock] = [
            SimBlock(BlockHeight(0), BlockHash(network.chain_hash), b"", ()),
        ]
        self.mempool: dict[Txid, SimTx] = {}
        self._confirmed: dict[Txid, BlockHeight] = {}
        self._spent: dict[OutPoint, Txid] = {}
        """By the chain or the mempool."""
        self._known: dict[Txid, SimTx] = {}
        """In the chain or the mempool."""
        self._next_faucet = 0
        self._extra_nonce = 0

    @property
    def height(self) -> BlockHeight:
        return BlockHeight(len(self.active) - 1)

    def hash_at(self, height: int) -> BlockHash:
        return self.active[height].block_hash

    def confirmations(self, tx_id: Txid) -> int:
        height = self._confirmed.get(tx_id)
        return 0 if height is None else self.height - height + 1

    def height_of(self, tx_id: Txid) -> BlockHeight | None:
        return self._confirmed.get(tx_id)

    def transaction(self, tx_id: Txid) -> SimTx | None:
        """Of the chain or the mempool."""
        return self._known.get(tx_id)

    def confirmed(self) -> Iterator[SimTx]:
        """The transactions of the best chain, but for coinbases."""
        return (self._known[tx_id] for tx_id in self._confirmed)

    def spender(self, outpoint: OutPoint) -> Txid | None:
        """Of the chain or the mempool."""
        return self._spent.get(outpoint)

    # --- the mempool

    def broadcast(self, raw: bytes) -> bool:
        """Whether it is in the mempool or the chain now."""
        tx = parse(raw)
        entry = SimTx(txid(tx), raw, tx)
        if entry.txid in self._known:
            return True
        if not all(self._is_free(tx_in.outpoint) for tx_in in tx.inputs):
            return False
        self.mempool[entry.txid] = entry
        self._add(entry)
        return True

    def send_to(self, script_pubkey: bytes, value_sat: Sat) -> Txid:
        """Money out of nothing, in the mempool."""
        source = OutPoint(_FAUCET, self._next_faucet)
        self._next_faucet += 1
        tx = Transaction(2, (TxInput(source),), (TxOut(value_sat, script_pubkey),), 0)
        assert self.broadcast(serialize(tx))
        return txid(tx)

    def evict(self, tx_id: Txid) -> None:
        """The mempool forgets it, and everything that spends it."""
        entry = self.mempool.pop(tx_id)
        for other in [each for each in self.mempool.values() if self._spends(each, tx_id)]:
            if other.txid in self.mempool:
                self.evict(other.txid)
        self._remove(entry)

    @staticmethod
    def _spends(entry: SimTx, tx_id: Txid) -> bool:
        return any(tx_in.outpoint.txid == tx_id for tx_in in entry.tx.inputs)

    def _is_free(self, outpoint: OutPoint) -> bool:
        known = self._known.get(outpoint.txid)
        exists = outpoint.txid == _FAUCET or (known is not None and outpoint.vout < len(known.tx.outputs))
        return exists and outpoint not in self._spent

    def _add(self, entry: SimTx) -> None:
        self._known[entry.txid] = entry
        for tx_in in entry.tx.inputs:
            self._spent[tx_in.outpoint] = entry.txid

    def _remove(self, entry: SimTx) -> None:
        del self._known[entry.txid]
        for tx_in in entry.tx.inputs:
            del self._spent[tx_in.outpoint]

    # --- blocks

    def mine(self, left_out: Iterable[Txid] = ()) -> SimBlock:
        """The next block, with the whole mempool but for `left_out` and what spends it."""
        kept = dict.fromkeys(left_out)
        taken = []
        for entry in list(self.mempool.values()):
            if entry.txid in kept or any(tx_in.outpoint.txid in kept for tx_in in entry.tx.inputs):
                kept[entry.txid] = None
                continue
            taken.append(self.mempool.pop(entry.txid))
        height = BlockHeight(self.height + 1)
        self._extra_nonce += 1
        block = make_block(self.active[-1].block_hash, height, self._extra_nonce, tuple(taken))
        self.active.append(block)
        for entry in taken:
            self._confirmed[entry.txid] = height
        return block

    def reorganise(self, depth: int, left_out: Callable[[Txid], bool] = lambda tx_id: False) -> None:
        """The last `depth` blocks leave the chain for one more than that. Their transactions wait in the mempool: the
        first of the new blocks takes none, and none takes what is left out."""
        assert 0 < depth < len(self.active)
        gone, self.active = self.active[-depth:], self.active[:-depth]
        back = [entry for block in gone for entry in block.transactions]
        for entry in back:
            del self._confirmed[entry.txid]
        self.mempool = {entry.txid: entry for entry in back} | self.mempool
        self.mine(left_out=list(self.mempool))
        kept = [tx_id for tx_id in self.mempool if left_out(tx_id)]
        for _ in range(depth):
            self.mine(kept)


def make_block(previous: BlockHash, height: BlockHeight, extra_nonce: int, transactions: tuple[SimTx, ...]) -> SimBlock:
    """A block whose header, work and merkle root are right."""
    coinbase = _coinbase(height, extra_nonce)
    root = _merkle_root([_sha256d(coinbase), *(entry.txid for entry in transactions)])
    time = 1_700_000_000 + height
    start = b"\4\0\0\0" + previous + root + time.to_bytes(4, "little") + REGTEST_BITS.to_bytes(4, "little")
    nonce = 0
    while int.from_bytes(_sha256d(start + nonce.to_bytes(4, "little")), "little") > _TARGET:
        nonce += 1
    header = start + nonce.to_bytes(4, "little")
    raw = header + compact_size(1 + len(transactions)) + coinbase + b"".join(entry.raw for entry in transactions)
    return SimBlock(height, BlockHash(_sha256d(header)), raw, transactions)


def _coinbase(height: int, extra_nonce: int) -> bytes:
    script_sig = b"\4" + height.to_bytes(4, "little") + b"\4" + extra_nonce.to_bytes(4, "little")
    tx_in = TxInput(OutPoint(Txid(bytes(32)), 0xFFFF_FFFF), script_sig)
    return serialize_stripped(Transaction(2, (tx_in,), (TxOut(Sat(0), b"\x51"),), 0))


def _merkle_root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        if len(hashes) % 2:
            hashes.append(hashes[-1])
        hashes = [_sha256d(hashes[i] + hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def _sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
