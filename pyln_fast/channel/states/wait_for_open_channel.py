"""A peer has sent `open_channel`; the user has not answered OpenChannelRequest yet."""

from __future__ import annotations

from pyln_fast.channel.actions import EmitEvent, SendMessage
from pyln_fast.channel.commands import AcceptChannelCommand, ForceClose, NewBlock, PeerDisconnected
from pyln_fast.channel.opening import (
    ANNOUNCE_CHANNEL,
    build_accept_channel,
    channel_params,
    check_balances,
    check_open_channel,
)
from pyln_fast.channel.state import AnyState, Opening, WaitForFundingCreated, WaitForOpenChannel
from pyln_fast.channel.states.common import abandon, do_force_close, on_error, stay
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.events import DisconnectedPeer, OpenChannelRequest
from pyln_fast.types import NodeId
from pyln_fast.wire.channel_msgs import OpenChannel
from pyln_fast.wire.setup_msgs import Error


def on_open_channel(msg: OpenChannel, node_id: NodeId, ctx: Context) -> Transition[AnyState]:
    """The beginning of an inbound channel. Raises RemoteError for what BOLT 2 does not allow."""
    check_open_channel(ctx, msg)
    assert msg.channel_type is not None
    request = OpenChannelRequest(
        msg.temporary_channel_id,
        node_id,
        msg.funding_satoshis,
        msg.push_msat,
        msg.channel_type,
        bool(msg.channel_flags & ANNOUNCE_CHANNEL),
    )
    return stay(WaitForOpenChannel(node_id, msg), EmitEvent(request))


def do_accept_channel(state: WaitForOpenChannel, command: AcceptChannelCommand, ctx: Context) -> Transition[AnyState]:
    msg = state.open_channel
    accept = build_accept_channel(ctx, ctx.config, msg, command.channel_keys_id)
    params = channel_params(
        ctx,
        msg,
        accept,
        state.counterparty_node_id,
        command.user_channel_id,
        command.channel_keys_id,
        holder_is_opener=False,
    )
    check_balances(params, msg.feerate_per_kw, "open_channel")
    opening = Opening(
        msg.temporary_channel_id, params, ctx.config.channel_config, msg.feerate_per_kw, msg.first_per_commitment_point
    )
    return stay(WaitForFundingCreated(opening), SendMessage(accept))


def do_peer_disconnected(state: AnyState, command: PeerDisconnected, ctx: Context) -> Transition[AnyState]:
    return abandon(state, DisconnectedPeer(), None)


def do_nothing(state: AnyState, command: object, ctx: Context) -> Transition[AnyState]:
    return stay(state)


HANDLERS: Handlers = {
    AcceptChannelCommand: do_accept_channel,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    NewBlock: do_nothing,
    Error: on_error,
}
