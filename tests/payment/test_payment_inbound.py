"""Invoices without a record: what was sealed comes back, and nothing else does."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyln_fast.errors import LocalError
from pyln_fast.payment.inbound import (
    EXPIRY_GRACE_SECS,
    MAX_VALUE_MSAT,
    ExpandedKey,
    InboundPayment,
    InboundPaymentRefused,
    create,
    create_from_hash,
    get_payment_preimage,
    verify,
)
from pyln_fast.types import Blocks, Msat, PaymentHash, PaymentSecret, Secret, UnixTime

KEYS = ExpandedKey.from_key(Secret(b"\x01" * 32))
NOW = UnixTime(1_700_000_000)
RANDOM = Secret(bytes(range(32)))

amounts = st.integers(0, MAX_VALUE_MSAT).map(Msat)
expiries = st.integers(0, 0xFFFFFFFF)
deltas = st.integers(0, 0xFFFF).map(Blocks)
metadata = st.none() | st.binary(max_size=64)


@given(amounts, expiries, deltas, st.binary(min_size=32, max_size=32).map(Secret), metadata)
def test_the_preimage_comes_back(
    amount: Msat, expiry: int, delta: Blocks, random_bytes: Secret, data: bytes | None
) -> None:
    payment_hash, secret = create(KEYS, amount, expiry, delta, NOW, random_bytes, data)
    last = UnixTime(NOW + expiry + EXPIRY_GRACE_SECS)
    found = verify(KEYS, payment_hash, secret, amount, last, data)
    assert found.preimage is not None
    assert hashlib.sha256(found.preimage).digest() == payment_hash
    assert found == InboundPayment(get_payment_preimage(KEYS, payment_hash, secret, data), delta)
    with pytest.raises(InboundPaymentRefused):
        verify(KEYS, payment_hash, secret, amount, UnixTime(last + 1), data)
    if amount:
        with pytest.raises(InboundPaymentRefused):
            verify(KEYS, payment_hash, secret, Msat(amount - 1), NOW, data)


@given(amounts, expiries, deltas, metadata)
def test_a_users_own_hash_has_no_preimage(amount: Msat, expiry: int, delta: Blocks, data: bytes | None) -> None:
    payment_hash = PaymentHash(b"\x77" * 32)
    secret = create_from_hash(KEYS, payment_hash, amount, expiry, delta, NOW, data)
    assert verify(KEYS, payment_hash, secret, amount, NOW, data) == InboundPayment(None, delta)
    assert get_payment_preimage(KEYS, payment_hash, secret, data) is None
    with pytest.raises(InboundPaymentRefused):
        verify(KEYS, PaymentHash(b"\x78" * 32), secret, amount, NOW, data)


@given(st.integers(0, 255), st.booleans())
def test_any_bit_changed_is_refused(bit: int, own_hash: bool) -> None:
    if own_hash:
        payment_hash, secret = create(KEYS, Msat(1000), 3600, Blocks(42), NOW, RANDOM)
    else:
        payment_hash = PaymentHash(bytes(32))
        secret = create_from_hash(KEYS, payment_hash, Msat(1000), 3600, Blocks(42), NOW)
    flipped = (int.from_bytes(secret, "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(InboundPaymentRefused) as refused:
        verify(KEYS, payment_hash, PaymentSecret(flipped), Msat(1000), NOW)
    assert refused.value.why == "its payment secret is not one that we made for this payment hash"
    flipped = (int.from_bytes(payment_hash, "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(InboundPaymentRefused):
        verify(KEYS, PaymentHash(flipped), secret, Msat(1000), NOW)


@pytest.mark.parametrize(("made", "given_back"), [(None, b""), (b"", None), (b"a", b"b"), (b"a", None)])
def test_metadata_is_part_of_the_promise(made: bytes | None, given_back: bytes | None) -> None:
    payment_hash, secret = create(KEYS, None, 60, Blocks(18), NOW, RANDOM, made)
    assert verify(KEYS, payment_hash, secret, Msat(1), NOW, made).preimage is not None
    with pytest.raises(InboundPaymentRefused):
        verify(KEYS, payment_hash, secret, Msat(1), NOW, given_back)


def test_another_nodes_secrets_are_refused() -> None:
    payment_hash, secret = create(KEYS, Msat(1000), 3600, Blocks(42), NOW, RANDOM)
    with pytest.raises(InboundPaymentRefused):
        verify(ExpandedKey.from_key(Secret(b"\x02" * 32)), payment_hash, secret, Msat(1000), NOW)


@pytest.mark.parametrize(
    ("value", "expiry", "delta"), [(MAX_VALUE_MSAT + 1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1 << 48, 1), (1, 1, 1 << 16)]
)
def test_figures_out_of_range_are_refused(value: int, expiry: int, delta: int) -> None:
    with pytest.raises(LocalError):
        create(KEYS, Msat(value), expiry, Blocks(delta), NOW, RANDOM)


def test_the_terms_cannot_be_read_from_the_secret() -> None:
    secrets = [create(KEYS, Msat(1000), 3600, Blocks(42), NOW, Secret(bytes([i]) * 32))[1] for i in range(8)]
    assert len({secret[16:] for secret in secrets}) == 8
    assert "terms_key=<Secret of 32 bytes>" in repr(KEYS)
