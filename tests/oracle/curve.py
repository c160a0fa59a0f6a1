"""secp256k1 in plain Python, as SEC 2 writes it: affine points, None at infinity."""

from __future__ import annotations

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
Point = tuple[int, int] | None


def add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(point: Point, scalar: int) -> Point:
    result: Point = None
    for bit in bin(scalar % N)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def parse(raw: bytes) -> Point:
    """Raises ValueError for what is not a compressed point of the curve."""
    x = int.from_bytes(raw[1:], "big")
    square = (x**3 + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if len(raw) != 33 or raw[0] not in (2, 3) or x >= P or y * y % P != square:
        raise ValueError("not a point")
    return x, y if y & 1 == raw[0] & 1 else P - y


def serialize(point: Point) -> bytes:
    if point is None:
        raise ValueError("the point at infinity")
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")
