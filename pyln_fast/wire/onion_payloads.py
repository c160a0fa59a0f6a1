"""BOLT 4, `payload` format: what the onion tells one hop of a payment.

The bytes here are the TLV stream alone, without the length that stands before it in the onion.
"""

from __future__ import annotations

from typing import Annotated, Any, get_type_hints

import msgspec

from pyln_fast.errors import DecodeError
from pyln_fast.types import Msat, PaymentPreimage, PaymentSecret, PublicKey, ShortChannelId
from pyln_fast.wire.fields import POINT_KIND, U64_KIND, Kind, Rest, Tlv, Truncated, bytes_of
from pyln_fast.wire.layout import Nested
from pyln_fast.wire.tlv import BadTlv, read_records, write_record

FIRST_CUSTOM_TLV = 65536


class BadOnionPayload(BadTlv):
    """What BOLT 4's invalid_onion_payload reports: `tlv_type` and its `offset` in the payload."""


class PaymentData(msgspec.Struct, frozen=True, array_like=True):
    payment_secret: Annotated[PaymentSecret, bytes_of(32, PaymentSecret)]
    total_msat: Annotated[Msat, Truncated(8)]


class OnionPayload(msgspec.Struct, frozen=True, array_like=True):
    """The records of one hop; which of them it needs depends on the hop (`check_forward`, `check_final`)."""

    amt_to_forward: Annotated[Msat | None, Tlv(2, Truncated(8))] = None
    outgoing_cltv_value: Annotated[int | None, Tlv(4, Truncated(4))] = None
    short_channel_id: Annotated[ShortChannelId | None, Tlv(6, U64_KIND)] = None
    payment_data: Annotated[PaymentData | None, Tlv(8, Nested(PaymentData))] = None
    encrypted_recipient_data: Annotated[bytes | None, Tlv(10, Rest())] = None
    current_path_key: Annotated[PublicKey | None, Tlv(12, POINT_KIND)] = None
    payment_metadata: Annotated[bytes | None, Tlv(16, Rest())] = None
    total_amount_msat: Annotated[Msat | None, Tlv(18, Truncated(8))] = None
    keysend_preimage: Annotated[PaymentPreimage | None, Tlv(5482373484, bytes_of(32, PaymentPreimage))] = None
    """bLIP 3: the recipient asked for no invoice and reads the preimage here."""
    custom_tlvs: tuple[tuple[int, bytes], ...] = ()
    """Records of the applications at both ends, types from 65536 on, in order. An even one that the recipient's
    application does not know must fail the payment."""


def decode_payload(data: bytes) -> OnionPayload:
    """Raises BadOnionPayload."""
    values: dict[str, Any] = {}
    custom = []
    try:
        for tlv_type, start, stop, record in read_records("onion payload", data, 0, len(data), _KnownOrCustom()):
            known = _KNOWN.get(tlv_type)
            if known is None:
                custom.append((tlv_type, data[start:stop]))
                continue
            name, kind = known
            try:
                values[name], last = kind.read(data, start, stop)
            except DecodeError as error:
                raise BadTlv("onion payload", f"{name}: {error.why}", tlv_type, record) from None
            if last != stop:
                raise BadTlv("onion payload", f"{name}: {stop - last} bytes too many", tlv_type, record)
    except BadTlv as error:
        raise BadOnionPayload(error.what, error.why, error.tlv_type, error.offset) from None
    return OnionPayload(**values, custom_tlvs=tuple(custom))


def encode_payload(payload: OnionPayload) -> bytes:
    """Records in order of their type; a custom type below 65536 or used twice is the caller's bug."""
    records = dict(payload.custom_tlvs)
    assert len(records) == len(payload.custom_tlvs)
    assert all(tlv_type >= FIRST_CUSTOM_TLV and tlv_type not in _KNOWN for tlv_type in records)
    for tlv_type, (name, kind) in _KNOWN.items():
        value = getattr(payload, name)
        if value is not None:
            records[tlv_type] = kind.write(value)
    return b"".join(write_record(tlv_type, records[tlv_type]) for tlv_type in sorted(records))


def check_forward(payload: OnionPayload) -> tuple[ShortChannelId, Msat, int]:
    """The outgoing channel, `amt_to_forward` and `outgoing_cltv_value` of a hop outside a blinded path.

    Raises BadOnionPayload naming what is missing, or a custom record that a forwarding node must know and does not.
    """
    amount, cltv = _check_amounts(payload)
    if payload.short_channel_id is None:
        raise _wrong(6, "short_channel_id is missing")
    for tlv_type, _ in payload.custom_tlvs:
        if tlv_type % 2 == 0:
            raise _wrong(tlv_type, f"type {tlv_type} is unknown and even")
    return payload.short_channel_id, amount, cltv


def check_final(payload: OnionPayload) -> tuple[Msat, int, Msat]:
    """`amt_to_forward`, `outgoing_cltv_value` and the payment's total for the last hop, outside a blinded path.

    Raises BadOnionPayload.
    """
    amount, cltv = _check_amounts(payload)
    # BOLT 4: without a total_msat, the amount of this HTLC is the total.
    return amount, cltv, amount if payload.payment_data is None else payload.payment_data.total_msat


def _check_amounts(payload: OnionPayload) -> tuple[Msat, int]:
    if payload.amt_to_forward is None:
        raise _wrong(2, "amt_to_forward is missing")
    if payload.outgoing_cltv_value is None:
        raise _wrong(4, "outgoing_cltv_value is missing")
    if payload.current_path_key is not None and payload.encrypted_recipient_data is None:
        raise _wrong(12, "current_path_key without encrypted_recipient_data")
    return payload.amt_to_forward, payload.outgoing_cltv_value


def _wrong(tlv_type: int, why: str) -> BadOnionPayload:
    return BadOnionPayload("onion payload", why, tlv_type, 0)


def _known_records() -> dict[int, tuple[str, Kind]]:
    hints = get_type_hints(OnionPayload, include_extras=True)
    marks = ((name, hints[name].__metadata__[0]) for name in OnionPayload.__struct_fields__ if name != "custom_tlvs")
    return {mark.tlv_type: (name, mark.kind) for name, mark in marks}


_KNOWN = _known_records()


class _KnownOrCustom:
    def __contains__(self, tlv_type: object) -> bool:
        return tlv_type in _KNOWN or (isinstance(tlv_type, int) and tlv_type >= FIRST_CUSTOM_TLV)
