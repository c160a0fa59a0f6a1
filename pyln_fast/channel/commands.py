"""Everything that a channel can be told, besides messages of its peer. A command that cannot be done raises LocalError
and changes nothing."""

from __future__ import annotations

import msgspec

from pyln_fast.channel.htlc import HtlcSource, Removal
from pyln_fast.types import (
    BlockHeight,
    FeeratePerKw,
    Msat,
    PaymentHash,
    Secret,
    Txid,
)


class AcceptChannelCommand(msgspec.Struct, frozen=True):
    """The user took an OpenChannelRequest."""

    user_channel_id: int
    channel_keys_id: bytes


class FundingTransactionGenerated(msgspec.Struct, frozen=True):
    """The user's answer to FundingGenerationReady: a whole transaction, its witnesses included."""

    raw: bytes
    manual_broadcast: bool = False
    """The user broadcasts it himself after FundingTxBroadcastSafe."""


class AddHtlc(msgspec.Struct, frozen=True):
    amount_msat: Msat
    payment_hash: PaymentHash
    cltv_expiry: BlockHeight
    onion_routing_packet: bytes
    source: HtlcSource


class RemoveHtlc(msgspec.Struct, frozen=True):
    """Fulfil or fail a received HTLC that is committed. Telling it twice is no error: the first counts, except that a
    preimage is always taken note of."""

    htlc_id: int
    removal: Removal


class TakeNoteOfOnion(msgspec.Struct, frozen=True):
    """The onions of these received HTLCs were peeled: keep the shared secrets, drop the packets."""

    shared_secrets: dict[int, Secret]


class SignCommitment(msgspec.Struct, frozen=True):
    """At the end of a turn: sign all that is pending, if the counterparty owes no revocation."""


class UpdateFee(msgspec.Struct, frozen=True):
    feerate_per_kw: FeeratePerKw


class CloseChannel(msgspec.Struct, frozen=True):
    """Cooperatively. `script_pubkey` None: the wallet's."""

    script_pubkey: bytes | None = None
    target_feerate_per_kw: FeeratePerKw | None = None


class ForceClose(msgspec.Struct, frozen=True):
    """Broadcast the newest holder commitment."""

    message: str
    """For the counterparty: becomes the text of `error`."""


class PeerConnected(msgspec.Struct, frozen=True):
    """The peer's `init` has arrived on a new connection."""


class PeerDisconnected(msgspec.Struct, frozen=True):
    pass


class FundingConfirmed(msgspec.Struct, frozen=True):
    """The funding output is in the chain, at this place."""

    height: BlockHeight
    tx_index: int


class FundingUnconfirmed(msgspec.Struct, frozen=True):
    """A reorganisation took the funding out of the chain."""


class NewBlock(msgspec.Struct, frozen=True):
    """The chain's tip is now the context's height."""


class FundingSpentOnChain(msgspec.Struct, frozen=True):
    """A transaction that spends the funding is in the chain."""

    txid: Txid
    is_commitment: bool


class ClosingConfirmed(msgspec.Struct, frozen=True):
    """The spend of the funding is buried: the channel is over."""


class AnswerOverdue(msgspec.Struct, frozen=True):
    """The peer has owed an answer for too long."""


Command = (
    AcceptChannelCommand
    | FundingTransactionGenerated
    | AddHtlc
    | RemoveHtlc
    | TakeNoteOfOnion
    | SignCommitment
    | UpdateFee
    | CloseChannel
    | ForceClose
    | PeerConnected
    | PeerDisconnected
    | FundingConfirmed
    | FundingUnconfirmed
    | NewBlock
    | FundingSpentOnChain
    | ClosingConfirmed
    | AnswerOverdue
)
