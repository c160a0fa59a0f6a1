"""Every message: round trips, cuts at every byte, garbage behind; then the vectors of BOLTs 1 and 7."""

import json
import zlib
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast import records
from pyln_fast.types import PaymentPreimage, Secret
from pyln_fast.wire import fields
from pyln_fast.wire.channel_msgs import (
    ChannelReestablish,
    CommitmentSigned,
    NextFunding,
    OpenChannel,
    RevokeAndAck,
    UpdateAddHtlc,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.codec import MESSAGES, MessageTooLong, UnknownMessage, decode, encode, signed_part
from pyln_fast.wire.gossip_msgs import (
    ChannelAnnouncement,
    ChannelUpdate,
    ChannelUpdateChecksums,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
)
from pyln_fast.wire.layout import Layout, Message, Nested, bolt_name
from pyln_fast.wire.setup_msgs import Init, Ping, Pong
from pyln_fast.wire.tlv import BadMessage

VECTORS = Path(__file__).parent.parent / "vectors"
POINT = b"\x02" + bytes(31) + b"\x01"


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    match kind:
        case fields.POINT_KIND:
            return st.just(POINT)
        case fields.Fixed(is_bytes=True):
            raw = st.binary(min_size=kind.size, max_size=kind.size)
            return raw if kind.convert is None else raw.map(kind.convert)
        case fields.Fixed(is_signed=True):
            return st.integers(-(2**63), 2**63 - 1)
        case fields.Fixed():
            return st.integers(0, 2 ** (8 * kind.size) - 1)
        case fields.Counted():
            return st.lists(values_of(kind.kind), max_size=4).map(tuple)
        case fields.Repeated():
            size = kind.count
            return st.lists(values_of(kind.kind), min_size=size or 0, max_size=3 if size is None else size).map(tuple)
        case fields.Flag():
            return st.booleans()
        case fields.BigSize():
            return st.integers(0, 2**64 - 1)
        case Nested():
            return structs(kind._layout.struct)
        case _:
            return st.binary(max_size=40)


def structs(struct: Any) -> st.SearchStrategy[Any]:
    strategies = []
    hints = get_type_hints(struct, include_extras=True)
    for name in struct.__struct_fields__:
        mark = hints[name].__metadata__[0]
        if not isinstance(mark, fields.Tlv):
            strategies.append(values_of(mark))
        elif isinstance(mark.kind, fields.Flag):
            strategies.append(st.booleans())
        else:
            strategies.append(st.none() | values_of(mark.kind))
    return st.builds(struct, *strategies)


@pytest.mark.parametrize("message", MESSAGES, ids=bolt_name)
@settings(max_examples=25)
@given(data=st.data())
def test_round_trip(message: type[Message], data: st.DataObject) -> None:
    value = data.draw(structs(message))
    raw = encode(value)
    assert int.from_bytes(raw[:2], "big") == message.TYPE
    assert decode(raw) == value


def plain_size(message: type[Message], raw: bytes) -> int:
    """Where the fields end and the TLV stream begins."""
    layout = Layout(message)
    offset, values = 2, []
    for read, _, _, _ in layout._steps:
        offset = read(raw, offset, len(raw), values)
    return offset


@pytest.mark.parametrize("message", MESSAGES, ids=bolt_name)
@settings(max_examples=5)
@given(data=st.data())
def test_cut_at_every_byte(message: type[Message], data: st.DataObject) -> None:
    """A cut message does not decode, except where the cut falls between two TLV records: that is a shorter message."""
    raw = encode(data.draw(structs(message)))
    fields_end = plain_size(message, raw)
    keeps_tail = message.__struct_fields__[-1] == "extension"
    for size in range(len(raw)):
        try:
            shorter = decode(raw[:size])
        except BadMessage:
            continue
        assert encode(shorter) == raw[:size]
        if not keeps_tail:
            assert size >= fields_end


@pytest.mark.parametrize("message", MESSAGES, ids=bolt_name)
@settings(max_examples=3)
@given(data=st.data())
def test_what_follows_is_a_tlv_stream(message: type[Message], data: st.DataObject) -> None:
    value = data.draw(structs(message))
    raw = encode(value)
    if message.__struct_fields__[-1] == "extension":
        assert encode(decode(raw + b"anything")) == raw + b"anything"
        return
    unknown_odd = b"\xfd\xff\x01\x02ab"
    assert decode(raw + unknown_odd) == value
    for bad in (b"\xfd\xff\x00\x00", b"\xfd\xff\x01", unknown_odd * 2, b"\xfd\x00\x01\x00"):
        with pytest.raises(BadMessage):
            decode(raw + bad)


def test_secrets_have_types_that_do_not_print() -> None:
    revoke = decode(encode(RevokeAndAck(bytes(32), Secret(b"s" * 32), POINT)))
    fulfill = decode(encode(UpdateFulfillHtlc(bytes(32), 1, PaymentPreimage(b"s" * 32))))
    back = decode(encode(ChannelReestablish(bytes(32), 1, 0, Secret(b"s" * 32), POINT, NextFunding(bytes(32), 1))))
    for message in (revoke, fulfill, back):
        assert "ssss" not in repr(message)
    assert type(fulfill.payment_preimage) is PaymentPreimage
    assert type(revoke.per_commitment_secret) is type(back.your_last_per_commitment_secret) is Secret


def test_a_bad_message_says_what_where_and_of_which_channel() -> None:
    raw = encode(RevokeAndAck(b"c" * 32, Secret(bytes(32)), POINT))
    with pytest.raises(BadMessage) as caught:
        decode(raw[:70])
    assert str(caught.value) == "revoke_and_ack.next_per_commitment_point: 4 of its 33 bytes are there"
    assert (caught.value.message_type, caught.value.channel_id) == (133, b"c" * 32)
    with pytest.raises(BadMessage, match=r"revoke_and_ack.next_per_commitment_point: not a point of the curve"):
        decode(raw[:66] + b"\x04" + raw[67:])
    with pytest.raises(BadMessage, match=r"revoke_and_ack.channel_id: 30 of its 32 bytes") as caught:
        decode(raw[:32])
    assert caught.value.channel_id is None


def test_no_point_decodes_that_is_not_a_point() -> None:
    raw = encode(UpdateAddHtlc(bytes(32), 0, 1, bytes(32), 1, bytes(1366), POINT))
    assert decode(raw).blinded_path == POINT
    # Zeros, an uncompressed prefix, and an x that is on no point.
    for bad in (bytes(33), b"\x04" + POINT[1:], b"\x02" + bytes(31) + b"\x05"):
        with pytest.raises(BadMessage, match="type 0: not a point of the curve"):
            decode(raw[:-33] + bad)


def test_unknown_types() -> None:
    assert decode(b"\x01\x2dxyz") == UnknownMessage(301, b"xyz")
    assert decode(b"\x80\x00xyz") == UnknownMessage(32768, b"xyz")
    assert encode(UnknownMessage(32768, b"xyz")) == b"\x80\x00xyz"
    with pytest.raises(BadMessage, match="type 300 is unknown and even"):
        decode(b"\x01\x2cxyz")
    for short in (b"", b"\x00"):
        with pytest.raises(BadMessage):
            decode(short)


def test_a_message_is_at_most_65535_bytes() -> None:
    assert len(encode(Pong(bytes(65531)))) == 65535
    with pytest.raises(MessageTooLong) as caught:
        encode(Ping(0, bytes(65531)))
    assert caught.value.size == 65537


def test_encode_refuses_bytes_of_the_wrong_length() -> None:
    with pytest.raises(AssertionError):
        encode(CommitmentSigned(bytes(31), bytes(64), ()))
    with pytest.raises(AssertionError):
        encode(CommitmentSigned(bytes(32), bytes(64), (bytes(63),)))


def test_open_channel_byte_for_byte() -> None:
    """Laid out by hand from BOLT 2."""
    points = tuple(b"\x02" + bytes(31) + bytes([x]) for x in (1, 2, 3, 4, 6, 8))
    message = OpenChannel(
        b"\x01" * 32,
        b"\x02" * 32,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        *points,
        1,
        upfront_shutdown_script=b"",
        channel_type=b"\x10",
    )
    amounts = b"".join(n.to_bytes(8, "big") for n in range(3, 9))
    expected = (
        b"\x00\x20" + b"\x01" * 32 + b"\x02" * 32 + amounts + b"\0\0\0\x09\0\x0a\0\x0b" + b"".join(points) + b"\x01"
    ) + b"\x00\x00\x01\x01\x10"
    assert encode(message) == expected
    assert decode(expected) == message


def test_signatures_of_gossip_are_over_what_follows_them() -> None:
    """BOLT 7, byte for byte: every field behind the signatures, and the bytes that a later BOLT may append."""
    tail = b"\x01\x02\x03"
    update = ChannelUpdate(b"s" * 64, b"c" * 32, 7, 8, 1, 3, 40, 1000, 1, 100, 10**9, tail)
    numbers = bytes.fromhex("0000000000000007000000080103002800000000000003e80000000100000064")
    assert signed_part(update) == b"c" * 32 + numbers + (10**9).to_bytes(8, "big") + tail
    assert (update.direction, update.disabled) == (1, True)
    node = NodeAnnouncement(b"s" * 64, b"f", 9, b"n" * 33, b"rgb", b"a" * 32, b"", tail)
    assert signed_part(node) == b"\0\x01f" + b"\0\0\0\x09" + b"n" * 33 + b"rgb" + b"a" * 32 + b"\0\0" + tail
    keys = (b"1" * 33, b"2" * 33, b"3" * 33, b"4" * 33)
    channel = ChannelAnnouncement(*[b"s" * 64] * 4, b"", b"c" * 32, 7, *keys, tail)
    assert signed_part(channel) == b"\0\0" + b"c" * 32 + bytes(7) + b"\x07" + b"".join(keys) + tail


def test_bolt_1_extension_vectors() -> None:
    vectors = json.loads((VECTORS / "bolt01-extension.json").read_text())
    for case in vectors["valid"]:
        assert decode(bytes.fromhex(case["message"])) == Init(b"", b"")
    for case in vectors["invalid"]:
        with pytest.raises(BadMessage):
            decode(bytes.fromhex(case["message"]))


def packed(numbers: list[int], size: int) -> bytes:
    return b"".join(number.to_bytes(size, "big") for number in numbers)


def unzipped(encoding_and_data: bytes) -> bytes:
    """The array behind its encoding byte; half of the vectors still use zlib, which BOLT 7 no longer lets us send."""
    encoding, data = encoding_and_data[0], encoding_and_data[1:]
    return zlib.decompress(data) if encoding == 1 else data


QUERIES = json.loads((VECTORS / "bolt07-extended-queries.json").read_text())


@pytest.mark.parametrize("case", QUERIES, ids=lambda case: case["hex"][-12:])
def test_bolt_7_extended_queries(case: dict[str, Any]) -> None:
    raw, msg = bytes.fromhex(case["hex"]), case["msg"]
    message = decode(raw)
    assert encode(message) == raw
    assert message.chain_hash.hex() == msg["chainHash"]
    if msg["type"] != "QueryChannelRange":
        parts = [tuple(map(int, scid.split("x"))) for scid in msg["shortChannelIds"]["array"]]
        assert unzipped(message.encoded_short_ids) == packed([b << 40 | t << 16 | o for b, t, o in parts], 8)
    if msg["type"] != "QueryShortChannelIds":
        assert (message.first_blocknum, message.number_of_blocks) == (msg["firstBlockNum"], msg["numberOfBlocks"])
    match message, msg.get("tlvStream", {}).get("records"):
        case QueryChannelRange(query_option=option), records:
            assert option == (3 if records == ["WANT_TIMESTAMPS | WANT_CHECKSUMS"] else None)
        case QueryShortChannelIds(query_flags=None), records:
            assert records == []
        case QueryShortChannelIds(query_flags=flags), [record]:
            assert unzipped(bytes([flags.encoding_type]) + flags.encoded_query_flags) == bytes(record["array"])
        case ReplyChannelRange(timestamps_tlv=stamps, checksums_tlv=sums), _:
            assert message.sync_complete == msg["complete"]
            assert (stamps is not None) == ("timestamps" in msg)
            if stamps is not None:
                pairs = [n for one in msg["timestamps"]["timestamps"] for n in (one["timestamp1"], one["timestamp2"])]
                assert unzipped(bytes([stamps.encoding_type]) + stamps.encoded_timestamps) == packed(pairs, 4)
            assert (sums or ()) == tuple(
                ChannelUpdateChecksums(one["checksum1"], one["checksum2"])
                for one in msg.get("checksums", {"checksums": []})["checksums"]
            )
        case _:
            raise AssertionError


UPDATES = UpdateAddHtlc | UpdateFulfillHtlc | ChannelReestablish | RevokeAndAck


@settings(max_examples=50)
@given(st.one_of(*map(structs, UPDATES.__args__)))
def test_a_record_can_hold_messages(message: Message) -> None:
    """Whichever of several it is, secrets included."""
    assert records.decode(UPDATES, records.encode(message)) == message
