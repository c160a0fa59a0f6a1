"""Random channels and commitments for hypothesis, with both parties' secrets."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from coincurve import PrivateKey as Scalar
from hypothesis import strategies as st

from pyln_fast.tx.parameters import (
    ChannelParty,
    ChannelPublicKeys,
    ChannelTransactionParameters,
    Commitment,
    CommitmentHtlc,
    CommitmentSpec,
)
from pyln_fast.types import OutPoint, PrivateKey, PublicKey

NAMES = ("funding", "revocation", "payment", "delayed", "htlc")


class Secrets(NamedTuple):
    funding: PrivateKey
    revocation: PrivateKey
    payment: PrivateKey
    delayed: PrivateKey
    htlc: PrivateKey


def secrets(seed: str) -> Secrets:
    return Secrets(*(PrivateKey(hashlib.sha256(f"{seed} {name}".encode()).digest()) for name in NAMES))


def point_of(secret: bytes) -> PublicKey:
    return PublicKey(Scalar(secret).public_key.format())


class Channel(NamedTuple):
    params: ChannelTransactionParameters
    holder: Secrets
    counterparty: Secrets
    commitment: Commitment
    broadcaster_is_holder: bool


def make(
    seed: str,
    spec: CommitmentSpec,
    *,
    number: int = 0,
    dust_limits_sat: tuple[int, int] = (354, 546),
    delays: tuple[int, int] = (144, 720),
    holder_is_opener: bool = True,
    anchors: bool = True,
    broadcaster_is_holder: bool = True,
) -> Channel:
    """A channel whose value is what the spec adds up to; the pairs are the holder's and the counterparty's."""
    holder, counterparty = secrets(seed + " holder"), secrets(seed + " counterparty")
    parties = [
        ChannelParty(ChannelPublicKeys(*map(point_of, party)), dust, delay)
        for party, dust, delay in zip((holder, counterparty), dust_limits_sat, delays, strict=True)
    ]
    total_msat = spec.to_broadcaster_msat + spec.to_countersignatory_msat + sum(h.amount_msat for h in spec.htlcs)
    assert total_msat % 1000 == 0
    params = ChannelTransactionParameters(
        OutPoint(hashlib.sha256(seed.encode()).digest(), len(seed)),
        total_msat // 1000,
        *parties,
        holder_is_opener=holder_is_opener,
        anchors=anchors,
    )
    point = point_of(hashlib.sha256(f"{seed} {number}".encode()).digest())
    return Channel(params, holder, counterparty, Commitment(number, point, spec), broadcaster_is_holder)


# Few values, so that equal amounts, hashes and expiries meet often; some amounts lie at trimming thresholds.
amounts_msat = st.one_of(
    st.sampled_from([1, 999, 353_999, 354_000, 545_999, 546_000, 1_000_000, 1_000_999, 5_000_000, 5_000_001]),
    st.integers(1, 20_000_000),
)
payment_hashes = st.integers(0, 3).map(lambda i: hashlib.sha256(bytes([i])).digest())
expiries = st.sampled_from([0, 1, 16, 17, 127, 128, 255, 256, 32767, 32768, 500, 501, 800_000, 499_999_999])
htlcs = st.builds(CommitmentHtlc, st.integers(0, 1 << 20), st.booleans(), amounts_msat, payment_hashes, expiries)


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    held = tuple(draw(st.lists(htlcs, max_size=12)))
    balances = st.one_of(st.integers(0, 2_000_000), st.integers(0, 10_000_000_000))
    to_broadcaster = draw(balances)
    to_countersignatory = draw(balances)
    rest = -(to_broadcaster + to_countersignatory + sum(htlc.amount_msat for htlc in held)) % 1000
    spec = CommitmentSpec(
        draw(st.one_of(st.sampled_from([0, 253, 1000, 15000]), st.integers(0, 2_000_000))),
        to_broadcaster + rest,
        to_countersignatory,
        held,
    )
    dust_limits = st.tuples(*[st.one_of(st.sampled_from([354, 546, 1000]), st.integers(1, 5000))] * 2)
    return make(
        draw(st.sampled_from("abcd")),
        spec,
        number=draw(st.one_of(st.integers(0, 5), st.integers(0, (1 << 48) - 1))),
        dust_limits_sat=draw(dust_limits),
        delays=draw(st.tuples(*[st.sampled_from([0, 1, 16, 17, 144, 720, 2016, 32768, 65535])] * 2)),
        holder_is_opener=draw(st.booleans()),
        anchors=draw(st.booleans()),
        broadcaster_is_holder=draw(st.booleans()),
    )
