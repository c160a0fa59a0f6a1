"""Everything that a channel can do to the world. The order of a transition's actions is a promise: what is durable
comes before what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from pyln_fast.channel.htlc import Htlc
from pyln_fast.events import Event
from pyln_fast.tx.monitor_update import ChannelMonitorUpdate, MonitorStep, NewMonitor
from pyln_fast.types import ChannelId, OutPoint, PaymentPreimage
from pyln_fast.wire.layout import Message

if TYPE_CHECKING:
    from pyln_fast.channel.state import ChannelState


class SendMessage(msgspec.Struct, frozen=True):
    """To the counterparty, on the connection of this moment; it dies with that connection."""

    message: Message


class SaveChannel(msgspec.Struct, frozen=True):
    """The state is durable before anything after this action is seen."""

    state: ChannelState


class CreateMonitor(msgspec.Struct, frozen=True):
    """From now on the chain is watched for this channel."""

    monitor: NewMonitor


class UpdateMonitor(msgspec.Struct, frozen=True):
    update: ChannelMonitorUpdate


class ChangeChannelId(msgspec.Struct, frozen=True):
    """The funding outpoint gives the channel its final id (BOLT 2, funding_signed)."""

    temporary_channel_id: ChannelId
    channel_id: ChannelId


class BroadcastTransaction(msgspec.Struct, frozen=True):
    """`kind` is LDK's TransactionType by name. What must confirm is broadcast again until it does."""

    raw: bytes
    kind: Literal["Funding", "CooperativeClose"]


class EmitEvent(msgspec.Struct, frozen=True):
    event: Event


class DiscardFunding(msgspec.Struct, frozen=True):
    """The funding transaction will never be needed: its inputs are free."""

    funding_outpoint: OutPoint


class HtlcCommitted(msgspec.Struct, frozen=True):
    """A received HTLC is irrevocably committed: forward it, claim it or fail it."""

    htlc: Htlc


class HtlcFulfilled(msgspec.Struct, frozen=True):
    """The preimage of an HTLC that we offered is known: upstream at once, before any commitment."""

    htlc: Htlc
    payment_preimage: PaymentPreimage


class HtlcRemoved(msgspec.Struct, frozen=True):
    """An HTLC that we offered is irrevocably removed; its `removal` says how."""

    htlc: Htlc


class HtlcNotSent(msgspec.Struct, frozen=True):
    """An HTLC that we proposed never left, and never will. `reason` is LDK's LocalHTLCFailureReason by name."""

    htlc: Htlc
    reason: str


class ChannelUsable(msgspec.Struct, frozen=True):
    """HTLCs may be offered from now on (after opening, and after each reconnection)."""


class ForgetChannel(msgspec.Struct, frozen=True):
    """Nothing of this channel is needed any more: an unfunded channel, or one whose close is buried."""


Action = (
    SendMessage
    | SaveChannel
    | CreateMonitor
    | UpdateMonitor
    | ChangeChannelId
    | BroadcastTransaction
    | EmitEvent
    | DiscardFunding
    | HtlcCommitted
    | HtlcFulfilled
    | HtlcRemoved
    | HtlcNotSent
    | ChannelUsable
    | ForgetChannel
)

__all__ = ["Action", "MonitorStep"]
