"""Blocks in, coins and transactions out: through restarts, reorgs, conflicts and any order of it all."""

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyln_fast.records import Delete, Put
from pyln_fast.tx.keys import verify_ecdsa
from pyln_fast.tx.scripts import der_signature, p2wpkh
from pyln_fast.tx.transaction import (
    SEQUENCE_RBF,
    Transaction,
    TxInput,
    serialize,
    sighash_p2wpkh,
    txid,
    weight,
)
from pyln_fast.types import BlockHeight, FeeratePerKw, Network, OutPoint, PublicKey, Sat, Secret, Signature, Txid, TxOut
from pyln_fast.wallet.coin_selection import InsufficientFunds, fee_sat, transaction_weight
from pyln_fast.wallet.keys import Branch, WalletKeys
from pyln_fast.wallet.ledger import GAP_LIMIT
from pyln_fast.wallet.utxos import COINBASE_MATURITY
from pyln_fast.wallet.wallet import Balance, CoinNotAvailable, DustOutput, NotUnconfirmed, Wallet

KEYS = WalletKeys(Secret(bytes(64)), Network.REGTEST)
FEERATE = FeeratePerKw(1000)
FOREIGN = b"\0\x14" + b"\xee" * 20
START = BlockHeight(1000)


def deposit(script: bytes, value: int, salt: int = 0) -> Transaction:
    """Somebody pays us."""
    source = TxInput(OutPoint(Txid(b"\xaa" * 28 + salt.to_bytes(4, "big")), 0), witness=(bytes(64),))
    return Transaction(2, (source,), (TxOut(Sat(12_345), FOREIGN), TxOut(Sat(value), script)))


def coinbase(script: bytes, value: int, height: int) -> Transaction:
    null = TxInput(OutPoint(Txid(bytes(32)), 0xFFFFFFFF), script_sig=height.to_bytes(4, "little"), witness=(bytes(32),))
    return Transaction(2, (null,), (TxOut(Sat(value), script),))


def hits(*transactions: Transaction) -> list[tuple[Txid, bytes]]:
    return [(txid(tx), serialize(tx)) for tx in transactions]


def connect(wallet: Wallet, *transactions: Transaction) -> tuple[Txid, ...]:
    return wallet.block_connected(BlockHeight(wallet.height + 1), hits(*transactions))


def funded(*values: int) -> Wallet:
    wallet = Wallet(KEYS, START, {})
    connect(wallet, *(deposit(wallet.new_script(), value, salt) for salt, value in enumerate(values)))
    return wallet


def balance(
    confirmed: int = 0, unconfirmed: int = 0, untrusted: int = 0, immature: int = 0, reserved: int = 0
) -> Balance:
    return Balance(Sat(confirmed), Sat(unconfirmed), Sat(untrusted), Sat(immature), Sat(reserved))


def pay(value: int) -> list[TxOut]:
    return [TxOut(Sat(value), FOREIGN)]


def spent_value(wallet: Wallet, tx: Transaction) -> int:
    found = [wallet.utxo(tx_in.outpoint) for tx_in in tx.inputs]
    return sum(utxo.value_sat for utxo in found if utxo is not None)


# ---- addresses ----


def test_addresses_are_bip_84s_in_order() -> None:
    wallet = Wallet(KEYS, START, {})
    assert [wallet.new_address() for _ in range(3)] == [KEYS.address(Branch.EXTERNAL, index) for index in range(3)]
    assert wallet.new_address(Branch.CHANGE) == KEYS.address(Branch.CHANGE, 0)
    assert wallet.new_script() == KEYS.script_pubkey(Branch.EXTERNAL, 3)


def test_the_gap_is_watched_from_the_start_and_grows() -> None:
    wallet = Wallet(KEYS, START, {})
    scripts, outpoints = wallet.take_watches()
    assert scripts == tuple(KEYS.script_pubkey(branch, index) for branch in Branch for index in range(GAP_LIMIT))
    assert outpoints == ()
    wallet.new_address()
    assert wallet.take_watches() == ((KEYS.script_pubkey(Branch.EXTERNAL, GAP_LIMIT),), ())
    found = deposit(KEYS.script_pubkey(Branch.EXTERNAL, 7), 5000)
    connect(wallet, found)
    more = tuple(KEYS.script_pubkey(Branch.EXTERNAL, index) for index in range(GAP_LIMIT + 1, GAP_LIMIT + 8))
    assert wallet.take_watches() == (more, (OutPoint(txid(found), 1),))
    assert wallet.new_address() == KEYS.address(Branch.EXTERNAL, 8)
    assert wallet.take_watches() == ((KEYS.script_pubkey(Branch.EXTERNAL, GAP_LIMIT + 8),), ())


# ---- blocks ----


def test_a_deposit_is_a_coin() -> None:
    wallet = funded(70_000, 30_000)
    assert wallet.balance() == balance(confirmed=100_000)
    assert sorted(utxo.value_sat for _, utxo in wallet.utxos()) == [30_000, 70_000]
    assert {utxo.height for _, utxo in wallet.utxos()} == {START + 1}


def test_what_is_not_ours_leaves_no_record() -> None:
    wallet = Wallet(KEYS, START, {})
    wallet.take_writes()
    connect(wallet, deposit(FOREIGN, 5000))
    assert wallet.take_writes() == []
    assert wallet.height == START + 1


def test_coinbase_matures() -> None:
    wallet = Wallet(KEYS, START, {})
    connect(wallet, coinbase(wallet.new_script(), 50_000, START))
    for _ in range(COINBASE_MATURITY - 2):
        connect(wallet)
    assert wallet.balance() == balance(immature=50_000)
    with pytest.raises(InsufficientFunds):
        wallet.create_transaction(pay(1000), FEERATE, b"x")
    connect(wallet)
    assert wallet.balance() == balance(confirmed=50_000)
    wallet.create_transaction(pay(1000), FEERATE, b"x")


def test_a_parent_and_its_child_in_one_block() -> None:
    wallet = Wallet(KEYS, START, {})
    parent = deposit(wallet.new_script(), 70_000)
    child = Transaction(2, (TxInput(OutPoint(txid(parent), 1)),), (TxOut(Sat(60_000), wallet.new_script()),))
    connect(wallet, parent, child)
    assert wallet.balance() == balance(confirmed=60_000)
    wallet.block_disconnected(BlockHeight(START + 1))
    assert wallet.balance() == balance(untrusted=60_000)


# ---- spending ----


def test_a_payment_with_change() -> None:
    wallet = funded(100_000)
    tx = wallet.create_transaction(pay(40_000), FEERATE, b"payment")
    fee = fee_sat(FEERATE, transaction_weight(1, pay(40_000), change=True))
    change = TxOut(Sat(60_000 - fee), KEYS.script_pubkey(Branch.CHANGE, 0))
    assert tx.outputs == (*pay(40_000), change)
    assert (tx.version, tx.lock_time) == (2, wallet.height)
    assert [tx_in.sequence for tx_in in tx.inputs] == [SEQUENCE_RBF]
    assert wallet.balance() == balance(reserved=100_000)
    wallet.commit_transaction(tx, b"payment")
    assert wallet.balance() == balance(unconfirmed=60_000 - fee)
    assert wallet.transactions_to_broadcast() == (tx,)
    connect(wallet, tx)
    assert wallet.balance() == balance(confirmed=60_000 - fee)
    assert wallet.transactions_to_broadcast() == ()


def test_signatures_are_good() -> None:
    wallet = funded(30_000, 20_000, 10_000)
    tx = wallet.create_transaction(pay(55_000), FEERATE, b"x")
    assert len(tx.inputs) == 3
    for position, tx_in in enumerate(tx.inputs):
        utxo = wallet.utxo(tx_in.outpoint)
        assert utxo is not None
        signature, public_key = tx_in.witness
        assert p2wpkh(PublicKey(public_key)) == KEYS.script_pubkey(Branch(utxo.branch), utxo.index)
        digest = sighash_p2wpkh(tx, position, PublicKey(public_key), utxo.value_sat)
        assert verify_ecdsa(compact(signature), digest, PublicKey(public_key))
    paid = sum(output.value_sat for output in tx.outputs)
    assert 60_000 - paid >= fee_sat(FEERATE, weight(tx))


def compact(der: bytes) -> Signature:
    """The 64 bytes that `der_signature` gives this for."""
    r_length = der[3]
    r, s = der[4 : 4 + r_length], der[6 + r_length : -1]
    signature = Signature(r[-32:].rjust(32, b"\0") + s[-32:].rjust(32, b"\0"))
    assert der_signature(signature) == der
    return signature


def test_reserved_coins_are_not_spent_twice() -> None:
    wallet = funded(50_000, 60_000)
    first = wallet.create_transaction(pay(40_000), FEERATE, b"first")
    second = wallet.create_transaction(pay(40_000), FEERATE, b"second")
    assert not {tx_in.outpoint for tx_in in first.inputs} & {tx_in.outpoint for tx_in in second.inputs}
    with pytest.raises(InsufficientFunds) as error:
        wallet.create_transaction(pay(1000), FEERATE, b"third")
    assert error.value.available_sat == 0
    assert wallet.reservations() == {
        name: tuple(tx_in.outpoint for tx_in in tx.inputs)
        for name, tx in sorted(
            {b"first": first, b"second": second}.items(), key=lambda item: item[1].inputs[0].outpoint
        )
    }
    wallet.release(b"first")
    assert list(wallet.reservations()) == [b"second"]
    third = wallet.create_transaction(pay(40_000), FEERATE, b"third")
    assert [tx_in.outpoint for tx_in in third.inputs] == [tx_in.outpoint for tx_in in first.inputs]
    with pytest.raises(CoinNotAvailable) as taken:
        wallet.commit_transaction(first, b"first")
    assert (taken.value.outpoint, taken.value.why) == (first.inputs[0].outpoint, "reserved for something else")
    wallet.commit_transaction(third, b"third")
    with pytest.raises(CoinNotAvailable) as taken:
        wallet.commit_transaction(first, b"first")
    assert taken.value.why.startswith("spent by ")


def test_coins_are_kept_for_their_transaction_unless_named() -> None:
    wallet = funded(50_000)
    tx = wallet.create_transaction(pay(40_000), FEERATE)
    assert wallet.reservations() == {txid(tx): (tx.inputs[0].outpoint,)}
    wallet.release(txid(tx))
    assert wallet.reservations() == {}
    again = wallet.create_sweep(FOREIGN, FEERATE)
    wallet.commit_transaction(again)
    assert wallet.balance() == balance()


def test_committing_twice_changes_nothing() -> None:
    wallet = funded(50_000)
    tx = wallet.create_transaction(pay(40_000), FEERATE, b"x")
    wallet.commit_transaction(tx, b"x")
    wallet.take_writes()
    wallet.commit_transaction(tx, b"x")
    wallet.release(b"x")
    assert wallet.take_writes() == []


def test_our_own_change_pays_when_nothing_else_does() -> None:
    wallet = funded(100_000, 10_000)
    first = wallet.create_transaction(pay(20_000), FEERATE, b"1")
    wallet.commit_transaction(first, b"1")
    small = wallet.create_transaction(pay(5_000), FEERATE, b"2")
    assert [tx_in.outpoint.txid for tx_in in small.inputs] != [txid(first)]
    wallet.release(b"2")
    second = wallet.create_transaction(pay(50_000), FEERATE, b"3")
    assert txid(first) in [tx_in.outpoint.txid for tx_in in second.inputs]
    wallet.commit_transaction(second, b"3")
    assert wallet.transactions_to_broadcast() == (first, second)


def test_dust_is_refused() -> None:
    wallet = funded(50_000)
    with pytest.raises(DustOutput) as error:
        wallet.create_transaction(pay(293), FEERATE, b"x")
    assert (error.value.value_sat, error.value.least_sat) == (293, 294)
    assert wallet.reservations() == {}


def test_a_refused_payment_changes_nothing() -> None:
    wallet = funded(50_000)
    wallet.take_writes()
    with pytest.raises(InsufficientFunds):
        wallet.create_transaction(pay(50_000), FEERATE, b"x")
    assert wallet.take_writes() == []
    assert wallet.new_script(Branch.CHANGE) == KEYS.script_pubkey(Branch.CHANGE, 0)


def test_a_sweep_takes_everything() -> None:
    wallet = funded(50_000, 60_000)
    tx = wallet.create_sweep(FOREIGN, FEERATE, b"all")
    fee = fee_sat(FEERATE, transaction_weight(2, pay(0), change=False))
    assert tx.outputs == (TxOut(Sat(110_000 - fee), FOREIGN),)
    wallet.commit_transaction(tx, b"all")
    assert wallet.balance() == balance()


def test_signing_leaves_the_inputs_of_others() -> None:
    wallet = funded(50_000)
    [(ours, _)] = wallet.utxos()
    theirs = TxInput(OutPoint(Txid(b"\x01" * 32), 0), witness=(b"theirs",))
    tx = Transaction(2, (theirs, TxInput(ours)), tuple(pay(1000)))
    signed = wallet.sign_transaction(tx)
    assert signed.inputs[0] == theirs
    assert len(signed.inputs[1].witness) == 2
    assert txid(signed) == txid(tx)


def test_change_beside_the_inputs_of_others_is_not_trusted() -> None:
    wallet = funded(50_000)
    [(ours, _)] = wallet.utxos()
    theirs = TxInput(OutPoint(Txid(b"\x01" * 32), 0))
    wallet.commit_transaction(Transaction(2, (theirs, TxInput(ours)), (TxOut(Sat(40_000), wallet.new_script()),)))
    assert wallet.balance() == balance(untrusted=40_000)


# ---- reorgs and conflicts ----


def test_a_reorg_takes_blocks_back() -> None:
    wallet = funded(100_000)
    tx = wallet.create_transaction(pay(40_000), FEERATE, b"x")
    wallet.commit_transaction(tx, b"x")
    connect(wallet, tx)
    change = wallet.balance().confirmed_sat
    wallet.block_disconnected(wallet.height)
    assert wallet.balance() == balance(unconfirmed=change)
    assert wallet.transactions_to_broadcast() == (tx,)
    wallet.block_disconnected(wallet.height)
    assert wallet.balance() == balance(untrusted=change)
    assert wallet.height == START
    with pytest.raises(InsufficientFunds):
        wallet.create_transaction(pay(1000), FEERATE, b"y")
    connect(wallet, deposit(KEYS.script_pubkey(Branch.EXTERNAL, 0), 100_000))
    assert wallet.balance() == balance(unconfirmed=change)
    connect(wallet, tx)
    assert wallet.balance() == balance(confirmed=change)


def test_a_coinbase_does_not_survive_its_block() -> None:
    wallet = Wallet(KEYS, START, {})
    connect(wallet, coinbase(wallet.new_script(), 50_000, START))
    for _ in range(COINBASE_MATURITY):
        connect(wallet)
    tx = wallet.create_transaction(pay(1000), FEERATE, b"x")
    wallet.commit_transaction(tx, b"x")
    while wallet.height > START:
        wallet.block_disconnected(wallet.height)
    assert (wallet.balance(), wallet.transactions()) == (balance(), ())


def test_a_conflict_in_a_block_wins() -> None:
    """The same seed spends elsewhere: our transaction and what was built on it are gone, its other coin is free."""
    wallet = funded(100_000, 50_000)
    ours = wallet.create_transaction(pay(140_000), FEERATE, b"x")
    wallet.commit_transaction(ours, b"x")
    child = wallet.create_transaction(pay(1_000), FEERATE, b"y")
    wallet.commit_transaction(child, b"y")
    elsewhere = Transaction(2, (ours.inputs[0],), (TxOut(Sat(1_000), FOREIGN),))
    lost = spent_value(wallet, elsewhere)
    assert connect(wallet, elsewhere) == (txid(ours), txid(child))
    assert wallet.balance() == balance(confirmed=150_000 - lost)
    assert wallet.transactions_to_broadcast() == ()
    wallet.block_disconnected(wallet.height)
    assert wallet.balance() == balance(confirmed=150_000 - lost)
    assert connect(wallet, ours) == (txid(elsewhere),)
    assert wallet.balance().confirmed_sat == ours.outputs[0].value_sat


def test_a_deposit_that_was_double_spent_is_gone() -> None:
    wallet = Wallet(KEYS, START, {})
    paid = deposit(wallet.new_script(), 70_000)
    connect(wallet, paid)
    wallet.block_disconnected(wallet.height)
    assert paid.inputs[0].outpoint in wallet.take_watches()[1]
    assert wallet.balance() == balance(untrusted=70_000)
    other = Transaction(2, paid.inputs, tuple(pay(80_000)))
    assert connect(wallet, other) == (txid(paid),)
    assert wallet.balance() == balance()


def test_only_what_is_unconfirmed_can_be_abandoned() -> None:
    wallet = funded(100_000)
    tx = wallet.create_transaction(pay(40_000), FEERATE, b"x")
    wallet.commit_transaction(tx, b"x")
    wallet.abandon_transaction(txid(tx))
    assert wallet.balance() == balance(confirmed=100_000)
    with pytest.raises(NotUnconfirmed):
        wallet.abandon_transaction(txid(tx))
    connect(wallet, tx)
    with pytest.raises(NotUnconfirmed):
        wallet.abandon_transaction(txid(tx))


# ---- the store ----


class Store:
    """What a store holds of the wallet's tables."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}

    def save(self, wallet: Wallet) -> None:
        writes = wallet.take_writes()
        assert len({(write.table, write.key) for write in writes}) == len(writes)
        for write in writes:
            if isinstance(write, Put):
                self.tables.setdefault(write.table, {})[write.key] = write.value
            elif isinstance(write, Delete):
                self.tables.setdefault(write.table, {}).pop(write.key, None)

    def load(self, height: BlockHeight) -> Wallet:
        return Wallet(KEYS, height, self.tables)


def seen(wallet: Wallet) -> tuple[object, ...]:
    return (
        wallet.height,
        wallet.balance(),
        wallet.utxos(),
        wallet.transactions(),
        wallet.reservations(),
        wallet.transactions_to_broadcast(),
    )


def test_a_restart_changes_nothing() -> None:
    wallet, store = funded(100_000, 50_000), Store()
    tx = wallet.create_transaction(pay(40_000), FEERATE, b"x")
    wallet.commit_transaction(tx, b"x")
    wallet.create_transaction(pay(20_000), FEERATE, b"y")
    store.save(wallet)
    again = store.load(wallet.height)
    assert seen(again) == seen(wallet)
    scripts, outpoints = again.take_watches()
    assert set(scripts) == set(wallet.take_watches()[0])
    assert {outpoint for outpoint, _ in wallet.utxos()} | {tx.inputs[0].outpoint} <= set(outpoints)
    assert again.new_address() == wallet.new_address()


def test_rolling_back() -> None:
    wallet, store = funded(100_000), Store()
    store.save(wallet)
    before, mark = seen(wallet), wallet.mark()
    tx = wallet.create_transaction(pay(40_000), FEERATE, b"x")
    wallet.commit_transaction(tx, b"x")
    connect(wallet, deposit(wallet.new_script(), 5_000, 9), tx)
    wallet.roll_back(mark)
    assert seen(wallet) == before
    store.save(wallet)
    assert seen(store.load(wallet.height)) == before
    assert wallet.new_script() == KEYS.script_pubkey(Branch.EXTERNAL, 1)


# ---- anything in any order ----


class WalletMachine(RuleBasedStateMachine):
    """A wallet against the plain truth: which transactions are in which block, and which are ours and waiting."""

    @initialize()
    def begin(self) -> None:
        self.wallet, self.store = Wallet(KEYS, START, {}), Store()
        self.blocks: list[list[Transaction]] = []
        self.waiting: list[Transaction] = []
        self.kept: dict[bytes, Transaction] = {}
        self.count = 0

    def connect(self, transactions: Iterable[Transaction]) -> None:
        block = list(transactions)
        gone = set(connect(self.wallet, *block))
        self.blocks.append(block)
        self.waiting = [tx for tx in self.waiting if tx not in block and txid(tx) not in gone]

    @rule(value=st.integers(1_000, 100_000), mined=st.booleans())
    def deposit(self, value: int, mined: bool) -> None:
        self.count += 1
        script = self.wallet.new_script()
        self.connect([coinbase(script, value, self.count) if mined else deposit(script, value, self.count)])

    @rule(count=st.integers(1, 120))
    def time_passes(self, count: int) -> None:
        for _ in range(count):
            self.connect([])

    @rule(value=st.integers(300, 150_000), feerate=st.integers(253, 5_000))
    def create(self, value: int, feerate: int) -> None:
        self.count += 1
        name = self.count.to_bytes(4, "big")
        available = self.wallet.balance().available_sat
        try:
            tx = self.wallet.create_transaction(pay(value), FeeratePerKw(feerate), name)
        except InsufficientFunds:
            return
        assert value < available
        taken = {tx_in.outpoint for tx_in in tx.inputs}
        for other in [*self.kept.values(), *self.waiting]:
            assert not taken & {tx_in.outpoint for tx_in in other.inputs}
        fee = spent_value(self.wallet, tx) - sum(output.value_sat for output in tx.outputs)
        assert fee >= fee_sat(FeeratePerKw(feerate), weight(tx))
        assert all(output.value_sat >= 294 for output in tx.outputs)
        self.kept[name] = tx

    @precondition(lambda self: self.kept)
    @rule(commit=st.booleans())
    def decide(self, commit: bool) -> None:
        name, tx = self.kept.popitem()
        if commit:
            try:
                self.wallet.commit_transaction(tx, name)
                self.waiting.append(tx)
            except CoinNotAvailable:
                self.wallet.release(name)
        else:
            self.wallet.release(name)

    @precondition(lambda self: self.waiting)
    @rule()
    def confirm(self) -> None:
        tx = self.waiting[0]
        if all(self.is_confirmed(tx_in.outpoint) for tx_in in tx.inputs):
            self.connect([tx])

    def is_confirmed(self, outpoint: OutPoint) -> bool:
        utxo = self.wallet.utxo(outpoint)
        return utxo is not None and utxo.height is not None

    @precondition(lambda self: self.waiting)
    @rule()
    def conflict(self) -> None:
        tx = self.waiting[-1]
        if self.is_confirmed(tx.inputs[0].outpoint):
            self.connect([Transaction(2, tx.inputs[:1], tuple(pay(1_000)))])

    @precondition(lambda self: self.blocks)
    @rule(depth=st.integers(1, 3))
    def reorg(self, depth: int) -> None:
        for _ in range(min(depth, len(self.blocks))):
            self.wallet.block_disconnected(self.wallet.height)
            self.blocks.pop()
        self.waiting = list(self.wallet.transactions_to_broadcast())
        known = {outpoint for outpoint, _ in self.wallet.utxos()}
        for name, tx in list(self.kept.items()):
            if not {tx_in.outpoint for tx_in in tx.inputs} <= known:
                self.wallet.release(name)
                del self.kept[name]

    @rule()
    def restart(self) -> None:
        self.store.save(self.wallet)
        again = self.store.load(self.wallet.height)
        assert seen(again) == seen(self.wallet)
        self.wallet = again

    @rule(value=st.integers(300, 50_000))
    def change_of_mind(self, value: int) -> None:
        before, mark = seen(self.wallet), self.wallet.mark()
        try:
            self.wallet.commit_transaction(self.wallet.create_transaction(pay(value), FEERATE, b"x"), b"x")
        except InsufficientFunds:
            return
        self.wallet.roll_back(mark)
        assert seen(self.wallet) == before

    @invariant()
    def coins_of_the_chain_are_known(self) -> None:
        """Confirmed and unspent by anything confirmed or waiting: computed from the blocks alone."""
        confirmed = {
            OutPoint(txid(tx), vout): out
            for block in self.blocks
            for tx in block
            for vout, out in enumerate(tx.outputs)
        }
        waiting = self.wallet.transactions_to_broadcast()
        spends = {tx_in.outpoint for block in self.blocks for tx in block for tx_in in tx.inputs}
        others = [record for _, record in self.wallet.transactions() if record.height is None and not record.ours]
        if others:
            return  # What a reorg left of others' transactions spends too: the oracle does not follow it.
        spends |= {tx_in.outpoint for tx in waiting for tx_in in tx.inputs}
        expected = sum(
            out.value_sat
            for point, out in confirmed.items()
            if self.wallet.is_mine(out.script_pubkey) and point not in spends
        )
        found = self.wallet.balance()
        reserved_unconfirmed = sum(
            utxo.value_sat for _, utxo in self.wallet.utxos() if utxo.reserved_by is not None and utxo.height is None
        )
        assert found.confirmed_sat + found.immature_sat + found.reserved_sat - reserved_unconfirmed == expected

    @invariant()
    def nothing_spends_a_coin_twice(self) -> None:
        waiting = self.wallet.transactions_to_broadcast()
        points = [tx_in.outpoint for tx in waiting for tx_in in tx.inputs]
        assert len(points) == len(set(points))


TestWalletMachine = WalletMachine.TestCase
TestWalletMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
