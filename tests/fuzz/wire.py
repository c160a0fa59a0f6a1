"""Messages of peers and what onions carry: bytes are refused by a DecodeError, or can be written again."""

from __future__ import annotations

from contextlib import suppress

from pyln_fast.errors import DecodeError
from pyln_fast.wire import codec
from pyln_fast.wire.failure_msgs import FAILURES, decode_failure, encode_failure
from pyln_fast.wire.onion_payloads import (
    BadOnionPayload,
    check_final,
    check_forward,
    decode_payload,
    encode_payload,
)
from pyln_fast.wire.tlv import BadMessage, BadTlv, read_records, write_record


def wire_message(data: bytes) -> None:
    """One message with its type."""
    try:
        message = codec.decode(data)
    except BadMessage as error:
        assert error.message_type == (int.from_bytes(data[:2], "big") if len(data) >= 2 else 0)
        return
    try:
        written = codec.encode(message)
    except codec.MessageTooLong:
        assert len(data) > codec.MAX_MESSAGE_SIZE
        return
    assert codec.decode(written) == message
    # Every form is the only one, so what differs is what was left out: unknown odd records.
    assert written == data or len(written) < len(data)


def tlv_stream(data: bytes) -> None:
    """The first byte tells the known types: they are the multiples of it."""
    if not data:
        return
    step = 1 + data[0]
    known = range(0, 1 << 16, step)
    records = []
    try:
        for tlv_type, start, stop, first in read_records("fuzz", data, 1, len(data), known):
            assert 1 <= first < start <= stop <= len(data)
            assert tlv_type in known
            records.append((tlv_type, data[start:stop]))
    except BadTlv as error:
        assert 1 <= error.offset <= len(data)
        return
    written = b"".join(write_record(*record) for record in records)
    assert written == data[1:] or len(written) < len(data) - 1


def onion_payload(data: bytes) -> None:
    """A hop's payload, without its length."""
    try:
        payload = decode_payload(data)
    except BadOnionPayload as error:
        assert 0 <= error.offset <= len(data)
        return
    written = encode_payload(payload)
    assert decode_payload(written) == payload
    assert written == data or len(written) < len(data)
    for check in (check_forward, check_final):
        with suppress(BadOnionPayload):
            check(payload)


def failure_message(data: bytes) -> None:
    """What an erring node wrote. A TLV stream may follow the fields, so only known failures lose bytes."""
    try:
        failure = decode_failure(data)
    except DecodeError:
        assert len(data) < 2
        return
    written = encode_failure(failure)
    assert decode_failure(written) == failure
    assert written == data or (isinstance(failure, FAILURES) and len(written) < len(data))
