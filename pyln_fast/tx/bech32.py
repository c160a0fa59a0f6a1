"""Bech32 and Bech32m (BIP 173, BIP 350): text with a checksum. BOLT 11 and segwit addresses are made of it.

The data part is handled as groups: bytes of values 0 to 31, one a character.
"""

from __future__ import annotations

import base64

from pyln_fast.errors import DecodeError

BECH32 = 1
BECH32M = 0x2BC830A3
"""What the checksum must come to."""

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_CHECKSUM_GROUPS = 6

_RFC4648 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_GROUPS = bytes(range(32))
_CHAR_OF_GROUP = bytes.maketrans(_GROUPS, CHARSET.encode())
_GROUP_OF_CHAR = bytes(CHARSET.encode().find(char) % 256 for char in range(256))
_DIGIT_OF_GROUP = bytes.maketrans(_GROUPS, b"0123456789abcdefghijklmnopqrstuv")
_GROUP_OF_RFC4648 = bytes.maketrans(_RFC4648, _GROUPS)

_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _feedback(top: int) -> int:
    value = 0
    for bit, generator in enumerate(_GENERATORS):
        if top >> bit & 1:
            value ^= generator
    return value


_FEEDBACK = tuple(_feedback(top) for top in range(32))


def encode(hrp: str, groups: bytes, constant: int) -> str:
    """`hrp` in lower case; `constant` is BECH32 or BECH32M."""
    checksum = _polymod(_expand(hrp) + groups + bytes(_CHECKSUM_GROUPS)) ^ constant
    return f"{hrp}1{(groups + from_int(checksum, _CHECKSUM_GROUPS)).translate(_CHAR_OF_GROUP).decode()}"


def decode(text: str, max_length: int) -> tuple[str, bytes, int]:
    """Returns the prefix in lower case, the groups without the checksum, and BECH32 or BECH32M. Raises DecodeError."""
    if len(text) > max_length:
        raise DecodeError("bech32", f"{len(text)} characters, more than {max_length}")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise DecodeError("bech32", "a character that is not printable ASCII")
    if text != text.lower() and text != text.upper():
        raise DecodeError("bech32", "upper and lower case are mixed")
    hrp, separator, data = text.lower().rpartition("1")
    if not separator or not hrp:
        raise DecodeError("bech32", "no prefix with the separator 1 after it")
    groups = data.encode().translate(_GROUP_OF_CHAR)
    if len(groups) < _CHECKSUM_GROUPS:
        raise DecodeError("bech32", "the checksum is cut off")
    if max(groups) > 31:
        raise DecodeError("bech32", "a character outside its alphabet")
    constant = _polymod(_expand(hrp) + groups)
    if constant not in (BECH32, BECH32M):
        raise DecodeError("bech32", "the checksum does not match")
    return hrp, groups[:-_CHECKSUM_GROUPS], constant


def to_groups(data: bytes) -> bytes:
    """8-bit bytes as 5-bit groups, the last one padded with zero bits."""
    return base64.b32encode(data).rstrip(b"=").translate(_GROUP_OF_RFC4648)


def to_bytes(groups: bytes, pad: bool = False) -> bytes:
    """5-bit groups as bytes. Bits that do not fill the last byte are dropped, or with `pad` filled up with zeros."""
    bits = len(groups) * 5
    size = -(-bits // 8) if pad else bits // 8
    excess = bits - 8 * size
    number = to_int(groups)
    return (number << -excess if excess < 0 else number >> excess).to_bytes(size, "big")


def to_whole_bytes(groups: bytes) -> bytes:
    """The inverse of `to_groups`, as addresses need it. Raises DecodeError if padding is over 4 bits or not zero."""
    if len(groups) * 5 % 8 > 4:
        raise DecodeError("bech32", "a whole value is padding")
    data = to_bytes(groups)
    if to_groups(data) != groups:
        raise DecodeError("bech32", "the padding is not zero")
    return data


def to_int(groups: bytes) -> int:
    """Groups as a big-endian number."""
    # Reading digits of base 32 takes linear time, and happens in C.
    return int(groups.translate(_DIGIT_OF_GROUP), 32) if groups else 0


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
