"""What a channel tells its monitor, and what a monitor answers: the values between channel/ and chain/.

A monitor knows a channel by these values alone, so that a copy of it elsewhere is one more reader of the log.
"""

from __future__ import annotations

import msgspec

from pyln_fast.tx.parameters import ChannelTransactionParameters, Commitment
from pyln_fast.types import ChannelId, NodeId, PaymentHash, PaymentPreimage, Secret, Signature, Txid


class HolderCommitment(msgspec.Struct, frozen=True, array_like=True):
    """A commitment that we could broadcast: the counterparty's signatures make it valid."""

    commitment: Commitment
    txid: Txid
    signature: Signature
    htlc_signatures: tuple[Signature, ...]
    """One for each HTLC output, in output order."""


class CounterpartyCommitment(msgspec.Struct, frozen=True, array_like=True):
    """A commitment that we signed: the counterparty could broadcast it at any time."""

    commitment: Commitment
    txid: Txid


class NewMonitor(msgspec.Struct, frozen=True, array_like=True):
    """The monitor's first state, durable before the funding can be spent."""

    channel_id: ChannelId
    counterparty_node_id: NodeId
    channel_keys_id: bytes
    parameters: ChannelTransactionParameters
    funding_script: bytes
    """The funding output's script_pubkey."""
    holder_commitment: HolderCommitment
    counterparty_commitment: CounterpartyCommitment
    shutdown_script: bytes | None
    """Where our part of a cooperative close goes, once it is known."""


class LatestHolderCommitment(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """We accepted a new commitment: every earlier one is revoked by the `revoke_and_ack` that follows."""

    holder_commitment: HolderCommitment


class LatestCounterpartyCommitment(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """We are about to send `commitment_signed` for it."""

    counterparty_commitment: CounterpartyCommitment


class CommitmentSecret(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The counterparty revoked commitment `number`."""

    number: int
    secret: Secret


class PaymentPreimageKnown(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An HTLC that we received can be claimed on chain from now on."""

    payment_hash: PaymentHash
    preimage: PaymentPreimage


class ChannelForceClosed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The channel has failed. Without `should_broadcast` the holder commitment must never be broadcast: the peer proved
    that it holds a newer state."""

    should_broadcast: bool


class ShutdownScript(msgspec.Struct, frozen=True, array_like=True, tag=True):
    script_pubkey: bytes


MonitorStep = (
    LatestHolderCommitment
    | LatestCounterpartyCommitment
    | CommitmentSecret
    | PaymentPreimageKnown
    | ChannelForceClosed
    | ShutdownScript
)


class ChannelMonitorUpdate(msgspec.Struct, frozen=True, array_like=True):
    """One change of a monitor. Ids of a channel follow each other without a gap, from 1."""

    channel_id: ChannelId
    update_id: int
    steps: tuple[MonitorStep, ...]


class HtlcResolvedOnChain(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A preimage for an HTLC that we offered was seen in the chain."""

    channel_id: ChannelId
    payment_hash: PaymentHash
    preimage: PaymentPreimage


class FundingSpent(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A transaction that spends the funding is in the chain."""

    channel_id: ChannelId
    txid: Txid
    is_commitment: bool
    """False: a cooperative close."""


MonitorEvent = HtlcResolvedOnChain | FundingSpent
