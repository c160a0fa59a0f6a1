"""Blocks out of the mempool: choice of transactions, coinbase, proof of work (regtest's is two tries on average)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from pyln_fast.testing.regtest.block_store import Header, assemble, merkle_root, sha256d
from pyln_fast.testing.regtest.chain import Chain
from pyln_fast.testing.regtest.mempool import Entry, Mempool, parents_first
from pyln_fast.tx.transaction import Transaction, TxInput, serialize, txid, wtxid
from pyln_fast.types import OutPoint, Sat, Txid, TxOut

COIN_SAT = 100_000_000
REGTEST_HALVING_BLOCKS = 150
REGTEST_BITS = 0x207FFFFF
_TARGET = 0x7FFFFF << 8 * (0x20 - 3)
_VERSION = 0x20000000
_RESERVED_WEIGHT = 8_000
"""For the header and the coinbase (Core: -blockreservedweight)."""
_RESERVED_SIGOPS_COST = 400
_MAX_WEIGHT = 4_000_000
_MAX_SIGOPS_COST = 80_000
_BLOCK_MIN_FEE_SAT_PER_KVB = 1_000
"""Core's -blockmintxfee up to version 29."""
_COMMITMENT_PREFIX = bytes.fromhex("6a24aa21a9ed")
_WITNESS_RESERVED = bytes(32)


def subsidy_sat(height: int) -> Sat:
    return Sat(50 * COIN_SAT >> height // REGTEST_HALVING_BLOCKS) if height < 64 * REGTEST_HALVING_BLOCKS else Sat(0)


def select(mempool: Mempool) -> list[Entry]:
    """What to mine, parents first: by the feerate of a transaction together with its unconfirmed ancestors."""
    chosen: dict[Txid, Entry] = {}
    weight, sigops = _RESERVED_WEIGHT, _RESERVED_SIGOPS_COST
    heap = [_Candidate.of(entry, mempool, chosen) for entry in mempool.entries.values()]
    heapq.heapify(heap)
    while heap:
        best = heapq.heappop(heap)
        if best.entry.txid in chosen or any(entry.txid in chosen for entry in best.package):
            continue  # out of date: a newer candidate for it is in the heap
        if best.feerate < _BLOCK_MIN_FEE_SAT_PER_KVB:
            break
        more_weight, more_sigops = sum(e.weight for e in best.package), sum(e.sigops_cost for e in best.package)
        if weight + more_weight > _MAX_WEIGHT or sigops + more_sigops > _MAX_SIGOPS_COST:
            continue
        weight += more_weight
        sigops += more_sigops
        chosen.update((entry.txid, entry) for entry in best.package)
        for entry in mempool.descendants(best.package).values():
            if entry.txid not in chosen:
                heapq.heappush(heap, _Candidate.of(entry, mempool, chosen))
    return parents_first(chosen.values())


class _Candidate:
    """A transaction with the ancestors that are not chosen yet. The heap wants the best first."""

    __slots__ = ("entry", "feerate", "package")

    def __init__(self, entry: Entry, package: list[Entry]) -> None:
        self.entry = entry
        self.package = package
        self.feerate = sum(e.fee_sat for e in package) * 1000 // sum(e.vsize for e in package)

    def __lt__(self, other: _Candidate) -> bool:
        return (-self.feerate, self.entry.sequence) < (-other.feerate, other.entry.sequence)

    @classmethod
    def of(cls, entry: Entry, mempool: Mempool, chosen: dict[Txid, Entry]) -> _Candidate:
        return cls(entry, [e for e in mempool.ancestors([entry]).values() if e.txid not in chosen])


def build_block(
    chain: Chain,
    script_pubkey: bytes,
    raw_transactions: Sequence[bytes],
    transactions: Sequence[Transaction],
    fees_sat: int,
    now: int,
) -> bytes:
    """A raw block on the tip that pays subsidy and fees to a script. Its time is `now`, or just after the median."""
    height = chain.height + 1
    witness_root = merkle_root([bytes(32), *(wtxid(tx) for tx in transactions)])
    commitment = _COMMITMENT_PREFIX + sha256d(witness_root + _WITNESS_RESERVED)
    coinbase = Transaction(
        version=2,
        # The number of known blocks makes a coinbase unlike any other at this height.
        inputs=(
            TxInput(
                OutPoint(Txid(bytes(32)), 0xFFFFFFFF),
                script_number_push(height) + b"\x04" + len(chain.blocks).to_bytes(4, "little"),
                0xFFFFFFFF,
                (_WITNESS_RESERVED,),
            ),
        ),
        outputs=(TxOut(Sat(subsidy_sat(height) + fees_sat), script_pubkey), TxOut(Sat(0), commitment)),
        lock_time=0,
    )
    tip = chain.tip
    header = Header(
        version=_VERSION,
        previous=tip.hash,
        merkle_root=merkle_root([txid(coinbase), *(txid(tx) for tx in transactions)]),
        time=max(now, chain.median_time_past(tip.hash) + 1),
        bits=REGTEST_BITS,
        nonce=0,
    )
    return assemble(_work(header), [serialize(coinbase), *raw_transactions])


def _work(header: Header) -> bytes:
    start = header.encode()[:-4]
    nonce = 0
    while True:
        raw = start + nonce.to_bytes(4, "little")
        if int.from_bytes(sha256d(raw), "little") <= _TARGET:
            return raw
        nonce += 1


def script_number_push(number: int) -> bytes:
    """BIP 34: a block height at the start of a coinbase, as CScript << number encodes it."""
    if number == 0:
        return b"\x00"
    if 1 <= number <= 16:
        return bytes([0x50 + number])
    encoded = number.to_bytes(number.bit_length() // 8 + 1, "little")
    return bytes([len(encoded)]) + encoded
