import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.types import PaymentPreimage, PaymentSecret
from pyln_fast.wire.onion_payloads import (
    BadOnionPayload,
    OnionPayload,
    PaymentData,
    check_final,
    check_forward,
    decode_payload,
    encode_payload,
)

POINT = b"\x03" + bytes(31) + b"\x01"
KEYSEND = 5482373484
U64 = st.integers(0, 2**64 - 1)


CUSTOM_TYPES = st.integers(65536, 2**64 - 1).filter(lambda tlv_type: tlv_type != KEYSEND)


def bytes_of(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


PAYLOADS = st.builds(
    OnionPayload,
    amt_to_forward=st.none() | U64,
    outgoing_cltv_value=st.none() | st.integers(0, 2**32 - 1),
    short_channel_id=st.none() | U64,
    payment_data=st.none() | st.builds(PaymentData, bytes_of(32).map(PaymentSecret), U64),
    encrypted_recipient_data=st.none() | st.binary(max_size=300),
    current_path_key=st.none() | st.just(POINT),
    payment_metadata=st.none() | st.binary(max_size=300),
    total_amount_msat=st.none() | U64,
    keysend_preimage=st.none() | bytes_of(32).map(PaymentPreimage),
    custom_tlvs=st.dictionaries(CUSTOM_TYPES, st.binary(max_size=20), max_size=3).map(
        lambda records: tuple(sorted(records.items()))
    ),
)


# BOLT 4, onion-test.json: the payloads of its hops, each behind its length.
@pytest.mark.parametrize(
    ("raw", "payload"),
    [
        ("1202023a98040205dc06080000000000000001", OnionPayload(15000, 1500, 1)),
        ("12020230d4040204e206080000000000000003", OnionPayload(12500, 1250, 3)),
        ("1202022710040203e806080000000000000004", OnionPayload(10000, 1000, 4)),
    ],
)
def test_bolt_4_payloads(raw: str, payload: OnionPayload) -> None:
    stream = bytes.fromhex(raw)[1:]
    assert decode_payload(stream) == payload
    assert encode_payload(payload) == stream


def test_an_unknown_odd_record_is_passed_over() -> None:
    # BOLT 4, onion-test.json, second hop: type 513 holds 60 bytes.
    stream = bytes.fromhex("020236b00402057806080000000000000002fd02013c") + bytes(60)
    assert decode_payload(stream) == OnionPayload(14000, 1400, 2)


@settings(max_examples=150)
@given(PAYLOADS)
def test_round_trip(payload: OnionPayload) -> None:
    assert decode_payload(encode_payload(payload)) == payload


@settings(max_examples=30)
@given(PAYLOADS)
def test_cut_at_every_byte(payload: OnionPayload) -> None:
    stream = encode_payload(payload)
    for size in range(len(stream)):
        try:
            assert encode_payload(decode_payload(stream[:size])) == stream[:size]
        except BadOnionPayload as error:
            assert error.offset < size or size == 0  # noqa: PT017


@pytest.mark.parametrize(
    ("raw", "tlv_type", "offset"),
    [
        ("0201ff" + "04020001", 4, 3),
        ("0201ff" + "04020100" + "0807" + "00" * 7, 8, 7),
        ("0201ff" + "0201ff", 2, 3),
        ("0201ff" + "0e00", 14, 3),
        ("0201ff" + "0601ff", 6, 3),
        ("0c21" + "04" + "00" * 32, 12, 0),
        ("0201ff" + "fd", 0, 3),
        ("0203ff", 2, 0),
        ("02090102030405060708ff", 2, 0),
        ("ff0000000146c6616c" + "1f" + "00" * 31, 5482373484, 0),
    ],
)
def test_the_error_names_type_and_offset(raw: str, tlv_type: int, offset: int) -> None:
    with pytest.raises(BadOnionPayload) as caught:
        decode_payload(bytes.fromhex(raw))
    assert (caught.value.tlv_type, caught.value.offset) == (tlv_type, offset)


def test_a_custom_record_has_a_type_of_its_own() -> None:
    for records in (((65535, b""),), ((KEYSEND, b""),), ((65536, b""), (65536, b""))):
        with pytest.raises(AssertionError):
            encode_payload(OnionPayload(custom_tlvs=records))


def test_secrets_do_not_print() -> None:
    payload = OnionPayload(
        1, 2, payment_data=PaymentData(PaymentSecret(b"s" * 32), 1), keysend_preimage=PaymentPreimage(b"s" * 32)
    )
    decoded = decode_payload(encode_payload(payload))
    assert "ssss" not in repr(decoded)
    assert type(decoded.keysend_preimage) is PaymentPreimage
    assert type(decoded.payment_data.payment_secret) is PaymentSecret


def test_check_forward() -> None:
    payload = OnionPayload(1000, 500000, 7)
    assert check_forward(payload) == (7, 1000, 500000)
    odd = OnionPayload(1000, 500000, 7, custom_tlvs=((65537, b""),))
    assert check_forward(odd) == (7, 1000, 500000)
    wrong = {
        2: OnionPayload(None, 500000, 7),
        4: OnionPayload(1000, None, 7),
        6: OnionPayload(1000, 500000),
        12: OnionPayload(1000, 500000, 7, current_path_key=POINT),
        65536: OnionPayload(1000, 500000, 7, custom_tlvs=((65536, b""),)),
    }
    for tlv_type, bad in wrong.items():
        with pytest.raises(BadOnionPayload) as caught:
            check_forward(bad)
        assert caught.value.tlv_type == tlv_type


def test_check_final() -> None:
    data = PaymentData(PaymentSecret(bytes(32)), 5000)
    assert check_final(OnionPayload(1000, 500000, payment_data=data)) == (1000, 500000, 5000)
    assert check_final(OnionPayload(1000, 500000)) == (1000, 500000, 1000)
    with pytest.raises(BadOnionPayload):
        check_final(OnionPayload(1000))
