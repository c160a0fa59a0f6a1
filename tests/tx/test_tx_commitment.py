from __future__ import annotations

import msgspec
import pytest

from pyln_fast.errors import Consequence
from pyln_fast.tx import commitment as commitments
from pyln_fast.tx.commitment import (
    CommitmentKeys,
    InvalidCommitmentPoint,
    InvalidCommitmentSignature,
    InvalidHtlcSignature,
    InvalidSigningKey,
    WrongHtlcSignatureCount,
)
from pyln_fast.tx.transaction import parse, serialize, serialize_stripped, txid
from pyln_fast.types import OutPoint, PrivateKey, PublicKey
from tests.tx import bolt3
from tests.tx.bolt3 import CASES, Case

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def htlc_signatures(case: Case) -> tuple[bytes, ...]:
    return tuple(htlc.counterparty_signature for htlc in case.htlcs)


@each_case
def test_bolt3_commitment(case: Case) -> None:
    built = commitments.build(case.params, case.commitment, True)
    expected = parse(case.raw)
    assert built.raw == serialize_stripped(expected)
    assert built.txid == txid(expected)
    assert built.fee_sat == 10_000_000 - sum(output.value_sat for output in expected.outputs)
    assert len(built.htlcs) == len(case.htlcs)
    assert tuple(index for index, _ in built.htlcs) == tuple(parse(h.raw).inputs[0].outpoint.vout for h in case.htlcs)


@each_case
def test_bolt3_both_sides_build_the_same(case: Case) -> None:
    ours = commitments.build(case.params, case.commitment, True)
    theirs = commitments.build(bolt3.mirrored(case.params), case.commitment, False)
    assert ours == theirs


@each_case
def test_bolt3_verify(case: Case) -> None:
    built = commitments.verify(case.params, case.commitment, case.counterparty_signature, htlc_signatures(case))
    assert built == commitments.build(case.params, case.commitment, True)


@each_case
def test_bolt3_sign(case: Case) -> None:
    """The remote node signs the local node's commitment: signatures are deterministic, so they are the BOLT's."""
    made = commitments.sign(
        bolt3.mirrored(case.params), case.commitment, bolt3.REMOTE_FUNDING_KEY, bolt3.REMOTE_HTLC_BASE_KEY
    )
    assert made.signature == case.counterparty_signature
    assert made.htlc_signatures == htlc_signatures(case)
    assert made.built == commitments.build(case.params, case.commitment, True)


@each_case
def test_bolt3_sign_holder(case: Case) -> None:
    signed = commitments.sign_holder(case.params, case.commitment, case.counterparty_signature, bolt3.LOCAL_FUNDING_KEY)
    assert serialize(signed) == case.raw


@each_case
def test_bolt3_commitment_number(case: Case) -> None:
    for params in (case.params, bolt3.mirrored(case.params)):
        assert commitments.commitment_number(params, parse(case.raw)) == 42


def test_what_has_no_commitment_number() -> None:
    params, tx = CASES[0].params, parse(CASES[0].raw)
    tx_in = tx.inputs[0]
    replace = msgspec.structs.replace
    assert commitments.commitment_number(params, replace(tx, lock_time=0)) is None
    for other in (replace(tx_in, sequence=0xFFFFFFFF), replace(tx_in, outpoint=OutPoint(tx_in.outpoint.txid, 1))):
        assert commitments.commitment_number(params, replace(tx, inputs=(other,))) is None
    assert commitments.commitment_number(params, replace(tx, inputs=(tx_in, tx_in))) is None


def test_bolt3_keys() -> None:
    params = bolt3.APPENDIX_C["params"]
    assert commitments.commitment_keys(bolt3.parameters(False), bolt3.POINT, True) == CommitmentKeys(
        *(
            bolt3.point(params[name])
            for name in ("local_revocation_pubkey", "local_delayedpubkey", "local_htlcpubkey", "remote_htlcpubkey")
        )
    )


SEVEN = next(case for case in CASES if case.name.startswith("anchors: commitment tx with seven"))


def flipped(signature: bytes) -> bytes:
    return signature[:-1] + bytes((signature[-1] ^ 1,))


def test_a_wrong_commitment_signature() -> None:
    with pytest.raises(InvalidCommitmentSignature) as caught:
        commitments.verify(
            SEVEN.params, SEVEN.commitment, flipped(SEVEN.counterparty_signature), htlc_signatures(SEVEN)
        )
    assert caught.value.consequence is Consequence.FAIL_CHANNEL


@pytest.mark.parametrize("index", range(5))
def test_a_wrong_htlc_signature_is_named(index: int) -> None:
    signatures = list(htlc_signatures(SEVEN))
    signatures[index] = flipped(signatures[index])
    with pytest.raises(InvalidHtlcSignature) as caught:
        commitments.verify(SEVEN.params, SEVEN.commitment, SEVEN.counterparty_signature, tuple(signatures))
    assert caught.value.index == index


@pytest.mark.parametrize("count", [0, 4, 6, 100])
def test_the_number_of_htlc_signatures(count: int) -> None:
    signatures = (htlc_signatures(SEVEN) * 20)[:count]
    with pytest.raises(WrongHtlcSignatureCount) as caught:
        commitments.verify(SEVEN.params, SEVEN.commitment, SEVEN.counterparty_signature, signatures)
    assert (caught.value.expected, caught.value.got) == (5, count)


NOT_A_POINT = PublicKey(b"\x02" + b"\xff" * 32)
replace = msgspec.structs.replace


def test_a_bad_per_commitment_point() -> None:
    commitment = replace(SEVEN.commitment, per_commitment_point=NOT_A_POINT)
    for call in (
        lambda: commitments.build(SEVEN.params, commitment, True),
        lambda: commitments.sighash(SEVEN.params, commitment, True),
        lambda: commitments.verify(SEVEN.params, commitment, SEVEN.counterparty_signature, htlc_signatures(SEVEN)),
        lambda: commitments.sign(SEVEN.params, commitment, bolt3.LOCAL_FUNDING_KEY, bolt3.LOCAL_HTLC_BASE_KEY),
        lambda: commitments.commitment_keys(SEVEN.params, NOT_A_POINT, True),
    ):
        with pytest.raises(InvalidCommitmentPoint):
            call()


@pytest.mark.parametrize("field", bolt3.LOCAL.__struct_fields__)
@pytest.mark.parametrize("party", ["holder", "counterparty"])
def test_a_bad_point_of_the_channel(party: str, field: str) -> None:
    wrong = getattr(SEVEN.params, party)
    wrong = replace(wrong, pubkeys=replace(wrong.pubkeys, **{field: NOT_A_POINT}))
    with pytest.raises(InvalidCommitmentPoint):
        commitments.build(replace(SEVEN.params, **{party: wrong}), SEVEN.commitment, True)


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_a_bad_private_key(secret: bytes) -> None:
    params, good = bolt3.mirrored(SEVEN.params), bolt3.REMOTE_FUNDING_KEY
    for keys in ((PrivateKey(secret), good), (good, PrivateKey(secret))):
        with pytest.raises(InvalidSigningKey):
            commitments.sign(params, SEVEN.commitment, *keys)
    with pytest.raises(InvalidSigningKey):
        commitments.sign_holder(SEVEN.params, SEVEN.commitment, SEVEN.counterparty_signature, PrivateKey(secret))


def test_what_the_binding_refuses() -> None:
    """Our own mistakes, by their type: nothing reaches C with a wrong length or out of range."""
    keys = bolt3.REMOTE_FUNDING_KEY, bolt3.REMOTE_HTLC_BASE_KEY
    signature = SEVEN.counterparty_signature
    with pytest.raises(ValueError, match="2\\^48"):
        commitments.build(SEVEN.params, replace(SEVEN.commitment, number=1 << 48), True)
    with pytest.raises(OverflowError):
        commitments.build(SEVEN.params, replace(SEVEN.commitment, number=-1), True)
    with pytest.raises(ValueError, match="33"):
        commitments.build(SEVEN.params, replace(SEVEN.commitment, per_commitment_point=bytes(32)), True)
    with pytest.raises(ValueError, match="64"):
        commitments.verify(SEVEN.params, SEVEN.commitment, signature[:63], ())
    with pytest.raises(ValueError, match="64"):
        commitments.verify(SEVEN.params, SEVEN.commitment, signature, (signature[:63],) * 5)
    with pytest.raises(ValueError, match="32"):
        commitments.sign(SEVEN.params, SEVEN.commitment, PrivateKey(bytes(31)), keys[1])
    with pytest.raises(TypeError):
        commitments.sign(SEVEN.params, SEVEN.commitment, keys[0], "secret")  # type: ignore[arg-type]
    spec = SEVEN.commitment.spec
    for wrong in (
        replace(spec, to_broadcaster_msat=-1),
        replace(spec, feerate_per_kw=1 << 32),
        replace(spec, htlcs=(replace(spec.htlcs[0], cltv_expiry=1 << 32),)),
    ):
        with pytest.raises(OverflowError):
            commitments.build(SEVEN.params, replace(SEVEN.commitment, spec=wrong), True)
