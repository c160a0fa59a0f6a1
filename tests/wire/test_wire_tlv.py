"""BOLT 1, appendices A, B and D: BigSize, TLV streams in the namespaces n1 and n2, signed integers."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyln_fast.errors import DecodeError
from pyln_fast.types import Msat, PublicKey, ShortChannelId
from pyln_fast.wire.fields import U16_KIND, U64_KIND, Fixed, MsatU64, Point, Tlv, Truncated
from pyln_fast.wire.layout import Layout, Nested
from pyln_fast.wire.primitives import read_bigsize, read_truncated, write_bigsize, write_truncated
from pyln_fast.wire.tlv import BadTlv

VECTORS = Path(__file__).parent.parent / "vectors"
BIGSIZE = json.loads((VECTORS / "bolt01-bigsize.json").read_text())
TLV = json.loads((VECTORS / "bolt01-tlv.json").read_text())


class N1Tlv3(msgspec.Struct, frozen=True):
    node_id: Point
    amount_msat_1: MsatU64
    amount_msat_2: MsatU64


class N1(msgspec.Struct, frozen=True):
    tlv1: Annotated[Msat | None, Tlv(1, Truncated(8))] = None
    tlv2: Annotated[ShortChannelId | None, Tlv(2, U64_KIND)] = None
    tlv3: Annotated[N1Tlv3 | None, Tlv(3, Nested(N1Tlv3))] = None
    tlv4: Annotated[int | None, Tlv(254, U16_KIND)] = None


class N2(msgspec.Struct, frozen=True):
    tlv1: Annotated[Msat | None, Tlv(0, Truncated(8))] = None
    tlv2: Annotated[int | None, Tlv(11, Truncated(4))] = None


NAMESPACES: dict[str, Layout[Any]] = {"n1": Layout(N1), "n2": Layout(N2)}


@pytest.mark.parametrize("case", BIGSIZE["decoding"], ids=lambda case: case["name"])
def test_bigsize_decoding(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["bytes"])
    if "exp_error" in case:
        with pytest.raises(DecodeError):
            read_bigsize(raw, 0, len(raw))
    else:
        assert read_bigsize(raw, 0, len(raw)) == (case["value"], len(raw))


@pytest.mark.parametrize("case", BIGSIZE["encoding"], ids=lambda case: case["name"])
def test_bigsize_encoding(case: dict[str, Any]) -> None:
    assert write_bigsize(case["value"]).hex() == case["bytes"]


@given(st.integers(0, 2**64 - 1), st.binary(max_size=9))
def test_bigsize_reads_what_it_writes_and_nothing_behind(value: int, behind: bytes) -> None:
    raw = write_bigsize(value)
    assert read_bigsize(b"x" + raw + behind, 1, 1 + len(raw)) == (value, 1 + len(raw))


@given(st.integers(0, 2**64 - 1))
def test_truncated_integers(value: int) -> None:
    raw = write_truncated(value, 8)
    assert raw == value.to_bytes(8, "big").lstrip(b"\0")
    assert read_truncated(raw, 8) == value
    if value:
        with pytest.raises(DecodeError, match="not minimal"):
            read_truncated(b"\0" + raw, 9)


def test_a_truncated_integer_has_its_own_limit() -> None:
    with pytest.raises(DecodeError, match="tu16: 3 bytes"):
        read_truncated(b"\1\2\3", 2)
    with pytest.raises(AssertionError):
        write_truncated(2**16, 2)


INVALID = [(case["stream"], name, case["reason"]) for case in TLV["invalid"] for name in case["namespaces"]]


@pytest.mark.parametrize(("stream", "namespace", "reason"), INVALID, ids=lambda part: part[:40])
def test_invalid_streams(stream: str, namespace: str, reason: str) -> None:
    raw = bytes.fromhex(stream)
    with pytest.raises(BadTlv):
        NAMESPACES[namespace].decode(raw, 0, len(raw))


def test_an_invalid_stream_behind_a_valid_one_fails() -> None:
    for stream, namespace, _ in INVALID:
        for valid in ("", "0100", "0208" + "00" * 6 + "0226"):
            raw = bytes.fromhex(valid + stream)
            with pytest.raises(BadTlv):
                NAMESPACES[namespace].decode(raw, 0, len(raw))


VALID = [(name, case) for case in TLV["valid"] for name in case["namespaces"]]


def number(text: str) -> Any:
    """A value as the vectors write it: decimal, hex of a point, or a short channel id such as 0x0x550."""
    if len(text) == 66:
        return PublicKey(bytes.fromhex(text))
    if "x" in text:
        block, transaction, output = map(int, text.split("x"))
        return block << 40 | transaction << 16 | output
    return int(text)


@pytest.mark.parametrize(
    ("namespace", "case"), VALID, ids=lambda part: part if isinstance(part, str) else part["stream"]
)
def test_valid_streams(namespace: str, case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["stream"])
    layout = NAMESPACES[namespace]
    value = layout.decode(raw, 0, len(raw))
    if "record" not in case:
        assert value == layout.struct()
        return
    values = [number(text) for text in case["values"].values()]
    assert value == layout.struct(**{case["record"]: N1Tlv3(*values) if len(values) > 1 else values[0]})
    assert layout.encode(value) == raw


def test_signed_integers() -> None:
    codes = {1: "b", 2: "h", 4: "i", 8: "q"}
    for case in json.loads((VECTORS / "bolt01-signed.json").read_text())["values"]:
        raw = bytes.fromhex(case["bytes"])
        kind = Fixed(codes[len(raw)], len(raw))
        assert kind.read(raw, 0, len(raw)) == (case["value"], len(raw))
        assert kind.write(case["value"]) == raw


def test_the_error_names_the_record() -> None:
    raw = bytes.fromhex("0100" + "fd00fe" + "01" + "01")
    with pytest.raises(BadTlv) as caught:
        NAMESPACES["n1"].decode(raw, 0, len(raw))
    assert (caught.value.tlv_type, caught.value.offset) == (254, 2)
