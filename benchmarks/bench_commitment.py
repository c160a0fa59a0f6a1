"""A commitment with 483 HTLCs, the most that one party may offer: built and signed, built and verified, 484 signatures.

The reference is the same 484 signatures (or verifications) with nothing around them, through the same table of
libsecp256k1's functions, in the same run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from pyln_fast._ext import _tx
from pyln_fast.tx import commitment as commitments
from pyln_fast.tx import htlc
from pyln_fast.tx.keys import derive_private_key, public_key
from pyln_fast.tx.parameters import (
    ChannelParty,
    ChannelPublicKeys,
    ChannelTransactionParameters,
    Commitment,
    CommitmentHtlc,
    CommitmentSpec,
)
from pyln_fast.types import OutPoint, PrivateKey

HTLCS = 483
NAMES = ("funding", "revocation", "payment", "delayed", "htlc")

anchors_or_not = pytest.mark.parametrize("anchors", [False, True], ids=["static_remotekey", "anchors"])


def secrets(party: str) -> dict[str, PrivateKey]:
    return {name: PrivateKey(hashlib.sha256(f"{party} {name}".encode()).digest()) for name in NAMES}


class Setting:
    """Our commitment, which the counterparty signs (`theirs` is the channel as it sees it)."""

    def __init__(self, anchors: bool, htlcs: int = HTLCS) -> None:
        self.holder, self.counterparty = secrets("holder"), secrets("counterparty")
        holder, counterparty = (
            ChannelParty(ChannelPublicKeys(*map(public_key, party.values())), 354, 144)
            for party in (self.holder, self.counterparty)
        )
        spec = CommitmentSpec(
            2500,
            3_000_000_000,
            2_000_000_000,
            tuple(
                CommitmentHtlc(
                    i, i % 2 == 0, 10_000_000 + i % 100 * 1000, hashlib.sha256(b"%d" % i).digest(), 800_000 + i
                )
                for i in range(htlcs)
            ),
        )
        value_sat = (5_000_000_000 + sum(h.amount_msat for h in spec.htlcs)) // 1000
        funding = OutPoint(hashlib.sha256(b"funding").digest(), 0)
        self.ours = ChannelTransactionParameters(funding, value_sat, holder, counterparty, True, anchors)
        self.theirs = ChannelTransactionParameters(funding, value_sat, counterparty, holder, False, anchors)
        self.commitment = Commitment(7, public_key(PrivateKey(hashlib.sha256(b"point").digest())), spec)
        self.made = self.sign()
        self.htlc_key = derive_private_key(self.counterparty["htlc"], self.commitment.per_commitment_point)
        self.messages = self.check()

    def sign(self) -> commitments.CommitmentSignatures:
        keys = self.counterparty
        return commitments.sign(self.theirs, self.commitment, keys["funding"], keys["htlc"])

    def verify(self) -> commitments.BuiltCommitment:
        return commitments.verify(self.ours, self.commitment, self.made.signature, self.made.htlc_signatures)

    def check(self) -> bytes:
        """Everything is right, HTLC by HTLC; returns what is signed, one hash behind another."""
        built = self.verify()
        assert built == self.made.built == commitments.build(self.ours, self.commitment, True)
        assert len(built.htlcs) == len(self.commitment.spec.htlcs)
        descriptors = htlc.describe(self.ours, self.commitment, built, True)
        for descriptor, signature in zip(descriptors, self.made.htlc_signatures, strict=True):
            assert htlc.verify_counterparty_signature(descriptor, signature)
        hashes = map(htlc.counterparty_sighash, descriptors)
        return commitments.sighash(self.ours, self.commitment, True) + b"".join(hashes)


@anchors_or_not
def test_build_and_sign(anchors: bool, best_of: Callable[..., list[float]], report: Callable[..., None]) -> None:
    setting = Setting(anchors)
    raw = _tx.raw_sign_loop(setting.messages, setting.htlc_key)
    assert raw is not None
    assert raw[64:] == b"".join(setting.made.htlc_signatures)
    ours, floor = best_of(setting.sign, lambda: _tx.raw_sign_loop(setting.messages, setting.htlc_key), seconds=1)
    report(
        name=f"commitment, 483 HTLCs: build, sign 484 ({'anchors' if anchors else 'static_remotekey'})",
        figure=ours * 1e3,
        unit="ms",
        reference="484 bare signatures",
        reference_figure=floor * 1e3,
        ratio=ours / floor,
        target=1.2,
        reached=ours / floor <= 1.2,
    )


@anchors_or_not
def test_build_and_verify(anchors: bool, best_of: Callable[..., list[float]], report: Callable[..., None]) -> None:
    setting = Setting(anchors)
    signatures = _tx.raw_sign_loop(setting.messages, setting.htlc_key)
    key = public_key(setting.htlc_key)
    assert signatures is not None
    assert _tx.raw_verify_loop(signatures, setting.messages, key)
    ours, floor = best_of(setting.verify, lambda: _tx.raw_verify_loop(signatures, setting.messages, key), seconds=1)
    report(
        name=f"commitment, 483 HTLCs: build, verify 484 ({'anchors' if anchors else 'static_remotekey'})",
        figure=ours * 1e3,
        unit="ms",
        reference="484 bare verifications",
        reference_figure=floor * 1e3,
        ratio=ours / floor,
        target=1.25,
        reached=ours / floor <= 1.25,
    )


def test_small_commitments(best_of: Callable[..., list[float]], report: Callable[..., None]) -> None:
    """What a payment costs on a quiet channel: key derivation is most of it."""
    one = Setting(True, htlcs=1)
    sign, verify, build = best_of(one.sign, one.verify, lambda: commitments.build(one.ours, one.commitment, True))
    report(name="commitment, 1 HTLC: build, sign 2 (anchors)", figure=sign * 1e6, unit="us")
    report(name="commitment, 1 HTLC: build, verify 2 (anchors)", figure=verify * 1e6, unit="us")
    report(name="commitment, 1 HTLC: build alone (anchors)", figure=build * 1e6, unit="us")
