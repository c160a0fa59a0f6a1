"""Keys of BOLT 3, the per-commitment secrets, and the curve operations that the rest of the package needs.

A point or a scalar that is not one raises ValueError: points from a peer are checked where its messages are decoded
(`is_valid_public_key`), so that here it is the caller's mistake.
"""

from __future__ import annotations

import msgspec

from pyln_fast._ext import _keys
from pyln_fast.errors import RemoteError
from pyln_fast.types import CommitmentNumber, PrivateKey, PublicKey, Secret, Signature

FIRST_COMMITMENT_INDEX = (1 << 48) - 1
"""The index of commitment number 0: indexes count down (BOLT 3, Per-commitment Secret Requirements)."""


class InvalidSecret(RemoteError):
    """A per-commitment secret from which the secrets before it do not follow: another seed made it."""

    def __init__(self, index: int) -> None:
        super().__init__(f"the per-commitment secret of index {index} contradicts those before it")
        self.index = index


def is_valid_public_key(point: bytes) -> bool:
    """Whether this is a compressed point on the curve."""
    return _keys.pubkey_valid(point)


def is_valid_private_key(secret: bytes) -> bool:
    """Whether these 32 bytes are a scalar between 1 and the group's order."""
    return _keys.seckey_valid(secret)


def public_key(secret: Secret) -> PublicKey:
    return PublicKey(_keys.pubkey_create(secret))


def public_key_add(point: PublicKey, tweak: bytes) -> PublicKey:
    """point + tweak * G."""
    return PublicKey(_keys.pubkey_tweak_add(point, tweak))


def public_key_multiply(point: PublicKey, tweak: bytes) -> PublicKey:
    """point * tweak, in variable time: no long-lived secret may be the tweak."""
    return PublicKey(_keys.pubkey_tweak_mul(point, tweak))


def public_key_combine(first: PublicKey, second: PublicKey) -> PublicKey:
    return PublicKey(_keys.pubkey_combine(first, second))


def private_key_add(secret: Secret, tweak: bytes) -> PrivateKey:
    return PrivateKey(_keys.seckey_add(secret, tweak))


def private_key_multiply(secret: Secret, tweak: bytes) -> PrivateKey:
    return PrivateKey(_keys.seckey_mul(secret, tweak))


def ecdh(secret: Secret, point: PublicKey) -> Secret:
    """SHA-256 of the compressed shared point, as BOLT 4 and BOLT 8 use it."""
    return Secret(_keys.ecdh(point, secret))


def sign_ecdsa(secret: Secret, msg32: bytes) -> Signature:
    """Low S, RFC 6979 nonces; a low R is not sought."""
    return Signature(_keys.ecdsa_sign(msg32, secret))


def verify_ecdsa(signature: Signature, msg32: bytes, pubkey: PublicKey) -> bool:
    """False also for a high S and for bytes that are no point."""
    return _keys.ecdsa_verify(signature, msg32, pubkey)


def sign_recoverable(secret: Secret, msg32: bytes) -> tuple[Signature, int]:
    """The signature, and the recovery id (0 to 3) that BOLT 11 appends."""
    signature, recovery_id = _keys.ecdsa_sign_recoverable(msg32, secret)
    return Signature(signature), recovery_id


def recover(signature: Signature, recovery_id: int, msg32: bytes) -> PublicKey:
    """Who signed this. Raises ValueError if nobody can have."""
    return PublicKey(_keys.ecdsa_recover(signature, recovery_id, msg32))


def verify_schnorr(signature: bytes, message: bytes, xonly_pubkey: bytes) -> bool:
    """BIP 340."""
    return _keys.schnorr_verify(signature, message, xonly_pubkey)


def derive_public_key(basepoint: PublicKey, per_commitment_point: PublicKey) -> PublicKey:
    """BOLT 3: localpubkey, the htlcpubkeys and the delayedpubkeys."""
    return PublicKey(_keys.derive_public_key(basepoint, per_commitment_point))


def derive_private_key(base_secret: Secret, per_commitment_point: PublicKey) -> PrivateKey:
    """The private key of `derive_public_key`."""
    return PrivateKey(_keys.derive_private_key(base_secret, per_commitment_point))


def derive_revocation_public_key(revocation_basepoint: PublicKey, per_commitment_point: PublicKey) -> PublicKey:
    """BOLT 3: revocationpubkey. One party's basepoint, the other's per-commitment point."""
    return PublicKey(_keys.derive_revocation_public_key(revocation_basepoint, per_commitment_point))


def derive_revocation_private_key(revocation_base_secret: Secret, per_commitment_secret: Secret) -> PrivateKey:
    """The private key of `derive_revocation_public_key`, once the other party has revealed its secret."""
    return PrivateKey(_keys.derive_revocation_private_key(revocation_base_secret, per_commitment_secret))


def commitment_index(number: CommitmentNumber) -> int:
    """From a commitment number, which counts up from 0, to the index of its secret."""
    return FIRST_COMMITMENT_INDEX - number


def per_commitment_secret(seed: Secret, index: int) -> Secret:
    """BOLT 3, generate_from_seed; index is `commitment_index` of the commitment number."""
    return Secret(_keys.per_commitment_secret(seed, index))


def per_commitment_point(secret: Secret) -> PublicKey:
    return PublicKey(_keys.pubkey_create(secret))


def _bucket(index: int) -> int:
    """BOLT 3, where_to_put_secret: the number of trailing zeros."""
    return (index & -index).bit_length() - 1 if index else 48


class CommitmentSecrets(msgspec.Struct, frozen=True, array_like=True):
    """BOLT 3, Efficient Per-commitment Secret Storage: every secret that the counterparty has revealed, as a value."""

    entries: tuple[tuple[int, bytes], ...] = ()
    """(index, secret): entry b has the lowest index with b trailing zeros; at most 49."""

    def __repr__(self) -> str:
        return f"<CommitmentSecrets next_index={self.next_index}>"

    @property
    def next_index(self) -> int:
        """The only index that can be inserted next; -1 when all have been."""
        return min((index for index, _ in self.entries), default=FIRST_COMMITMENT_INDEX + 1) - 1

    def insert(self, index: int, secret: Secret) -> CommitmentSecrets:
        """With this secret added. Raises InvalidSecret if a secret before it does not follow from it."""
        assert index == self.next_index, (index, self.next_index)
        bucket = _bucket(index)
        for known_index, known in self.entries[:bucket]:
            if _keys.shachain_derive(secret, index, known_index) != known:
                raise InvalidSecret(index)
        return CommitmentSecrets((*self.entries[:bucket], (index, bytes(secret)), *self.entries[bucket + 1 :]))

    def lookup(self, index: int) -> Secret | None:
        """The secret of this index; None if it has not been revealed."""
        for known_index, known in self.entries:
            secret = _keys.shachain_derive(known, known_index, index)
            if secret is not None:
                return Secret(secret)
        return None
