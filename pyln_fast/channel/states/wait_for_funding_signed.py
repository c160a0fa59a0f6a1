"""Opener: `funding_created` has left."""

from __future__ import annotations

from pyln_fast.channel.actions import (
    Action,
    BroadcastTransaction,
    ChangeChannelId,
    EmitEvent,
    SaveChannel,
)
from pyln_fast.channel.commands import ForceClose, NewBlock, PeerDisconnected
from pyln_fast.channel.errors import InvalidField
from pyln_fast.channel.first_commitments import begin
from pyln_fast.channel.state import AnyState, WaitForFundingConfirmed, WaitForFundingSigned
from pyln_fast.channel.states.common import do_force_close, on_error
from pyln_fast.channel.states.wait_for_funding_created import pending_event
from pyln_fast.channel.states.wait_for_open_channel import do_nothing, do_peer_disconnected
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.events import FundingTxBroadcastSafe
from pyln_fast.types import channel_id_v1
from pyln_fast.wire.channel_msgs import FundingSigned
from pyln_fast.wire.setup_msgs import Error


def on_funding_signed(state: WaitForFundingSigned, msg: FundingSigned, ctx: Context) -> Transition[AnyState]:
    opening, funding = state.opening, state.funding
    if msg.channel_id != channel_id_v1(funding.outpoint):
        raise InvalidField("funding_signed", "channel_id", "is not that of the funding")
    data, create_monitor, _ = begin(opening, funding, msg.signature, "funding_signed", ctx)
    next_state = WaitForFundingConfirmed(data)
    actions: list[Action] = [
        ChangeChannelId(opening.temporary_channel_id, data.channel_id),
        create_monitor,
        SaveChannel(next_state),
    ]
    if funding.raw is None:
        event = FundingTxBroadcastSafe(
            data.channel_id,
            data.params.user_channel_id,
            funding.outpoint,
            data.params.counterparty_node_id,
            opening.temporary_channel_id,
        )
        actions.append(EmitEvent(event))
    else:
        actions.append(BroadcastTransaction(funding.raw, "Funding"))
    actions.append(pending_event(opening, next_state))
    return Transition(next_state, tuple(actions))


HANDLERS: Handlers = {
    FundingSigned: on_funding_signed,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    NewBlock: do_nothing,
    Error: on_error,
}
