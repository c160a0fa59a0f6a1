"""Our `channel_reestablish` has left, the counterparty's has not come: nothing else may be said (BOLT 2)."""

from __future__ import annotations

from pyln_fast.channel import reestablish
from pyln_fast.channel.commands import (
    AnswerOverdue,
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
from pyln_fast.channel.state import AnyState, Offline, Syncing
from pyln_fast.channel.states.common import do_force_close, do_funding_spent, on_error, stay
from pyln_fast.channel.states.live import do_remove_htlc, do_take_note_of_onion
from pyln_fast.channel.states.offline import delegate
from pyln_fast.channel.states.wait_for_open_channel import do_nothing
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.wire.channel_msgs import ChannelReestablish
from pyln_fast.wire.setup_msgs import Error


def do_peer_disconnected(state: Syncing, command: PeerDisconnected, ctx: Context) -> Transition[AnyState]:
    return stay(Offline(state.inner))


HANDLERS: Handlers = {
    ChannelReestablish: reestablish.on_channel_reestablish,
    Error: on_error,
    PeerDisconnected: do_peer_disconnected,
    RemoveHtlc: do_remove_htlc,
    TakeNoteOfOnion: do_take_note_of_onion,
    SignCommitment: do_nothing,
    AnswerOverdue: do_nothing,
    ForceClose: do_force_close,
    FundingConfirmed: delegate,
    FundingUnconfirmed: delegate,
    FundingSpentOnChain: do_funding_spent,
    NewBlock: delegate,
}
