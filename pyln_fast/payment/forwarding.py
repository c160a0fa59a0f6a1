"""Whether an HTLC may be forwarded (BOLT 4, Payload Format; BOLT 7, channel_update; the deadlines of LDK)."""

from __future__ import annotations

import msgspec

from pyln_fast.config import CLTV_FAR_FAR_AWAY, HTLC_FAIL_BACK_BUFFER, LATENCY_GRACE_PERIOD_BLOCKS, ChannelConfig
from pyln_fast.payment.route import forwarding_fee_msat
from pyln_fast.types import BlockHeight, Msat
from pyln_fast.wire.failure_msgs import (
    AmountBelowMinimum,
    ExpiryTooFar,
    ExpiryTooSoon,
    Failure,
    FeeInsufficient,
    IncorrectCltvExpiry,
)


class ForwardRequest(msgspec.Struct, frozen=True):
    """What came in, and what its onion asks to be sent on."""

    incoming_amount_msat: Msat
    incoming_cltv_expiry: BlockHeight
    amt_to_forward: Msat
    outgoing_cltv_value: BlockHeight


class Refusal(msgspec.Struct, frozen=True):
    """`failure` is for the sender of the payment, `reason` (LDK's LocalHTLCFailureReason by name) for our user."""

    failure: Failure
    reason: str


def check_forward(
    request: ForwardRequest,
    config: ChannelConfig,
    htlc_minimum_msat: Msat,
    height: BlockHeight,
    channel_update: bytes,
) -> Refusal | None:
    """By the terms of the outgoing channel; `channel_update` is its own, for the sender to learn from."""
    if request.amt_to_forward < htlc_minimum_msat:
        return Refusal(AmountBelowMinimum(request.amt_to_forward, channel_update), "AmountBelowMinimum")
    fee = forwarding_fee_msat(
        request.amt_to_forward, config.forwarding_fee_base_msat, config.forwarding_fee_proportional_millionths
    )
    if request.incoming_amount_msat < request.amt_to_forward + fee:
        return Refusal(FeeInsufficient(request.incoming_amount_msat, channel_update), "FeeInsufficient")
    if request.incoming_cltv_expiry < request.outgoing_cltv_value + config.cltv_expiry_delta:
        return Refusal(IncorrectCltvExpiry(request.incoming_cltv_expiry, channel_update), "IncorrectCLTVExpiry")
    if request.incoming_cltv_expiry <= height + HTLC_FAIL_BACK_BUFFER:
        return Refusal(ExpiryTooSoon(channel_update), "CLTVExpiryTooSoon")
    if request.incoming_cltv_expiry > height + CLTV_FAR_FAR_AWAY:
        return Refusal(ExpiryTooFar(), "CLTVExpiryTooFar")
    # An outgoing HTLC that the next node would have to give up at once.
    if request.outgoing_cltv_value <= height + LATENCY_GRACE_PERIOD_BLOCKS:
        return Refusal(ExpiryTooSoon(channel_update), "OutgoingCLTVTooSoon")
    return None
