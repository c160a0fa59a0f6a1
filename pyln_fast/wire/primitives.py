"""Integers of variable length (BOLT 1, Fundamental Types): BigSize and the truncated integers."""

from __future__ import annotations

from pyln_fast.errors import DecodeError

MAX_U64 = 0xFFFF_FFFF_FFFF_FFFF


def read_bigsize(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """The BigSize at `offset` and the offset behind it. Raises DecodeError if it is cut off at `end` or not minimal."""
    if offset >= end:
        raise DecodeError("bigsize", "no bytes left")
    first = data[offset]
    if first < 0xFD:
        return first, offset + 1
    size = 1 << (first - 0xFC)
    last = offset + 1 + size
    if last > end:
        raise DecodeError("bigsize", f"{end - offset - 1} of its {size} bytes are there")
    value = int.from_bytes(data[offset + 1 : last], "big")
    if value < _SMALLEST[size]:
        raise DecodeError("bigsize", f"{value} in {size} bytes is not minimal")
    return value, last


def write_bigsize(value: int) -> bytes:
    assert 0 <= value <= MAX_U64
    if value < 0xFD:
        return value.to_bytes(1, "big")
    if value <= 0xFFFF:
        return b"\xfd" + value.to_bytes(2, "big")
    if value <= 0xFFFF_FFFF:
        return b"\xfe" + value.to_bytes(4, "big")
    return b"\xff" + value.to_bytes(8, "big")


def read_truncated(data: bytes, max_size: int) -> int:
    """A tu16, tu32 or tu64 (`max_size` 2, 4, 8) that fills `data`. Raises DecodeError if too long or zero-led."""
    if len(data) > max_size:
        raise DecodeError(f"tu{8 * max_size}", f"{len(data)} bytes")
    if data and data[0] == 0:
        raise DecodeError(f"tu{8 * max_size}", "a leading zero is not minimal")
    return int.from_bytes(data, "big")


def write_truncated(value: int, max_size: int) -> bytes:
    assert 0 <= value < 1 << 8 * max_size
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


_SMALLEST = {2: 0xFD, 4: 0x1_0000, 8: 0x1_0000_0000}
