"""Which estimate answers which target, when they move."""

from __future__ import annotations

import pytest

from pyln_fast.chain.interfaces import ConfirmationTarget
from pyln_fast.runtime.fee_estimates import ESTIMATES, FeeEstimates
from pyln_fast.types import FeeratePerKw

FLOOR = FeeratePerKw(253)


def told(fees: FeeEstimates, feerate: int | None) -> None:
    """Every estimate is the same."""
    answer = None if feerate is None else FeeratePerKw(feerate)
    fees.update({(rule.blocks, rule.mode): answer for rule in ESTIMATES.values()}, FLOOR)


@pytest.mark.parametrize("target", [ConfirmationTarget.ANCHOR_CHANNEL_FEE, ConfirmationTarget.NON_ANCHOR_CHANNEL_FEE])
def test_a_commitment_feerate_falls_when_it_has_fallen_for_everybody(target: ConfirmationTarget) -> None:
    fees = FeeEstimates()
    offered = []
    for feerate in (2000, 900, 900, None, 900, 1200, 500, 500, 500):
        told(fees, feerate)
        offered.append(fees.get(target))
    assert offered == [2000, 2000, 2000, 2000, 900, 1200, 1200, 1200, 500]


def test_what_is_allowed_and_what_is_spent_follow_at_once() -> None:
    fees = FeeEstimates()
    told(fees, 2000)
    told(fees, 900)
    assert fees.get(ConfirmationTarget.MIN_ALLOWED_ANCHOR_CHANNEL_REMOTE_FEE) == 650
    assert fees.get(ConfirmationTarget.MIN_ALLOWED_NON_ANCHOR_CHANNEL_REMOTE_FEE) == 650
    assert fees.get(ConfirmationTarget.OUTPUT_SPENDING_FEE) == 900
    assert fees.get(ConfirmationTarget.MAXIMUM_FEE_ESTIMATE) == 3400
