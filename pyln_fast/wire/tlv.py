"""TLV streams (BOLT 1, Type-Length-Value Format): the rules that hold whatever the records mean."""

from __future__ import annotations

from collections.abc import Container, Iterator

from pyln_fast.errors import DecodeError
from pyln_fast.types import ChannelId
from pyln_fast.wire.primitives import read_bigsize, write_bigsize


class BadTlv(DecodeError):
    """A TLV stream that must not be parsed. `tlv_type` is 0 where the type itself cannot be read."""

    def __init__(self, what: str, why: str, tlv_type: int, offset: int) -> None:
        super().__init__(what, why)
        self.tlv_type = tlv_type
        self.offset = offset
        """Of the record's type, from the first byte of what was being decoded."""


class BadMessage(DecodeError):
    """A peer's message that cannot be decoded: BOLT 1 wants the connection closed."""

    def __init__(self, what: str, why: str, message_type: int, channel_id: ChannelId | None) -> None:
        super().__init__(what, why)
        self.message_type = message_type
        self.channel_id = channel_id
        """Of the channel that it speaks of, where it has one that could be read."""


def read_records(
    what: str, data: bytes, offset: int, end: int, known: Container[int]
) -> Iterator[tuple[int, int, int, int]]:
    """Each known record's (type, first byte of its value, one past the last, first byte of its type).

    Unknown odd records are passed over, but counted for the order. Raises BadTlv for an unknown even type, an order
    that does not strictly increase, a type or length that is not minimal or is cut off.
    """
    previous = -1
    while offset < end:
        start = offset
        tlv_type = 0
        try:
            tlv_type, offset = read_bigsize(data, offset, end)
            length, offset = read_bigsize(data, offset, end)
        except DecodeError as error:
            raise BadTlv(what, f"type or length: {error.why}", tlv_type, start) from None
        if tlv_type <= previous:
            raise BadTlv(what, f"type {tlv_type} after type {previous}", tlv_type, start)
        if length > end - offset:
            raise BadTlv(what, f"type {tlv_type}: {length} bytes, {end - offset} are left", tlv_type, start)
        if tlv_type in known:
            yield tlv_type, offset, offset + length, start
        elif tlv_type % 2 == 0:
            raise BadTlv(what, f"type {tlv_type} is unknown and even", tlv_type, start)
        previous = tlv_type
        offset += length


def write_record(tlv_type: int, value: bytes) -> bytes:
    return write_bigsize(tlv_type) + write_bigsize(len(value)) + value
