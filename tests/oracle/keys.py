"""BOLT 3's key derivation and secret storage, from its text, slowly."""

from __future__ import annotations

from hashlib import sha256

from tests.oracle.curve import G, N, add, multiply, parse, serialize


def scalar(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def hash_scalar(*parts: bytes) -> int:
    return scalar(sha256(b"".join(parts)).digest())


def public_key(secret: bytes) -> bytes:
    return serialize(multiply(G, scalar(secret)))


def ecdh(secret: bytes, point: bytes) -> bytes:
    return sha256(serialize(multiply(parse(point), scalar(secret)))).digest()


def derive_public_key(basepoint: bytes, commitment_point: bytes) -> bytes:
    return serialize(add(parse(basepoint), multiply(G, hash_scalar(commitment_point, basepoint))))


def derive_private_key(base_secret: bytes, commitment_point: bytes) -> bytes:
    tweak = hash_scalar(commitment_point, public_key(base_secret))
    return ((scalar(base_secret) + tweak) % N).to_bytes(32, "big")


def derive_revocation_public_key(basepoint: bytes, commitment_point: bytes) -> bytes:
    base = multiply(parse(basepoint), hash_scalar(basepoint, commitment_point))
    commitment = multiply(parse(commitment_point), hash_scalar(commitment_point, basepoint))
    return serialize(add(base, commitment))


def derive_revocation_private_key(base_secret: bytes, commitment_secret: bytes) -> bytes:
    base, commitment = public_key(base_secret), public_key(commitment_secret)
    total = scalar(base_secret) * hash_scalar(base, commitment)
    total += scalar(commitment_secret) * hash_scalar(commitment, base)
    return (total % N).to_bytes(32, "big")


def derive_secret(base: bytes, bits: int, index: int) -> bytes:
    secret = bytearray(base)
    for bit in reversed(range(bits)):
        if index & 1 << bit:
            secret[bit // 8] ^= 1 << bit % 8
            secret = bytearray(sha256(secret).digest())
    return bytes(secret)


def per_commitment_secret(seed: bytes, index: int) -> bytes:
    return derive_secret(seed, 48, index)
