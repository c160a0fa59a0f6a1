"""The states of a channel as values. One file in states/ for the handlers of each.

A funded channel's data is the same in all its states: `ChannelData`. States before the funding is signed live in memory
only, because BOLT 2 lets both sides forget such a channel at a disconnection.
"""

from __future__ import annotations

import msgspec

from pyln_fast.channel.commitments import Commitments
from pyln_fast.channel.params import ChannelParams
from pyln_fast.config import ChannelConfig
from pyln_fast.sign.interfaces import EnforcementState
from pyln_fast.types import (
    BlockHeight,
    ChannelId,
    FeeratePerKw,
    NodeId,
    OutPoint,
    Sat,
    ShortChannelId,
    short_channel_id,
)
from pyln_fast.wire.channel_msgs import OpenChannel


class Funding(msgspec.Struct, frozen=True, array_like=True):
    """The output that the channel lives on."""

    outpoint: OutPoint
    first_seen_height: BlockHeight
    """The tip when the funding was signed: the fundee's patience counts from here."""
    raw: bytes | None = None
    """The whole transaction, on the opener's side; None: the user broadcasts it himself, or the peer does."""
    height: BlockHeight | None = None
    tx_index: int | None = None

    @property
    def short_channel_id(self) -> ShortChannelId | None:
        if self.height is None or self.tx_index is None:
            return None
        return short_channel_id(self.height, self.tx_index, self.outpoint.vout)

    def confirmations(self, tip: BlockHeight) -> int:
        return 0 if self.height is None else max(0, tip - self.height + 1)


class ChannelData(msgspec.Struct, frozen=True, array_like=True):
    """Everything that a funded channel knows."""

    channel_id: ChannelId
    params: ChannelParams
    config: ChannelConfig
    commitments: Commitments
    funding: Funding
    signer_state: EnforcementState
    monitor_update_id: int
    """Of the last update that the monitor was given; 0 is its creation."""
    holder_alias: ShortChannelId
    """What we call the channel towards the peer, in channel_ready and forever (BOLT 2)."""
    counterparty_alias: ShortChannelId | None = None
    counterparty_is_ready: bool = False
    """Its channel_ready arrived."""
    holder_shutdown_script: bytes | None = None
    """We sent `shutdown` with it."""
    counterparty_shutdown_script: bytes | None = None
    holder_initiated_shutdown: bool = False
    closing_target_feerate_per_kw: FeeratePerKw | None = None


class ChannelState(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The base of all states."""


# --- before the funding is signed: in memory only ---------------------------------------------------------------------


class WaitForOpenChannel(ChannelState, frozen=True):
    """A peer asked, the user has not answered yet."""

    counterparty_node_id: NodeId
    open_channel: OpenChannel


class WaitForAcceptChannel(ChannelState, frozen=True):
    counterparty_node_id: NodeId
    user_channel_id: int
    channel_keys_id: bytes
    config: ChannelConfig
    open_channel: OpenChannel


class Opening(msgspec.Struct, frozen=True, array_like=True):
    """What both sides agreed on, before there is a funding."""

    temporary_channel_id: ChannelId
    params: ChannelParams
    config: ChannelConfig
    feerate_per_kw: FeeratePerKw
    counterparty_first_point: bytes


class WaitForFundingTransaction(ChannelState, frozen=True):
    """Opener: the user owes us a transaction (FundingGenerationReady)."""

    opening: Opening
    funding_script: bytes


class WaitForFundingCreated(ChannelState, frozen=True):
    opening: Opening


class WaitForFundingSigned(ChannelState, frozen=True):
    """Opener: `funding_created` has left. Nothing can be lost yet: the funding is not broadcast before the answer."""

    opening: Opening
    funding: Funding
    manual_broadcast: bool


# --- funded: durable --------------------------------------------------------------------------------------------------


class WaitForFundingConfirmed(ChannelState, frozen=True):
    """Both commitments are signed; the funding is not deep enough."""

    data: ChannelData


class WaitForChannelReady(ChannelState, frozen=True):
    """Our `channel_ready` has left, the counterparty's has not come."""

    data: ChannelData


class Normal(ChannelState, frozen=True):
    """HTLCs come and go. At most one side has sent `shutdown`."""

    data: ChannelData


class ShuttingDown(ChannelState, frozen=True):
    """Both sides have sent `shutdown`; HTLCs or updates are still pending."""

    data: ChannelData


class ClosingProposal(msgspec.Struct, frozen=True, array_like=True):
    """Our last `closing_signed` on this connection."""

    fee_satoshis: Sat
    min_fee_satoshis: Sat
    max_fee_satoshis: Sat
    counterparty_fee_satoshis: Sat | None = None
    """The counterparty's last one."""


class Negotiating(ChannelState, frozen=True):
    """The channel is empty; the fee of the closing transaction is being agreed on, or was."""

    data: ChannelData
    proposal: ClosingProposal | None = None
    agreed: bytes | None = None
    """The closing transaction with both signatures. It is broadcast until it confirms; the state stays, because the
    counterparty may not know yet and ask again after a reconnection."""
    agreed_fee_satoshis: Sat | None = None


class Closing(ChannelState, frozen=True):
    """The channel is over: its funding is spent, or its commitment is being broadcast."""

    data: ChannelData
    error: str | None
    """What we tell the counterparty whenever it asks with `channel_reestablish`; None after a cooperative close."""
    never_broadcast: bool = False
    """The counterparty proved that it holds a newer state: our commitment would cost us the channel."""
    spent_by_commitment: bool | None = None
    """None: no spend of the funding is in the chain."""
    agreed: bytes | None = None
    """The cooperative close, if one was agreed on: broadcast again should a reorganisation take it out of the chain."""


LiveState = WaitForFundingConfirmed | WaitForChannelReady | Normal | ShuttingDown | Negotiating


class Offline(ChannelState, frozen=True):
    """A funded channel whose peer is not connected."""

    inner: LiveState

    @property
    def data(self) -> ChannelData:
        return self.inner.data


class Syncing(ChannelState, frozen=True):
    """Our `channel_reestablish` has left, the counterparty's has not come."""

    inner: LiveState

    @property
    def data(self) -> ChannelData:
        return self.inner.data


FundedState = LiveState | Closing | Offline | Syncing
UnfundedState = (
    WaitForOpenChannel | WaitForAcceptChannel | WaitForFundingTransaction | WaitForFundingCreated | WaitForFundingSigned
)
AnyState = UnfundedState | FundedState
