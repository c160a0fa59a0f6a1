"""Fees, expected weights, trimming and dust limits of BOLT 3. Everything is rounded down to whole satoshis."""

from __future__ import annotations

from pyln_fast.types import FeeratePerKw, Msat, Sat

ANCHOR_SAT = Sat(330)

COMMITMENT_WEIGHT = 724
COMMITMENT_WEIGHT_ANCHORS = 1124
HTLC_OUTPUT_WEIGHT = 172
HTLC_TIMEOUT_WEIGHT = 663
HTLC_TIMEOUT_WEIGHT_ANCHORS = 666
HTLC_SUCCESS_WEIGHT = 703
# Appendix A: one more than what it really weighs, kept for history.
HTLC_SUCCESS_WEIGHT_ANCHORS = 706


def fee_for_weight_sat(feerate_per_kw: FeeratePerKw, weight: int) -> Sat:
    return Sat(feerate_per_kw * weight // 1000)


def commitment_weight(untrimmed_htlcs: int, anchors: bool) -> int:
    """The expected weight, signatures included (BOLT 3, Fee Calculation)."""
    base = COMMITMENT_WEIGHT_ANCHORS if anchors else COMMITMENT_WEIGHT
    return base + HTLC_OUTPUT_WEIGHT * untrimmed_htlcs


def commitment_fee_sat(feerate_per_kw: FeeratePerKw, untrimmed_htlcs: int, anchors: bool) -> Sat:
    """The base fee, which the opener pays. Trimmed outputs add to what the transaction really pays."""
    return fee_for_weight_sat(feerate_per_kw, commitment_weight(untrimmed_htlcs, anchors))


def htlc_timeout_fee(feerate_per_kw: FeeratePerKw, anchors: bool) -> Sat:
    return Sat(0) if anchors else fee_for_weight_sat(feerate_per_kw, HTLC_TIMEOUT_WEIGHT)


def htlc_success_fee(feerate_per_kw: FeeratePerKw, anchors: bool) -> Sat:
    return Sat(0) if anchors else fee_for_weight_sat(feerate_per_kw, HTLC_SUCCESS_WEIGHT)


def htlc_trim_threshold_sat(offered: bool, dust_limit_sat: Sat, feerate_per_kw: FeeratePerKw, anchors: bool) -> Sat:
    """The least amount in whole satoshis that gets an output in the broadcaster's commitment."""
    fee = htlc_timeout_fee if offered else htlc_success_fee
    return Sat(dust_limit_sat + fee(feerate_per_kw, anchors))


def htlc_is_trimmed(
    offered: bool, amount_msat: Msat, dust_limit_sat: Sat, feerate_per_kw: FeeratePerKw, anchors: bool
) -> bool:
    """BOLT 3, Trimmed Outputs. `offered` by the broadcaster, whose dust limit it is."""
    return amount_msat // 1000 < htlc_trim_threshold_sat(offered, dust_limit_sat, feerate_per_kw, anchors)


def dust_threshold_sat(script_pubkey: bytes) -> Sat:
    """Below it Bitcoin Core relays no output to this script (BOLT 3, Dust Limits)."""
    length = len(script_pubkey)
    if script_pubkey[:1] == b"\x6a":
        return Sat(0)
    if length == 22 and script_pubkey[:2] == b"\x00\x14":
        return Sat(294)
    if length == 34 and script_pubkey[:2] == b"\x00\x20":
        return Sat(330)
    if script_pubkey == b"\x51\x02\x4e\x73":
        return Sat(240)
    if 4 <= length <= 42 and 0x51 <= script_pubkey[0] <= 0x60 and script_pubkey[1] == length - 2:
        return Sat(354)
    if length == 23 and script_pubkey[:2] == b"\xa9\x14" and script_pubkey[-1:] == b"\x87":
        return Sat(540)
    return Sat(546)
