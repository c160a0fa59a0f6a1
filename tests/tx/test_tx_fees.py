from __future__ import annotations

import pytest

from pyln_fast.tx import commitment as commitments
from pyln_fast.tx import fees, scripts
from pyln_fast.tx.parameters import CommitmentHtlc, CommitmentSpec
from pyln_fast.tx.transaction import parse, weight, with_witness
from tests.tx.bolt3 import CASES, Case
from tests.tx.channels import make


def test_the_example_of_bolt3() -> None:
    """BOLT 3, Fee Calculation, Example: 5000 per kw, dust limit 546, two HTLCs each way."""
    assert fees.htlc_timeout_fee(5000, False) == 3315
    assert fees.htlc_success_fee(5000, False) == 3515
    trimmed = [
        fees.htlc_is_trimmed(offered, amount_msat, 546, 5000, False)
        for offered, amount_msat in ((True, 5_000_000), (True, 1_000_000), (False, 7_000_000), (False, 800_000))
    ]
    assert trimmed == [False, True, False, True]
    assert fees.commitment_weight(2, False) == 1068
    assert fees.commitment_fee_sat(5000, 2, False) == 5340

    htlcs = tuple(
        CommitmentHtlc(i, offered, amount_msat, bytes(32), 500)
        for i, (offered, amount_msat) in enumerate(
            ((True, 5_000_000), (True, 1_000_000), (False, 7_000_000), (False, 800_000))
        )
    )
    spec = CommitmentSpec(5000, 1_000_000_000, 1_000_000_000, htlcs)
    channel = make("example", spec, dust_limits_sat=(546, 546), anchors=False)
    assert commitments.build(channel.params, channel.commitment, True).fee_sat == 7140


def test_anchors_pay_no_htlc_fees() -> None:
    assert fees.htlc_timeout_fee(5000, True) == 0
    assert fees.htlc_success_fee(5000, True) == 0
    assert fees.commitment_fee_sat(5000, 2, True) == (1124 + 344) * 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bolt3_base_fee(case: Case) -> None:
    """The real fee is the base fee, what was trimmed, and the fractions of a satoshi."""
    spec, anchors = case.commitment.spec, case.params.anchors
    dust = case.params.holder.dust_limit_sat
    untrimmed = [
        htlc
        for htlc in spec.htlcs
        if not fees.htlc_is_trimmed(htlc.offered, htlc.amount_msat, dust, spec.feerate_per_kw, anchors)
    ]
    assert len(untrimmed) == len(case.htlcs)
    base = fees.commitment_fee_sat(spec.feerate_per_kw, len(untrimmed), anchors)
    built = commitments.build(case.params, case.commitment, True)
    if built.to_local_index is not None and built.to_remote_index is not None:
        kept_msat = sum(htlc.amount_msat // 1000 * 1000 for htlc in untrimmed)
        trimmed_msat = sum(htlc.amount_msat for htlc in spec.htlcs) - kept_msat
        fractions_msat = spec.to_broadcaster_msat % 1000 + spec.to_countersignatory_msat % 1000
        assert built.fee_sat * 1000 == base * 1000 + trimmed_msat + fractions_msat


@pytest.mark.parametrize("anchors", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_appendix_a_commitment_weight(count: int, anchors: bool) -> None:
    """Signatures of 73 bytes, type included. With anchors the BOLT takes 3 bytes, not 1, for the number of outputs."""
    htlcs = tuple(CommitmentHtlc(i, True, 10_000_000, bytes(32), 500) for i in range(count))
    channel = make("weight", CommitmentSpec(500, 1_000_000_000, 1_000_000_000, htlcs), anchors=anchors)
    tx = parse(commitments.build(channel.params, channel.commitment, True).raw)
    keys = channel.params.holder.pubkeys.funding_pubkey, channel.params.counterparty.pubkeys.funding_pubkey
    signed = with_witness(tx, 0, (b"", bytes(73), bytes(73), scripts.funding_script(*keys)))
    assert weight(signed) == fees.commitment_weight(count, anchors) - (8 if anchors else 0)


def test_appendix_a_script_lengths() -> None:
    point, expiry = b"\x02" + bytes(32), 1 << 23
    for anchors, more in ((False, 0), (True, 3)):
        assert len(scripts.offered_htlc_script(point, point, point, bytes(32), anchors)) == 133 + more
        assert len(scripts.received_htlc_script(point, point, point, bytes(32), expiry, anchors)) == 140 + more
    assert len(scripts.funding_script(point, point)) == 71


@pytest.mark.parametrize("anchors", [False, True])
@pytest.mark.parametrize("offered", [False, True])
@pytest.mark.parametrize("feerate", [0, 253, 999, 15000])
def test_trimming_at_the_threshold(feerate: int, offered: bool, anchors: bool) -> None:
    threshold_sat = fees.htlc_trim_threshold_sat(offered, 546, feerate, anchors)
    assert threshold_sat == 546 + (0 if anchors else feerate * (663 if offered else 703) // 1000)
    for amount_msat, kept in (
        (threshold_sat * 1000 - 1000, False),
        (threshold_sat * 1000 - 1, False),
        (threshold_sat * 1000, True),
        (threshold_sat * 1000 + 999, True),
        (threshold_sat * 1000 + 1000, True),
    ):
        htlc = CommitmentHtlc(0, offered, amount_msat, bytes(32), 500)
        rest = -amount_msat % 1000
        spec = CommitmentSpec(feerate, 1_000_000_000 + rest, 1_000_000_000, (htlc,))
        channel = make("trim", spec, dust_limits_sat=(546, 20_000), anchors=anchors)
        built = commitments.build(channel.params, channel.commitment, True)
        assert len(built.htlcs) == kept
        assert fees.htlc_is_trimmed(offered, amount_msat, 546, feerate, anchors) == (not kept)


@pytest.mark.parametrize("anchors", [False, True])
@pytest.mark.parametrize(("excess_sat", "kept"), [(-1, False), (0, True), (1, True)])
def test_main_outputs_at_the_dust_limit(excess_sat: int, kept: bool, anchors: bool) -> None:
    """The opener's output after fee and anchors, and the other's as it is."""
    cost_sat = fees.commitment_fee_sat(1000, 0, anchors) + (2 * fees.ANCHOR_SAT if anchors else 0)
    spec = CommitmentSpec(1000, (cost_sat + 546 + excess_sat) * 1000, 900_000_000, ())
    channel = make("dust", spec, dust_limits_sat=(546, 354), anchors=anchors)
    built = commitments.build(channel.params, channel.commitment, True)
    assert (built.to_local_index is not None) == kept
    assert (built.to_local_anchor_index is not None) == (kept and anchors)

    spec = CommitmentSpec(1000, 900_000_000, (546 + excess_sat) * 1000, ())
    channel = make("dust", spec, dust_limits_sat=(546, 354), anchors=anchors)
    built = commitments.build(channel.params, channel.commitment, True)
    assert (built.to_remote_index is not None) == kept
    assert (built.to_remote_anchor_index is not None) == (kept and anchors)


@pytest.mark.parametrize("holder_is_opener", [False, True])
def test_a_fee_above_the_openers_balance(holder_is_opener: bool) -> None:
    """It takes all that the opener has and nothing of the other."""
    balances = (5_000_000, 900_000_000) if holder_is_opener else (900_000_000, 5_000_000)
    channel = make("poor", CommitmentSpec(100_000, *balances, ()), anchors=False, holder_is_opener=holder_is_opener)
    built = commitments.build(channel.params, channel.commitment, True)
    assert built.fee_sat == 5000
    assert [output.value_sat for output in parse(built.raw).outputs] == [900_000]


def test_anchors_that_nobody_can_pay() -> None:
    channel = make("none", CommitmentSpec(0, 100_000, 900_000_000, ()), anchors=True)
    with pytest.raises(commitments.UnaffordableCommitment):
        commitments.build(channel.params, channel.commitment, True)


def test_amounts_that_do_not_add_up_are_our_bug() -> None:
    channel = make("sum", CommitmentSpec(253, 100_000_000, 900_000_000, ()))
    for spec in (
        CommitmentSpec(253, 100_000_000, 900_000_001, ()),
        CommitmentSpec(253, 100_000_000, 899_999_999, ()),
        CommitmentSpec(253, 100_000_000, 900_000_000, (CommitmentHtlc(0, True, 1, bytes(32), 500),)),
        CommitmentSpec(253, (1 << 64) - 1, 2, ()),
    ):
        wrong = type(channel.commitment)(0, channel.commitment.per_commitment_point, spec)
        with pytest.raises(AssertionError):
            commitments.build(channel.params, wrong, True)


@pytest.mark.parametrize(
    ("script", "threshold_sat"),
    [
        (b"\x76\xa9\x14" + bytes(20) + b"\x88\xac", 546),
        (b"\xa9\x14" + bytes(20) + b"\x87", 540),
        (b"\x00\x14" + bytes(20), 294),
        (b"\x00\x20" + bytes(32), 330),
        (b"\x51\x02\x4e\x73", 240),
        (b"\x51\x20" + bytes(32), 354),
        (b"\x60\x02" + bytes(2), 354),
        (b"\x6a\x06" + bytes(6), 0),
    ],
)
def test_dust_thresholds(script: bytes, threshold_sat: int) -> None:
    assert fees.dust_threshold_sat(script) == threshold_sat
