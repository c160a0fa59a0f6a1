"""The mempool's graph: which transactions wait, what they spend, who descends from whom.

It holds what accept.py let in, and decides nothing but what must go when a block or a replacement takes its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyln_fast.testing.regtest.block_store import Block
from pyln_fast.testing.regtest.chain import Chain, Coin
from pyln_fast.tx.transaction import Transaction
from pyln_fast.types import OutPoint, Sat, Txid


class Entry:
    """One transaction in the mempool. Sizes in vbytes are adjusted for signature operations, as Core's are."""

    __slots__ = (
        "children",
        "fee_sat",
        "height",
        "parents",
        "raw",
        "sequence",
        "sigops_cost",
        "time",
        "tx",
        "txid",
        "vsize",
        "weight",
        "wtxid",
    )

    def __init__(
        self,
        raw: bytes,
        tx: Transaction,
        txid: Txid,
        wtxid: Txid,
        weight: int,
        vsize: int,
        fee_sat: Sat,
        sigops_cost: int,
    ) -> None:
        self.raw = raw
        self.tx = tx
        self.txid = txid
        self.wtxid = wtxid
        self.weight = weight
        self.vsize = vsize
        self.fee_sat = fee_sat
        self.sigops_cost = sigops_cost
        self.time = 0
        self.height = 0
        self.sequence = 0
        self.parents: dict[Txid, Entry] = {}
        self.children: dict[Txid, Entry] = {}

    @property
    def feerate_sat_per_kvb(self) -> int:
        return self.fee_sat * 1000 // self.vsize


class Mempool:
    """Read it as a mapping from txid to `Entry`; transactions enter through `RegtestNode.broadcast`."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.entries: dict[Txid, Entry] = {}
        """In the order of acceptance: parents before children, but for parents that a reorg brought back."""
        self.spenders: dict[OutPoint, Txid] = {}
        """Which transaction of the mempool spends an output."""
        self._sequence = 1

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Txid]:
        return iter(self.entries)

    def __contains__(self, txid: object) -> bool:
        return txid in self.entries

    def __getitem__(self, txid: Txid) -> Entry:
        return self.entries[txid]

    @property
    def sequence(self) -> int:
        """Counts every transaction that came or went (`getrawmempool` with mempool_sequence)."""
        return self._sequence

    def coin(self, outpoint: OutPoint) -> Coin | None:
        """An output of the chain or of the mempool, whether or not the mempool spends it."""
        entry = self.entries.get(outpoint.txid)
        if entry is None:
            return self._chain.coins.get(outpoint)
        if outpoint.vout >= len(entry.tx.outputs):
            return None
        return Coin(entry.tx.outputs[outpoint.vout], self._chain.height + 1, False)

    def ancestors(self, entries: Iterable[Entry]) -> dict[Txid, Entry]:
        """The given entries' ancestors and themselves."""
        found: dict[Txid, Entry] = {}
        queue = list(entries)
        while queue:
            entry = queue.pop()
            if entry.txid not in found:
                found[entry.txid] = entry
                queue.extend(entry.parents.values())
        return found

    def descendants(self, entries: Iterable[Entry]) -> dict[Txid, Entry]:
        """The given entries' descendants and themselves."""
        found: dict[Txid, Entry] = {}
        queue = list(entries)
        while queue:
            entry = queue.pop()
            if entry.txid not in found:
                found[entry.txid] = entry
                queue.extend(entry.children.values())
        return found

    def parents_of(self, tx: Transaction) -> list[Entry]:
        parents = {i.outpoint.txid: self.entries[i.outpoint.txid] for i in tx.inputs if i.outpoint.txid in self.entries}
        return list(parents.values())

    def add(self, entry: Entry, time: int) -> None:
        entry.time = time
        entry.height = self._chain.height
        entry.sequence = self._sequence
        self._sequence += 1
        for parent in self.parents_of(entry.tx):
            entry.parents[parent.txid] = parent
            parent.children[entry.txid] = entry
        for tx_input in entry.tx.inputs:
            assert tx_input.outpoint not in self.spenders, "a conflict in the mempool"
            self.spenders[tx_input.outpoint] = entry.txid
        self.entries[entry.txid] = entry
        for vout in range(len(entry.tx.outputs)):
            # After a reorg the children may be here already.
            child = self.spenders.get(OutPoint(entry.txid, vout))
            if child is not None:
                entry.children[child] = self.entries[child]
                self.entries[child].parents[entry.txid] = entry

    def _remove_one(self, entry: Entry) -> None:
        del self.entries[entry.txid]
        self._sequence += 1
        for tx_input in entry.tx.inputs:
            del self.spenders[tx_input.outpoint]
        for parent in entry.parents.values():
            del parent.children[entry.txid]
        for child in entry.children.values():
            del child.parents[entry.txid]

    def remove_with_descendants(self, entries: Iterable[Entry]) -> list[Entry]:
        """Returns all that went."""
        gone = list(self.descendants(entries).values())
        for entry in gone:
            self._remove_one(entry)
        return gone

    def block_connected(self, block: Block) -> None:
        """Removes what the block confirms, and everything that conflicts with it."""
        for txid, tx in zip(block.txids, block.transactions):
            entry = self.entries.get(txid)
            if entry is not None:
                self._remove_one(entry)
                continue
            conflicts = [self.spenders[i.outpoint] for i in tx.inputs if i.outpoint in self.spenders]
            self.remove_with_descendants(self.entries[conflict] for conflict in dict.fromkeys(conflicts))


def parents_first(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with their parents, each after all of its own."""
    order: dict[Txid, Entry] = {}
    queue = list(entries)[::-1]
    while queue:
        missing = [parent for parent in queue[-1].parents.values() if parent.txid not in order]
        if missing:
            queue += missing
        else:
            entry = queue.pop()
            order[entry.txid] = entry
    return list(order.values())
