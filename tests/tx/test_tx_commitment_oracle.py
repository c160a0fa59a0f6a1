"""C against the oracle: every output, every signature hash, every signature, for random commitments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyln_fast.tx import commitment as commitments
from pyln_fast.tx.commitment import (
    InvalidCommitmentSignature,
    InvalidHtlcSignature,
    UnaffordableCommitment,
)
from pyln_fast.tx.parameters import CommitmentHtlc, CommitmentSpec
from tests.oracle import commitment as oracle
from tests.tx.bolt3 import mirrored
from tests.tx.channels import Channel, channels, make

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def summary(built: commitments.BuiltCommitment) -> tuple[object, ...]:
    indexes = {
        "to_local": built.to_local_index,
        "to_remote": built.to_remote_index,
        "to_local_anchor": built.to_local_anchor_index,
        "to_remote_anchor": built.to_remote_anchor_index,
    }
    present = {name: index for name, index in indexes.items() if index is not None}
    return (
        built.raw,
        built.txid,
        tuple((i, h.amount_msat, h.cltv_expiry) for i, h in built.htlcs),
        present,
        built.fee_sat,
    )


def expected_summary(expected: oracle.Built) -> tuple[object, ...]:
    htlcs = tuple((entry.output_index, entry.htlc.amount_msat, entry.htlc.cltv_expiry) for entry in expected.htlcs)
    return expected.raw, expected.txid, htlcs, expected.indexes, expected.fee_sat


@given(channels())
@many
def test_build(channel: Channel) -> None:
    expected = oracle.build(channel.params, channel.commitment, channel.broadcaster_is_holder)
    if expected.fee_sat < 0:
        with pytest.raises(UnaffordableCommitment):
            commitments.build(channel.params, channel.commitment, channel.broadcaster_is_holder)
        return
    built = commitments.build(channel.params, channel.commitment, channel.broadcaster_is_holder)
    assert summary(built) == expected_summary(expected)
    sighash = commitments.sighash(channel.params, channel.commitment, channel.broadcaster_is_holder)
    assert sighash == expected.sighash


@given(channels(), st.data())
@many
def test_sign_and_verify(channel: Channel, data: st.DataObject) -> None:
    """The counterparty signs the holder's commitment, and the holder verifies."""
    params, commitment = channel.params, channel.commitment
    expected = oracle.build(params, commitment, True)
    if expected.fee_sat < 0:
        return
    made = commitments.sign(mirrored(params), commitment, channel.counterparty.funding, channel.counterparty.htlc)
    htlc_key = oracle.derive_private(channel.counterparty.htlc, commitment.per_commitment_point)
    assert made.signature == oracle.sign(channel.counterparty.funding, expected.sighash)
    assert made.htlc_signatures == tuple(oracle.sign(htlc_key, h.counterparty_sighash) for h in expected.htlcs)
    assert commitments.verify(params, commitment, made.signature, made.htlc_signatures) == made.built

    at = data.draw(st.integers(-1, len(made.htlc_signatures) - 1))
    byte = data.draw(st.integers(0, 63))
    signatures = [made.signature, *made.htlc_signatures]
    wrong = bytearray(signatures[at + 1])
    wrong[byte] ^= 1 << data.draw(st.integers(0, 7))
    signatures[at + 1] = bytes(wrong)
    with pytest.raises(InvalidCommitmentSignature if at < 0 else InvalidHtlcSignature) as caught:
        commitments.verify(params, commitment, signatures[0], tuple(signatures[1:]))
    if at >= 0:
        assert caught.value.index == at


@pytest.mark.parametrize("anchors", [False, True])
@pytest.mark.parametrize("count", [1, 2, 249, 252, 253, 483, 966])
def test_many_htlcs(count: int, anchors: bool) -> None:
    """Sorting, the three-byte number of outputs, and 966 HTLCs, all that BOLT 2 allows."""
    htlcs = tuple(
        CommitmentHtlc(i, i % 2 == 0, 10_000_000 + (i * 7919) % 50 * 1000, bytes([i % 5]) * 32, 500 + (i * 31) % 7)
        for i in range(count)
    )
    channel = make("many", CommitmentSpec(500, 1_000_000_000, 2_000_000_000, htlcs), anchors=anchors)
    built = commitments.build(channel.params, channel.commitment, True)
    assert summary(built) == expected_summary(oracle.build(channel.params, channel.commitment, True))
    assert len(built.htlcs) == count


def test_more_htlcs_than_bolt2_allows() -> None:
    htlcs = tuple(CommitmentHtlc(i, True, 10_000_000, bytes(32), 500) for i in range(967))
    channel = make("more", CommitmentSpec(500, 1_000_000_000, 2_000_000_000, htlcs))
    with pytest.raises(ValueError, match="967 HTLCs"):
        commitments.build(channel.params, channel.commitment, True)


def test_equal_htlcs_keep_the_callers_order() -> None:
    """Equal in amount, hash and direction: by expiry; equal in that too: as the spec has them."""
    htlcs = tuple(
        CommitmentHtlc(i, True, 10_000_000, bytes(32), expiry) for i, expiry in enumerate([502, 501, 502, 500])
    )
    channel = make("equal", CommitmentSpec(500, 1_000_000_000, 2_000_000_000, htlcs))
    built = commitments.build(channel.params, channel.commitment, True)
    assert [htlc.htlc_id for _, htlc in built.htlcs] == [3, 1, 0, 2]


def test_threads_share_a_channel() -> None:
    """The calls run without the GIL; what they share is never written."""
    htlcs = tuple(CommitmentHtlc(i, i % 2 == 0, 10_000_000, bytes([i]) * 32, 500 + i) for i in range(50))
    channel = make("threads", CommitmentSpec(500, 1_000_000_000, 2_000_000_000, htlcs))
    theirs = mirrored(channel.params)
    expected = commitments.sign(theirs, channel.commitment, channel.counterparty.funding, channel.counterparty.htlc)

    def work(_: int) -> bool:
        made = commitments.sign(theirs, channel.commitment, channel.counterparty.funding, channel.counterparty.htlc)
        built = commitments.verify(channel.params, channel.commitment, made.signature, made.htlc_signatures)
        return made == expected and built == expected.built

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(40)))
