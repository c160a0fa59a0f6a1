"""The signer's rules, and its keys against a commitment that both sides build."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyln_fast.sign.in_memory_signer import ChannelSecrets, InMemorySigner
from pyln_fast.sign.interfaces import EcdsaChannelSigner, EnforcementState, SignerRefused
from pyln_fast.tx import commitment as commitment_tx
from pyln_fast.tx.closing import build_closing, is_valid_closing_signature
from pyln_fast.tx.keys import commitment_index, per_commitment_secret, public_key
from pyln_fast.tx.parameters import (
    ChannelParty,
    ChannelTransactionParameters,
    Commitment,
    CommitmentHtlc,
    CommitmentSpec,
)
from pyln_fast.types import (
    BlockHeight,
    Blocks,
    CommitmentNumber,
    FeeratePerKw,
    Msat,
    OutPoint,
    PaymentHash,
    PrivateKey,
    Sat,
    Secret,
    Signature,
    Txid,
)


def signer(base: int) -> EcdsaChannelSigner:
    keys = [PrivateKey(bytes([base + i]) * 32) for i in range(5)]
    return InMemorySigner.from_secrets(bytes(32), ChannelSecrets(*keys, Secret(bytes([base + 5]) * 32)))


ALICE, BOB = signer(1), signer(11)
FUNDING = OutPoint(Txid(b"\x42" * 32), 1)


def params(holder: EcdsaChannelSigner, counterparty: EcdsaChannelSigner) -> ChannelTransactionParameters:
    def party(who: EcdsaChannelSigner) -> ChannelParty:
        return ChannelParty(who.pubkeys, Sat(354), Blocks(144))

    return ChannelTransactionParameters(
        funding_outpoint=FUNDING,
        channel_value_sat=Sat(1_000_000),
        holder=party(holder),
        counterparty=party(counterparty),
        holder_is_opener=holder is ALICE,
        anchors=True,
    )


def commitment(of: EcdsaChannelSigner, number: int) -> Commitment:
    htlcs = (
        CommitmentHtlc(0, True, Msat(20_000_000), PaymentHash(b"\x07" * 32), BlockHeight(500)),
        CommitmentHtlc(0, False, Msat(30_000_000), PaymentHash(b"\x08" * 32), BlockHeight(501)),
    )
    spec = CommitmentSpec(FeeratePerKw(2500), Msat(500_000_000), Msat(450_000_000), htlcs)
    return Commitment(number, of.get_per_commitment_point(CommitmentNumber(number)), spec)


NO_SIGNATURE = Signature(bytes(64))
ALICES = params(ALICE, BOB)


def validated(count: int) -> EnforcementState:
    state = EnforcementState()
    for number in range(count):
        state = ALICE.validate_holder_commitment(state, ALICES, commitment(ALICE, number), NO_SIGNATURE, ())
    return state


def test_both_sides_agree_and_the_holders_commitment_is_whole() -> None:
    """Bob signs Alice's commitment; she verifies it with her own view and signs it herself."""
    theirs = commitment(ALICE, 0)
    signatures = BOB.sign_counterparty_commitment(params(BOB, ALICE), theirs)
    built = commitment_tx.verify(ALICES, theirs, signatures.signature, signatures.htlc_signatures)
    assert built.txid == signatures.built.txid
    assert len(signatures.htlc_signatures) == 2
    state = ALICE.validate_holder_commitment(
        EnforcementState(), ALICES, theirs, signatures.signature, signatures.htlc_signatures
    )
    signed = ALICE.sign_holder_commitment(state, ALICES, theirs, signatures.signature)
    assert [len(tx_in.witness) for tx_in in signed.inputs] == [4]
    assert state == EnforcementState(CommitmentNumber(1), CommitmentNumber(0))


def test_points_are_those_of_the_secrets() -> None:
    state, secret = ALICE.release_commitment_secret(validated(2), CommitmentNumber(0))
    assert public_key(secret) == ALICE.get_per_commitment_point(CommitmentNumber(0))
    assert secret == per_commitment_secret(Secret(b"\x06" * 32), commitment_index(CommitmentNumber(0)))
    assert state == EnforcementState(CommitmentNumber(2), CommitmentNumber(1))


def test_a_secret_is_released_only_after_the_next_commitment() -> None:
    for state, number in ((EnforcementState(), 0), (validated(1), 0), (validated(2), 1), (validated(2), 5)):
        with pytest.raises(SignerRefused) as refused:
            ALICE.release_commitment_secret(state, CommitmentNumber(number))
        assert refused.value.what == f"revoke holder commitment {number}"
        assert refused.value.why == f"the newest is {state.next_holder_commitment - 1}"


def test_a_secret_may_be_released_again() -> None:
    state, first = ALICE.release_commitment_secret(validated(3), CommitmentNumber(1))
    again, second = ALICE.release_commitment_secret(state, CommitmentNumber(1))
    earlier, _ = ALICE.release_commitment_secret(state, CommitmentNumber(0))
    assert (first, state) == (second, again)
    assert earlier == state == EnforcementState(CommitmentNumber(3), CommitmentNumber(2))


def test_a_revoked_commitment_is_never_signed() -> None:
    signature = BOB.sign_counterparty_commitment(params(BOB, ALICE), commitment(ALICE, 0)).signature
    both = validated(2)
    ALICE.sign_holder_commitment(both, ALICES, commitment(ALICE, 0), signature)
    state, _ = ALICE.release_commitment_secret(both, CommitmentNumber(0))
    with pytest.raises(SignerRefused) as refused:
        ALICE.sign_holder_commitment(state, ALICES, commitment(ALICE, 0), signature)
    assert refused.value.why == "its secret was released"
    with pytest.raises(SignerRefused) as refused:
        ALICE.sign_holder_commitment(state, ALICES, commitment(ALICE, 2), signature)
    assert refused.value.why == "it was never validated"


def test_commitments_are_validated_one_after_the_other() -> None:
    state = validated(2)
    again = ALICE.validate_holder_commitment(state, ALICES, commitment(ALICE, 1), NO_SIGNATURE, ())
    assert again == state
    for number in (0, 3):
        with pytest.raises(SignerRefused):
            ALICE.validate_holder_commitment(state, ALICES, commitment(ALICE, number), NO_SIGNATURE, ())


@given(st.lists(st.tuples(st.sampled_from(["validate", "release", "sign"]), st.integers(0, 6)), max_size=30))
def test_in_any_order_nothing_revoked_is_signed(steps: list[tuple[str, int]]) -> None:
    """Against the rules written down with sets. Refusals change nothing."""
    state, released, signed, newest = EnforcementState(), set[int](), set[int](), -1
    for step, number in steps:
        try:
            if step == "validate":
                state = ALICE.validate_holder_commitment(state, ALICES, commitment(ALICE, number), NO_SIGNATURE, ())
                newest = number
            elif step == "release":
                state, _ = ALICE.release_commitment_secret(state, CommitmentNumber(number))
                released.add(number)
            else:
                ALICE.sign_holder_commitment(state, ALICES, commitment(ALICE, number), NO_SIGNATURE)
                signed.add(number)
                assert number not in range(max(released, default=-1) + 1)
                assert number <= newest
        except SignerRefused:
            continue
        assert newest not in released
        assert state.next_holder_commitment == newest + 1


def test_a_closing_transaction_that_both_signed() -> None:
    scripts = (b"\0\x14" + b"\x01" * 20, b"\0\x14" + b"\x02" * 20)
    tx = build_closing(ALICES, *scripts, Sat(600_000), Sat(400_000), Sat(1_000), Sat(354))
    ours = ALICE.sign_closing_transaction(ALICES, tx)
    theirs = BOB.sign_closing_transaction(params(BOB, ALICE), tx)
    assert is_valid_closing_signature(ALICES, tx, theirs)
    assert is_valid_closing_signature(params(BOB, ALICE), tx, ours)
    assert not is_valid_closing_signature(ALICES, tx, ours)


def test_another_channels_parameters_are_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        BOB.sign_counterparty_commitment(ALICES, commitment(ALICE, 0))


def test_nothing_secret_in_its_text() -> None:
    text = repr(ALICE)
    for byte in range(1, 7):
        assert bytes([byte] * 32).hex() not in text
        assert repr(bytes([byte] * 32))[2:-1] not in text
    assert "funding_key=<PrivateKey of 32 bytes>" in text


def test_the_state_is_a_record() -> None:
    state = EnforcementState(CommitmentNumber(3), CommitmentNumber(2))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=EnforcementState) == state
