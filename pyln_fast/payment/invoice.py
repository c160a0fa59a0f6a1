"""BOLT 11 invoices: read, checked, written and signed."""

from __future__ import annotations

import hashlib
from typing import Protocol

import msgspec

from pyln_fast.errors import DecodeError
from pyln_fast.features import Features
from pyln_fast.payment.invoice_fields import (
    Fallback,
    InvalidInvoice,
    InvoiceRefused,
    RouteHint,
    decode_amount,
    decode_fallback,
    decode_route_hint,
    encode_amount,
    encode_fallback,
    encode_route_hint,
    in_range,
    tagged,
)
from pyln_fast.payment.tagged_fields import TaggedFields
from pyln_fast.tx import bech32
from pyln_fast.tx.keys import recover, verify_ecdsa
from pyln_fast.types import (
    Blocks,
    Msat,
    Network,
    NodeId,
    PaymentHash,
    PaymentSecret,
    Signature,
    UnixTime,
)

DEFAULT_EXPIRY_SECS = 3600
DEFAULT_MIN_FINAL_CLTV_EXPIRY_DELTA = Blocks(18)
"""What a payer assumes when the invoice does not say."""

MAX_TEXT = 8192
"""No invoice is as long; reading one costs time before its signature is known to be good."""

_PREFIXES = {
    Network.MAINNET: "bc",
    Network.TESTNET: "tb",
    Network.TESTNET4: "tb",
    Network.SIGNET: "tbs",
    Network.REGTEST: "bcrt",
}
_TIMESTAMP_GROUPS = 7
_SIGNATURE_GROUPS = 104
_MAX_TIMESTAMP = (1 << 35) - 1
_MAX_EXPIRY_SECS = 0xFFFFFFFF
_MAX_DELTA = 0xFFFF


class InvalidInvoiceSignature(InvalidInvoice):
    """Nobody, or not the payee that the invoice names, signed these words."""

    def __init__(self, why: str) -> None:
        super().__init__("signature", why)


class InvoiceSigner(Protocol):
    """The part of a `NodeSigner` that signs invoices."""

    def get_node_id(self) -> NodeId: ...

    def sign_invoice(self, hrp: str, data: bytes) -> tuple[Signature, int]: ...


class UnsignedInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """What a payee asks for. Exactly one of `description` and `description_hash` is there."""

    network: Network
    timestamp: UnixTime
    """Below 2^35."""
    payment_hash: PaymentHash
    payment_secret: PaymentSecret
    amount_msat: Msat | None = None
    """None: the payer chooses."""
    description: str | None = None
    description_hash: bytes | None = None
    expiry_secs: int = DEFAULT_EXPIRY_SECS
    min_final_cltv_expiry_delta: Blocks = DEFAULT_MIN_FINAL_CLTV_EXPIRY_DELTA
    features: Features = Features()
    payment_metadata: bytes | None = None
    route_hints: tuple[RouteHint, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    names_payee: bool = False
    """Whether the payee stands in an `n` field, or is recovered from the signature."""

    @property
    def expires_at(self) -> UnixTime:
        return UnixTime(self.timestamp + self.expiry_secs)


class Invoice(UnsignedInvoice, frozen=True, kw_only=True):
    """A signed invoice whose signature is good."""

    payee: NodeId
    signature: Signature
    recovery_id: int
    text: str
    """As it was read or written."""

    def is_for(self, network: Network) -> bool:
        """Several test networks share a prefix, so `network` alone does not tell."""
        return _PREFIXES[self.network] == _PREFIXES[network]

    def is_expired(self, now: UnixTime) -> bool:
        return now > self.expires_at


def sign(unsigned: UnsignedInvoice, signer: InvoiceSigner) -> Invoice:
    """Writes and signs an invoice. Raises InvoiceRefused, and what the signer raises."""
    hrp = f"ln{_PREFIXES[unsigned.network]}{encode_amount(unsigned.amount_msat)}"
    payee = signer.get_node_id()
    groups = _encode_data(unsigned, payee)
    signature, recovery_id = signer.sign_invoice(hrp, bech32.to_bytes(groups, pad=True))
    words = groups + bech32.to_groups(signature + bytes((recovery_id,)))
    text = bech32.encode(hrp, words, bech32.BECH32)
    return Invoice(
        **{name: getattr(unsigned, name) for name in UnsignedInvoice.__struct_fields__},
        payee=payee,
        signature=signature,
        recovery_id=recovery_id,
        text=text,
    )


def decode(text: str) -> Invoice:
    """Reads an invoice (`lightning:` in front is allowed) and checks its signature.

    Raises InvalidInvoice, which names the part that is wrong and why; never anything else.
    """
    text = text.strip()
    if text[:10].lower() == "lightning:":
        text = text[10:]
    try:
        hrp, groups, constant = bech32.decode(text, MAX_TEXT)
    except DecodeError as error:
        raise InvalidInvoice(error.what, error.why) from None
    if constant != bech32.BECH32:
        raise InvalidInvoice("bech32", "the checksum is that of Bech32m")
    network, amount_msat = _decode_hrp(hrp)
    if len(groups) < _TIMESTAMP_GROUPS + _SIGNATURE_GROUPS:
        raise InvalidInvoice("data", f"{len(groups)} groups, too few for a timestamp and a signature")
    signed = groups[:-_SIGNATURE_GROUPS]
    signature = bech32.to_bytes(groups[-_SIGNATURE_GROUPS:])
    fields = TaggedFields(signed[_TIMESTAMP_GROUPS:])
    message = hashlib.sha256(hrp.encode() + bech32.to_bytes(signed, pad=True)).digest()
    named = fields.payee()
    payee = _check_signature(signature, message, named)
    return Invoice(
        network=network,
        amount_msat=amount_msat,
        timestamp=UnixTime(bech32.to_int(signed[:_TIMESTAMP_GROUPS])),
        payment_hash=PaymentHash(fields.required("p")),
        payment_secret=PaymentSecret(fields.required("s")),
        description=fields.description(),
        description_hash=fields.description_hash(),
        expiry_secs=fields.number("x", DEFAULT_EXPIRY_SECS, _MAX_EXPIRY_SECS),
        min_final_cltv_expiry_delta=Blocks(fields.number("c", DEFAULT_MIN_FINAL_CLTV_EXPIRY_DELTA, _MAX_DELTA)),
        features=fields.features(),
        payment_metadata=fields.payment_metadata(),
        route_hints=tuple(decode_route_hint(data) for data in fields.all("r")),
        fallbacks=tuple(found for data in fields.all("f") if (found := decode_fallback(data)) is not None),
        names_payee=named is not None,
        payee=payee,
        signature=Signature(signature[:64]),
        recovery_id=signature[64],
        text=text,
    )


def _decode_hrp(hrp: str) -> tuple[Network, Msat | None]:
    if not hrp.startswith("ln"):
        raise InvalidInvoice("prefix", "it does not begin with ln")
    at = next((at for at, char in enumerate(hrp) if char.isdigit()), len(hrp))
    prefix = hrp[2:at]
    for network, known in _PREFIXES.items():
        if known == prefix:
            return network, decode_amount(hrp[at:])
    raise InvalidInvoice("prefix", f"ln{prefix} is no network that we know")


def _check_signature(signature: bytes, message: bytes, named: NodeId | None) -> NodeId:
    """Who signed: the payee that the `n` field names, or whoever the signature gives."""
    if signature[64] > 3:
        raise InvalidInvoiceSignature(f"a recovery id of {signature[64]}")
    if named is not None:
        # BOLT 11: with an `n` field the signature must have a low S, which verification asks for.
        if not verify_ecdsa(Signature(signature[:64]), message, named):
            raise InvalidInvoiceSignature("not by the node in the n field, or with a high S")
        return named
    try:
        return NodeId(recover(Signature(signature[:64]), signature[64], message))
    except ValueError:
        raise InvalidInvoiceSignature("no key can have made it") from None


def _encode_data(unsigned: UnsignedInvoice, payee: NodeId) -> bytes:
    """The groups before the signature. Fields stand in the order in which a payer needs them."""
    assert (len(unsigned.payment_hash), len(unsigned.payment_secret)) == (32, 32)
    if (unsigned.description is None) == (unsigned.description_hash is None):
        raise InvoiceRefused("description", "there must be either a description or the hash of one")
    parts = [
        bech32.from_int(in_range("timestamp", unsigned.timestamp, 0, _MAX_TIMESTAMP), _TIMESTAMP_GROUPS),
        tagged("p", bech32.to_groups(unsigned.payment_hash)),
        tagged("s", bech32.to_groups(unsigned.payment_secret)),
    ]
    if unsigned.description is not None:
        parts.append(tagged("d", bech32.to_groups(unsigned.description.encode())))
    if unsigned.description_hash is not None:
        assert len(unsigned.description_hash) == 32
        parts.append(tagged("h", bech32.to_groups(unsigned.description_hash)))
    if unsigned.payment_metadata is not None:
        parts.append(tagged("m", bech32.to_groups(unsigned.payment_metadata)))
    if unsigned.names_payee:
        parts.append(tagged("n", bech32.to_groups(payee)))
    if unsigned.expiry_secs != DEFAULT_EXPIRY_SECS:
        parts.append(tagged("x", bech32.from_int(in_range("expiry", unsigned.expiry_secs, 0, _MAX_EXPIRY_SECS))))
    delta = in_range("min_final_cltv_expiry_delta", unsigned.min_final_cltv_expiry_delta, 0, _MAX_DELTA)
    parts.append(tagged("c", bech32.from_int(delta)))
    parts.extend(tagged("f", encode_fallback(fallback)) for fallback in unsigned.fallbacks)
    parts.extend(tagged("r", encode_route_hint(hint)) for hint in unsigned.route_hints)
    if vector := int.from_bytes(unsigned.features.encode(), "big"):
        parts.append(tagged("9", bech32.from_int(vector)))
    return b"".join(parts)
