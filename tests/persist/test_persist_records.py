"""Framing: what a checksum covers is still only bytes."""

from __future__ import annotations

import pytest

from pyln_fast.errors import DecodeError
from pyln_fast.persist.records import Header, TableSummary, _checksum, frame_header, unframe_header

HEADER = Header(bytes(range(16)), 7, tables={"htlcs": TableSummary(3, 5)})


def test_a_header_comes_back() -> None:
    assert unframe_header(*frame_header(HEADER)) == HEADER


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"\x95\xc4\x10" + bytes(16) + b"\x01\x01\x80" + b"\x91" * 5000, "maximum recursion depth exceeded"),
        (b"\x94\xc4\x10" + bytes(16) + b"\x01\x01\x81\xa1\xff\x92\x01\x01", "'utf-8' codec can't decode byte 0xff"),
        (b"\x94\xc4\x10" + bytes(16) + b"\x01\x01\xdf\xff\xff\xff\xff", "Input data was truncated"),
    ],
    ids=["nested", "not UTF-8", "cut off"],
)
def test_a_header_that_is_none(payload: bytes, why: str) -> None:
    with pytest.raises(DecodeError) as caught:
        unframe_header(payload, _checksum(b"header", payload))
    assert str(caught.value).startswith(f"the header: {why}")
