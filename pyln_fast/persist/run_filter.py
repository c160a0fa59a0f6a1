"""A Bloom filter of a run's keys: it says of most keys that are not in the run that they are not, and reads nothing.

A key sets up to four bits of one lane of 64. With ten bits a row about one key in forty that is not there looks as if
it were; a key that was added always does. Two checksums of different polynomials choose the lane and the bits: whoever
chooses keys can make look-ups slow, and no more.
"""

from __future__ import annotations

import sys
from array import array
from binascii import crc_hqx
from zlib import crc32

BITS_A_ROW = 10


def _mask(number: int) -> int:
    low, high = number & 63, number >> 6
    return 1 << low | 1 << high | 1 << (5 * low + 3 * high + 17 & 63) | 1 << (11 * low + 29 * high + 40 & 63)


_MASKS = tuple(_mask(number) for number in range(1 << 12))


class RunFilter:
    def __init__(self, data: bytes) -> None:
        self._lanes = array("Q", data)
        if sys.byteorder == "big":
            self._lanes.byteswap()

    @classmethod
    def empty(cls, rows: int) -> RunFilter:
        """For so many rows at most."""
        return cls(bytes(8 * (rows * BITS_A_ROW // 64 + 1)))

    def add(self, key: bytes) -> None:
        lanes = self._lanes
        lanes[crc32(key) % len(lanes)] |= _MASKS[crc_hqx(key, 0) & 0xFFF]

    def may_have(self, key: bytes) -> bool:
        bits = _MASKS[crc_hqx(key, 0) & 0xFFF]
        return self._lanes[crc32(key) % len(self._lanes)] & bits == bits

    def encode(self) -> bytes:
        """Lanes with their lowest byte first."""
        lanes = self._lanes
        if sys.byteorder == "big":
            lanes = lanes[:]
            lanes.byteswap()
        return lanes.tobytes()
