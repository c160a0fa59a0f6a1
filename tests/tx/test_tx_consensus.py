"""Bitcoin Core's script interpreter as judge: every output of a commitment is spent in every way that BOLT 3 names."""

from __future__ import annotations

import hashlib

import pytest

from pyln_fast.tx import closing, htlc, scripts
from pyln_fast.tx import commitment as commitments
from pyln_fast.tx.htlc import HtlcDescriptor
from pyln_fast.tx.keys import (
    derive_private_key,
    derive_revocation_private_key,
    public_key,
    sign_ecdsa,
)
from pyln_fast.tx.parameters import CommitmentHtlc, CommitmentSpec
from pyln_fast.tx.transaction import (
    Transaction,
    TxInput,
    parse,
    serialize,
    sighash_bip143,
    sighash_p2wpkh,
    with_witness,
)
from pyln_fast.types import OutPoint, PaymentPreimage, PrivateKey, TxOut
from tests.tx.bolt3 import mirrored
from tests.tx.channels import Channel, make

pbk = pytest.importorskip("pbk")

PREIMAGES = tuple(PaymentPreimage(bytes((i,)) * 32) for i in range(4))
HASHES = tuple(hashlib.sha256(preimage).digest() for preimage in PREIMAGES)
SINK = TxOut(1000, b"\x00\x14" + bytes(20))
# `make` derives the per-commitment secret of number 0 from the seed like this.
PER_COMMITMENT_SECRET = PrivateKey(hashlib.sha256(b"consensus 0").digest())


def is_valid(tx: Transaction, index: int, spent: TxOut) -> bool:
    raw = pbk.Transaction(serialize(tx))
    flags = pbk.ScriptVerificationFlags.ALL & ~pbk.ScriptVerificationFlags.TAPROOT
    return pbk.ScriptPubkey(spent.script_pubkey).verify(spent.value_sat, raw, None, index, flags)


class Broadcast:
    """The holder's commitment, signed by both; the counterparty is the countersignatory."""

    def __init__(self, anchors: bool) -> None:
        held = tuple(CommitmentHtlc(i, i % 2 == 0, 20_000_000 + i * 1000, HASHES[i], 500 + i) for i in range(4))
        spec = CommitmentSpec(2500, 3_000_000_000, 2_000_000_000, held)
        self.channel: Channel = make("consensus", spec, anchors=anchors)
        assert self.channel.commitment.per_commitment_point == public_key(PER_COMMITMENT_SECRET)
        params, commitment = self.channel.params, self.channel.commitment
        theirs = self.channel.counterparty
        self.made = commitments.sign(mirrored(params), commitment, theirs.funding, theirs.htlc)
        self.built = commitments.verify(params, commitment, self.made.signature, self.made.htlc_signatures)
        self.tx = parse(self.built.raw)
        self.keys = commitments.commitment_keys(params, commitment.per_commitment_point, True)
        self.htlcs = htlc.describe(params, commitment, self.built, True)
        self.revocation_key = derive_revocation_private_key(theirs.revocation, PER_COMMITMENT_SECRET)

    def output(self, index: int | None) -> TxOut:
        assert index is not None
        return self.tx.outputs[index]

    def spend(self, index: int | None, sequence: int, lock_time: int = 0) -> Transaction:
        assert index is not None
        return Transaction(2, (TxInput(OutPoint(self.built.txid, index), b"", sequence),), (SINK,), lock_time)

    def sign(self, tx: Transaction, index: int, script: bytes, key: PrivateKey) -> bytes:
        message = sighash_bip143(tx, 0, script, self.output(index).value_sat)
        return scripts.der_signature(sign_ecdsa(key, message))

    def accepts(self, tx: Transaction, index: int | None, *witness: bytes) -> bool:
        return is_valid(with_witness(tx, 0, witness), 0, self.output(index))


@pytest.fixture(params=[False, True], ids=["static_remotekey", "anchors"], scope="module")
def broadcast(request: pytest.FixtureRequest) -> Broadcast:
    return Broadcast(request.param)


def test_the_commitment_spends_the_funding(broadcast: Broadcast) -> None:
    params = broadcast.channel.params
    keys = params.holder.pubkeys.funding_pubkey, params.counterparty.pubkeys.funding_pubkey
    funding = TxOut(params.channel_value_sat, scripts.funding_script_pubkey(*keys))
    secret = broadcast.channel.holder.funding
    signed = commitments.sign_holder(params, broadcast.channel.commitment, broadcast.made.signature, secret)
    assert is_valid(signed, 0, funding)
    wrong = commitments.sign_holder(params, broadcast.channel.commitment, broadcast.made.htlc_signatures[0], secret)
    assert not is_valid(wrong, 0, funding)


def test_the_closing_spends_the_funding(broadcast: Broadcast) -> None:
    channel = broadcast.channel
    params = channel.params
    keys = params.holder.pubkeys.funding_pubkey, params.counterparty.pubkeys.funding_pubkey
    funding = TxOut(params.channel_value_sat, scripts.funding_script_pubkey(*keys))
    tx = closing.build_closing(params, b"\x00\x14" + bytes(20), b"\x00\x20" + bytes(32), 3_000_000, 2_000_000, 500, 354)
    ours = closing.sign_closing(params, tx, channel.holder.funding)
    theirs = closing.sign_closing(mirrored(params), tx, channel.counterparty.funding)
    assert is_valid(closing.complete_closing(params, tx, ours, theirs), 0, funding)
    assert not is_valid(closing.complete_closing(params, tx, theirs, ours), 0, funding)


def test_to_local(broadcast: Broadcast) -> None:
    index = broadcast.built.to_local_index
    assert index is not None
    delay = broadcast.channel.params.holder.to_self_delay
    script = scripts.to_local_script(broadcast.keys.revocation_pubkey, delay, broadcast.keys.broadcaster_delayed_pubkey)
    delayed_key = derive_private_key(
        broadcast.channel.holder.delayed, broadcast.channel.commitment.per_commitment_point
    )
    for sequence, valid in ((delay, True), (delay - 1, False)):
        tx = broadcast.spend(index, sequence)
        signature = broadcast.sign(tx, index, script, delayed_key)
        assert broadcast.accepts(tx, index, signature, b"", script) == valid
    penalty = broadcast.spend(index, 0xFFFFFFFF)
    signature = broadcast.sign(penalty, index, script, broadcast.revocation_key)
    assert broadcast.accepts(penalty, index, signature, b"\x01", script)


def test_to_remote(broadcast: Broadcast) -> None:
    index = broadcast.built.to_remote_index
    assert index is not None
    key = broadcast.channel.counterparty.payment
    point = broadcast.channel.params.counterparty.pubkeys.payment_point
    if broadcast.channel.params.anchors:
        script = scripts.to_remote_script(point)
        for sequence, valid in ((1, True), (0, False)):
            tx = broadcast.spend(index, sequence)
            assert broadcast.accepts(tx, index, broadcast.sign(tx, index, script, key), script) == valid
    else:
        tx = broadcast.spend(index, 0xFFFFFFFF)
        message = sighash_p2wpkh(tx, 0, point, broadcast.output(index).value_sat)
        assert broadcast.accepts(tx, index, scripts.der_signature(sign_ecdsa(key, message)), point)


def test_anchors(broadcast: Broadcast) -> None:
    built, channel = broadcast.built, broadcast.channel
    if not channel.params.anchors:
        assert built.to_local_anchor_index is built.to_remote_anchor_index is None
        return
    for index, party, secrets in (
        (built.to_local_anchor_index, channel.params.holder, channel.holder),
        (built.to_remote_anchor_index, channel.params.counterparty, channel.counterparty),
    ):
        assert index is not None
        script = scripts.anchor_script(party.pubkeys.funding_pubkey)
        tx = broadcast.spend(index, 0xFFFFFFFF)
        assert broadcast.accepts(tx, index, broadcast.sign(tx, index, script, secrets.funding), script)
        for sequence, valid in ((16, True), (15, False)):
            assert broadcast.accepts(broadcast.spend(index, sequence), index, b"", script) == valid


def preimage(descriptor: HtlcDescriptor) -> PaymentPreimage | None:
    return None if descriptor.htlc.offered else PREIMAGES[descriptor.htlc.htlc_id]


def test_second_stage(broadcast: Broadcast) -> None:
    base_key = broadcast.channel.holder.htlc
    for descriptor, signature in zip(broadcast.htlcs, broadcast.made.htlc_signatures, strict=True):
        output = broadcast.output(descriptor.output_index)
        assert is_valid(htlc.sign_holder_htlc(descriptor, signature, base_key, preimage(descriptor)), 0, output)
        wrong = htlc.sign_holder_htlc(descriptor, broadcast.made.signature, base_key, preimage(descriptor))
        assert not is_valid(wrong, 0, output)


def test_second_stage_with_fees_added(broadcast: Broadcast) -> None:
    if not broadcast.channel.params.anchors:
        return
    for descriptor, signature in zip(broadcast.htlcs, broadcast.made.htlc_signatures, strict=True):
        alone = htlc.build_htlc_transaction(descriptor)
        wallet = TxInput(OutPoint(b"\x09" * 32, 3))
        tx = Transaction(2, (wallet, *alone.inputs), (SINK, *alone.outputs), alone.lock_time)
        signed = htlc.sign_holder_htlc_input(
            descriptor, tx, 1, signature, broadcast.channel.holder.htlc, preimage(descriptor)
        )
        assert is_valid(signed, 1, broadcast.output(descriptor.output_index))


def test_the_countersignatory_takes_htlcs(broadcast: Broadcast) -> None:
    """With the preimage what the broadcaster offered, after the timeout what it received, all of it if revoked."""
    point = broadcast.channel.commitment.per_commitment_point
    key = derive_private_key(broadcast.channel.counterparty.htlc, point)
    sequence = 1 if broadcast.channel.params.anchors else 0
    for descriptor in broadcast.htlcs:
        index, script, held = descriptor.output_index, descriptor.witness_script, descriptor.htlc
        tx = broadcast.spend(index, sequence, 0 if held.offered else held.cltv_expiry)
        signature = broadcast.sign(tx, index, script, key)
        last = PREIMAGES[held.htlc_id] if held.offered else b""
        assert broadcast.accepts(tx, index, signature, last, script)
        if held.offered:
            assert not broadcast.accepts(tx, index, signature, PREIMAGES[(held.htlc_id + 1) % 4], script)
        else:
            early = broadcast.spend(index, sequence, held.cltv_expiry - 1)
            assert not broadcast.accepts(early, index, broadcast.sign(early, index, script, key), b"", script)
        revoked = broadcast.spend(index, 0xFFFFFFFF)
        penalty = broadcast.sign(revoked, index, script, broadcast.revocation_key)
        assert broadcast.accepts(revoked, index, penalty, broadcast.keys.revocation_pubkey, script)
