"""RFC 8439 in the plainest Python."""

from __future__ import annotations

import struct

CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
ROUNDS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
ROUNDS += ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


class WrongTag(Exception):
    pass


def rotate(value: int, count: int) -> int:
    return (value << count | value >> (32 - count)) & 0xFFFFFFFF


def quarter_round(x: list[int], a: int, b: int, c: int, d: int) -> None:
    for first, second, third, count in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[first] = (x[first] + x[second]) & 0xFFFFFFFF
        x[third] = rotate(x[third] ^ x[first], count)


def chacha20_block(key: bytes, nonce: bytes, counter: int) -> bytes:
    state = [*CONSTANTS, *struct.unpack("<8L", key), counter & 0xFFFFFFFF, *struct.unpack("<3L", nonce)]
    x = list(state)
    for _ in range(10):
        for indexes in ROUNDS:
            quarter_round(x, *indexes)
    return struct.pack("<16L", *((a + b) & 0xFFFFFFFF for a, b in zip(x, state)))


def chacha20_xor(data: bytes, key: bytes, nonce: bytes, counter: int) -> bytes:
    blocks = range((len(data) + 63) // 64)
    stream = b"".join(chacha20_block(key, nonce, counter + i) for i in blocks)
    return bytes(a ^ b for a, b in zip(data, stream))


def poly1305(data: bytes, key: bytes) -> bytes:
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for i in range(0, len(data), 16):
        total = (total + int.from_bytes(data[i : i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def tag(cipher: bytes, ad: bytes, key: bytes, nonce: bytes) -> bytes:
    one_time_key = chacha20_block(key, nonce, 0)[:32]
    return poly1305(padded(ad) + padded(cipher) + struct.pack("<QQ", len(ad), len(cipher)), one_time_key)


def encrypt(data: bytes, ad: bytes, key: bytes, nonce: bytes) -> bytes:
    cipher = chacha20_xor(data, key, nonce, 1)
    return cipher + tag(cipher, ad, key, nonce)


def decrypt(data: bytes, ad: bytes, key: bytes, nonce: bytes) -> bytes:
    cipher = data[:-16]
    if tag(cipher, ad, key, nonce) != data[-16:]:
        raise WrongTag
    return chacha20_xor(cipher, key, nonce, 1)
