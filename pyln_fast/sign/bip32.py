"""Keys out of one seed: BIP 32, private derivation only (whoever holds these keys holds the private ones)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.tx.keys import private_key_add, public_key
from pyln_fast.types import PrivateKey, PublicKey, Secret

HARDENED = 1 << 31
"""Added to an index (written 0'): such a child cannot be had from the parent's public key."""

CURVE_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


class NoSuchKey(LocalError):
    """BIP 32 leaves out this seed or index (one in 2^127): take the next."""


class ExtendedKey(msgspec.Struct, frozen=True):
    """A private key that has children."""

    private_key: PrivateKey
    chain_code: Secret
    """32 bytes."""

    @property
    def public_key(self) -> PublicKey:
        return public_key(self.private_key)

    def child(self, index: int) -> ExtendedKey:
        """BIP 32's CKDpriv; `index` below 2^32, hardened from 2^31 on. Raises NoSuchKey."""
        assert 0 <= index < 1 << 32
        data = b"\0" + self.private_key if index >= HARDENED else self.public_key
        left, chain_code = _split(self.chain_code, data + index.to_bytes(4, "big"))
        try:
            return ExtendedKey(PrivateKey(private_key_add(self.private_key, left)), chain_code)
        except ValueError:
            raise NoSuchKey(f"child {index} does not exist") from None

    def hardened(self, index: int) -> ExtendedKey:
        """The child that BIP 32 writes as index'."""
        return self.child(index + HARDENED)

    def derive(self, path: Iterable[int]) -> ExtendedKey:
        key = self
        for index in path:
            key = key.child(index)
        return key


def master_key(seed: Secret) -> ExtendedKey:
    """The root of the tree; BIP 32 wants a seed of 16 to 64 bytes. Raises NoSuchKey."""
    assert 16 <= len(seed) <= 64
    key, chain_code = _split(b"Bitcoin seed", seed)
    if not 0 < int.from_bytes(key, "big") < CURVE_ORDER:
        raise NoSuchKey("the seed gives no master key")
    return ExtendedKey(PrivateKey(key), chain_code)


def parse_path(text: str) -> tuple[int, ...]:
    """`m/84'/0'/0'` as indices. Raises ValueError."""
    root, *steps = text.split("/")
    if root != "m":
        raise ValueError(f"a path begins with m, not {root!r}")
    return tuple(int(step.rstrip("'")) + (HARDENED if step.endswith("'") else 0) for step in steps)


def _split(key: bytes, data: bytes) -> tuple[Secret, Secret]:
    digest = hmac.digest(key, data, hashlib.sha512)
    return Secret(digest[:32]), Secret(digest[32:])
