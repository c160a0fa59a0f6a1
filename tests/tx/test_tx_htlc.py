from __future__ import annotations

import pytest
from hypothesis import given, settings

from pyln_fast.tx import commitment as commitments
from pyln_fast.tx import fees, htlc
from pyln_fast.tx.fees import htlc_success_fee, htlc_timeout_fee
from pyln_fast.tx.htlc import HtlcDescriptor, WrongPreimage
from pyln_fast.tx.transaction import (
    Transaction,
    TxInput,
    parse,
    serialize,
    serialize_stripped,
    sighash_bip143,
    weight,
    with_witness,
)
from pyln_fast.types import OutPoint, PaymentPreimage, TxOut
from tests.oracle import commitment as oracle
from tests.oracle import tx as oracle_tx
from tests.tx import bolt3
from tests.tx.bolt3 import CASES, Case
from tests.tx.channels import Channel, channels

each_case = pytest.mark.parametrize("case", [case for case in CASES if case.htlcs], ids=lambda case: case.name)


def descriptors(case: Case) -> tuple[HtlcDescriptor, ...]:
    built = commitments.build(case.params, case.commitment, True)
    return htlc.describe(case.params, case.commitment, built, True)


def preimage(descriptor: HtlcDescriptor) -> PaymentPreimage | None:
    return None if descriptor.htlc.offered else PaymentPreimage(bolt3.PREIMAGES[descriptor.htlc.htlc_id])


@each_case
def test_bolt3_htlc_transactions(case: Case) -> None:
    signed = [
        serialize(
            htlc.sign_holder_htlc(
                descriptor, expected.counterparty_signature, bolt3.LOCAL_HTLC_BASE_KEY, preimage(descriptor)
            )
        )
        for descriptor, expected in zip(descriptors(case), case.htlcs, strict=True)
    ]
    assert signed == [expected.raw for expected in case.htlcs]


@each_case
def test_bolt3_counterparty_signatures(case: Case) -> None:
    for descriptor, expected in zip(descriptors(case), case.htlcs, strict=True):
        signature = expected.counterparty_signature
        assert htlc.verify_counterparty_signature(descriptor, signature)
        assert not htlc.verify_counterparty_signature(descriptor, signature[:-1] + bytes((signature[-1] ^ 1,)))


@each_case
def test_bolt3_fees(case: Case) -> None:
    for descriptor in descriptors(case):
        fee = htlc_timeout_fee if descriptor.htlc.offered else htlc_success_fee
        assert descriptor.fee_sat == fee(case.commitment.spec.feerate_per_kw, case.params.anchors)


@given(channels())
@settings(max_examples=60, deadline=None)
def test_against_the_oracle(channel: Channel) -> None:
    expected = oracle.build(channel.params, channel.commitment, channel.broadcaster_is_holder)
    if expected.fee_sat < 0:
        return
    built = commitments.build(channel.params, channel.commitment, channel.broadcaster_is_holder)
    found = htlc.describe(channel.params, channel.commitment, built, channel.broadcaster_is_holder)
    assert [serialize_stripped(htlc.build_htlc_transaction(d)) for d in found] == [
        oracle_tx.serialize(h.tx) for h in expected.htlcs
    ]
    assert [htlc.counterparty_sighash(d) for d in found] == [h.counterparty_sighash for h in expected.htlcs]
    assert [d.witness_script for d in found] == [h.witness_script for h in expected.htlcs]


ANCHORS = next(case for case in CASES if case.name.startswith("anchors: commitment tx with seven"))
PLAIN = next(case for case in CASES if case.name.startswith("static_remotekey: commitment tx with seven"))


@pytest.mark.parametrize("case", [PLAIN, ANCHORS], ids=["static_remotekey", "anchors"])
def test_the_wrong_preimage(case: Case) -> None:
    for descriptor, expected in zip(descriptors(case), case.htlcs, strict=True):
        wrong: list[PaymentPreimage | None] = [PaymentPreimage(b"\x09" * 32)]
        if not descriptor.htlc.offered:
            wrong.append(None)
        for secret in wrong:
            with pytest.raises(WrongPreimage):
                htlc.sign_holder_htlc(descriptor, expected.counterparty_signature, bolt3.LOCAL_HTLC_BASE_KEY, secret)


def test_anchors_allow_fees_to_be_added() -> None:
    """The counterparty's signature holds where inputs and outputs are added, at any index with the same lock time."""
    wallet, change = TxInput(OutPoint(b"\x07" * 32, 1)), TxOut(500, b"\x00\x14" + bytes(20))
    for part, expected in zip(descriptors(ANCHORS), ANCHORS.htlcs, strict=True):
        alone = htlc.build_htlc_transaction(part)
        tx = Transaction(2, (wallet, *alone.inputs), (change, *alone.outputs), alone.lock_time)
        message = sighash_bip143(tx, 1, part.witness_script, part.value_sat, part.counterparty_sighash_type)
        assert message == htlc.counterparty_sighash(part)
        signed = htlc.sign_holder_htlc_input(
            part, tx, 1, expected.counterparty_signature, bolt3.LOCAL_HTLC_BASE_KEY, preimage(part)
        )
        first, *_, script = parse(expected.raw).inputs[0].witness[1:]
        assert (signed.inputs[1].witness[1], signed.inputs[1].witness[4]) == (first, script)
        assert signed.inputs[1].witness[2] != parse(expected.raw).inputs[0].witness[2]


@pytest.mark.parametrize("case", [PLAIN, ANCHORS], ids=["static_remotekey", "anchors"])
def test_appendix_a_weights(case: Case) -> None:
    """With signatures of 73 bytes and an expiry of 4 bytes, as the appendix assumes."""
    for descriptor in descriptors(case):
        tx = htlc.build_htlc_transaction(descriptor)
        script = descriptor.witness_script
        witness = (b"", bytes(73), bytes(73), bytes(preimage(descriptor) or b""), script)
        expiry_is_shorter = 0 if descriptor.htlc.offered else 2
        history = 0 if descriptor.htlc.offered else 1  # HTLC-success really weighs 702 and 705
        assert weight(with_witness(tx, 0, witness)) + expiry_is_shorter + history == descriptor.weight
    assert fees.HTLC_TIMEOUT_WEIGHT_ANCHORS - fees.HTLC_TIMEOUT_WEIGHT == 3
