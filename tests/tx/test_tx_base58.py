from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyln_fast.errors import DecodeError
from pyln_fast.tx import base58


def test_an_address_of_the_first_block() -> None:
    digest = bytes.fromhex("62e907b15cbf27d5425399ebf6f0fb50ebb88f18")
    assert base58.encode_check(0, digest) == "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
    assert base58.decode_check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa") == (0, digest)


@given(st.integers(0, 255), st.binary(min_size=20, max_size=20))
def test_round_trip(version: int, digest: bytes) -> None:
    assert base58.decode_check(base58.encode_check(version, digest)) == (version, digest)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither bech32 nor base58"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7Divf0a", "neither bech32 nor base58"),
        ("1" * 41, "neither bech32 nor base58"),
        ("1RustyRX2oai4EYYDpQGWvEL62BBGqN9", "24 bytes of base58, not 25"),
        ("11A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "26 bytes of base58, not 25"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "the checksum is wrong"),
    ],
)
def test_text_that_is_no_address(text: str, why: str) -> None:
    with pytest.raises(DecodeError) as error:
        base58.decode_check(text)
    assert error.value.why == why
