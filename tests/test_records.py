from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.config import ChannelConfig
from pyln_fast.errors import DecodeError
from pyln_fast.records import RECORD_VERSION, Table, decode, encode
from pyln_fast.types import Msat, OutPoint, PaymentPreimage, PrivateKey, Secret, Txid


class Open(msgspec.Struct, frozen=True, array_like=True, tag="open"):
    funding: OutPoint
    preimages: tuple[PaymentPreimage, ...]
    key: PrivateKey | None
    amount_msat: Msat


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="closed"):
    why: str


class Wrapped(msgspec.Struct, frozen=True, array_like=True):
    state: Open | Closed
    by_name: dict[str, PaymentPreimage] = {}


class WrappedBefore(msgspec.Struct, frozen=True, array_like=True):
    state: Open | Closed


OUTPOINT = OutPoint(Txid(bytes(32)), 1)
OPEN = Open(OUTPOINT, (PaymentPreimage(b"\x01" * 32),), PrivateKey(b"\x02" * 32), Msat(5))
CLOSED = Closed("because")


@pytest.mark.parametrize("record", [Wrapped(OPEN, {"x": PaymentPreimage(b"3" * 32)}), Wrapped(CLOSED)])
def test_a_record_comes_back_equal_and_of_the_same_types(record: Wrapped) -> None:
    back = decode(Wrapped, encode(record))
    assert back == record
    assert repr(back) == repr(record)


def test_secrets_come_back_as_secrets() -> None:
    back = decode(Open, encode(OPEN))
    assert type(back.preimages[0]) is PaymentPreimage
    assert type(back.key) is PrivateKey
    assert "01" not in repr(back.preimages)


def test_a_union_is_a_record_too() -> None:
    table: Table[Open | Closed] = Table("channels", Open | Closed)  # type: ignore[arg-type]
    assert table.decode(table.put(b"k", CLOSED).value) == CLOSED


def test_an_older_record_is_read_with_the_defaults_of_newer_fields() -> None:
    assert decode(Wrapped, encode(WrappedBefore(CLOSED))) == Wrapped(CLOSED)


def test_a_newer_version_is_refused_in_one_line() -> None:
    data = bytes([RECORD_VERSION + 1]) + encode(CLOSED)[1:]
    with pytest.raises(
        DecodeError, match=r"^a record Closed: its version 2 is newer: this program reads versions up to 1$"
    ):
        decode(Closed, data)


def test_every_truncation_is_a_decode_error() -> None:
    data = encode(Wrapped(OPEN))
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode(Wrapped, data[:length])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_decode_or_raise_decode_error(data: bytes) -> None:
    for candidate in (data, bytes([RECORD_VERSION]) + data):
        with contextlib.suppress(DecodeError):
            decode(Wrapped, candidate)


def test_what_is_nested_too_deeply_is_a_decode_error() -> None:
    newer_field = b"\x91" * 5000 + b"\xc0"
    data = bytes([RECORD_VERSION]) + b"\x93\xa6closed\xa1x" + newer_field
    with pytest.raises(DecodeError, match=r"^a record Closed: its bytes are not of that type, at its end$"):
        decode(Closed, data)


def test_a_value_that_its_own_type_refuses_is_a_decode_error() -> None:
    values = {**msgspec.to_builtins(ChannelConfig()), "forwarding_fee_proportional_millionths": -3}
    why = "a value in it cannot be: forwarding_fee_proportional_millionths is -3, and must be from 0 to 4294967295"
    with pytest.raises(DecodeError, match=f"^a record ChannelConfig: {why}$"):
        decode(ChannelConfig, encode(values))


def test_the_error_does_not_quote_the_bytes() -> None:
    data = encode(("open", "a secret in the wrong place", (), None, 5))
    with pytest.raises(DecodeError, match=r"^a record Open: its bytes are not of that type, at `\$\[1\]`$"):
        decode(Open, data)


def test_what_cannot_be_a_record_is_refused_when_it_is_encoded() -> None:
    with pytest.raises(TypeError, match="a object cannot be part of a record"):
        encode(object())
    assert decode(Secret, encode(Secret(b"x"))) == Secret(b"x")
