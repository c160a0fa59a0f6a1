"""The channel is over: its funding is spent, or its commitment is being broadcast by its monitor."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel.actions import ForgetChannel, SendMessage
from pyln_fast.channel.commands import (
    ClosingConfirmed,
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
from pyln_fast.channel.reestablish import channel_reestablish, revoked_by_counterparty
from pyln_fast.channel.state import AnyState, Closing
from pyln_fast.channel.states.common import do_funding_spent, error_message, saved, stay
from pyln_fast.channel.states.live import do_remove_htlc, do_take_note_of_onion
from pyln_fast.channel.states.wait_for_open_channel import do_nothing
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.config import FUNDING_CONF_DEADLINE_BLOCKS
from pyln_fast.wire.channel_msgs import ChannelReestablish
from pyln_fast.wire.setup_msgs import Error


def on_channel_reestablish(state: Closing, msg: ChannelReestablish, ctx: Context) -> Transition[AnyState]:
    """BOLT 2, Message Retransmission: in an error state the error is sent again.

    Not before the counterparty has said where it is: if it has lost state, the error alone would make it broadcast a
    commitment that is revoked, so it is first told what proves that.
    """
    if state.error is None:
        return stay(state)
    error = SendMessage(error_message(state.data, state.error))
    # A peer that says 0 knows nothing of the channel (LDK), and would answer ours in the same way without end.
    is_behind = 0 < msg.next_commitment_number <= revoked_by_counterparty(state.data)
    # LND closes a channel when it sees that we have lost state, not when an error says so.
    if state.never_broadcast or is_behind:
        return stay(state, SendMessage(channel_reestablish(state.data, ctx)), error)
    return stay(state, error)


def on_error(state: Closing, msg: Error, ctx: Context) -> Transition[AnyState]:
    return stay(state)


def do_funding_confirmed(state: Closing, command: FundingConfirmed, ctx: Context) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=command.height, tx_index=command.tx_index)
    return saved(replace(state, data=replace(state.data, funding=funding)))


def do_funding_unconfirmed(state: Closing, command: FundingUnconfirmed, ctx: Context) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=None, tx_index=None)
    return saved(replace(state, data=replace(state.data, funding=funding)))


def do_closing_confirmed(state: Closing, command: ClosingConfirmed, ctx: Context) -> Transition[AnyState]:
    """After a cooperative close nothing is left to claim. After a commitment there is, and its monitor needs us."""
    if state.spent_by_commitment is False:
        return stay(state, ForgetChannel())
    return stay(state)


def do_new_block(state: Closing, command: NewBlock, ctx: Context) -> Transition[AnyState]:
    """A funding that never came: the fundee forgets, failed or not (BOLT 2, channel_ready)."""
    data = state.data
    waited = ctx.block_height - data.funding.first_seen_height
    never_funded = data.funding.height is None and state.spent_by_commitment is None
    if never_funded and not data.params.holder_is_opener and waited > FUNDING_CONF_DEADLINE_BLOCKS:
        return stay(state, ForgetChannel())
    return stay(state)


HANDLERS: Handlers = {
    ChannelReestablish: on_channel_reestablish,
    Error: on_error,
    RemoveHtlc: do_remove_htlc,
    TakeNoteOfOnion: do_take_note_of_onion,
    SignCommitment: do_nothing,
    ForceClose: do_nothing,
    PeerConnected: do_nothing,
    PeerDisconnected: do_nothing,
    FundingConfirmed: do_funding_confirmed,
    FundingUnconfirmed: do_funding_unconfirmed,
    FundingSpentOnChain: do_funding_spent,
    ClosingConfirmed: do_closing_confirmed,
    NewBlock: do_new_block,
}
