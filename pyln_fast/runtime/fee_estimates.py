"""Which estimate of Bitcoin Core answers which ConfirmationTarget, and what we say where it has none."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from decimal import ROUND_UP, Decimal

import msgspec

from pyln_fast.chain.interfaces import FEERATE_FLOOR_SATS_PER_KW, ConfirmationTarget
from pyln_fast.types import FeeratePerKw

CONSERVATIVE = "CONSERVATIVE"
ECONOMICAL = "ECONOMICAL"


class Rule(msgspec.Struct, frozen=True):
    """`estimatesmartfee blocks mode`, and `adjust` on top."""

    blocks: int
    mode: str
    default: FeeratePerKw
    adjust: int = 0


# The blocks and defaults are those of ldk-node. A maximum gets some slack, so that an honest counterparty with a faster
# estimator stays below it; a minimum gives way by one satoshi per virtual byte, for those that round otherwise.
ESTIMATES: dict[ConfirmationTarget, Rule] = {
    ConfirmationTarget.MAXIMUM_FEE_ESTIMATE: Rule(1, CONSERVATIVE, FeeratePerKw(8000), 2500),
    ConfirmationTarget.URGENT_ON_CHAIN_SWEEP: Rule(6, CONSERVATIVE, FeeratePerKw(5000)),
    ConfirmationTarget.MIN_ALLOWED_ANCHOR_CHANNEL_REMOTE_FEE: Rule(1008, ECONOMICAL, FeeratePerKw(253), -250),
    ConfirmationTarget.MIN_ALLOWED_NON_ANCHOR_CHANNEL_REMOTE_FEE: Rule(144, ECONOMICAL, FeeratePerKw(253), -250),
    ConfirmationTarget.ANCHOR_CHANNEL_FEE: Rule(1008, ECONOMICAL, FeeratePerKw(500)),
    ConfirmationTarget.NON_ANCHOR_CHANNEL_FEE: Rule(12, CONSERVATIVE, FeeratePerKw(1000)),
    ConfirmationTarget.CHANNEL_CLOSE_MINIMUM: Rule(144, ECONOMICAL, FeeratePerKw(500)),
    ConfirmationTarget.OUTPUT_SPENDING_FEE: Rule(12, ECONOMICAL, FeeratePerKw(1000)),
}


COMMITMENT_FEES = (ConfirmationTarget.ANCHOR_CHANNEL_FEE, ConfirmationTarget.NON_ANCHOR_CHANNEL_FEE)
PATIENCE = 3
"""Answers of bitcoind, a minute apart. Only a feerate that was low in so many is offered to a counterparty: its own
estimates may be two minutes older, and what is too far below those makes LDK, and us, close the channel."""


class FeeEstimates:
    """The last known estimate of each target; the default of its rule until there is one."""

    def __init__(self) -> None:
        self._estimates = {target: rule.default - rule.adjust for target, rule in ESTIMATES.items()}
        self._recent: dict[ConfirmationTarget, deque[int]] = {each: deque(maxlen=PATIENCE) for each in COMMITMENT_FEES}
        self._mempool_min = FEERATE_FLOOR_SATS_PER_KW

    def get(self, target: ConfirmationTarget) -> FeeratePerKw:
        estimate = max(self._recent.get(target) or (self._estimates[target],))
        feerate = max(estimate, self._mempool_min) + ESTIMATES[target].adjust
        return FeeratePerKw(max(feerate, FEERATE_FLOOR_SATS_PER_KW))

    def update(self, estimates: Mapping[tuple[int, str], FeeratePerKw | None], mempool_min: FeeratePerKw) -> None:
        """The answers by (blocks, mode), None where there is none (an old estimate or the default then stays), and the
        feerate below which the mempool takes nothing."""
        self._mempool_min = mempool_min
        for target, rule in ESTIMATES.items():
            estimate = estimates[rule.blocks, rule.mode]
            if estimate is not None:
                self._estimates[target] = estimate
                if target in self._recent:
                    self._recent[target].append(estimate)


def sat_per_kw(btc_per_kvb: Decimal) -> FeeratePerKw:
    """Bitcoin Core's unit, rounded up. A virtual byte is four units of weight."""
    sat = (btc_per_kvb * 100_000_000 / 4).to_integral_value(rounding=ROUND_UP)
    return FeeratePerKw(max(int(sat), FEERATE_FLOOR_SATS_PER_KW))
