"""The hashes of liblnfast, by the standard library."""

from __future__ import annotations

import hashlib
import hmac


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sha256d(data: bytes) -> bytes:
    return sha256(sha256(data))


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def hkdf_sha256(salt: bytes, ikm: bytes) -> bytes:
    """RFC 5869, empty info, 64 bytes."""
    key = hmac_sha256(salt, ikm)
    first = hmac_sha256(key, b"\x01")
    return first + hmac_sha256(key, first + b"\x02")
