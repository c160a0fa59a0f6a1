from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyln_fast._ext import _noise
from tests.oracle import chacha

VECTORS = Path(__file__).parents[1] / "vectors"
KEYS, NONCES = st.binary(min_size=32, max_size=32), st.binary(min_size=12, max_size=12)
each_level = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_rfc_8439_chacha20() -> None:
    for case in json.loads((VECTORS / "rfc8439.json").read_text())["chacha20"]:
        key, nonce, data = (bytes.fromhex(case[name]) for name in ("key", "nonce", "in"))
        assert _noise.chacha20_xor(data, key, nonce, case["counter"]).hex() == case["out"]


def test_the_oracle_knows_rfc_8439_poly1305() -> None:
    for case in json.loads((VECTORS / "rfc8439.json").read_text())["poly1305"]:
        assert chacha.poly1305(bytes.fromhex(case["msg"]), bytes.fromhex(case["key"])).hex() == case["tag"]


def test_wycheproof_aead() -> None:
    # Among them RFC 8439, 2.8.2, and the edges of Poly1305's arithmetic.
    for case in json.loads((VECTORS / "wycheproof-chacha20-poly1305.json").read_text())["tests"]:
        key, nonce, ad, plain = (bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg"))
        cipher = bytes.fromhex(case["ct"] + case["tag"])
        if case["result"] == "valid":
            assert _noise.aead_encrypt(plain, ad, key, nonce) == cipher
            assert _noise.aead_decrypt(cipher, ad, key, nonce) == plain
        else:
            with pytest.raises(ValueError, match="tag"):
                _noise.aead_decrypt(cipher, ad, key, nonce)


@each_level
@given(st.binary(max_size=700), KEYS, NONCES, st.integers(0, 2**32 - 1))
def test_chacha20_against_the_oracle(data: bytes, key: bytes, nonce: bytes, counter: int) -> None:
    assert _noise.chacha20_xor(data, key, nonce, counter) == chacha.chacha20_xor(data, key, nonce, counter)


@each_level
@given(st.binary(max_size=700), st.binary(max_size=60), KEYS, NONCES)
def test_aead_against_the_oracle(data: bytes, ad: bytes, key: bytes, nonce: bytes) -> None:
    cipher = chacha.encrypt(data, ad, key, nonce)
    assert _noise.aead_encrypt(data, ad, key, nonce) == cipher
    assert _noise.aead_decrypt(cipher, ad, key, nonce) == data


@pytest.mark.parametrize("extra", [0, 1, 15, 16, 17, 63])
def test_every_number_of_blocks(extra: int) -> None:
    key, nonce, data = bytes(range(32)), bytes(range(12)), bytes(i * 89 >> 3 & 255 for i in range(64 * 70))
    aead = ChaCha20Poly1305(key)
    for blocks in range(66):
        plain = data[: 64 * blocks + extra]
        cipher = aead.encrypt(nonce, plain, b"")
        assert _noise.aead_encrypt(plain, b"", key, nonce) == cipher
        assert _noise.aead_decrypt(cipher, b"", key, nonce) == plain


def test_limbs_that_are_all_ones_or_zero() -> None:
    # Poly1305's carries: long runs of the extreme words, under keys that clamp to large and small r.
    for fill in (b"\xff", b"\x00", b"\xfe", b"\x01"):
        for key in (b"\xff" * 32, bytes(32), b"\x80" * 32):
            for size in (16, 64, 255, 256, 1000, 1024, 4096):
                plain = fill * size
                assert _noise.aead_encrypt(plain, fill, key, bytes(12)) == ChaCha20Poly1305(key).encrypt(
                    bytes(12), plain, fill
                )


@each_level
@given(st.binary(max_size=300), KEYS, st.data())
def test_any_changed_bit_is_refused(data: bytes, key: bytes, draw: st.DataObject) -> None:
    cipher = bytearray(_noise.aead_encrypt(data, b"ad", key, bytes(12)))
    cipher[draw.draw(st.integers(0, len(cipher) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match="tag"):
        _noise.aead_decrypt(bytes(cipher), b"ad", key, bytes(12))


@pytest.mark.parametrize("size", range(16))
def test_shorter_than_a_tag(size: int) -> None:
    with pytest.raises(ValueError, match="shorter"):
        _noise.aead_decrypt(bytes(size), b"", bytes(32), bytes(12))
