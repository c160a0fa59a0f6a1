"""Compiles the annotated fields of a Struct into the two functions that read and write its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, ClassVar, Generic, TypeVar, get_type_hints

import msgspec
from msgspec.structs import astuple

from pyln_fast.errors import DecodeError
from pyln_fast.types import ChannelId
from pyln_fast.wire.fields import Fixed, Kind, Tlv
from pyln_fast.wire.tlv import BadMessage, BadTlv, read_records, write_record


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A message of a BOLT: its fields by the BOLT's names and in its order, TLV records last (None when absent).

    Tagged by its name, so that a record may hold a union of messages.
    """

    TYPE: ClassVar[int]


T = TypeVar("T", bound=msgspec.Struct)
Read = Callable[[bytes, int, int, list[Any]], int]
"""(data, offset, end, values): appends what it reads, returns the offset behind it."""
Write = Callable[[Sequence[Any]], bytes]


class Layout(Generic[T]):
    """The bytes of one Struct. `prefix` (the message type) comes first when writing; reading starts behind it."""

    def __init__(self, struct: type[T], prefix: bytes = b"") -> None:
        self.struct = struct
        self.name = bolt_name(struct)
        self._prefix = prefix
        self._steps: list[tuple[Read, Write, int, int]] = []
        names = struct.__struct_fields__
        hints = get_type_hints(struct, include_extras=True)
        marks = [hints[name].__metadata__[0] for name in names]
        self._plain = sum(not isinstance(mark, Tlv) for mark in marks)
        self._tlvs: tuple[tuple[int, Kind, int], ...] = tuple(
            (mark.tlv_type, mark.kind, index) for index, mark in enumerate(marks) if isinstance(mark, Tlv)
        )
        types = [tlv_type for tlv_type, _, _ in self._tlvs]
        assert types == sorted(set(types))
        assert all(isinstance(mark, Tlv) for mark in marks[self._plain :])
        self._tlv_of_type = {tlv_type: (kind, index) for tlv_type, kind, index in self._tlvs}
        self._absent = list(struct.__struct_defaults__[-len(self._tlvs) :]) if self._tlvs else []
        self._compile(names[: self._plain], marks[: self._plain])

    def _compile(self, names: Sequence[str], kinds: Sequence[Kind]) -> None:
        first = 0
        while first < len(kinds):
            last = first + 1
            kind = kinds[first]
            if isinstance(kind, Fixed):
                while last < len(kinds) and isinstance(kinds[last], Fixed):
                    last += 1
                fixed = [kind for kind in kinds[first:last] if isinstance(kind, Fixed)]
                read, write = _fixed_run(self.name, names[first:last], fixed)
            else:
                read, write = _single(self.name, names[first], kind)
            self._steps.append((read, write, first, last))
            first = last

    def decode(self, data: bytes, offset: int, end: int) -> T:
        """Raises DecodeError unless the bytes up to `end` are one whole value.

        BOLT 1, Lightning Message Format: a TLV stream may extend every message, whether it has records of its own yet.
        """
        values: list[Any] = []
        for read, _, _, _ in self._steps:
            offset = read(data, offset, end, values)
        if offset == end:
            return self.struct(*values)
        values += self._absent
        for tlv_type, start, stop, record in read_records(self.name, data, offset, end, self._tlv_of_type):
            kind, index = self._tlv_of_type[tlv_type]
            try:
                values[index], last = kind.read(data, start, stop)
            except DecodeError as error:
                raise BadTlv(self.name, f"type {tlv_type}: {error.why}", tlv_type, record) from None
            if last != stop:
                raise BadTlv(self.name, f"type {tlv_type}: {stop - last} bytes too many", tlv_type, record)
        return self.struct(*values)

    def encode(self, value: T) -> bytes:
        values = astuple(value)
        parts = [self._prefix]
        for _, write, first, last in self._steps:
            parts.append(write(values[first:last]))
        for tlv_type, kind, index in self._tlvs:
            if values[index] is not None and values[index] is not False:
                parts.append(write_record(tlv_type, kind.write(values[index])))
        return b"".join(parts)


class Nested:
    """Several fields that stand where one is expected: a subtype, or a TLV record of more than one value."""

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self._layout = Layout(struct)

    def read(self, data: bytes, offset: int, end: int) -> tuple[Any, int]:
        values: list[Any] = []
        for read, _, _, _ in self._layout._steps:
            offset = read(data, offset, end, values)
        return self._layout.struct(*values), offset

    def write(self, value: Any) -> bytes:
        return self._layout.encode(value)


def bolt_name(struct: type) -> str:
    """OpenChannel2 → open_channel2."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", struct.__name__).lower()


def message_decoder(message: type[Message]) -> Callable[[bytes], Message]:
    """For whole messages with their two bytes of type. Raises BadMessage."""
    layout = Layout(message)
    first_field = message.__struct_fields__[0] if message.__struct_fields__ else ""
    has_channel_id = first_field in ("channel_id", "temporary_channel_id")

    def decode(data: bytes) -> Message:
        try:
            return layout.decode(data, 2, len(data))
        except DecodeError as error:
            known = has_channel_id and len(data) >= 34
            channel_id = ChannelId(data[2:34]) if known else None
            raise BadMessage(error.what, error.why, message.TYPE, channel_id) from None

    return decode


def message_encoder(message: type[Message]) -> Callable[[Any], bytes]:
    return Layout(message, message.TYPE.to_bytes(2, "big")).encode


def _fixed_run(name: str, fields: Sequence[str], kinds: Sequence[Fixed]) -> tuple[Read, Write]:
    packer = Struct(">" + "".join(kind.code for kind in kinds))
    size, unpack_from = packer.size, packer.unpack_from
    conversions = [(index, kind.convert) for index, kind in enumerate(kinds) if kind.convert is not None]
    sizes = [(index, kind.size) for index, kind in enumerate(kinds) if kind.is_bytes]

    def read(data: bytes, offset: int, end: int, values: list[Any]) -> int:
        if end - offset < size:
            raise _missing(name, fields, kinds, end - offset)
        start = len(values)
        values += unpack_from(data, offset)
        for index, convert in conversions:
            try:
                values[start + index] = convert(values[start + index])
            except DecodeError as error:
                raise DecodeError(f"{name}.{fields[index]}", error.why) from None
        return offset + size

    def write(values: Sequence[Any]) -> bytes:
        # The struct module cuts or pads bytes of the wrong length without a word.
        for index, length in sizes:
            assert len(values[index]) == length
        return packer.pack(*values)

    return read, write


def _missing(name: str, fields: Sequence[str], kinds: Sequence[Fixed], left: int) -> DecodeError:
    for field, kind in zip(fields, kinds):
        if kind.size > left:
            return DecodeError(f"{name}.{field}", f"{left} of its {kind.size} bytes are there")
        left -= kind.size
    raise AssertionError


def _single(name: str, field: str, kind: Kind) -> tuple[Read, Write]:
    read_one, write_one = kind.read, kind.write

    def read(data: bytes, offset: int, end: int, values: list[Any]) -> int:
        try:
            value, offset = read_one(data, offset, end)
        except DecodeError as error:
            raise DecodeError(f"{name}.{field}", error.why) from None
        values.append(value)
        return offset

    def write(values: Sequence[Any]) -> bytes:
        return write_one(values[0])

    return read, write
