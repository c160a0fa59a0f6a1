import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyln_fast.errors import DecodeError
from pyln_fast.tx import bech32

groups = st.lists(st.integers(0, 31), max_size=200).map(bytes)

# BIP 173, the strings with a valid checksum (those that keep its limit of 90 characters).
VALID = [
    "A12UEL5L",
    "a12uel5l",
    "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
    "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
    "11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
    "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    "?1ezyfcl",
]
# BIP 173, strings that are none, and why.
INVALID = {
    "\x201nwldj5": "a character that is not printable ASCII",
    "\x7f1axkwrx": "a character that is not printable ASCII",
    "\x801eym55h": "a character that is not printable ASCII",
    "pzry9x0s0muk": "no prefix with the separator 1 after it",
    "1pzry9x0s0muk": "no prefix with the separator 1 after it",
    "x1b4n0q5v": "a character outside its alphabet",
    "li1dgmt3": "the checksum is cut off",
    "de1lg7wt\xff": "a character that is not printable ASCII",
    "A1G7SGD8": "the checksum does not match",
    "10a06t8": "no prefix with the separator 1 after it",
    "1qzzfhee": "no prefix with the separator 1 after it",
    "a12UEL5L": "upper and lower case are mixed",
}


@pytest.mark.parametrize("text", VALID)
def test_bip_173_valid(text: str) -> None:
    hrp, data, constant = bech32.decode(text, 90)
    assert constant == bech32.BECH32
    assert bech32.encode(hrp, data, constant) == text.lower()


@pytest.mark.parametrize(("text", "why"), INVALID.items())
def test_bip_173_invalid(text: str, why: str) -> None:
    with pytest.raises(DecodeError) as error:
        bech32.decode(text, 90)
    assert (error.value.what, error.value.why) == ("bech32", why)


# BIP 350, the strings with a valid Bech32m checksum.
VALID_BECH32M = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]


@pytest.mark.parametrize("text", VALID_BECH32M)
def test_bip_350_valid(text: str) -> None:
    hrp, data, constant = bech32.decode(text, 90)
    assert constant == bech32.BECH32M
    assert bech32.encode(hrp, data, constant) == text.lower()


@given(groups, st.sampled_from([bech32.BECH32, bech32.BECH32M]))
def test_round_trip(data: bytes, constant: int) -> None:
    text = bech32.encode("lnbc", data, constant)
    assert bech32.decode(text, 300) == ("lnbc", data, constant)
    assert bech32.decode(text.upper(), 300) == ("lnbc", data, constant)
    with pytest.raises(DecodeError) as error:
        bech32.decode(text, len(text) - 1)
    assert error.value.why == f"{len(text)} characters, more than {len(text) - 1}"


@given(groups)
def test_padding_of_whole_bytes(data: bytes) -> None:
    try:
        found = bech32.to_whole_bytes(data)
    except DecodeError:
        assert len(data) * 5 % 8 > 4 or bech32.to_int(data) & (1 << len(data) * 5 % 8) - 1
    else:
        assert bech32.to_groups(found) == data


@given(st.binary(max_size=100))
def test_bytes_through_groups(data: bytes) -> None:
    """Against the obvious way, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    expected = bytes(int(bits[at : at + 5], 2) for at in range(0, len(bits), 5))
    assert bech32.to_groups(data) == expected
    assert bech32.to_bytes(expected) == data


@given(groups)
def test_groups_as_bytes(data: bytes) -> None:
    bits = "".join(f"{group:05b}" for group in data)
    whole = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
    padded = bits + "0" * (-len(bits) % 8)
    assert bech32.to_bytes(data) == whole
    assert bech32.to_bytes(data, pad=True) == bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))
    assert bech32.from_int(bech32.to_int(data), len(data)) == data
    assert bech32.from_int(bech32.to_int(data)) == data.lstrip(b"\0")
