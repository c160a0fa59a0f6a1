from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.errors import DecodeError
from pyln_fast.wire import fields
from pyln_fast.wire.failure_msgs import (
    BADONION,
    FAILURES,
    NODE,
    PERM,
    UPDATE,
    Failure,
    FeeInsufficient,
    IncorrectOrUnknownPaymentDetails,
    InvalidOnionPayload,
    TemporaryNodeFailure,
    UnknownFailure,
    decode_failure,
    encode_failure,
    failure_name,
)
from pyln_fast.wire.layout import bolt_name

# BOLT 4, Failure Messages, in its order.
CODES = {
    "temporary_node_failure": NODE | 2,
    "permanent_node_failure": PERM | NODE | 2,
    "required_node_feature_missing": PERM | NODE | 3,
    "invalid_onion_version": BADONION | PERM | 4,
    "invalid_onion_hmac": BADONION | PERM | 5,
    "invalid_onion_key": BADONION | PERM | 6,
    "temporary_channel_failure": UPDATE | 7,
    "permanent_channel_failure": PERM | 8,
    "required_channel_feature_missing": PERM | 9,
    "unknown_next_peer": PERM | 10,
    "amount_below_minimum": UPDATE | 11,
    "fee_insufficient": UPDATE | 12,
    "incorrect_cltv_expiry": UPDATE | 13,
    "expiry_too_soon": UPDATE | 14,
    "incorrect_or_unknown_payment_details": PERM | 15,
    "final_incorrect_cltv_expiry": 18,
    "final_incorrect_htlc_amount": 19,
    "channel_disabled": UPDATE | 20,
    "expiry_too_far": 21,
    "invalid_onion_payload": PERM | 22,
    "mpp_timeout": 23,
    "invalid_onion_blinding": BADONION | PERM | 24,
}


def failures(failure: type[Failure]) -> st.SearchStrategy[Failure]:
    hints = get_type_hints(failure, include_extras=True)
    values = []
    for name in failure.__struct_fields__:
        kind = hints[name].__metadata__[0]
        if isinstance(kind, fields.Prefixed):
            values.append(st.binary(max_size=140))
        elif isinstance(kind, fields.BigSize):
            values.append(st.integers(0, 2**64 - 1))
        elif kind.is_bytes:
            values.append(st.binary(min_size=kind.size, max_size=kind.size))
        else:
            values.append(st.integers(0, 2 ** (8 * kind.size) - 1))
    return st.builds(failure, *values)


def test_codes_and_flags() -> None:
    assert (BADONION, PERM, NODE, UPDATE) == (0x8000, 0x4000, 0x2000, 0x1000)
    assert {bolt_name(failure): failure.CODE for failure in FAILURES} == CODES
    assert failure_name(PERM | 15) == "incorrect_or_unknown_payment_details"
    assert failure_name(17) == "unknown failure 0x0011"


@pytest.mark.parametrize("failure", FAILURES, ids=bolt_name)
@settings(max_examples=20)
@given(data=st.data())
def test_round_trip_and_cuts(failure: type[Failure], data: st.DataObject) -> None:
    value = data.draw(failures(failure))
    raw = encode_failure(value)
    assert decode_failure(raw) == value
    assert decode_failure(raw + b"\xfd\xff\x01\x01x") == value  # BOLT 4: a TLV stream may follow.
    for size in range(2, len(raw)):
        assert decode_failure(raw[:size]) == UnknownFailure(failure.CODE, raw[2:size])


def test_bytes() -> None:
    # BOLT 4, onion-error-test.json.
    assert encode_failure(TemporaryNodeFailure()).hex() == "2002"
    details = IncorrectOrUnknownPaymentDetails(100, 800000)
    assert encode_failure(details).hex() == "400f" + "0000000000000064" + "000c3500"
    assert encode_failure(FeeInsufficient(10, b"cu")).hex() == "100c" + "000000000000000a" + "0002" + b"cu".hex()
    assert encode_failure(InvalidOnionPayload(65536, 9)).hex() == "4016" + "fe00010000" + "0009"


def test_what_is_unknown_keeps_its_code() -> None:
    assert decode_failure(b"\x40\x10data") == UnknownFailure(PERM | 16, b"data")
    assert encode_failure(UnknownFailure(PERM | 16, b"data")) == b"\x40\x10data"
    for short in (b"", b"\x20"):
        with pytest.raises(DecodeError):
            decode_failure(short)
