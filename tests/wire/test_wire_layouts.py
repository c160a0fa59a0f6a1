"""Every message against the tables of the BOLTs: names, order, sizes, TLV types."""

import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from pyln_fast.wire import fields
from pyln_fast.wire.codec import MESSAGES
from pyln_fast.wire.layout import Message, Nested, bolt_name

BOLT = json.loads((Path(__file__).parent.parent / "vectors" / "bolt-messages.json").read_text())
SIZES = {
    "byte": 1,
    "u8": 1,
    "u16": 2,
    "u32": 4,
    "u64": 8,
    "short_channel_id": 8,
    "chain_hash": 32,
    "channel_id": 32,
    "sha256": 32,
    "point": 33,
    "signature": 64,
}
# What relayed messages carry behind the fields of the BOLT is not of the BOLT.
OURS = {"extension"}


def bolt_shape(kind: str) -> Any:
    """Of one field in the BOLT's notation, apart from those that a length goes before."""
    if kind in SIZES:
        return ("fixed", SIZES[kind])
    if kind == "s64":
        return ("signed", 8)
    if kind == "bigsize":
        return "bigsize"
    if match := re.fullmatch(r"sha256\[\.\.(\d+)\]", kind):
        return ("fixed", int(match[1]))
    count, element = kind.split("*")
    if element in ("witness", "channel_update_checksums"):
        inner: Any = bolt_fields(BOLT["subtypes"][element])
        inner = inner[0][1] if len(inner) == 1 else inner
    else:
        inner = bolt_shape(element)
    if count == "...":
        return "rest" if element == "byte" else ("repeated", inner)
    return ("fixed", int(count)) if element == "byte" else ("repeated", int(count), inner)


def bolt_fields(table: list[list[str]]) -> list[tuple[str, Any]]:
    """(name, shape) for each field; a u16 that counts the next one is part of that."""
    shapes, index = [], 0
    while index < len(table):
        kind, name = table[index]
        following = table[index + 1] if index + 1 < len(table) else ["", ""]
        if kind == "u16" and following[0].startswith(f"{name}*"):
            element = following[0].split("*")[1]
            shape = ("prefixed",) if element == "byte" else ("counted", bolt_shape(f"...*{element}")[1])
            shapes.append((following[1], shape))
            index += 2
        else:
            shapes.append((name, bolt_shape(kind)))
            index += 1
    return shapes


def bolt_record(table: list[list[str]]) -> Any:
    shapes = bolt_fields(table)
    if not shapes:
        return "flag"
    return shapes[0][1] if len(shapes) == 1 else shapes


def our_shape(kind: Any) -> Any:
    match kind:
        case fields.Fixed(is_signed=True):
            return ("signed", kind.size)
        case fields.Fixed():
            return ("fixed", kind.size)
        case fields.Prefixed():
            return ("prefixed",)
        case fields.Counted():
            return ("counted", our_shape(kind.kind))
        case fields.Repeated(count=None):
            return ("repeated", our_shape(kind.kind))
        case fields.Repeated():
            return ("repeated", kind.count, our_shape(kind.kind))
        case fields.Rest():
            return "rest"
        case fields.BigSize():
            return "bigsize"
        case fields.Flag():
            return "flag"
        case Nested():
            return our_fields(kind._layout.struct)[0]
    raise AssertionError


def our_fields(struct: Any) -> tuple[list[tuple[str, Any]], dict[str, tuple[int, Any]]]:
    hints = get_type_hints(struct, include_extras=True)
    plain, tlvs = [], {}
    for name in struct.__struct_fields__:
        mark = hints[name].__metadata__[0]
        if isinstance(mark, fields.Tlv):
            tlvs[name] = (mark.tlv_type, our_shape(mark.kind))
        elif name not in OURS:
            plain.append((name, our_shape(mark)))
    return plain, tlvs


def test_the_bolts_have_no_other_messages() -> None:
    assert {bolt_name(message) for message in MESSAGES} == set(BOLT["messages"])


@pytest.mark.parametrize("message", MESSAGES, ids=bolt_name)
def test_the_layout_is_the_bolts(message: type[Message]) -> None:
    table = BOLT["messages"][bolt_name(message)]
    tlvs = {name: (record["type"], bolt_record(record["fields"])) for name, record in table["tlvs"].items()}
    assert (message.TYPE, *our_fields(message)) == (table["type"], bolt_fields(table["fields"]), tlvs)
