"""Our `open_channel` has left."""

from __future__ import annotations

from pyln_fast.channel.actions import EmitEvent, SendMessage
from pyln_fast.channel.commands import ForceClose, NewBlock, PeerDisconnected
from pyln_fast.channel.opening import (
    build_open_channel,
    channel_params,
    check_accept_channel,
    check_balances,
)
from pyln_fast.channel.state import AnyState, Opening, WaitForAcceptChannel, WaitForFundingTransaction
from pyln_fast.channel.states.common import do_force_close, on_error, stay
from pyln_fast.channel.states.wait_for_open_channel import do_nothing, do_peer_disconnected
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.config import UserConfig
from pyln_fast.events import FundingGenerationReady
from pyln_fast.tx.scripts import funding_script_pubkey
from pyln_fast.types import Msat, NodeId, Sat
from pyln_fast.wire.channel_msgs import AcceptChannel
from pyln_fast.wire.setup_msgs import Error


def open_channel(
    node_id: NodeId,
    channel_value_sat: Sat,
    push_msat: Msat,
    user_channel_id: int,
    channel_keys_id: bytes,
    config: UserConfig,
    ctx: Context,
) -> Transition[AnyState]:
    """The beginning of an outbound channel. Raises APIMisuse."""
    message = build_open_channel(ctx, config, channel_value_sat, push_msat, channel_keys_id)
    state = WaitForAcceptChannel(node_id, user_channel_id, channel_keys_id, config.channel_config, message)
    return stay(state, SendMessage(message))


def on_accept_channel(state: WaitForAcceptChannel, msg: AcceptChannel, ctx: Context) -> Transition[AnyState]:
    proposed = state.open_channel
    check_accept_channel(ctx, proposed, msg)
    params = channel_params(
        ctx,
        proposed,
        msg,
        state.counterparty_node_id,
        state.user_channel_id,
        state.channel_keys_id,
        holder_is_opener=True,
    )
    check_balances(params, proposed.feerate_per_kw, "accept_channel")
    opening = Opening(
        proposed.temporary_channel_id, params, state.config, proposed.feerate_per_kw, msg.first_per_commitment_point
    )
    script = funding_script_pubkey(params.holder.pubkeys.funding_pubkey, params.counterparty.pubkeys.funding_pubkey)
    event = FundingGenerationReady(
        proposed.temporary_channel_id,
        state.counterparty_node_id,
        params.channel_value_sat,
        script,
        state.user_channel_id,
    )
    return stay(WaitForFundingTransaction(opening, script), EmitEvent(event))


HANDLERS: Handlers = {
    AcceptChannel: on_accept_channel,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    NewBlock: do_nothing,
    Error: on_error,
}
