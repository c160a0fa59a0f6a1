"""Bech32 without the length limit (BIP 173), as BOLT 11 uses it.

The data part is handled as groups: bytes of values 0 to 31, one a character.
"""

from __future__ import annotations

import base64

from pyln_fast.errors import DecodeError

_CHARSET = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_RFC4648 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_VALUES = bytes(range(32))

_CHAR_OF_VALUE = bytes.maketrans(_VALUES, _CHARSET)
_VALUE_OF_CHAR = bytes(_CHARSET.find(char) % 256 for char in range(256))
_RFC_OF_VALUE = bytes.maketrans(_VALUES, _RFC4648)
_VALUE_OF_RFC = bytes.maketrans(_RFC4648, _VALUES)

_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
CHECKSUM_GROUPS = 6


def _feedback(top: int) -> int:
    value = 0
    for bit, generator in enumerate(_GENERATORS):
        if top >> bit & 1:
            value ^= generator
    return value


_FEEDBACK = tuple(_feedback(top) for top in range(32))


def encode(hrp: str, groups: bytes) -> str:
    """`hrp` (lower case), the separator, the groups and their checksum."""
    checksum = _polymod(_expand(hrp) + groups + bytes(CHECKSUM_GROUPS)) ^ 1
    tail = bytes(checksum >> 5 * (5 - i) & 31 for i in range(CHECKSUM_GROUPS))
    return f"{hrp}1{(groups + tail).translate(_CHAR_OF_VALUE).decode()}"


def decode(text: str) -> tuple[str, bytes]:
    """The human-readable part in lower case, and the groups without the checksum. Raises DecodeError."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise DecodeError("bech32", "a character that is not printable ASCII")
    if text != text.lower() and text != text.upper():
        raise DecodeError("bech32", "upper and lower case are mixed")
    hrp, separator, data = text.lower().rpartition("1")
    if not separator or not hrp:
        raise DecodeError("bech32", "no human-readable part with the separator 1 after it")
    groups = data.encode().translate(_VALUE_OF_CHAR)
    if len(groups) < CHECKSUM_GROUPS:
        raise DecodeError("bech32", f"{len(groups)} characters after the separator, no room for the checksum")
    if groups and max(groups) > 31:
        raise DecodeError("bech32", "a character outside its alphabet")
    if _polymod(_expand(hrp) + groups) != 1:
        raise DecodeError("bech32", "the checksum does not match")
    return hrp, groups[:-CHECKSUM_GROUPS]


def to_groups(data: bytes) -> bytes:
    """8-bit bytes as 5-bit groups, the last one padded with zero bits."""
    padded = base64.b32encode(data).rstrip(b"=")
    return padded.translate(_VALUE_OF_RFC)


def to_bytes(groups: bytes, pad: bool = False) -> bytes:
    """5-bit groups as bytes. Bits that do not fill the last byte are dropped, or with `pad` filled up with zeros."""
    filled = groups.ljust(-(-len(groups) // 8) * 8, b"\0")
    bits = len(groups) * 5
    return base64.b32decode(filled.translate(_RFC_OF_VALUE))[: -(-bits // 8) if pad else bits // 8]


def to_int(groups: bytes) -> int:
    """Groups as a big-endian number."""
    value = 0
    for group in groups:
        value = value << 5 | group
    return value


def from_int(value: int, length: int | None = None) -> bytes:
    """A number in `length` groups, or in as few as hold it (0 in none)."""
    count = -(-value.bit_length() // 5) if length is None else length
    assert value.bit_length() <= count * 5
    return bytes(value >> 5 * i & 31 for i in reversed(range(count)))


def _expand(hrp: str) -> bytes:
    raw = hrp.encode()
    return bytes(char >> 5 for char in raw) + b"\0" + bytes(char & 31 for char in raw)


def _polymod(groups: bytes) -> int:
    checksum = 1
    for group in groups:
        checksum = (checksum & 0x1FFFFFF) << 5 ^ group ^ _FEEDBACK[checksum >> 25]
    return checksum
