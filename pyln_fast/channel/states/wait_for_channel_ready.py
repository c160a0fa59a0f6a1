"""Our `channel_ready` has left, the counterparty's has not come."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel.commands import (
    CloseChannel,
    ForceClose,
    FundingConfirmed,
    FundingSpentOnChain,
    FundingUnconfirmed,
    NewBlock,
    PeerDisconnected,
)
from pyln_fast.channel.state import AnyState, Offline, WaitForChannelReady
from pyln_fast.channel.states.common import do_force_close, do_funding_spent, on_error, saved, stay
from pyln_fast.channel.states.normal import do_close, on_early_shutdown
from pyln_fast.channel.states.wait_for_funding_confirmed import became_normal, take_channel_ready
from pyln_fast.channel.states.wait_for_open_channel import do_nothing
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.wire.channel_msgs import ChannelReady, Shutdown
from pyln_fast.wire.setup_msgs import Error


def on_channel_ready(state: WaitForChannelReady, msg: ChannelReady, ctx: Context) -> Transition[AnyState]:
    next_state, actions = became_normal(take_channel_ready(state.data, msg))
    return saved(next_state, *actions)


def do_funding_confirmed(state: WaitForChannelReady, command: FundingConfirmed, ctx: Context) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=command.height, tx_index=command.tx_index)
    return saved(replace(state, data=replace(state.data, funding=funding)))


def do_funding_unconfirmed(
    state: WaitForChannelReady, command: FundingUnconfirmed, ctx: Context
) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=None, tx_index=None)
    return saved(replace(state, data=replace(state.data, funding=funding)))


def do_peer_disconnected(state: WaitForChannelReady, command: PeerDisconnected, ctx: Context) -> Transition[AnyState]:
    return stay(Offline(state))


HANDLERS: Handlers = {
    ChannelReady: on_channel_ready,
    Shutdown: on_early_shutdown,
    CloseChannel: do_close,
    FundingConfirmed: do_funding_confirmed,
    FundingUnconfirmed: do_funding_unconfirmed,
    NewBlock: do_nothing,
    FundingSpentOnChain: do_funding_spent,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    Error: on_error,
}
