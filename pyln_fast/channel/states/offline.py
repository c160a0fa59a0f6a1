"""A funded channel whose peer is not connected: the chain goes on, messages do not."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel import reestablish
from pyln_fast.channel.actions import Action, SaveChannel, SendMessage
from pyln_fast.channel.commands import (
    Command,
    ForceClose,
    FundingConfirmed,
    FundingSpentOnChain,
    FundingUnconfirmed,
    NewBlock,
    PeerConnected,
    PeerDisconnected,
    RemoveHtlc,
    SignCommitment,
    TakeNoteOfOnion,
)
from pyln_fast.channel.state import (
    AnyState,
    Closing,
    LiveState,
    Normal,
    Offline,
    ShuttingDown,
    Syncing,
    WaitForChannelReady,
    WaitForFundingConfirmed,
)
from pyln_fast.channel.states import wait_for_channel_ready, wait_for_funding_confirmed
from pyln_fast.channel.states.common import do_force_close, do_funding_spent, stay
from pyln_fast.channel.states.live import (
    do_funding_confirmed,
    do_funding_unconfirmed,
    do_new_block,
    do_remove_htlc,
    do_take_note_of_onion,
)
from pyln_fast.channel.states.wait_for_open_channel import do_nothing
from pyln_fast.channel.transition import Context, Handlers, Transition


def on_chain_of(inner: LiveState, command: Command, ctx: Context) -> Transition[AnyState]:
    """What the chain does to the state inside."""
    if isinstance(inner, WaitForFundingConfirmed):
        return wait_for_funding_confirmed.HANDLERS[type(command)](inner, command, ctx)
    if isinstance(inner, WaitForChannelReady):
        return wait_for_channel_ready.HANDLERS[type(command)](inner, command, ctx)
    if isinstance(command, FundingConfirmed):
        return do_funding_confirmed(inner, command, ctx)  # type: ignore[arg-type]
    if isinstance(command, FundingUnconfirmed):
        return do_funding_unconfirmed(inner, command, ctx)  # type: ignore[arg-type]
    if isinstance(inner, Normal | ShuttingDown):
        return do_new_block(inner, NewBlock(), ctx, is_patient=not ctx.peers_had_time)
    return stay(inner)


def delegate(state: Offline | Syncing, command: Command, ctx: Context) -> Transition[AnyState]:
    """The inner state moves; what it would say is not said: `channel_reestablish` comes first (BOLT 2)."""
    transition = on_chain_of(state.inner, command, ctx)
    if isinstance(transition.state, Closing):
        return transition
    assert isinstance(transition.state, LiveState)
    wrapped = replace(state, inner=transition.state)
    actions: list[Action] = []
    for action in transition.actions:
        if isinstance(action, SaveChannel):
            actions.append(SaveChannel(wrapped))
        elif not isinstance(action, SendMessage):
            actions.append(action)
    return Transition(wrapped, tuple(actions))


def do_peer_connected(state: Offline, command: PeerConnected, ctx: Context) -> Transition[AnyState]:
    return stay(Syncing(state.inner), SendMessage(reestablish.channel_reestablish(state.data, ctx)))


HANDLERS: Handlers = {
    PeerConnected: do_peer_connected,
    PeerDisconnected: do_nothing,
    RemoveHtlc: do_remove_htlc,
    TakeNoteOfOnion: do_take_note_of_onion,
    SignCommitment: do_nothing,
    ForceClose: do_force_close,
    FundingConfirmed: delegate,
    FundingUnconfirmed: delegate,
    FundingSpentOnChain: do_funding_spent,
    NewBlock: delegate,
}
