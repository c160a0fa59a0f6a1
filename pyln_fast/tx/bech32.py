"""Bech32 and Bech32m (BIP 173, BIP 350): text with a checksum. BOLT 11 and segwit addresses are made of it."""

from __future__ import annotations

from collections.abc import Iterable

from pyln_fast.errors import DecodeError

BECH32 = 1
BECH32M = 0x2BC830A3
"""What the checksum must come to."""

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {character: value for value, character in enumerate(_CHARSET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_LENGTH = 6


def encode(hrp: str, values: Iterable[int], constant: int) -> str:
    """`values` are 5 bits each; `constant` is BECH32 or BECH32M."""
    values = list(values)
    polymod = _polymod([*_expand(hrp), *values, *[0] * _CHECKSUM_LENGTH]) ^ constant
    checksum = [polymod >> 5 * (5 - i) & 31 for i in range(_CHECKSUM_LENGTH)]
    return hrp + "1" + "".join(_CHARSET[value] for value in [*values, *checksum])


def decode(text: str, max_length: int) -> tuple[str, list[int], int]:
    """Returns the prefix in lower case, the 5-bit values without the checksum, and BECH32 or BECH32M.

    Raises DecodeError.
    """
    if len(text) > max_length:
        raise DecodeError("bech32", f"{len(text)} characters, more than {max_length}")
    if text.lower() != text and text.upper() != text:
        raise DecodeError("bech32", "upper and lower case are mixed")
    text = text.lower()
    hrp, separator, data = text.rpartition("1")
    if not separator or not hrp:
        raise DecodeError("bech32", "no prefix")
    if any(not 33 <= ord(character) <= 126 for character in hrp):
        raise DecodeError("bech32", "a character of the prefix is not printable ASCII")
    if len(data) < _CHECKSUM_LENGTH:
        raise DecodeError("bech32", "the checksum is cut off")
    try:
        values = [_VALUES[character] for character in data]
    except KeyError as error:
        raise DecodeError("bech32", f"character {error.args[0]!r} is not in the alphabet") from None
    constant = _polymod([*_expand(hrp), *values])
    if constant not in (BECH32, BECH32M):
        raise DecodeError("bech32", "the checksum is wrong")
    return hrp, values[:-_CHECKSUM_LENGTH], constant


def to_5_bits(data: bytes) -> list[int]:
    """8-bit to 5-bit values, padded with zero bits at the end."""
    count = (len(data) * 8 + 4) // 5
    number = int.from_bytes(data, "big") << (count * 5 - len(data) * 8)
    return [number >> 5 * (count - 1 - i) & 31 for i in range(count)]


def to_8_bits(values: list[int]) -> bytes:
    """The inverse. Raises DecodeError if the padding is longer than 4 bits or not zero."""
    padding = len(values) * 5 % 8
    if padding > 4:
        raise DecodeError("bech32", "a whole value is padding")
    number = 0
    for value in values:
        number = number << 5 | value
    if number & (1 << padding) - 1:
        raise DecodeError("bech32", "the padding is not zero")
    return (number >> padding).to_bytes(len(values) * 5 // 8, "big")


def _expand(hrp: str) -> list[int]:
    return [ord(character) >> 5 for character in hrp] + [0] + [ord(character) & 31 for character in hrp]


def _polymod(values: Iterable[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for i, term in enumerate(_GENERATOR):
            if top >> i & 1:
                checksum ^= term
    return checksum
