"""Acceptor: our `accept_channel` has left."""

from __future__ import annotations

from pyln_fast.channel.actions import ChangeChannelId, EmitEvent, SaveChannel, SendMessage
from pyln_fast.channel.commands import ForceClose, NewBlock, PeerDisconnected
from pyln_fast.channel.first_commitments import begin
from pyln_fast.channel.state import AnyState, Funding, Opening, WaitForFundingConfirmed, WaitForFundingCreated
from pyln_fast.channel.states.common import do_force_close, on_error
from pyln_fast.channel.states.wait_for_open_channel import do_nothing, do_peer_disconnected
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.events import ChannelPending
from pyln_fast.types import OutPoint
from pyln_fast.wire.channel_msgs import FundingCreated, FundingSigned
from pyln_fast.wire.setup_msgs import Error


def pending_event(opening: Opening, state: WaitForFundingConfirmed) -> EmitEvent:
    data = state.data
    return EmitEvent(
        ChannelPending(
            data.channel_id,
            data.params.user_channel_id,
            opening.temporary_channel_id,
            data.params.counterparty_node_id,
            data.funding.outpoint,
            data.params.channel_type,
        )
    )


def on_funding_created(state: WaitForFundingCreated, msg: FundingCreated, ctx: Context) -> Transition[AnyState]:
    opening = state.opening
    funding = Funding(OutPoint(msg.funding_txid, msg.funding_output_index), ctx.block_height)
    data, create_monitor, ours = begin(opening, funding, msg.signature, "funding_created", ctx)
    next_state = WaitForFundingConfirmed(data)
    return Transition(
        next_state,
        (
            ChangeChannelId(opening.temporary_channel_id, data.channel_id),
            create_monitor,
            SaveChannel(next_state),
            SendMessage(FundingSigned(data.channel_id, ours.signature)),
            pending_event(opening, next_state),
        ),
    )


HANDLERS: Handlers = {
    FundingCreated: on_funding_created,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    NewBlock: do_nothing,
    Error: on_error,
}
