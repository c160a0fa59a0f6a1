"""Payments that have reached us and wait for the user: claim_funds or fail_htlc_backwards."""

from __future__ import annotations

import msgspec

from pyln_fast.config import HTLC_FAIL_BACK_BUFFER
from pyln_fast.events import PaymentPurpose, RecipientOnionFields
from pyln_fast.payment.inbound import ExpandedKey, InboundPaymentRefused, verify
from pyln_fast.types import BlockHeight, ChannelId, Msat, PaymentHash, UnixTime
from pyln_fast.wire.failure_msgs import (
    Failure,
    FinalIncorrectCltvExpiry,
    FinalIncorrectHtlcAmount,
    IncorrectOrUnknownPaymentDetails,
)
from pyln_fast.wire.onion_payloads import OnionPayload


class ClaimablePayment(msgspec.Struct, frozen=True, array_like=True):
    payment_hash: PaymentHash
    channel_id: ChannelId
    htlc_id: int
    amount_msat: Msat
    cltv_expiry: BlockHeight
    onion_fields: RecipientOnionFields
    purpose: PaymentPurpose

    @property
    def claim_deadline(self) -> BlockHeight:
        """From this height on the HTLC is failed back: claiming it could come too late."""
        return BlockHeight(self.cltv_expiry - HTLC_FAIL_BACK_BUFFER)


class FinalHtlc(msgspec.Struct, frozen=True):
    """A committed HTLC whose onion ends here."""

    channel_id: ChannelId
    htlc_id: int
    amount_msat: Msat
    cltv_expiry: BlockHeight
    payment_hash: PaymentHash


def check_final(
    htlc: FinalHtlc, payload: OnionPayload, keys: ExpandedKey, height: BlockHeight, now: UnixTime
) -> ClaimablePayment | tuple[Failure, str]:
    """BOLT 4, the final node: a payment for the user, or the failure for its sender and LDK's reason.

    Whatever is wrong with the details, the sender learns the same, so that nobody can probe for invoices.
    """
    assert payload.amt_to_forward is not None
    assert payload.outgoing_cltv_value is not None
    if htlc.cltv_expiry < payload.outgoing_cltv_value:
        return FinalIncorrectCltvExpiry(htlc.cltv_expiry), "FinalIncorrectCLTVExpiry"
    if htlc.amount_msat < payload.amt_to_forward:
        return FinalIncorrectHtlcAmount(htlc.amount_msat), "FinalIncorrectHTLCAmount"
    unknown = IncorrectOrUnknownPaymentDetails(htlc.amount_msat, height)
    if htlc.cltv_expiry <= height + HTLC_FAIL_BACK_BUFFER + 1:
        return unknown, "PaymentClaimBuffer"
    data = payload.payment_data
    if data is None:
        return unknown, "PaymentSecretRequired"
    # basic_mpp is not offered, so the whole payment comes in one HTLC (BOLT 4, Basic Multi-Part Payments).
    if data.total_msat != payload.amt_to_forward:
        return unknown, "IncorrectPaymentDetails"
    try:
        inbound = verify(
            keys, htlc.payment_hash, data.payment_secret, Msat(htlc.amount_msat), now, payload.payment_metadata
        )
    except InboundPaymentRefused:
        return unknown, "IncorrectPaymentDetails"
    if htlc.cltv_expiry < height + inbound.min_final_cltv_expiry_delta:
        return unknown, "IncorrectPaymentDetails"
    if any(tlv_type % 2 == 0 for tlv_type, _ in payload.custom_tlvs):
        return unknown, "InvalidOnionPayload"
    return ClaimablePayment(
        htlc.payment_hash,
        htlc.channel_id,
        htlc.htlc_id,
        htlc.amount_msat,
        htlc.cltv_expiry,
        RecipientOnionFields(data.payment_secret, payload.payment_metadata, payload.custom_tlvs, data.total_msat),
        PaymentPurpose(inbound.preimage, data.payment_secret),
    )
