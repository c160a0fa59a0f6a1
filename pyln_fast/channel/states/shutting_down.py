"""Both sides have sent `shutdown`; HTLCs or updates are still pending."""

from __future__ import annotations

from pyln_fast.channel.commands import (
    ForceClose,
    FundingConfirmed,
    FundingSpentOnChain,
    FundingUnconfirmed,
    NewBlock,
    PeerDisconnected,
    RemoveHtlc,
    SignCommitment,
    TakeNoteOfOnion,
)
from pyln_fast.channel.state import AnyState, ShuttingDown
from pyln_fast.channel.states.common import do_force_close, do_funding_spent, on_error, stay
from pyln_fast.channel.states.live import (
    LIVE_MESSAGES,
    do_funding_confirmed,
    do_funding_unconfirmed,
    do_new_block,
    do_peer_disconnected,
    do_remove_htlc,
    do_sign_commitment,
    do_take_note_of_onion,
    settle,
)
from pyln_fast.channel.states.normal import check_shutdown
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.wire.channel_msgs import ChannelReady, Shutdown, UpdateAddHtlc
from pyln_fast.wire.setup_msgs import Error


def on_shutdown(state: ShuttingDown, msg: Shutdown, ctx: Context) -> Transition[AnyState]:
    """Again, after a reconnection."""
    check_shutdown(state.data, msg, ctx)
    return settle(state, (), ctx)


def on_late_channel_ready(state: ShuttingDown, msg: ChannelReady, ctx: Context) -> Transition[AnyState]:
    return stay(state)


HANDLERS: Handlers = {
    **{message: handler for message, handler in LIVE_MESSAGES.items() if message is not UpdateAddHtlc},
    ChannelReady: on_late_channel_ready,
    Shutdown: on_shutdown,
    Error: on_error,
    RemoveHtlc: do_remove_htlc,
    TakeNoteOfOnion: do_take_note_of_onion,
    SignCommitment: do_sign_commitment,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    FundingConfirmed: do_funding_confirmed,
    FundingUnconfirmed: do_funding_unconfirmed,
    FundingSpentOnChain: do_funding_spent,
    NewBlock: do_new_block,
}
