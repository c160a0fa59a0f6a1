"""The life of an HTLC as a table of stages (BOLT 2, Normal Operation).

Adding an HTLC and removing it are two updates, and each walks through the five steps that BOLT 2 lists: proposed, in
the receiver's commitment, revoked by the receiver, in the sender's commitment, revoked by the sender. The offerer
proposes the addition, the other party the removal, so ten stages tell everything about an HTLC in both commitments.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from pyln_fast.types import BlockHeight, ChannelId, Msat, PaymentHash, PaymentId, PaymentPreimage, PublicKey, Secret


class HtlcStage(IntEnum):
    ADD_PROPOSED = 0
    """Nobody has signed it: its `update_add_htlc` leaves with the next `commitment_signed`."""
    ADD_SIGNED = 1
    """The offerer signed: it is in the receiver's commitment."""
    ADD_ACKED = 2
    """The receiver revoked what came before: pending on the offerer."""
    ADD_COUNTERSIGNED = 3
    """The receiver signed: it is in both commitments."""
    COMMITTED = 4
    """The offerer revoked what came before: irrevocably committed."""
    REMOVE_PROPOSED = 5
    REMOVE_SIGNED = 6
    """The receiver signed: gone from the offerer's commitment."""
    REMOVE_ACKED = 7
    REMOVE_COUNTERSIGNED = 8
    """Gone from both commitments."""
    REMOVED = 9
    """Irrevocably removed: it leaves the table."""


_S = HtlcStage

IN_OFFERERS_COMMITMENT = frozenset({_S.ADD_COUNTERSIGNED, _S.COMMITTED, _S.REMOVE_PROPOSED})
IN_RECEIVERS_COMMITMENT = frozenset(
    {
        _S.ADD_SIGNED,
        _S.ADD_ACKED,
        _S.ADD_COUNTERSIGNED,
        _S.COMMITTED,
        _S.REMOVE_PROPOSED,
        _S.REMOVE_SIGNED,
        _S.REMOVE_ACKED,
    }
)

# (the acting party is the offerer, it signs or it revokes) → the stages that this moves on.
ADVANCES: dict[tuple[bool, str], dict[HtlcStage, HtlcStage]] = {
    (True, "signs"): {_S.ADD_PROPOSED: _S.ADD_SIGNED, _S.REMOVE_ACKED: _S.REMOVE_COUNTERSIGNED},
    (False, "revokes"): {_S.ADD_SIGNED: _S.ADD_ACKED, _S.REMOVE_COUNTERSIGNED: _S.REMOVED},
    (False, "signs"): {_S.ADD_ACKED: _S.ADD_COUNTERSIGNED, _S.REMOVE_PROPOSED: _S.REMOVE_SIGNED},
    (True, "revokes"): {_S.ADD_COUNTERSIGNED: _S.COMMITTED, _S.REMOVE_SIGNED: _S.REMOVE_ACKED},
}


class Fulfilled(msgspec.Struct, frozen=True, array_like=True, tag=True):
    payment_preimage: PaymentPreimage


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    reason: bytes
    """The onion-encrypted failure packet."""


class FailedMalformed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    sha256_of_onion: bytes
    failure_code: int


Removal = Fulfilled | Failed | FailedMalformed


class ForwardedHtlc(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """We offered it because this HTLC was offered to us."""

    prev_channel_id: ChannelId
    prev_htlc_id: int


class OutboundPaymentHtlc(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """We offered it to make a payment of our own."""

    payment_id: PaymentId
    attempt: int


HtlcSource = ForwardedHtlc | OutboundPaymentHtlc


class Htlc(msgspec.Struct, frozen=True, array_like=True):
    """One HTLC of a channel, from its proposal until its removal is irrevocable."""

    id: int
    """Counts up from 0 for each offerer."""
    offered: bool
    """By the holder."""
    amount_msat: Msat
    payment_hash: PaymentHash
    cltv_expiry: BlockHeight
    onion_routing_packet: bytes
    """Empty once nobody needs it any more."""
    stage: HtlcStage
    source: HtlcSource | None = None
    """Of an offered HTLC: why we offered it."""
    shared_secret: Secret | None = None
    """Of a received HTLC: what its onion gave us, to encrypt a failure with."""
    removal: Removal | None = None
    path_key: PublicKey | None = None
    """Of a received HTLC: it came through a blinded route."""

    @property
    def key(self) -> HtlcKey:
        return (self.offered, self.id)


HtlcKey = tuple[bool, int]
"""(offered by the holder, id)"""
