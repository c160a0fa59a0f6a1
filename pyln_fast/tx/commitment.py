"""Commitment transactions (BOLT 3): build, sign and verify, each one call into C.

`params` is what the channel's commitments share, `commitment` one of them, seen from its broadcaster. Whose it is
decides the function: `verify` and `sign_holder` are for the holder's commitment, `sign` for the counterparty's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NoReturn, cast

import msgspec

from pyln_fast._ext import _tx
from pyln_fast.errors import LocalError, RemoteError
from pyln_fast.tx.parameters import ChannelPublicKeys, ChannelTransactionParameters, Commitment, CommitmentHtlc
from pyln_fast.tx.scripts import multisig_witness
from pyln_fast.tx.transaction import Transaction, parse, with_witness
from pyln_fast.types import CommitmentNumber, PrivateKey, PublicKey, Sat, Signature, Txid

# Two sides a channel; a side is about 1.2 kB. More channels than this parse their points again now and then.
_SIDES = 16384


class InvalidCommitmentPoint(RemoteError):
    """A point of the channel or the per-commitment point is not on the curve."""


class UnaffordableCommitment(RemoteError):
    """The opener's balance does not reach for the anchors, so that no valid transaction exists."""


class InvalidCommitmentSignature(RemoteError):
    """`commitment_signed.signature` does not sign the holder's commitment."""


class WrongHtlcSignatureCount(RemoteError):
    """`commitment_signed` has not one signature for each untrimmed HTLC."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"{got} HTLC signatures for {expected} HTLC outputs")
        self.expected = expected
        self.got = got


class InvalidHtlcSignature(RemoteError):
    """`htlc_signature[index]`, in the order of the outputs, does not sign its HTLC transaction."""

    def __init__(self, index: int) -> None:
        super().__init__(f"HTLC signature {index} is not valid")
        self.index = index


class InvalidSigningKey(LocalError):
    """A private key is zero or not below the curve's order."""


class BuiltCommitment(msgspec.Struct, frozen=True, array_like=True):
    raw: bytes
    """The transaction without its witness."""
    txid: Txid
    htlcs: tuple[tuple[int, CommitmentHtlc], ...]
    """Output index and HTLC, untrimmed only, in output order: the order of the HTLC signatures."""
    to_local_index: int | None
    """The broadcaster's main output."""
    to_remote_index: int | None
    to_local_anchor_index: int | None
    to_remote_anchor_index: int | None
    fee_sat: Sat
    """What the transaction really pays: the channel's value less all outputs."""


class CommitmentSignatures(msgspec.Struct, frozen=True, array_like=True):
    signature: Signature
    htlc_signatures: tuple[Signature, ...]
    built: BuiltCommitment


class CommitmentKeys(msgspec.Struct, frozen=True, array_like=True):
    """LDK's TxCreationKeys: the points of one commitment (BOLT 3, Key Derivation)."""

    revocation_pubkey: PublicKey
    broadcaster_delayed_pubkey: PublicKey
    broadcaster_htlc_pubkey: PublicKey
    countersignatory_htlc_pubkey: PublicKey


def build(params: ChannelTransactionParameters, commitment: Commitment, broadcaster_is_holder: bool) -> BuiltCommitment:
    """Raises InvalidCommitmentPoint, UnaffordableCommitment."""
    fault, index, built = _side(params, broadcaster_is_holder).build(commitment)
    return BuiltCommitment(*built) if built is not None else _fail(fault, index, 0)  # type: ignore[arg-type]


def verify(
    params: ChannelTransactionParameters,
    commitment: Commitment,
    signature: Signature,
    htlc_signatures: tuple[Signature, ...],
) -> BuiltCommitment:
    """Checks the counterparty's signatures for the holder's commitment and all its HTLC transactions.

    Raises InvalidCommitmentSignature, WrongHtlcSignatureCount, InvalidHtlcSignature and what `build` raises.
    """
    fault, index, built = _side(params, True).verify(commitment, signature, htlc_signatures)
    if built is None:
        _fail(fault, index, len(htlc_signatures))
    return BuiltCommitment(*built)  # type: ignore[arg-type]


def sign(
    params: ChannelTransactionParameters, commitment: Commitment, funding_key: PrivateKey, htlc_base_key: PrivateKey
) -> CommitmentSignatures:
    """Signs the counterparty's commitment and all its HTLC transactions with the holder's keys.

    Signatures are those of RFC 6979 and are not verified again. Raises InvalidSigningKey and what `build` raises.
    """
    fault, index, made = _side(params, False).sign(commitment, funding_key, htlc_base_key)
    if made is None:
        _fail(fault, index, 0)
    signature, htlc_signatures, built = made
    return CommitmentSignatures(
        Signature(signature),
        cast(tuple[Signature, ...], htlc_signatures),
        BuiltCommitment(*built),  # type: ignore[arg-type]
    )


def sighash(params: ChannelTransactionParameters, commitment: Commitment, broadcaster_is_holder: bool) -> bytes:
    """What both parties sign of the commitment transaction (SIGHASH_ALL)."""
    fault, index, made = _side(params, broadcaster_is_holder).sighash(commitment)
    return made[1] if made is not None else _fail(fault, index, 0)


def sign_holder(
    params: ChannelTransactionParameters,
    commitment: Commitment,
    counterparty_signature: Signature,
    funding_key: PrivateKey,
) -> Transaction:
    """The holder's commitment, fully signed: what may be broadcast. The counterparty's signature is not verified.

    Raises InvalidSigningKey and what `build` raises.
    """
    fault, index, made = _side(params, True).sign_broadcaster(commitment, funding_key)
    if made is None:
        _fail(fault, index, 0)
    signature, built = made
    witness = multisig_witness(
        params.holder.pubkeys.funding_pubkey,
        Signature(signature),
        params.counterparty.pubkeys.funding_pubkey,
        counterparty_signature,
    )
    return with_witness(parse(built[0]), 0, witness)


def commitment_keys(
    params: ChannelTransactionParameters, per_commitment_point: PublicKey, broadcaster_is_holder: bool
) -> CommitmentKeys:
    """Raises InvalidCommitmentPoint."""
    keys = _side(params, broadcaster_is_holder).keys(per_commitment_point)
    if keys is None:
        raise InvalidCommitmentPoint
    return CommitmentKeys(*map(PublicKey, keys))


def commitment_number(params: ChannelTransactionParameters, tx: Transaction) -> CommitmentNumber | None:
    """The number that sequence and lock time of a commitment transaction hide (BOLT 3), whosever it is.

    None if `tx` does not have the form of a commitment: a closing transaction, or another channel's.
    """
    if len(tx.inputs) != 1 or tx.inputs[0].outpoint != params.funding_outpoint:
        return None
    sequence = tx.inputs[0].sequence
    if sequence >> 24 != 0x80 or tx.lock_time >> 24 != 0x20:
        return None
    opener, accepter = params.holder.pubkeys.payment_point, params.counterparty.pubkeys.payment_point
    if not params.holder_is_opener:
        opener, accepter = accepter, opener
    factor = int.from_bytes(_tx.sha256(opener + accepter)[-6:], "big")
    return CommitmentNumber(((sequence & 0xFFFFFF) << 24 | tx.lock_time & 0xFFFFFF) ^ factor)


@lru_cache(maxsize=_SIDES)
def _side(params: ChannelTransactionParameters, broadcaster_is_holder: bool) -> _tx.CommitmentSide:
    holder, counterparty = params.holder, params.counterparty
    broadcaster, countersignatory = (holder, counterparty) if broadcaster_is_holder else (counterparty, holder)
    try:
        return _tx.CommitmentSide(
            params.funding_outpoint.txid,
            params.funding_outpoint.vout,
            params.channel_value_sat,
            _points(broadcaster.pubkeys),
            _points(countersignatory.pubkeys),
            broadcaster.dust_limit_sat,
            broadcaster.to_self_delay,
            params.holder_is_opener == broadcaster_is_holder,
            params.anchors,
        )
    except ValueError:
        raise InvalidCommitmentPoint from None


def _points(keys: ChannelPublicKeys) -> bytes:
    return b"".join(
        (
            keys.funding_pubkey,
            keys.revocation_basepoint,
            keys.payment_point,
            keys.delayed_payment_basepoint,
            keys.htlc_basepoint,
        )
    )


def _fail(fault: int, index: int, got: int) -> NoReturn:
    assert fault != _tx.FAULT_BALANCE, "the commitment's amounts do not add up to the channel's value"
    if fault == _tx.FAULT_POINT:
        raise InvalidCommitmentPoint
    if fault == _tx.FAULT_OVERSPENT:
        raise UnaffordableCommitment
    if fault == _tx.FAULT_SIGNATURE:
        raise InvalidCommitmentSignature
    if fault == _tx.FAULT_HTLC_SIGNATURE_COUNT:
        raise WrongHtlcSignatureCount(index, got)
    if fault == _tx.FAULT_HTLC_SIGNATURE:
        raise InvalidHtlcSignature(index)
    assert fault == _tx.FAULT_KEY, fault
    raise InvalidSigningKey
