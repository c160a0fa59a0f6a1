"""BOLT 4's packets and failure packets, from its text, slowly."""

from __future__ import annotations

import hmac
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from tests.oracle.curve import N, multiply, parse, serialize
from tests.oracle.keys import ecdh, public_key, scalar


def mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "sha256")


def stream(key: bytes, size: int) -> bytes:
    return Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(size))


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b))


def multiply_key(secret: bytes, factor: bytes) -> bytes:
    return (scalar(secret) * scalar(factor) % N).to_bytes(32, "big")


def bigsize(n: int) -> bytes:
    return bytes([n]) if n < 0xFD else b"\xfd" + n.to_bytes(2, "big")


def shared_secrets(session_key: bytes, nodes: list[bytes]) -> list[bytes]:
    secrets = []
    for node in nodes:
        secrets.append(ecdh(session_key, node))
        session_key = multiply_key(session_key, sha256(public_key(session_key) + secrets[-1]).digest())
    return secrets


def build(session_key: bytes, hops: list[tuple[bytes, bytes]], data: bytes, packet_size: int) -> bytes:
    size = packet_size - 66
    secrets = shared_secrets(session_key, [node for node, _ in hops])
    framed = [bigsize(len(payload)) + payload for _, payload in hops]
    filler = b""
    for secret, frame in zip(secrets[:-1], framed):
        shift = len(frame) + 32
        whole = stream(mac(b"rho", secret), 2 * size)
        filler = xor(filler + bytes(shift), whole[size - len(filler) : size + shift])
    field = stream(mac(b"pad", session_key), size)
    tag = bytes(32)
    for i in reversed(range(len(hops))):
        field = (framed[i] + tag + field)[:size]
        field = xor(field, stream(mac(b"rho", secrets[i]), size))
        if i == len(hops) - 1 and filler:
            field = field[: -len(filler)] + filler
        tag = mac(mac(b"mu", secrets[i]), field, data)
    return b"\x00" + public_key(session_key) + field + tag


def peel(
    node_secret: bytes, packet: bytes, data: bytes, path_key: bytes | None
) -> tuple[bytes, bytes | None, bytes] | str:
    """(payload, next packet or None, shared secret), or what is bad."""
    if path_key is not None:
        try:
            node_secret = multiply_key(node_secret, mac(b"blinded_node_id", ecdh(node_secret, path_key)))
        except ValueError:
            return "key"
    if len(packet) < 66:
        return "hmac"
    version, key, field, tag = packet[0], packet[1:34], packet[34:-32], packet[-32:]
    if version != 0:
        return "version"
    try:
        secret = ecdh(node_secret, key)
    except ValueError:
        return "key"
    if mac(mac(b"mu", secret), field, data) != tag:
        return "hmac"
    unwrapped = xor(field + bytes(len(field)), stream(mac(b"rho", secret), 2 * len(field)))
    length, prefix = unwrapped[0], 1
    if length >= 0xFD:
        prefix = 1 + 2 ** (length - 0xFC)
        smallest = 0xFD if length == 0xFD else 1 << 4 * (prefix - 1)
        length = int.from_bytes(unwrapped[1:prefix], "big")
        if length < smallest:
            return "payload"
    end = prefix + length + 32
    if length < 2 or len(unwrapped) - end < len(field):
        return "payload"
    payload, next_tag = unwrapped[prefix : prefix + length], unwrapped[prefix + length : end]
    if next_tag == bytes(32):
        return payload, None, secret
    next_key = serialize(multiply(parse(key), scalar(sha256(key + secret).digest())))
    return payload, b"\x00" + next_key + unwrapped[end : end + len(field)] + next_tag, secret


def failure_create(secret: bytes, message: bytes) -> bytes:
    padding = bytes(max(0, 256 - len(message)))
    body = len(message).to_bytes(2, "big") + message + len(padding).to_bytes(2, "big") + padding
    return failure_wrap(secret, mac(mac(b"um", secret), body) + body)


def failure_wrap(secret: bytes, packet: bytes) -> bytes:
    return xor(packet, stream(mac(b"ammag", secret), len(packet)))


def failure_unwrap(secrets: list[bytes], packet: bytes) -> tuple[int, bytes] | None:
    if len(packet) < 36:
        return None
    for hop, secret in enumerate(secrets):
        packet = failure_wrap(secret, packet)
        if mac(mac(b"um", secret), packet[32:]) == packet[:32]:
            length = int.from_bytes(packet[32:34], "big")
            return hop, packet[34 : 34 + length] if length <= len(packet) - 36 else b""
    return None
