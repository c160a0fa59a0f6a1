"""What stays the same in every commitment transaction of a channel, and what one commitment holds (BOLT 3)."""

from __future__ import annotations

import msgspec

from pyln_fast.types import (
    BlockHeight,
    Blocks,
    FeeratePerKw,
    Msat,
    OutPoint,
    PaymentHash,
    PublicKey,
    Sat,
)


class ChannelPublicKeys(msgspec.Struct, frozen=True, array_like=True):
    """One party's points, as `open_channel` and `accept_channel` carry them."""

    funding_pubkey: PublicKey
    revocation_basepoint: PublicKey
    payment_point: PublicKey
    """`payment_basepoint`: with `option_static_remotekey` it is used as it is."""
    delayed_payment_basepoint: PublicKey
    htlc_basepoint: PublicKey


class ChannelParty(msgspec.Struct, frozen=True, array_like=True):
    """What one party brings to both commitments."""

    pubkeys: ChannelPublicKeys
    dust_limit_sat: Sat
    """Outputs below it are trimmed from this party's commitment."""
    to_self_delay: Blocks
    """How long this party's own outputs are delayed in its commitment: what the other party asked for."""


class ChannelTransactionParameters(msgspec.Struct, frozen=True, array_like=True):
    """LDK's ChannelTransactionParameters: everything that the commitments of a channel share."""

    funding_outpoint: OutPoint
    channel_value_sat: Sat
    holder: ChannelParty
    counterparty: ChannelParty
    holder_is_opener: bool
    """The opener pays the fee (and the anchors)."""
    anchors: bool
    """`option_anchors` with zero-fee HTLC transactions; otherwise `option_static_remotekey`."""


class CommitmentHtlc(msgspec.Struct, frozen=True, array_like=True):
    """An HTLC as it stands in one commitment transaction."""

    htlc_id: int
    """In its offerer's numbering: names the HTLC, is not in the transaction."""
    offered: bool
    """By the broadcaster of this commitment."""
    amount_msat: Msat
    payment_hash: PaymentHash
    cltv_expiry: BlockHeight


class CommitmentSpec(msgspec.Struct, frozen=True, array_like=True):
    """What one commitment pays to whom. Balances are before fee and anchors, HTLC amounts already taken out."""

    feerate_per_kw: FeeratePerKw
    to_broadcaster_msat: Msat
    to_countersignatory_msat: Msat
    htlcs: tuple[CommitmentHtlc, ...]


class Commitment(msgspec.Struct, frozen=True, array_like=True):
    """One commitment of one party: what is needed to build the very same transaction again."""

    number: int
    """BOLT 3 commitment number, counting up from 0."""
    per_commitment_point: PublicKey
    spec: CommitmentSpec
