"""HTLC-timeout and HTLC-success transactions (BOLT 3): the second stage that spends a commitment's HTLC outputs.

An HTLC that the broadcaster offered ends in HTLC-timeout, one that it received in HTLC-success. With anchors these pay
no fee and the counterparty signs SINGLE|ANYONECANPAY, so that inputs and outputs can be added.
"""

from __future__ import annotations

import msgspec

from pyln_fast._ext import _tx
from pyln_fast.errors import LocalError
from pyln_fast.tx import scripts
from pyln_fast.tx.commitment import BuiltCommitment, CommitmentKeys, commitment_keys
from pyln_fast.tx.fees import (
    HTLC_SUCCESS_WEIGHT,
    HTLC_SUCCESS_WEIGHT_ANCHORS,
    HTLC_TIMEOUT_WEIGHT,
    HTLC_TIMEOUT_WEIGHT_ANCHORS,
    htlc_success_fee,
    htlc_timeout_fee,
)
from pyln_fast.tx.keys import derive_private_key, sign_ecdsa, verify_ecdsa
from pyln_fast.tx.parameters import ChannelTransactionParameters, Commitment, CommitmentHtlc
from pyln_fast.tx.transaction import (
    SIGHASH_ALL,
    SIGHASH_ANYONECANPAY,
    SIGHASH_SINGLE,
    Transaction,
    TxInput,
    sighash_bip143,
    with_witness,
)
from pyln_fast.types import (
    Blocks,
    FeeratePerKw,
    OutPoint,
    PaymentPreimage,
    PrivateKey,
    PublicKey,
    Sat,
    Signature,
    Txid,
    TxOut,
)


class WrongPreimage(LocalError):
    """It does not hash to the payment hash, or there is one for HTLC-timeout, or none for HTLC-success."""


class HtlcDescriptor(msgspec.Struct, frozen=True, array_like=True):
    """One HTLC output of a commitment, with all that it takes to spend it (LDK's HTLCDescriptor)."""

    commitment_txid: Txid
    output_index: int
    htlc: CommitmentHtlc
    per_commitment_point: PublicKey
    keys: CommitmentKeys
    to_self_delay: Blocks
    """The broadcaster's."""
    feerate_per_kw: FeeratePerKw
    anchors: bool

    @property
    def outpoint(self) -> OutPoint:
        return OutPoint(self.commitment_txid, self.output_index)

    @property
    def value_sat(self) -> Sat:
        return Sat(self.htlc.amount_msat // 1000)

    @property
    def fee_sat(self) -> Sat:
        """Of the HTLC transaction as BOLT 3 makes it."""
        fee = htlc_timeout_fee if self.htlc.offered else htlc_success_fee
        return fee(self.feerate_per_kw, self.anchors)

    @property
    def weight(self) -> int:
        """Expected, of the HTLC transaction with nothing added."""
        if self.htlc.offered:
            return HTLC_TIMEOUT_WEIGHT_ANCHORS if self.anchors else HTLC_TIMEOUT_WEIGHT
        return HTLC_SUCCESS_WEIGHT_ANCHORS if self.anchors else HTLC_SUCCESS_WEIGHT

    @property
    def counterparty_sighash_type(self) -> int:
        return SIGHASH_SINGLE | SIGHASH_ANYONECANPAY if self.anchors else SIGHASH_ALL

    @property
    def witness_script(self) -> bytes:
        """Of the commitment's HTLC output."""
        keys, htlc = self.keys, self.htlc
        points = (keys.revocation_pubkey, keys.broadcaster_htlc_pubkey, keys.countersignatory_htlc_pubkey)
        if htlc.offered:
            return scripts.offered_htlc_script(*points, htlc.payment_hash, self.anchors)
        return scripts.received_htlc_script(*points, htlc.payment_hash, htlc.cltv_expiry, self.anchors)

    @property
    def second_stage_script(self) -> bytes:
        """The witness script of the HTLC transaction's output."""
        keys = self.keys
        return scripts.to_local_script(keys.revocation_pubkey, self.to_self_delay, keys.broadcaster_delayed_pubkey)


def describe(
    params: ChannelTransactionParameters, commitment: Commitment, built: BuiltCommitment, broadcaster_is_holder: bool
) -> tuple[HtlcDescriptor, ...]:
    """Every HTLC output, in output order: the order of the HTLC signatures."""
    keys = commitment_keys(params, commitment.per_commitment_point, broadcaster_is_holder)
    broadcaster = params.holder if broadcaster_is_holder else params.counterparty
    return tuple(
        HtlcDescriptor(
            built.txid,
            output_index,
            htlc,
            commitment.per_commitment_point,
            keys,
            broadcaster.to_self_delay,
            commitment.spec.feerate_per_kw,
            params.anchors,
        )
        for output_index, htlc in built.htlcs
    )


def unsigned_input(descriptor: HtlcDescriptor) -> TxInput:
    """The input that spends the HTLC output; its sequence waits one block with anchors."""
    return TxInput(descriptor.outpoint, b"", 1 if descriptor.anchors else 0)


def unsigned_output(descriptor: HtlcDescriptor) -> TxOut:
    """What the counterparty's signature fixes, at the input's index."""
    return TxOut(Sat(descriptor.value_sat - descriptor.fee_sat), scripts.p2wsh(descriptor.second_stage_script))


def build_htlc_transaction(descriptor: HtlcDescriptor) -> Transaction:
    """HTLC-timeout if the broadcaster offered the HTLC, else HTLC-success; without witness."""
    return Transaction(
        2,
        (unsigned_input(descriptor),),
        (unsigned_output(descriptor),),
        descriptor.htlc.cltv_expiry if descriptor.htlc.offered else 0,
    )


def counterparty_sighash(descriptor: HtlcDescriptor) -> bytes:
    """What the countersignatory signs and `commitment_signed.htlc_signature` holds."""
    return sighash_bip143(
        build_htlc_transaction(descriptor),
        0,
        descriptor.witness_script,
        descriptor.value_sat,
        descriptor.counterparty_sighash_type,
    )


def verify_counterparty_signature(descriptor: HtlcDescriptor, signature: Signature) -> bool:
    key = descriptor.keys.countersignatory_htlc_pubkey
    return verify_ecdsa(signature, counterparty_sighash(descriptor), key)


def holder_sighash(descriptor: HtlcDescriptor, tx: Transaction, index: int = 0) -> bytes:
    """What the broadcaster signs in `tx`, where the HTLC is spent by input `index`: SIGHASH_ALL (BOLT 5)."""
    assert tx.inputs[index].outpoint == descriptor.outpoint
    return sighash_bip143(tx, index, descriptor.witness_script, descriptor.value_sat, SIGHASH_ALL)


def htlc_witness(
    descriptor: HtlcDescriptor,
    counterparty_signature: Signature,
    holder_signature: Signature,
    preimage: PaymentPreimage | None,
) -> tuple[bytes, ...]:
    """`0 <remotehtlcsig> <localhtlcsig> <payment_preimage or nothing>` and the script. Raises WrongPreimage."""
    htlc = descriptor.htlc
    if htlc.offered != (preimage is None):
        raise WrongPreimage
    if preimage is not None and _tx.sha256(bytes(preimage)) != htlc.payment_hash:
        raise WrongPreimage
    return (
        b"",
        scripts.der_signature(counterparty_signature, descriptor.counterparty_sighash_type),
        scripts.der_signature(holder_signature, SIGHASH_ALL),
        bytes(preimage or b""),
        descriptor.witness_script,
    )


def sign_holder_htlc_input(
    descriptor: HtlcDescriptor,
    tx: Transaction,
    index: int,
    counterparty_signature: Signature,
    htlc_base_key: PrivateKey,
    preimage: PaymentPreimage | None,
) -> Transaction:
    """Puts the witness into input `index`; with anchors, `tx` may have more inputs. Raises WrongPreimage."""
    key = derive_private_key(htlc_base_key, descriptor.per_commitment_point)
    signature = sign_ecdsa(key, holder_sighash(descriptor, tx, index))
    return with_witness(tx, index, htlc_witness(descriptor, counterparty_signature, signature, preimage))


def sign_holder_htlc(
    descriptor: HtlcDescriptor,
    counterparty_signature: Signature,
    htlc_base_key: PrivateKey,
    preimage: PaymentPreimage | None,
) -> Transaction:
    """The whole HTLC transaction of BOLT 3, signed by both. Raises WrongPreimage."""
    tx = build_htlc_transaction(descriptor)
    return sign_holder_htlc_input(descriptor, tx, 0, counterparty_signature, htlc_base_key, preimage)
