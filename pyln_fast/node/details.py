"""What the user may know of a channel: LDK's ChannelDetails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pyln_fast.channel.limits import DustLimit, dust_exposure_msat, outbound_limit_msat
from pyln_fast.channel.state import (
    AnyState,
    Closing,
    Negotiating,
    Normal,
    Offline,
    ShuttingDown,
    Syncing,
    UnfundedState,
    WaitForAcceptChannel,
    WaitForOpenChannel,
)
from pyln_fast.channel.states.common import unfunded_identity, unfunded_value
from pyln_fast.types import Blocks, ChannelId, FeeratePerKw, Msat, NodeId, OutPoint, Sat, ShortChannelId

if TYPE_CHECKING:
    from pyln_fast.node.core import Core


class ChannelDetails(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: ChannelId
    """The temporary one before the funding is signed."""
    state: str
    """The state's name, such as Normal or Offline(Normal)."""
    counterparty_node_id: NodeId
    funding_txo: OutPoint | None = None
    channel_type: bytes | None = None
    short_channel_id: ShortChannelId | None = None
    outbound_scid_alias: ShortChannelId | None = None
    """What we call it towards the peer."""
    inbound_scid_alias: ShortChannelId | None = None
    """What the peer calls it: for our invoices' hints."""
    channel_value_satoshis: Sat
    unspendable_punishment_reserve: Sat | None = None
    user_channel_id: int = 0
    feerate_sat_per_1000_weight: FeeratePerKw | None = None
    holder_balance_msat: Msat = Msat(0)
    """Settled, before fees and HTLCs."""
    counterparty_balance_msat: Msat = Msat(0)
    outbound_capacity_msat: Msat = Msat(0)
    next_outbound_htlc_limit_msat: Msat = Msat(0)
    inbound_capacity_msat: Msat = Msat(0)
    confirmations_required: int | None = None
    confirmations: int | None = None
    force_close_spend_delay: Blocks | None = None
    is_outbound: bool
    is_channel_ready: bool = False
    channel_shutdown_state: str = "NotShuttingDown"
    is_usable: bool = False
    is_announced: bool = False
    pending_inbound_htlcs: int = 0
    pending_outbound_htlcs: int = 0
    current_dust_exposure_msat: Msat | None = None


def details_of(state: AnyState, core: Core) -> ChannelDetails:
    if isinstance(state, UnfundedState):
        channel_id, user_channel_id, node_id = unfunded_identity(state)
        outbound = isinstance(state, WaitForAcceptChannel)
        if not isinstance(state, WaitForOpenChannel | WaitForAcceptChannel):
            outbound = state.opening.params.holder_is_opener
        return ChannelDetails(
            channel_id=channel_id,
            state=type(state).__name__,
            counterparty_node_id=node_id,
            channel_value_satoshis=unfunded_value(state),
            user_channel_id=user_channel_id,
            is_outbound=outbound,
        )
    data, inner = state.data, state.inner if isinstance(state, Offline | Syncing) else state
    params, commitments = data.params, data.commitments
    dust = DustLimit.of(data.config, core.feerates.maximum_fee_estimate)
    name = type(inner).__name__
    offered = sum(1 for htlc in commitments.htlcs.values() if htlc.offered)
    reserve_msat = 1000 * params.counterparty.channel_reserve_sat
    their_reserve_msat = 1000 * params.holder.channel_reserve_sat
    return ChannelDetails(
        channel_id=data.channel_id,
        state=name if inner is state else f"{type(state).__name__}({name})",
        counterparty_node_id=params.counterparty_node_id,
        funding_txo=data.funding.outpoint,
        channel_type=params.channel_type,
        short_channel_id=data.funding.short_channel_id,
        outbound_scid_alias=data.holder_alias,
        inbound_scid_alias=data.counterparty_alias,
        channel_value_satoshis=params.channel_value_sat,
        unspendable_punishment_reserve=params.counterparty.channel_reserve_sat,
        user_channel_id=params.user_channel_id,
        feerate_sat_per_1000_weight=commitments.fees.feerate(of_holder=True),
        holder_balance_msat=commitments.to_holder_msat,
        counterparty_balance_msat=commitments.to_counterparty_msat,
        outbound_capacity_msat=Msat(max(0, commitments.to_holder_msat - reserve_msat)),
        next_outbound_htlc_limit_msat=outbound_limit_msat(params, commitments, dust),
        inbound_capacity_msat=Msat(max(0, commitments.to_counterparty_msat - their_reserve_msat)),
        confirmations_required=params.minimum_depth,
        confirmations=data.funding.confirmations(core.height),
        force_close_spend_delay=params.counterparty.to_self_delay,
        is_outbound=params.holder_is_opener,
        is_channel_ready=isinstance(inner, Normal | ShuttingDown | Negotiating),
        channel_shutdown_state=_shutdown_state(inner),
        is_usable=isinstance(state, Normal) and data.holder_shutdown_script is None,
        is_announced=params.announce_channel,
        pending_inbound_htlcs=len(commitments.htlcs) - offered,
        pending_outbound_htlcs=offered,
        current_dust_exposure_msat=dust_exposure_msat(params, commitments, dust.max_feerate_per_kw),
    )


def _shutdown_state(inner: AnyState) -> str:
    """LDK's ChannelShutdownState by name."""
    if isinstance(inner, Negotiating):
        return "ShutdownComplete" if inner.agreed is not None else "NegotiatingClosingFee"
    if isinstance(inner, ShuttingDown):
        return "ResolvingHTLCs"
    if isinstance(inner, Closing):
        return "ShutdownComplete"
    if isinstance(inner, Normal) and inner.data.holder_shutdown_script is not None:
        return "ShutdownInitiated"
    return "NotShuttingDown"
