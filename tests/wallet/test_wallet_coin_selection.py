"""Whatever the coins and outputs: enough is paid, the fee is that of the weight, and change is never dust."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.tx.fees import dust_threshold_sat
from pyln_fast.tx.transaction import Transaction, TxInput, weight
from pyln_fast.types import FeeratePerKw, OutPoint, Sat, Txid, TxOut
from pyln_fast.wallet.coin_selection import (
    P2WPKH_INPUT_WEIGHT,
    P2WPKH_OUTPUT_WEIGHT,
    Coin,
    InsufficientFunds,
    Selection,
    TransactionTooLarge,
    fee_sat,
    least_change_sat,
    select,
    select_all,
    transaction_weight,
)

P2WPKH = b"\0\x14" + bytes(20)
SCRIPTS = [P2WPKH, b"\0\x20" + bytes(32), b"\x51\x20" + bytes(32), b"\xa9\x14" + bytes(20) + b"\x87"]


def coins_of(values: list[int]) -> list[Coin]:
    return [Coin(OutPoint(Txid(index.to_bytes(32, "big")), 0), Sat(value)) for index, value in enumerate(values)]


def built(selection: Selection, outputs: list[TxOut]) -> Transaction:
    """The transaction with signatures of the longest kind."""
    change = [] if selection.change_sat is None else [TxOut(selection.change_sat, P2WPKH)]
    inputs = tuple(TxInput(coin.outpoint, witness=(bytes(72), bytes(33))) for coin in selection.coins)
    return Transaction(2, inputs, tuple(outputs + change))


values = st.lists(st.integers(1, 5_000_000), min_size=0, max_size=30)
payments = st.lists(
    st.builds(TxOut, st.integers(600, 3_000_000).map(Sat), st.sampled_from(SCRIPTS)), min_size=1, max_size=4
)
feerates = st.integers(253, 50_000).map(FeeratePerKw)


@settings(max_examples=300)
@given(values, payments, feerates)
def test_whatever_the_coins(amounts: list[int], outputs: list[TxOut], feerate: FeeratePerKw) -> None:
    coins = coins_of(amounts)
    paid = sum(output.value_sat for output in outputs)
    try:
        selection: Selection | None = select(coins, outputs, feerate)
    except InsufficientFunds as error:
        refused = error
        selection = None
    if selection is None:
        useful = [coin for coin in coins if coin.value_sat * 1000 > feerate * P2WPKH_INPUT_WEIGHT]
        everything = sum(coin.value_sat for coin in useful)
        assert refused.available_sat == everything < refused.needed_sat
        assert everything < paid + fee_sat(feerate, transaction_weight(max(1, len(useful)), outputs, change=False))
        return
    assert len(set(selection.coins)) == len(selection.coins)
    assert set(selection.coins) <= set(coins)
    assert sum(coin.value_sat for coin in selection.coins) == paid + selection.fee_sat + (selection.change_sat or 0)
    true_weight = weight(built(selection, outputs))
    assert true_weight == transaction_weight(len(selection.coins), outputs, selection.change_sat is not None)
    if selection.change_sat is None:
        assert 0 <= selection.fee_sat - fee_sat(feerate, true_weight) <= most_wasted(feerate)
    else:
        assert selection.fee_sat == fee_sat(feerate, true_weight)
        assert selection.change_sat >= max(dust_threshold_sat(P2WPKH), fee_sat(feerate, P2WPKH_INPUT_WEIGHT))
    assert select(coins[::-1], outputs, feerate) == selection


def most_wasted(feerate: FeeratePerKw) -> int:
    """What change would have cost, now and when it is spent, or what could not be change."""
    change_costs = fee_sat(feerate, P2WPKH_INPUT_WEIGHT + P2WPKH_OUTPUT_WEIGHT)
    return max(change_costs, least_change_sat(feerate) + fee_sat(feerate, P2WPKH_OUTPUT_WEIGHT) + 1)


@settings(max_examples=100)
@given(st.lists(st.integers(1000, 100_000), min_size=1, max_size=9), st.data(), feerates)
def test_a_set_that_needs_no_change_is_found(amounts: list[int], data: st.DataObject, feerate: FeeratePerKw) -> None:
    """Against every subset: if one fits without change, branch and bound takes the one that wastes least."""
    outputs = [TxOut(Sat(data.draw(st.integers(600, sum(amounts) + 600))), P2WPKH)]
    coins = [coin for coin in coins_of(amounts) if coin.value_sat * 1000 > feerate * P2WPKH_INPUT_WEIGHT]
    limit = feerate * (P2WPKH_INPUT_WEIGHT + P2WPKH_OUTPUT_WEIGHT)
    wastes = []
    for count in range(1, len(coins) + 1):
        needed = outputs[0].value_sat * 1000 + feerate * transaction_weight(count, outputs, change=False)
        for subset in itertools.combinations(coins, count):
            waste = sum(coin.value_sat for coin in subset) * 1000 - needed
            if 0 <= waste <= limit:
                wastes.append(waste)
    if not wastes:
        return
    found = select(coins, outputs, feerate)
    weight_found = transaction_weight(len(found.coins), outputs, change=False)
    assert found.change_sat is None
    spent = sum(coin.value_sat for coin in found.coins)
    assert spent * 1000 - outputs[0].value_sat * 1000 - feerate * weight_found == min(wastes)


def test_largest_first_with_change() -> None:
    outputs = [TxOut(Sat(50_000), P2WPKH)]
    selection = select(coins_of([10_000, 90_000, 20_000]), outputs, FeeratePerKw(1000))
    fee = fee_sat(FeeratePerKw(1000), transaction_weight(1, outputs, change=True))
    assert [coin.value_sat for coin in selection.coins] == [90_000]
    assert (selection.fee_sat, selection.change_sat) == (fee, 40_000 - fee)


def test_every_coin_to_the_last_satoshi() -> None:
    outputs = [TxOut(Sat(50_000), P2WPKH)]
    needed = 50_000 + transaction_weight(3, outputs, change=False)
    selection = select(coins_of([20_000, 20_000, needed - 40_000]), outputs, FeeratePerKw(1000))
    assert (len(selection.coins), selection.fee_sat, selection.change_sat) == (3, needed - 50_000, None)
    with pytest.raises(InsufficientFunds) as error:
        select(coins_of([20_000, 20_000, needed - 40_001]), outputs, FeeratePerKw(1000))
    assert (error.value.needed_sat, error.value.available_sat) == (needed, needed - 1)


@given(feerates, st.integers(1, 400_000))
def test_fees_are_rounded_up(feerate: FeeratePerKw, weight_units: int) -> None:
    fee = fee_sat(feerate, weight_units)
    assert (fee - 1) * 1000 < feerate * weight_units <= fee * 1000


def test_coins_that_cost_more_than_they_bring_stay() -> None:
    """272 weight units at 10,000 sat a thousand: 2,720 sat an input."""
    with pytest.raises(InsufficientFunds) as error:
        select(coins_of([2_720] * 50), [TxOut(Sat(1000), P2WPKH)], FeeratePerKw(10_000))
    assert error.value.available_sat == 0


def test_many_small_coins() -> None:
    outputs = [TxOut(Sat(600_000), P2WPKH)]
    selection = select(coins_of([1_000 + i for i in range(1400)]), outputs, FeeratePerKw(253))
    assert len(selection.coins) > 253
    tx = built(selection, outputs)
    assert weight(tx) == transaction_weight(len(selection.coins), outputs, selection.change_sat is not None)
    with pytest.raises(TransactionTooLarge):
        select(coins_of([1_000] * 3000), [TxOut(Sat(2_000_000), P2WPKH)], FeeratePerKw(253))


def test_everything_to_one_output() -> None:
    selection = select_all(coins_of([10_000, 20_000, 10]), P2WPKH, FeeratePerKw(1000))
    assert [coin.value_sat for coin in selection.coins] == [20_000, 10_000]
    assert selection.change_sat is None
    assert selection.fee_sat == transaction_weight(2, [TxOut(Sat(0), P2WPKH)], change=False)
    with pytest.raises(InsufficientFunds):
        select_all(coins_of([10]), P2WPKH, FeeratePerKw(1000))
    with pytest.raises(InsufficientFunds):
        select_all([], P2WPKH, FeeratePerKw(1000))
    with pytest.raises(TransactionTooLarge):
        select_all(coins_of([1_000_000] * 1500), P2WPKH, FeeratePerKw(253))
