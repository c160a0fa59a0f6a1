"""BOLT 8 in the plainest Python, following the BOLT's steps one by one."""

from __future__ import annotations

import struct

from coincurve import PrivateKey, PublicKey

from tests.oracle.chacha import decrypt, encrypt
from tests.oracle.hashes import hkdf_sha256, sha256


def ecdh(private: bytes, public: bytes) -> bytes:
    return sha256(PublicKey(public).multiply(private).format())


def public_key(private: bytes) -> bytes:
    return PrivateKey(private).public_key.format()


def nonce(n: int) -> bytes:
    return struct.pack("<LQ", 0, n)


class Handshake:
    """The variables of BOLT 8, Handshake State."""

    def __init__(self, responder_static: bytes) -> None:
        self.h = self.ck = sha256(b"Noise_XK_secp256k1_ChaChaPoly_SHA256")
        self.temp_k = b""
        self.mix(b"lightning")
        self.mix(responder_static)

    def mix(self, data: bytes) -> None:
        self.h = sha256(self.h + data)

    def mix_key(self, shared: bytes) -> None:
        keys = hkdf_sha256(self.ck, shared)
        self.ck, self.temp_k = keys[:32], keys[32:]

    def seal(self, n: int, plain: bytes) -> bytes:
        cipher = encrypt(plain, self.h, self.temp_k, nonce(n))
        self.mix(cipher)
        return cipher

    def open(self, n: int, cipher: bytes) -> bytes:
        plain = decrypt(cipher, self.h, self.temp_k, nonce(n))
        self.mix(cipher)
        return plain


class Cipher:
    """One direction: a key, its chaining key and the count of its uses."""

    def __init__(self, ck: bytes, key: bytes) -> None:
        self.ck, self.key, self.n = ck, key, 0

    def advance(self) -> None:
        self.n += 1
        if self.n == 1000:
            keys = hkdf_sha256(self.ck, self.key)
            self.ck, self.key, self.n = keys[:32], keys[32:], 0

    def seal(self, plain: bytes) -> bytes:
        cipher = encrypt(plain, b"", self.key, nonce(self.n))
        self.advance()
        return cipher

    def open(self, cipher: bytes) -> bytes:
        plain = decrypt(cipher, b"", self.key, nonce(self.n))
        self.advance()
        return plain

    def frame(self, message: bytes) -> bytes:
        return self.seal(struct.pack(">H", len(message))) + self.seal(message)

    def unframe(self, data: bytes) -> tuple[bytes, bytes]:
        """(the first message, the rest)."""
        (length,) = struct.unpack(">H", self.open(data[:18]))
        return self.open(data[18 : 34 + length]), data[34 + length :]


def initiator_act_one(handshake: Handshake, ephemeral: bytes, their_static: bytes) -> bytes:
    handshake.mix(public_key(ephemeral))
    handshake.mix_key(ecdh(ephemeral, their_static))
    return b"\x00" + public_key(ephemeral) + handshake.seal(0, b"")


def read_ephemeral(handshake: Handshake, private: bytes, act: bytes) -> bytes:
    """The receiver's side of acts one and two. Returns the other side's ephemeral key."""
    handshake.mix(act[1:34])
    handshake.mix_key(ecdh(private, act[1:34]))
    handshake.open(0, act[34:])
    return act[1:34]


def initiator_act_three(handshake: Handshake, static: bytes, their_ephemeral: bytes) -> tuple[bytes, Cipher, Cipher]:
    """(act three, sending, receiving)."""
    cipher = handshake.seal(1, public_key(static))
    handshake.mix_key(ecdh(static, their_ephemeral))
    act = b"\x00" + cipher + handshake.seal(0, b"")
    keys = hkdf_sha256(handshake.ck, b"")
    return act, Cipher(handshake.ck, keys[:32]), Cipher(handshake.ck, keys[32:])


def responder_act_three(handshake: Handshake, ephemeral: bytes, act: bytes) -> tuple[bytes, Cipher, Cipher]:
    """(the initiator's static key, sending, receiving)."""
    their_static = handshake.open(1, act[1:50])
    handshake.mix_key(ecdh(ephemeral, their_static))
    handshake.open(0, act[50:])
    keys = hkdf_sha256(handshake.ck, b"")
    return their_static, Cipher(handshake.ck, keys[32:]), Cipher(handshake.ck, keys[:32])
