"""Base58 with a checksum, as old addresses have it: 21 bytes, a version and a hash of 20."""

from __future__ import annotations

from pyln_fast._ext import _tx
from pyln_fast.errors import DecodeError

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MAX_CHARACTERS = 40
_CHECKSUM_BYTES = 4
_BYTES = 25


def encode_check(version: int, digest: bytes) -> str:
    body = bytes([version]) + digest
    raw = body + _tx.sha256d(body)[:_CHECKSUM_BYTES]
    number = int.from_bytes(raw, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


def decode_check(text: str) -> tuple[int, bytes]:
    """The version and the hash. Raises DecodeError."""
    if not text or len(text) > _MAX_CHARACTERS or any(character not in _ALPHABET for character in text):
        raise DecodeError("address", "neither bech32 nor base58")
    number = 0
    for character in text:
        number = number * 58 + _ALPHABET.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    raw = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) != _BYTES:
        raise DecodeError("address", f"{len(raw)} bytes of base58, not {_BYTES}")
    if _tx.sha256d(raw[:-_CHECKSUM_BYTES])[:_CHECKSUM_BYTES] != raw[-_CHECKSUM_BYTES:]:
        raise DecodeError("address", "the checksum is wrong")
    return raw[0], raw[1:-_CHECKSUM_BYTES]
