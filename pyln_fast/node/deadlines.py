"""How long the node may be away: the height at which the first of its HTLCs would have to go on chain."""

from __future__ import annotations

from collections.abc import Iterable

from pyln_fast.channel.htlc import Fulfilled, Htlc
from pyln_fast.channel.state import FundedState
from pyln_fast.config import CLTV_CLAIM_BUFFER, LATENCY_GRACE_PERIOD_BLOCKS
from pyln_fast.types import BlockHeight


def nearest_deadline(channels: Iterable[FundedState]) -> BlockHeight | None:
    """None where no HTLC can cost us anything."""
    heights = [
        height
        for state in channels
        for htlc in state.data.commitments.htlcs.values()
        if (height := deadline(htlc)) is not None
    ]
    return min(heights, default=None)


def deadline(htlc: Htlc) -> BlockHeight | None:
    """An offered HTLC is taken back on chain after its expiry; one whose preimage we know is claimed before it."""
    if htlc.offered:
        return BlockHeight(htlc.cltv_expiry + LATENCY_GRACE_PERIOD_BLOCKS)
    if isinstance(htlc.removal, Fulfilled):
        return BlockHeight(htlc.cltv_expiry - CLTV_CLAIM_BUFFER)
    return None
