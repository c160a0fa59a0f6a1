"""The parts of a BOLT 11 invoice and how each is written: amounts, tagged fields, route hints, fallback addresses."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pyln_fast.errors import DecodeError, LocalError
from pyln_fast.tx import bech32
from pyln_fast.tx.keys import is_valid_public_key
from pyln_fast.types import Blocks, Msat, NodeId, PublicKey, ShortChannelId

MAX_FIELD_GROUPS = 1023
"""BOLT 11: a field's length has 10 bits, so a field holds 639 bytes."""

MSAT_PER_BITCOIN = 100_000_000_000
MAX_AMOUNT_MSAT = 21_000_000 * MSAT_PER_BITCOIN

# In tenths of a millisatoshi, so that pico is a whole number; the largest first.
_TENTHS = {"": 10 * MSAT_PER_BITCOIN, "m": 10 * 10**8, "u": 10 * 10**5, "n": 10 * 10**2, "p": 1}
_HOP_BYTES = 51


class InvalidInvoice(DecodeError):
    """A BOLT 11 invoice that must not be paid."""


class InvoiceRefused(LocalError):
    """An invoice that BOLT 11 cannot express: which field, and why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"no such invoice can be written: {what}: {why}")
        self.what = what
        self.why = why


class RouteHintHop(msgspec.Struct, frozen=True, array_like=True):
    """One channel of an `r` field; `src_node_id` is where it starts."""

    src_node_id: NodeId
    short_channel_id: ShortChannelId
    fee_base_msat: Msat
    fee_proportional_millionths: int
    cltv_expiry_delta: Blocks


RouteHint = tuple[RouteHintHop, ...]
"""From a public node to the payee, in order."""


class Fallback(msgspec.Struct, frozen=True, array_like=True):
    """An on-chain address for when Lightning fails. The version is a witness version, or one of the two below."""

    version: int
    program: bytes
    """A witness program, or a hash of 20 bytes."""

    @property
    def script_pubkey(self) -> bytes:
        if self.version == P2PKH_FALLBACK:
            return b"\x76\xa9\x14" + self.program + b"\x88\xac"
        if self.version == P2SH_FALLBACK:
            return b"\xa9\x14" + self.program + b"\x87"
        opcode = self.version and self.version + 0x50
        return bytes((opcode, len(self.program))) + self.program


P2PKH_FALLBACK = 17
P2SH_FALLBACK = 18


def encode_amount(amount_msat: Msat | None) -> str:
    """With the largest multiplier that leaves a whole number. Raises InvoiceRefused."""
    if amount_msat is None:
        return ""
    in_range("amount", amount_msat, 1, MAX_AMOUNT_MSAT)
    tenths = amount_msat * 10
    multiplier = next(letter for letter, unit in _TENTHS.items() if tenths % unit == 0)
    return f"{tenths // _TENTHS[multiplier]}{multiplier}"


def decode_amount(text: str) -> Msat | None:
    """What stands between the prefix and the separator. Raises InvalidInvoice."""
    if not text:
        return None
    digits, multiplier = (text, "") if text[-1].isdigit() else (text[:-1], text[-1])
    if multiplier not in _TENTHS:
        raise InvalidInvoice("amount", f"{multiplier!r} is no multiplier")
    if not digits.isdigit() or not digits.isascii() or len(digits) > 20:
        raise InvalidInvoice("amount", "not a decimal number of at most 20 digits")
    if digits[0] == "0":
        raise InvalidInvoice("amount", "zero, or a number with a leading 0")
    if multiplier == "p" and digits[-1] != "0":
        raise InvalidInvoice("amount", f"{digits} pico-bitcoin are not a whole number of millisatoshi")
    amount_msat = int(digits) * _TENTHS[multiplier] // 10
    if amount_msat > MAX_AMOUNT_MSAT:
        raise InvalidInvoice("amount", f"{amount_msat} msat, more than there can be")
    return Msat(amount_msat)


def split_fields(groups: bytes) -> Iterator[tuple[str, bytes]]:
    """Each tagged field's letter and data. Raises InvalidInvoice if the last one is cut off."""
    at = 0
    while at < len(groups):
        length = bech32.to_int(groups[at + 1 : at + 3])
        end = at + 3 + length
        if at + 3 > len(groups) or end > len(groups):
            raise InvalidInvoice(f"{bech32.CHARSET[groups[at]]} field", "it goes on after the end of the data")
        yield bech32.CHARSET[groups[at]], groups[at + 3 : end]
        at = end


def tagged(letter: str, data: bytes) -> bytes:
    """One tagged field in groups. Raises InvoiceRefused."""
    if len(data) > MAX_FIELD_GROUPS:
        raise InvoiceRefused(f"{letter} field", f"{len(data)} groups, BOLT 11 allows {MAX_FIELD_GROUPS}")
    return bytes((bech32.CHARSET.index(letter),)) + bech32.from_int(len(data), 2) + data


def decode_minimal(letter: str, data: bytes) -> int:
    """A number (`x`, `c`) or bit vector (`9`) that may not begin with a zero group. Raises InvalidInvoice."""
    if data and data[0] == 0:
        raise InvalidInvoice(f"{letter} field", "it begins with zeros: not the shortest encoding")
    return bech32.to_int(data)


def in_range(what: str, value: int, least: int, most: int) -> int:
    """`value`. Raises InvoiceRefused if it is not in the range."""
    if not least <= value <= most:
        raise InvoiceRefused(what, f"{value}, it may be {least} to {most}")
    return value


def encode_route_hint(hops: RouteHint) -> bytes:
    """Raises InvoiceRefused."""
    if not hops:
        raise InvoiceRefused("route hint", "it has no hops")
    raw = b"".join(
        hop.src_node_id
        + hop.short_channel_id.to_bytes(8, "big")
        + in_range("fee_base_msat", hop.fee_base_msat, 0, 0xFFFFFFFF).to_bytes(4, "big")
        + in_range("fee_proportional_millionths", hop.fee_proportional_millionths, 0, 0xFFFFFFFF).to_bytes(4, "big")
        + in_range("cltv_expiry_delta", hop.cltv_expiry_delta, 0, 0xFFFF).to_bytes(2, "big")
        for hop in hops
    )
    return bech32.to_groups(raw)


def decode_route_hint(data: bytes) -> RouteHint:
    """Raises InvalidInvoice."""
    raw = bech32.to_bytes(data)
    if not raw or len(raw) % _HOP_BYTES:
        raise InvalidInvoice("r field", f"{len(raw)} bytes, not a number of hops of {_HOP_BYTES}")
    return tuple(_decode_hop(raw[at : at + _HOP_BYTES]) for at in range(0, len(raw), _HOP_BYTES))


def _decode_hop(raw: bytes) -> RouteHintHop:
    if not is_valid_public_key(raw[:33]):
        raise InvalidInvoice("r field", f"{raw[:33].hex()} is no public key")
    return RouteHintHop(
        NodeId(PublicKey(raw[:33])),
        ShortChannelId(int.from_bytes(raw[33:41], "big")),
        Msat(int.from_bytes(raw[41:45], "big")),
        int.from_bytes(raw[45:49], "big"),
        Blocks(int.from_bytes(raw[49:51], "big")),
    )


def encode_fallback(fallback: Fallback) -> bytes:
    """Raises InvoiceRefused."""
    if not _fallback_is_valid(fallback):
        raise InvoiceRefused("fallback", f"{len(fallback.program)} bytes for version {fallback.version}")
    return bytes((fallback.version,)) + bech32.to_groups(fallback.program)


def decode_fallback(data: bytes) -> Fallback | None:
    """None for a version that we do not know: BOLT 11 has readers skip it. Raises InvalidInvoice."""
    if not data:
        raise InvalidInvoice("f field", "empty")
    if data[0] > P2SH_FALLBACK:
        return None
    fallback = Fallback(data[0], bech32.to_bytes(data[1:]))
    if not _fallback_is_valid(fallback):
        raise InvalidInvoice("f field", f"{len(fallback.program)} bytes for version {fallback.version}")
    return fallback


def _fallback_is_valid(fallback: Fallback) -> bool:
    """BIP 141's programs, or a hash of 20 bytes."""
    length = len(fallback.program)
    if fallback.version == 0:
        return length in (20, 32)
    if 0 < fallback.version <= 16:
        return 2 <= length <= 40
    return fallback.version in (P2PKH_FALLBACK, P2SH_FALLBACK) and length == 20
