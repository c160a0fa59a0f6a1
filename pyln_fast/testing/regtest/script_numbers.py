"""What the elements of a script's stack mean: numbers, truth, and the shortest way to push them."""

from __future__ import annotations

from pyln_fast.testing.regtest import scripts


class ScriptFailure(Exception):
    """A script that fails; `reason` in the words of Core's ScriptErrorString."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


BAD_NUMBER = "Script number overflowed or is non-minimally encoded"


def encode(number: int) -> bytes:
    """Little endian, the top bit the sign, as short as it can be."""
    if number == 0:
        return b""
    magnitude = abs(number)
    data = bytearray(magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "little"))
    if data[-1] & 0x80:
        data.append(0)
    if number < 0:
        data[-1] |= 0x80
    return bytes(data)


def decode(data: bytes, minimal: bool, max_bytes: int = 4) -> int:
    """Raises ScriptFailure: too long, or (`minimal`) longer than it must be."""
    if len(data) > max_bytes:
        raise ScriptFailure(BAD_NUMBER)
    if not data:
        return 0
    magnitude = int.from_bytes(data, "little")
    sign = 0x80 << 8 * (len(data) - 1)
    number = -(magnitude ^ sign) if magnitude & sign else magnitude
    if minimal and encode(number) != data:
        raise ScriptFailure(BAD_NUMBER)
    return number


def is_true(data: bytes) -> bool:
    """Anything but zero and negative zero."""
    return any(data[:-1]) or (bool(data) and data[-1] not in (0, 0x80))


def is_minimal_push(opcode: int, data: bytes) -> bool:
    """BIP 62, rule 3."""
    if not data:
        return opcode == 0
    if len(data) == 1 and (1 <= data[0] <= 16 or data[0] == 0x81):
        return False
    if len(data) <= 75:
        return opcode == len(data)
    if len(data) <= 255:
        return opcode == scripts.OP_PUSHDATA1
    return opcode == scripts.OP_PUSHDATA2 or len(data) > 65_535


def push(data: bytes) -> bytes:
    """A push of the bytes as they are, as CScript << vector makes it."""
    if len(data) < scripts.OP_PUSHDATA1:
        return bytes([len(data)]) + data
    if len(data) <= 0xFF:
        return bytes([scripts.OP_PUSHDATA1, len(data)]) + data
    if len(data) <= 0xFFFF:
        return bytes([scripts.OP_PUSHDATA2]) + len(data).to_bytes(2, "little") + data
    return bytes([scripts.OP_PUSHDATA4]) + len(data).to_bytes(4, "little") + data
