"""Which coins pay: branch and bound for a payment without change, otherwise the largest first.

Everything is integers. A coin counts with what it adds after paying for its own input, in thousandths of a satoshi,
so that no rounding happens before the end; a fee is rounded up once.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.tx.fees import dust_threshold_sat
from pyln_fast.tx.transaction import compact_size
from pyln_fast.types import FeeratePerKw, OutPoint, Sat, TxOut

# Outpoint, empty script and sequence; then the witness: count, a signature of 72 bytes (the longest with a low S),
# a key, each with its length.
P2WPKH_INPUT_WEIGHT = 4 * (36 + 1 + 4) + 1 + 1 + 72 + 1 + 33
P2WPKH_OUTPUT_WEIGHT = 4 * (8 + 1 + 22)
_P2WPKH_DUST_SAT = dust_threshold_sat(b"\0\x14" + bytes(20))

# Version and lock time; marker and flag of the segwit serialisation.
_FIXED_WEIGHT = 4 * (4 + 4) + 2

MAX_TRANSACTION_WEIGHT = 400_000
"""Bitcoin Core relays no heavier transaction."""

_MAX_TRIES = 20_000
"""Branch and bound gives up after so many steps, about 10 ms."""


class InsufficientFunds(LocalError):
    """Not enough spendable coins for these outputs and the fee that they need."""

    def __init__(self, needed_sat: Sat, available_sat: Sat) -> None:
        super().__init__(f"{needed_sat} sat are needed with the fee, {available_sat} sat can be spent")
        self.needed_sat = needed_sat
        self.available_sat = available_sat


class TransactionTooLarge(LocalError):
    """So many small coins would be needed that nobody relays the transaction."""

    def __init__(self, weight: int) -> None:
        super().__init__(f"a transaction of {weight} weight units, nobody relays more than {MAX_TRANSACTION_WEIGHT}")
        self.weight = weight


class Coin(msgspec.Struct, frozen=True):
    """A P2WPKH output that may be spent."""

    outpoint: OutPoint
    value_sat: Sat


class Selection(msgspec.Struct, frozen=True):
    """Coins = outputs + change + fee, exactly."""

    coins: tuple[Coin, ...]
    fee_sat: Sat
    change_sat: Sat | None
    """None: no change output."""


def transaction_weight(input_count: int, outputs: Sequence[TxOut], change: bool) -> int:
    """The most that a transaction of P2WPKH inputs weighs: a signature may be a byte shorter than is assumed here."""
    output_count = len(outputs) + change
    scripts = sum(8 + len(compact_size(len(out.script_pubkey))) + len(out.script_pubkey) for out in outputs)
    counts = len(compact_size(input_count)) + len(compact_size(output_count))
    return (
        _FIXED_WEIGHT
        + 4 * (counts + scripts)
        + input_count * P2WPKH_INPUT_WEIGHT
        + (P2WPKH_OUTPUT_WEIGHT if change else 0)
    )


def fee_sat(feerate_per_kw: FeeratePerKw, weight: int) -> Sat:
    """Rounded up: never below the feerate that was asked for."""
    return Sat(-(-feerate_per_kw * weight // 1000))


def least_change_sat(feerate_per_kw: FeeratePerKw) -> Sat:
    """Change below it is left to the fee: it would be dust, or cost more to spend than it is worth."""
    return Sat(max(_P2WPKH_DUST_SAT, fee_sat(feerate_per_kw, P2WPKH_INPUT_WEIGHT)))


def select(coins: Sequence[Coin], outputs: Sequence[TxOut], feerate_per_kw: FeeratePerKw) -> Selection:
    """The coins for these outputs. Raises InsufficientFunds or TransactionTooLarge.

    The same arguments give the same answer, whatever the order of `coins`.
    """
    assert outputs
    input_fee = feerate_per_kw * P2WPKH_INPUT_WEIGHT
    worthwhile = [coin for coin in coins if coin.value_sat * 1000 > input_fee]
    worthwhile.sort(key=lambda coin: (-coin.value_sat, coin.outpoint))
    exact = _branch_and_bound(worthwhile, outputs, feerate_per_kw)
    return exact if exact is not None else _largest_first(worthwhile, outputs, feerate_per_kw)


def select_all(coins: Sequence[Coin], script_pubkey: bytes, feerate_per_kw: FeeratePerKw) -> Selection:
    """Every coin that is worth its input, to one output, which gets what `coins` hold less `fee_sat`."""
    worthwhile = [coin for coin in coins if coin.value_sat * 1000 > feerate_per_kw * P2WPKH_INPUT_WEIGHT]
    worthwhile.sort(key=lambda coin: (-coin.value_sat, coin.outpoint))
    weight = transaction_weight(len(worthwhile), (TxOut(Sat(0), script_pubkey),), change=False)
    if weight > MAX_TRANSACTION_WEIGHT:
        raise TransactionTooLarge(weight)
    fee = fee_sat(feerate_per_kw, weight)
    available, needed = _sum(worthwhile), Sat(fee + dust_threshold_sat(script_pubkey))
    if not worthwhile or available < needed:
        raise InsufficientFunds(needed, available)
    return Selection(tuple(worthwhile), fee, None)


def _largest_first(coins: Sequence[Coin], outputs: Sequence[TxOut], feerate_per_kw: FeeratePerKw) -> Selection:
    paid = sum(output.value_sat for output in outputs)
    gathered = 0
    for count, coin in enumerate(coins, 1):
        gathered += coin.value_sat
        weight = transaction_weight(count, outputs, change=False)
        fee = fee_sat(feerate_per_kw, weight)
        if gathered < paid + fee:
            continue
        change_weight = transaction_weight(count, outputs, change=True)
        change = gathered - paid - fee_sat(feerate_per_kw, change_weight)
        with_change = change >= least_change_sat(feerate_per_kw)
        if (weight := change_weight if with_change else weight) > MAX_TRANSACTION_WEIGHT:
            raise TransactionTooLarge(weight)
        chosen = tuple(coins[:count])
        if with_change:
            return Selection(chosen, fee_sat(feerate_per_kw, change_weight), Sat(change))
        return Selection(chosen, Sat(gathered - paid), None)
    needed = paid + fee_sat(feerate_per_kw, transaction_weight(max(1, len(coins)), outputs, change=False))
    raise InsufficientFunds(Sat(needed), _sum(coins))


def _branch_and_bound(
    coins: Sequence[Coin], outputs: Sequence[TxOut], feerate_per_kw: FeeratePerKw
) -> Selection | None:
    """A set of coins that pays the outputs and wastes less than change would cost, with the least waste found.

    Depth first through `coins`, largest first: each is taken, then left out. Coins are few enough for an input count
    of one byte.
    """
    input_fee = feerate_per_kw * P2WPKH_INPUT_WEIGHT
    values = [coin.value_sat * 1000 - input_fee for coin in coins]
    base_weight = transaction_weight(1, outputs, change=False) - P2WPKH_INPUT_WEIGHT
    least = 1000 * sum(output.value_sat for output in outputs) + feerate_per_kw * base_weight
    most = least + input_fee + feerate_per_kw * P2WPKH_OUTPUT_WEIGHT
    remaining = sum(values)
    taken: list[int] = []
    best: tuple[int, list[int]] | None = None
    total = at = 0
    for _ in range(_MAX_TRIES):
        backtrack = total + remaining < least or total > most or len(taken) > 252
        if not backtrack and total >= least:
            if best is None or total < best[0]:
                best = total, taken.copy()
            backtrack = True
        if backtrack or at == len(values):
            if not taken:
                break
            last = taken.pop()
            remaining += sum(values[last + 1 : at])
            total -= values[last]
            at = last + 1
            continue
        remaining -= values[at]
        # A coin like the one that was just left out would only repeat its branch.
        left_out_twin = at > 0 and values[at] == values[at - 1] and (not taken or taken[-1] != at - 1)
        if not left_out_twin:
            taken.append(at)
            total += values[at]
        at += 1
    if best is None:
        return None
    chosen = tuple(coins[index] for index in best[1])
    weight = transaction_weight(len(chosen), outputs, change=False)
    if weight > MAX_TRANSACTION_WEIGHT:
        return None
    fee = _sum(chosen) - sum(output.value_sat for output in outputs)
    assert fee >= fee_sat(feerate_per_kw, weight)
    return Selection(chosen, Sat(fee), None)


def _sum(coins: Sequence[Coin]) -> Sat:
    return Sat(sum(coin.value_sat for coin in coins))
