"""Invoices that cost no record: what an invoice promises is sealed into its payment secret (LDK's inbound_payment.rs).

A payment secret is 16 bytes of tag and 16 bytes of terms, encrypted. The terms are: what kind of promise (3 bits), the
least amount (61 bits), the min_final_cltv_expiry_delta (16 bits) and when it expires (48 bits). For an invoice of ours
the tag is random and the preimage is a MAC over tag, terms and metadata; for a payment hash that the user brought, the
tag itself is a MAC over terms, payment hash and metadata. Either way nobody else can make a secret that verifies.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import IntEnum

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.types import Blocks, Msat, PaymentHash, PaymentPreimage, PaymentSecret, Secret, UnixTime

EXPIRY_GRACE_SECS = 7200
"""A payment is taken for two hours longer than its invoice says: block times, which may be the clock, run ahead."""

MAX_VALUE_MSAT = Msat(21_000_000 * 100_000_000_000)

_TAG = 16
_MAX_DELTA = 0xFFFF
_MAX_TIME = (1 << 48) - 1


class InboundPaymentRefused(LocalError):
    """A payment that no invoice of ours asked for in this way. The sender learns only that the details are wrong."""

    def __init__(self, why: str) -> None:
        super().__init__(f"inbound payment refused: {why}")
        self.why = why


class _Method(IntEnum):
    OUR_HASH = 0
    USERS_HASH = 1


class ExpandedKey(msgspec.Struct, frozen=True):
    """The keys of this module, out of `NodeSigner.get_inbound_payment_key`. Make it once."""

    terms_key: Secret
    our_hash_key: Secret
    users_hash_key: Secret

    @classmethod
    def from_key(cls, inbound_payment_key: Secret) -> ExpandedKey:
        def expand(label: bytes) -> Secret:
            return _mac(inbound_payment_key, b"inbound payment " + label)

        return cls(expand(b"terms"), expand(b"our hash"), expand(b"user's hash"))


class InboundPayment(msgspec.Struct, frozen=True):
    """What a payment that verified pays for."""

    preimage: PaymentPreimage | None
    """None: the payment hash is the user's, who alone knows its preimage."""
    min_final_cltv_expiry_delta: Blocks
    """What the invoice asked for."""


class _Terms(msgspec.Struct, frozen=True):
    method: int
    min_value_msat: int
    min_final_cltv_expiry_delta: int
    expires_at: int

    def encode(self) -> bytes:
        head = self.method << 61 | self.min_value_msat
        tail = self.min_final_cltv_expiry_delta << 48 | self.expires_at
        return head.to_bytes(8, "big") + tail.to_bytes(8, "big")

    @classmethod
    def decode(cls, raw: bytes) -> _Terms:
        head, tail = int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big")
        return cls(head >> 61, head & (1 << 61) - 1, tail >> 48, tail & _MAX_TIME)


def create(
    keys: ExpandedKey,
    min_value_msat: Msat | None,
    expiry_secs: int,
    min_final_cltv_expiry_delta: Blocks,
    now: UnixTime,
    random_bytes: Secret,
    payment_metadata: bytes | None = None,
) -> tuple[PaymentHash, PaymentSecret]:
    """A payment hash whose preimage comes back out of `verify`. `random_bytes`: 32 from the EntropySource.

    Raises LocalError if a figure is out of range.
    """
    assert len(random_bytes) == 32
    terms = _terms(_Method.OUR_HASH, min_value_msat, expiry_secs, min_final_cltv_expiry_delta, now)
    tag = random_bytes[:_TAG]
    preimage = _preimage(keys, tag, terms, payment_metadata)
    return PaymentHash(hashlib.sha256(preimage).digest()), _seal(keys, tag, terms)


def create_from_hash(
    keys: ExpandedKey,
    payment_hash: PaymentHash,
    min_value_msat: Msat | None,
    expiry_secs: int,
    min_final_cltv_expiry_delta: Blocks,
    now: UnixTime,
    payment_metadata: bytes | None = None,
) -> PaymentSecret:
    """A payment secret for a payment hash of the user's own, the same for the same arguments. Raises as `create`."""
    assert len(payment_hash) == 32
    terms = _terms(_Method.USERS_HASH, min_value_msat, expiry_secs, min_final_cltv_expiry_delta, now)
    return _seal(keys, _users_tag(keys, payment_hash, terms, payment_metadata), terms)


def verify(
    keys: ExpandedKey,
    payment_hash: PaymentHash,
    payment_secret: PaymentSecret,
    total_msat: Msat,
    now: UnixTime,
    payment_metadata: bytes | None = None,
) -> InboundPayment:
    """What the final hop asks of `payment_data`, before a part of the payment is held. Raises InboundPaymentRefused."""
    tag, raw = payment_secret[:_TAG], _crypt(keys, payment_secret[:_TAG], payment_secret[_TAG:])
    terms = _Terms.decode(raw)
    preimage = _authenticate(keys, payment_hash, tag, raw, payment_metadata)
    if total_msat < terms.min_value_msat:
        raise InboundPaymentRefused(f"{total_msat} msat, the invoice asks for {terms.min_value_msat}")
    if now > terms.expires_at:
        raise InboundPaymentRefused(f"it expired {now - terms.expires_at} seconds ago")
    return InboundPayment(preimage, Blocks(terms.min_final_cltv_expiry_delta))


def get_payment_preimage(
    keys: ExpandedKey, payment_hash: PaymentHash, payment_secret: PaymentSecret, payment_metadata: bytes | None = None
) -> PaymentPreimage | None:
    """The preimage of an invoice of ours, whatever its terms; None for a user's hash. Raises InboundPaymentRefused."""
    tag, raw = payment_secret[:_TAG], _crypt(keys, payment_secret[:_TAG], payment_secret[_TAG:])
    return _authenticate(keys, payment_hash, tag, raw, payment_metadata)


def _authenticate(
    keys: ExpandedKey, payment_hash: PaymentHash, tag: bytes, raw: bytes, payment_metadata: bytes | None
) -> PaymentPreimage | None:
    """Before anything in the terms is believed."""
    method = raw[0] >> 5
    if method == _Method.OUR_HASH:
        preimage = _preimage(keys, tag, raw, payment_metadata)
        if hmac.compare_digest(hashlib.sha256(preimage).digest(), payment_hash):
            return preimage
    if method == _Method.USERS_HASH and hmac.compare_digest(_users_tag(keys, payment_hash, raw, payment_metadata), tag):
        return None
    raise InboundPaymentRefused("its payment secret is not one that we made for this payment hash")


def _terms(method: _Method, min_value_msat: Msat | None, expiry_secs: int, delta: Blocks, now: UnixTime) -> bytes:
    value, expires_at = min_value_msat or 0, now + expiry_secs + EXPIRY_GRACE_SECS
    if not 0 <= value <= MAX_VALUE_MSAT:
        raise LocalError(f"an invoice over {value} msat: at most {MAX_VALUE_MSAT}")
    if not 0 <= delta <= _MAX_DELTA:
        raise LocalError(f"a min_final_cltv_expiry_delta of {delta} blocks: at most {_MAX_DELTA}")
    if expiry_secs < 0 or not 0 <= expires_at <= _MAX_TIME:
        raise LocalError(f"an expiry of {expiry_secs} seconds")
    return _Terms(method, value, delta, expires_at).encode()


def _preimage(keys: ExpandedKey, tag: bytes, terms: bytes, payment_metadata: bytes | None) -> PaymentPreimage:
    return PaymentPreimage(_mac(keys.our_hash_key, tag + terms + _measured(payment_metadata)))


def _users_tag(keys: ExpandedKey, payment_hash: PaymentHash, terms: bytes, payment_metadata: bytes | None) -> bytes:
    return _mac(keys.users_hash_key, terms + payment_hash + _measured(payment_metadata))[:_TAG]


def _measured(payment_metadata: bytes | None) -> bytes:
    """So that no metadata and empty metadata differ."""
    return b"" if payment_metadata is None else len(payment_metadata).to_bytes(8, "big") + payment_metadata


def _seal(keys: ExpandedKey, tag: bytes, terms: bytes) -> PaymentSecret:
    return PaymentSecret(tag + _crypt(keys, tag, terms))


def _crypt(keys: ExpandedKey, tag: bytes, block: bytes) -> bytes:
    """Encrypts and decrypts one block: the MAC of the tag, which never repeats for other terms, is the keystream."""
    stream = int.from_bytes(_mac(keys.terms_key, tag)[:_TAG], "big")
    return (int.from_bytes(block, "big") ^ stream).to_bytes(_TAG, "big")


def _mac(key: bytes, data: bytes) -> Secret:
    return Secret(hmac.digest(key, data, hashlib.sha256))
