"""Onions, failures that come back, and invoices."""

from __future__ import annotations

import hashlib
from contextlib import suppress

from pyln_fast.errors import DecodeError
from pyln_fast.onion import failure_packet
from pyln_fast.onion.packet import OnionFailure, OnionTooLarge, Peeled, build, hop_size, peel
from pyln_fast.payment.invoice import Invoice, decode, sign
from pyln_fast.payment.invoice_fields import InvalidInvoice, InvoiceRefused
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.tx import bech32
from pyln_fast.tx.keys import public_key
from pyln_fast.types import NodeId, PrivateKey, Secret
from pyln_fast.wire.failure_msgs import encode_failure

KEYS = KeysManager(Secret(hashlib.sha256(b"fuzz").digest()), 1_700_000_000, 0)
NODE_SECRET = KEYS.get_node_secret_key()
HOP_SECRETS = tuple(PrivateKey(hashlib.sha256(b"hop %d" % hop).digest()) for hop in range(3))
SHARED_SECRETS = tuple(Secret(bytes([hop]) * 32) for hop in (1, 2, 3))


def onion_packet(data: bytes) -> None:
    """The first byte decides: the rest is a packet, or the payload of a packet that is made of it."""
    mode, rest = data[:1], data[1:]
    if mode != b"\x01":
        path_key = public_key(HOP_SECRETS[0]) if mode == b"\x02" else None
        peeled = peel(NODE_SECRET, rest, b"associated", path_key)
        assert isinstance(peeled, OnionFailure | Peeled)
        if isinstance(peeled, OnionFailure):
            encode_failure(peeled.failure)
        return
    hops = [(NodeId(public_key(secret)), rest) for secret in HOP_SECRETS]
    refused = len(rest) < 2 or 3 * hop_size(rest) > 1300
    try:
        packet, secrets = build(PrivateKey(b"\x07" * 32), hops, b"")
    except (ValueError, OnionTooLarge):
        assert refused
        return
    assert not refused
    for secret, shared in zip(HOP_SECRETS, secrets, strict=True):
        found = peel(secret, packet, b"")
        assert isinstance(found, Peeled)
        assert (found.payload, found.shared_secret) == (rest, shared)
        packet = found.next_packet or b""
    assert packet == b""


def failure_return(data: bytes) -> None:
    """The first byte decides: the rest is a packet on its way back, or the message in one."""
    mode, rest = data[:1], data[1:]
    if mode != b"\x01":
        assert failure_packet.unwrap(SHARED_SECRETS, rest) is None
        return
    hop = len(rest) % 3
    packet = failure_packet.create(SHARED_SECRETS[hop], rest)
    for secret in reversed(SHARED_SECRETS[:hop]):
        packet = failure_packet.wrap(secret, packet)
    assert failure_packet.unwrap(SHARED_SECRETS, packet) == (hop, rest)


def _text(data: bytes) -> str:
    """The first byte decides: the rest is the text, or the human part, a zero byte and the data of one that is signed
    (1) or has at least the right checksum (2)."""
    mode, rest = data[:1], data[1:]
    if mode not in (b"\x01", b"\x02"):
        return rest.decode("utf-8", "surrogateescape")
    hrp_bytes, _, raw = rest.partition(b"\0")
    hrp = hrp_bytes.decode("latin-1").lower()
    groups = bytes(byte & 31 for byte in raw)
    if mode == b"\x01":
        signature, recovery_id = KEYS.sign_invoice(hrp, bech32.to_bytes(groups, pad=True))
        groups += bech32.to_groups(signature + bytes((recovery_id,)))
    try:
        return bech32.encode(hrp, groups, bech32.BECH32)
    except UnicodeEncodeError:
        return ""


def invoice(data: bytes) -> None:
    """BOLT 11."""
    try:
        decoded = decode(_text(data))
    except InvalidInvoice:
        return
    check_invoice(decoded)


def check_invoice(decoded: Invoice) -> None:
    """What was read can be signed anew, and is then read as the same (but for fields that nobody knows)."""
    try:
        again = sign(decoded, KEYS)
    except InvoiceRefused:
        return
    read = decode(again.text)
    for name in decoded.__struct_fields__:
        if name not in ("payee", "signature", "recovery_id", "text"):
            assert getattr(read, name) == getattr(decoded, name), name
    with suppress(DecodeError):
        decode(decoded.text.upper())
