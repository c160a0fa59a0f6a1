"""What the wallet knows of the chain: its transactions and coins, through blocks, reorgs and conflicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pyln_fast.records import Write
from pyln_fast.tx.transaction import Transaction, parse
from pyln_fast.types import BlockHeight, OutPoint, Txid
from pyln_fast.wallet.keys import Branch, WalletKeys
from pyln_fast.wallet.utxos import (
    KEY_INDEXES,
    TRANSACTIONS,
    UTXOS,
    RecordSet,
    WalletKeyIndex,
    WalletTx,
    WalletUtxo,
    branch_key,
    outpoint_of,
    utxo_key,
)

GAP_LIMIT = 20
"""BIP 44: so many addresses past the last one in use are watched."""


class Ledger:
    """The records of one `WalletKeys`, and what the block scanner must look for to keep them true."""

    def __init__(self, keys: WalletKeys, height: BlockHeight, loaded: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """`height`: of the newest block that `loaded` knows. Raises DecodeError."""
        self.keys = keys
        self.height = height
        self._records = RecordSet(loaded)
        self._scripts: dict[bytes, tuple[Branch, int]] = {}
        self._watched = dict.fromkeys(Branch, 0)
        self._new_scripts: list[bytes] = []
        self._new_outpoints: list[OutPoint] = [outpoint_of(key) for key, _ in self._records.items(UTXOS)]
        self._sequence = 0
        for _, record in self._records.items(TRANSACTIONS):
            self._sequence = max(self._sequence, record.sequence)
            if record.height is None:
                self._watch_inputs(parse(record.raw))
        for branch in Branch:
            self._watch_ahead(branch)

    # What is known.

    def is_mine(self, script_pubkey: bytes) -> bool:
        """Whether it pays an address that was given out, or one of the next GAP_LIMIT."""
        return script_pubkey in self._scripts

    def utxo(self, outpoint: OutPoint) -> WalletUtxo | None:
        """A coin of ours, spent or not."""
        return self._records.get(UTXOS, utxo_key(outpoint))

    def utxos(self) -> tuple[tuple[OutPoint, WalletUtxo], ...]:
        """Every coin that no known transaction spends, in the order of their outpoints."""
        unspent = ((outpoint_of(key), utxo) for key, utxo in self._records.items(UTXOS) if utxo.spent_by is None)
        return tuple(sorted(unspent, key=lambda item: item[0]))

    def transaction(self, tx_id: Txid) -> WalletTx | None:
        return self._records.get(TRANSACTIONS, tx_id)

    def transactions(self) -> tuple[tuple[Txid, WalletTx], ...]:
        """All, in the order in which the wallet came to know them: parents before children."""
        found = ((Txid(key), record) for key, record in self._records.items(TRANSACTIONS))
        return tuple(sorted(found, key=lambda item: item[1].sequence))

    # What happens.

    def use_next_index(self, branch: Branch) -> int:
        """The index of an address that was never given out."""
        index = self._next_index(branch)
        self._use_index(branch, index)
        return index

    def reserve(self, outpoint: OutPoint, reserved_by: bytes | None) -> None:
        """Keeps a coin that is not spent, or with None lets it go."""
        utxo = self.utxo(outpoint)
        assert utxo is not None
        assert utxo.spent_by is None
        self._records.put(UTXOS, utxo_key(outpoint), msgspec.structs.replace(utxo, reserved_by=reserved_by))

    def add_ours(self, tx_id: Txid, tx: Transaction, raw: bytes) -> None:
        """A transaction that we made, on its way into a block. Nothing else spends what it spends."""
        self._add(tx_id, tx, raw, None)
        self._watch_inputs(tx)

    def block_connected(self, height: BlockHeight, hits: Iterable[tuple[Txid, bytes]]) -> tuple[Txid, ...]:
        """The next block: txid and raw transaction of what the scanner found in it, in the block's order.

        Returns the unconfirmed transactions that it made impossible. Raises DecodeError.
        """
        assert height == self.height + 1, (height, self.height)
        found = [(tx_id, raw, parse(raw)) for tx_id, raw in hits]
        waiting = self._unconfirmed() if found else ()
        conflicted: list[Txid] = []
        for tx_id, raw, tx in found:
            conflicted += self._drop_conflicts(tx_id, tx, waiting)
            self._add(tx_id, tx, raw, height)
        self.height = height
        return tuple(conflicted)

    def block_disconnected(self, height: BlockHeight) -> None:
        """The newest block left the chain: its transactions are unconfirmed again, its coinbase is gone."""
        assert height == self.height, (height, self.height)
        for tx_id, record in self.transactions():
            if record.height != height:
                continue
            tx = parse(record.raw)
            if _is_coinbase(tx):
                self.forget(tx_id)
                continue
            self._records.put(TRANSACTIONS, tx_id, msgspec.structs.replace(record, height=None))
            for key, utxo in self._outputs_of(tx_id, tx):
                self._records.put(UTXOS, key, msgspec.structs.replace(utxo, height=None))
            self._watch_inputs(tx)
        self.height = BlockHeight(height - 1)

    def forget(self, tx_id: Txid) -> list[Txid]:
        """Removes a transaction and all that spend its outputs; what they spent is free again. Returns what is gone."""
        record = self.transaction(tx_id)
        if record is None:
            return []
        tx, gone = parse(record.raw), [tx_id]
        for child, other in self._unconfirmed():
            if any(tx_in.outpoint.txid == tx_id for tx_in in other.inputs):
                gone += self.forget(child)
        for key, _ in list(self._outputs_of(tx_id, tx)):
            self._records.delete(UTXOS, key)
        for tx_in in tx.inputs:
            utxo = self.utxo(tx_in.outpoint)
            if utxo is not None and utxo.spent_by == tx_id:
                self._records.put(UTXOS, utxo_key(tx_in.outpoint), msgspec.structs.replace(utxo, spent_by=None))
        self._records.delete(TRANSACTIONS, tx_id)
        return gone

    # The scanner and the store.

    def take_watches(self) -> tuple[tuple[bytes, ...], tuple[OutPoint, ...]]:
        """Scripts and outpoints for the block scanner that were not taken before; at first all of them.

        The outpoints: our coins, and every input of unconfirmed transactions, whose spending by another conflicts.
        """
        found = tuple(self._new_scripts), tuple(dict.fromkeys(self._new_outpoints))
        self._new_scripts, self._new_outpoints = [], []
        return found

    def take_writes(self) -> list[Write]:
        """What changed since the last call."""
        return self._records.take_writes()

    def mark(self) -> tuple[int, BlockHeight]:
        """A point to which `roll_back` can return, until the next `take_writes`."""
        return self._records.mark(), self.height

    def roll_back(self, mark: tuple[int, BlockHeight]) -> None:
        """Takes back everything since `mark`. What was watched stays watched."""
        records, self.height = mark
        self._records.roll_back(records)

    # Inside.

    def _next_index(self, branch: Branch) -> int:
        record = self._records.get(KEY_INDEXES, branch_key(branch))
        return 0 if record is None else record.next_index

    def _use_index(self, branch: Branch, index: int) -> None:
        if index >= self._next_index(branch):
            self._records.put(KEY_INDEXES, branch_key(branch), WalletKeyIndex(index + 1))
            self._watch_ahead(branch)

    def _watch_ahead(self, branch: Branch) -> None:
        end = self._next_index(branch) + GAP_LIMIT
        for index in range(self._watched[branch], end):
            script = self.keys.script_pubkey(branch, index)
            self._scripts[script] = branch, index
            self._new_scripts.append(script)
        self._watched[branch] = max(end, self._watched[branch])

    def _watch_inputs(self, tx: Transaction) -> None:
        self._new_outpoints.extend(tx_in.outpoint for tx_in in tx.inputs)

    def _add(self, tx_id: Txid, tx: Transaction, raw: bytes, height: BlockHeight | None) -> None:
        """A transaction that may be new or may concern nobody; without a height it is ours."""
        known = self.transaction(tx_id)
        spends = [tx_in.outpoint for tx_in in tx.inputs if self.utxo(tx_in.outpoint) is not None]
        pays = [vout for vout, output in enumerate(tx.outputs) if self.is_mine(output.script_pubkey)]
        if known is None and not spends and not pays:
            return
        for outpoint in spends:
            self._spend(outpoint, tx_id)
        for vout in pays:
            self._receive(OutPoint(tx_id, vout), tx, height)
        if known is None:
            self._sequence += 1
            known = WalletTx(raw, height, ours=height is None, sequence=self._sequence)
        self._records.put(TRANSACTIONS, tx_id, msgspec.structs.replace(known, raw=raw, height=height))

    def _spend(self, outpoint: OutPoint, tx_id: Txid) -> None:
        utxo = self.utxo(outpoint)
        assert utxo is not None
        assert utxo.spent_by in (None, tx_id), "a conflict that was not dropped"
        spent = msgspec.structs.replace(utxo, spent_by=tx_id, reserved_by=None)
        self._records.put(UTXOS, utxo_key(outpoint), spent)

    def _receive(self, outpoint: OutPoint, tx: Transaction, height: BlockHeight | None) -> None:
        output = tx.outputs[outpoint.vout]
        branch, index = self._scripts[output.script_pubkey]
        utxo = self.utxo(outpoint) or WalletUtxo(output.value_sat, int(branch), index, height, _is_coinbase(tx))
        self._records.put(UTXOS, utxo_key(outpoint), msgspec.structs.replace(utxo, height=height))
        self._use_index(branch, index)
        self._new_outpoints.append(outpoint)

    def _unconfirmed(self) -> tuple[tuple[Txid, Transaction], ...]:
        return tuple((tx_id, parse(record.raw)) for tx_id, record in self.transactions() if record.height is None)

    def _drop_conflicts(
        self, tx_id: Txid, tx: Transaction, waiting: tuple[tuple[Txid, Transaction], ...]
    ) -> list[Txid]:
        """Forgets every transaction in `waiting` that spends what this one, which is in a block, spends."""
        spent = {tx_in.outpoint for tx_in in tx.inputs}
        dropped: list[Txid] = []
        for other, other_tx in waiting:
            if other != tx_id and any(tx_in.outpoint in spent for tx_in in other_tx.inputs):
                dropped += self.forget(other)
        return dropped

    def _outputs_of(self, tx_id: Txid, tx: Transaction) -> Iterator[tuple[bytes, WalletUtxo]]:
        for vout in range(len(tx.outputs)):
            key = utxo_key(OutPoint(tx_id, vout))
            utxo = self._records.get(UTXOS, key)
            if utxo is not None:
                yield key, utxo


def _is_coinbase(tx: Transaction) -> bool:
    return tx.inputs[0].outpoint.txid == bytes(32)
