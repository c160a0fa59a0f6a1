"""The consensus rules about a transaction's place in the chain: lock time, relative lock time, maturity, amounts.

Sources: BIP 65, BIP 68, BIP 113; Bitcoin Core, src/consensus/tx_verify.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyln_fast.testing.regtest.chain import COINBASE_MATURITY, Chain, Coin
from pyln_fast.testing.regtest.errors import Rejected
from pyln_fast.testing.regtest.kernel import MAX_MONEY_SAT
from pyln_fast.tx.transaction import Transaction
from pyln_fast.types import Sat

_LOCK_TIME_THRESHOLD = 500_000_000
_SEQUENCE_FINAL = 0xFFFFFFFF
_DISABLE_FLAG = 1 << 31
_TIME_FLAG = 1 << 22
_TIME_GRANULARITY_BITS = 9


def is_final(tx: Transaction, height: int, median_time_past: int) -> bool:
    """Whether a block at `height` on a chain of that median time may hold the transaction."""
    if tx.lock_time < (height if tx.lock_time < _LOCK_TIME_THRESHOLD else median_time_past):
        return True
    return all(tx_input.sequence == _SEQUENCE_FINAL for tx_input in tx.inputs)


def relative_locks_passed(tx: Transaction, coins: Sequence[Coin], chain: Chain) -> bool:
    """BIP 68 for the next block."""
    if tx.version < 2:
        return True
    now = chain.median_time_past(chain.tip.hash)
    for tx_input, coin in zip(tx.inputs, coins):
        if tx_input.sequence & _DISABLE_FLAG:
            continue
        delay = tx_input.sequence & 0xFFFF
        if tx_input.sequence & _TIME_FLAG:
            start = chain.median_time_past(chain.active[min(max(coin.height - 1, 0), chain.height)])
            if start + (delay << _TIME_GRANULARITY_BITS) > now:
                return False
        elif coin.height + delay > chain.height + 1:
            return False
    return True


def fee_sat(tx: Transaction, coins: Sequence[Coin], next_height: int) -> Sat:
    """What the inputs have more than the outputs. Raises Rejected: immature coinbase, amounts that cannot be."""
    total = 0
    for coin in coins:
        if coin.coinbase and next_height - coin.height < COINBASE_MATURITY:
            raise Rejected(
                "bad-txns-premature-spend-of-coinbase",
                f"tried to spend coinbase at depth {next_height - coin.height}",
            )
        total += coin.output.value_sat
        if total > MAX_MONEY_SAT:
            raise Rejected("bad-txns-inputvalues-outofrange")
    out = sum(output.value_sat for output in tx.outputs)
    if total < out:
        raise Rejected("bad-txns-in-belowout", f"value in ({btc(total)}) < value out ({btc(out)})")
    return Sat(total - out)


def btc(sat: int) -> str:
    """As Core writes amounts in messages: 0.00001000."""
    return f"{'-' if sat < 0 else ''}{abs(sat) // 100_000_000}.{abs(sat) % 100_000_000:08d}"
