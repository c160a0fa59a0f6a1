"""BOLT 8's frames: what a busy connection encrypts and decrypts, beside the same AEAD calls made one by one."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import pytest
from coincurve import PrivateKey as CurveKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pyln_fast._ext import _noise
from pyln_fast.peer.noise import Noise
from pyln_fast.types import NodeId, PrivateKey, PublicKey

LS, LE, RS, RE = (PrivateKey(bytes([value]) * 32) for value in (0x11, 0x12, 0x21, 0x22))
THEIR_ID = NodeId(PublicKey(CurveKey(RS).public_key.format()))
CASES = pytest.mark.parametrize(
    ("size", "count", "target"), [(140, 100, 1e6), (140, 1, None), (1450, 20, None), (65535, 1, 1.5e9 / 65535)]
)


def connected() -> tuple[Noise, Noise]:
    ours, theirs = Noise.initiator(LE, LS, THEIR_ID), Noise.responder(RE, RS)
    act_three, _ = ours.receive(theirs.receive(ours.start())[0])
    theirs.receive(act_three)
    return ours, theirs


def reads_of(messages: list[bytes], n: int) -> list[bytes]:
    """The first n reads of a connection; every connection of these keys has the same."""
    ours, _ = connected()
    return [ours.encrypt(messages) for _ in range(n)]


def receiver(reads: list[bytes]) -> Callable[[], object]:
    """A call that receives the next read, on a new connection after the last one."""
    left: list[bytes] = []
    theirs = connected()[1]

    def receive() -> object:
        nonlocal theirs
        if not left:
            theirs = connected()[1]
            left.extend(reversed(reads))
        return theirs.receive(left.pop())

    return receive


def one_by_one(messages: list[bytes]) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same AEADs by `cryptography` (OpenSSL), with one key and no rotation: (encrypt, decrypt)."""
    aead = ChaCha20Poly1305(bytes(32))
    nonces = [struct.pack("<LQ", 0, n) for n in range(2 * len(messages))]
    parts = [part for message in messages for part in (struct.pack(">H", len(message)), message)]
    sealed = [aead.encrypt(nonce, part, None) for nonce, part in zip(nonces, parts)]
    return (
        lambda: b"".join([aead.encrypt(nonce, part, None) for nonce, part in zip(nonces, parts)]),
        lambda: [aead.decrypt(nonce, part, None) for nonce, part in zip(nonces, sealed)],
    )


@CASES
def test_frames(size: int, count: int, target: float | None, best_of: Callable, report: Callable) -> None:
    messages = [bytes([i & 255]) * size for i in range(count)]
    reads = reads_of(messages, max(20, 4_000_000 // (size * count)))
    ours, theirs = connected()
    for read in reads[:20]:
        assert ours.encrypt(messages) == read
        assert theirs.receive(read) == (b"", messages)
    reference = one_by_one(messages)
    encrypt, encrypt_one_by_one = best_of(lambda: ours.encrypt(messages), reference[0])
    decrypt, decrypt_one_by_one = best_of(receiver(reads), reference[1])
    for name, seconds, other in (
        ("encrypt", encrypt, encrypt_one_by_one),
        ("decrypt", decrypt, decrypt_one_by_one),
    ):
        report(
            name=f"noise {name}, {count} x {size} bytes ({size * count / seconds / 1e9:.2f} GB/s)",
            figure=count / seconds,
            unit="messages/s",
            reference="the AEADs alone, by cryptography",
            reference_figure=count / other,
            ratio=other / seconds,
            target=None if target is None else f"{target:,.0f} messages/s",
            reached=None if target is None else count / seconds >= target,
        )


def test_copy(best_of: Callable, report: Callable) -> None:
    """The limit of any cipher that writes its output elsewhere."""
    data = bytes(65535)
    (seconds,) = best_of(lambda: bytearray(data))
    report(name="a copy of 65535 bytes", figure=65535 / seconds / 1e9, unit="GB/s")


def test_sha256(best_of: Callable, report: Callable) -> None:
    data = bytes(i * 37 & 255 for i in range(65536))
    assert _noise.sha256(data) == hashlib.sha256(data).digest()
    ours, other = best_of(lambda: _noise.sha256(data), lambda: hashlib.sha256(data).digest())
    report(
        name="SHA-256 of 64 KiB",
        figure=65536 / ours / 1e9,
        unit="GB/s",
        reference="hashlib (OpenSSL)",
        reference_figure=65536 / other / 1e9,
        ratio=other / ours,
        target=0.9,
        reached=other / ours >= 0.9,
    )


def test_handshake(best_of: Callable, report: Callable) -> None:
    ours, theirs = connected()
    assert (ours.their_node_id, theirs.established) == (THEIR_ID, True)
    secret, point = CurveKey(LS), CurveKey(RS).public_key.format()
    both, ecdh = best_of(connected, lambda: secret.ecdh(point))
    # Three ECDHs on each side; the rest derives public keys and hashes.
    report(
        name="noise handshake, both sides",
        figure=both * 1e6,
        unit="us",
        reference="six ECDHs, by coincurve",
        reference_figure=6 * ecdh * 1e6,
        ratio=both / (6 * ecdh),
        target=1.6,
        reached=both <= 1.6 * 6 * ecdh,
    )
