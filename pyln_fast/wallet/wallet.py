"""The wallet: addresses, balance, and the transactions that it makes.

Pure: the node hands in blocks and takes out writes, scripts to watch and transactions to broadcast. A method that
raises has changed nothing; what several calls did since `mark` can be taken back with `roll_back`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.tx.fees import dust_threshold_sat
from pyln_fast.tx.transaction import SEQUENCE_RBF, Transaction, TxInput, bip69_output_key, parse, serialize, txid
from pyln_fast.types import FeeratePerKw, OutPoint, Sat, Txid, TxOut, txid_hex
from pyln_fast.wallet import coin_selection
from pyln_fast.wallet.coin_selection import Coin, Selection
from pyln_fast.wallet.keys import Branch
from pyln_fast.wallet.ledger import Ledger
from pyln_fast.wallet.signing import OwnedInput, sign_inputs
from pyln_fast.wallet.utxos import COINBASE_MATURITY, WalletUtxo


class Balance(msgspec.Struct, frozen=True):
    """Every coin that is not spent counts once."""

    confirmed_sat: Sat
    unconfirmed_sat: Sat
    """Change of our own transactions that are not in a block yet."""
    untrusted_sat: Sat
    """In transactions of others that a reorg took out of the chain, and what was built on them."""
    immature_sat: Sat
    """Coinbase outputs that are not deep enough."""
    reserved_sat: Sat
    """Kept for a transaction that is not broadcast yet."""

    @property
    def available_sat(self) -> Sat:
        """What can be spent now, fees aside."""
        return Sat(self.confirmed_sat + self.unconfirmed_sat)


class CoinNotAvailable(LocalError):
    """A transaction spends a coin of ours that is spent, or reserved for something else."""

    def __init__(self, outpoint: OutPoint, why: str) -> None:
        super().__init__(f"{outpoint} is {why}")
        self.outpoint = outpoint
        self.why = why


class DustOutput(LocalError):
    """An output so small that nobody relays its transaction."""

    def __init__(self, value_sat: Sat, least_sat: Sat) -> None:
        super().__init__(f"an output of {value_sat} sat: to this script at least {least_sat} sat are relayed")
        self.value_sat = value_sat
        self.least_sat = least_sat


class NotUnconfirmed(LocalError):
    """Only an unconfirmed transaction of the wallet can be abandoned."""

    def __init__(self, tx_id: Txid) -> None:
        super().__init__(f"{txid_hex(tx_id)} is no unconfirmed transaction of this wallet")
        self.txid = tx_id


class Wallet(Ledger):
    """A `Ledger` that can spend."""

    def new_script(self, branch: Branch = Branch.EXTERNAL) -> bytes:
        """The script_pubkey of an address that was never given out."""
        return self.keys.script_pubkey(branch, self.use_next_index(branch))

    def new_address(self, branch: Branch = Branch.EXTERNAL) -> str:
        return self.keys.address(branch, self.use_next_index(branch))

    def balance(self) -> Balance:
        sums = dict.fromkeys(Balance.__struct_fields__, 0)
        trusted: dict[Txid, bool] = {}
        for outpoint, utxo in self.utxos():
            sums[f"{self._kind(outpoint, utxo, trusted)}_sat"] += utxo.value_sat
        return Balance(**{name: Sat(value) for name, value in sums.items()})

    def reservations(self) -> dict[bytes, tuple[OutPoint, ...]]:
        """The coins that are kept, by the name that they are kept for: a node releases at start what is stale."""
        found: dict[bytes, tuple[OutPoint, ...]] = {}
        for outpoint, utxo in self.utxos():
            if utxo.reserved_by is not None:
                found[utxo.reserved_by] = (*found.get(utxo.reserved_by, ()), outpoint)
        return found

    def create_transaction(
        self, outputs: Sequence[TxOut], feerate_per_kw: FeeratePerKw, reserve_for: bytes | None = None
    ) -> Transaction:
        """A signed transaction with these outputs and perhaps change.

        Its coins are kept for `reserve_for`, or under its txid. It is not broadcast: `commit_transaction` or `release`
        follows. Confirmed coins are used before our own unconfirmed change. Raises InsufficientFunds,
        TransactionTooLarge or DustOutput.
        """
        for output in outputs:
            if output.value_sat < (least := dust_threshold_sat(output.script_pubkey)):
                raise DustOutput(output.value_sat, least)
        confirmed, unconfirmed = self._coins("confirmed"), self._coins("unconfirmed")
        try:
            selection = coin_selection.select(confirmed, outputs, feerate_per_kw)
        except coin_selection.InsufficientFunds:
            selection = coin_selection.select(confirmed + unconfirmed, outputs, feerate_per_kw)
        return self._build(selection, outputs, reserve_for)

    def create_sweep(
        self, script_pubkey: bytes, feerate_per_kw: FeeratePerKw, reserve_for: bytes | None = None
    ) -> Transaction:
        """As `create_transaction`, but everything that can be spent goes to one output."""
        coins = self._coins("confirmed") + self._coins("unconfirmed")
        selection = coin_selection.select_all(coins, script_pubkey, feerate_per_kw)
        value = sum(coin.value_sat for coin in selection.coins) - selection.fee_sat
        return self._build(selection, (TxOut(Sat(value), script_pubkey),), reserve_for)

    def commit_transaction(self, tx: Transaction, reserved_for: bytes | None = None) -> None:
        """From now on we want the transaction confirmed: it is broadcast, its change may be spent.

        Nothing happens if it is known. Raises CoinNotAvailable if it spends a coin that is spent, or kept for anything
        but `reserved_for` or its own txid.
        """
        tx_id = txid(tx)
        if self.transaction(tx_id) is not None:
            return
        for tx_in in tx.inputs:
            utxo = self.utxo(tx_in.outpoint)
            if utxo is not None and utxo.spent_by is not None:
                raise CoinNotAvailable(tx_in.outpoint, f"spent by {txid_hex(utxo.spent_by)}")
            if utxo is not None and utxo.reserved_by not in (None, reserved_for, tx_id):
                raise CoinNotAvailable(tx_in.outpoint, "reserved for something else")
        self.add_ours(tx_id, tx, serialize(tx))

    def release(self, reserved_for: bytes) -> None:
        """Its transaction will never be broadcast: the coins are free again. Nothing happens if none are kept."""
        for outpoint in self.reservations().get(reserved_for, ()):
            self.reserve(outpoint, None)

    def abandon_transaction(self, tx_id: Txid) -> None:
        """Forgets a transaction that, as the caller knows, can never confirm, and all that spends it.

        Raises NotUnconfirmed.
        """
        record = self.transaction(tx_id)
        if record is None or record.height is not None:
            raise NotUnconfirmed(tx_id)
        self.forget(tx_id)

    def transactions_to_broadcast(self) -> tuple[Transaction, ...]:
        """Our own that are not in a block, parents before children."""
        return tuple(parse(record.raw) for _, record in self.transactions() if record.ours and record.height is None)

    def sign_transaction(self, tx: Transaction) -> Transaction:
        """With a witness for every input that is a coin of ours; the others are left as they are."""
        return sign_inputs(tx, self.keys, tuple(self._owned_inputs(tx)))

    def _kind(self, outpoint: OutPoint, utxo: WalletUtxo, trusted: dict[Txid, bool]) -> str:
        """In which sum of the balance an unspent coin is. `trusted` keeps what was found out."""
        if utxo.height is None and not self._is_trusted(outpoint.txid, trusted):
            return "untrusted"
        # Consensus counts from the block that would spend it, which is the next one.
        if utxo.coinbase and utxo.height is not None and self.height + 1 - utxo.height < COINBASE_MATURITY:
            return "immature"
        if utxo.reserved_by is not None:
            return "reserved"
        return "unconfirmed" if utxo.height is None else "confirmed"

    def _is_trusted(self, tx_id: Txid, known: dict[Txid, bool]) -> bool:
        """Whether an unconfirmed transaction, and each unconfirmed one that it needs, was made by us alone."""
        if tx_id not in known:
            record = self.transaction(tx_id)
            assert record is not None
            known[tx_id] = record.ours and all(
                (utxo := self.utxo(tx_in.outpoint)) is not None
                and (utxo.height is not None or self._is_trusted(tx_in.outpoint.txid, known))
                for tx_in in parse(record.raw).inputs
            )
        return known[tx_id]

    def _coins(self, kind: str) -> list[Coin]:
        trusted: dict[Txid, bool] = {}
        return [
            Coin(outpoint, utxo.value_sat)
            for outpoint, utxo in self.utxos()
            if self._kind(outpoint, utxo, trusted) == kind
        ]

    def _build(self, selection: Selection, outputs: Sequence[TxOut], reserve_for: bytes | None) -> Transaction:
        change = selection.change_sat
        extra = () if change is None else (TxOut(change, self.new_script(Branch.CHANGE)),)
        coins = sorted(selection.coins, key=lambda coin: coin.outpoint)
        tx = self.sign_transaction(
            Transaction(
                version=2,
                inputs=tuple(TxInput(coin.outpoint, sequence=SEQUENCE_RBF) for coin in coins),
                outputs=tuple(sorted((*outputs, *extra), key=bip69_output_key)),
                # With a lock time of the present height no miner gains by mining it in place of the newest block.
                lock_time=self.height,
            )
        )
        paid = sum(output.value_sat for output in tx.outputs)
        assert sum(coin.value_sat for coin in coins) == paid + selection.fee_sat
        for coin in coins:
            self.reserve(coin.outpoint, txid(tx) if reserve_for is None else reserve_for)
        return tx

    def _owned_inputs(self, tx: Transaction) -> Iterator[OwnedInput]:
        for position, tx_in in enumerate(tx.inputs):
            utxo = self.utxo(tx_in.outpoint)
            if utxo is not None:
                yield OwnedInput(position, utxo.value_sat, Branch(utxo.branch), utxo.index)
