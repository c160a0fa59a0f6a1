"""Both first commitments are signed; the funding is not deep enough yet."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel.actions import Action, ChannelUsable, EmitEvent, ForgetChannel, SendMessage
from pyln_fast.channel.commands import (
    CloseChannel,
    ForceClose,
    FundingConfirmed,
    FundingSpentOnChain,
    FundingUnconfirmed,
    NewBlock,
    PeerDisconnected,
)
from pyln_fast.channel.state import (
    AnyState,
    ChannelData,
    Normal,
    Offline,
    WaitForChannelReady,
    WaitForFundingConfirmed,
)
from pyln_fast.channel.states.common import closed_event, do_force_close, do_funding_spent, on_error, saved, stay
from pyln_fast.channel.states.normal import do_close, on_early_shutdown
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.config import FUNDING_CONF_DEADLINE_BLOCKS
from pyln_fast.events import ChannelReady as ChannelReadyEvent
from pyln_fast.events import FundingTimedOut
from pyln_fast.types import CommitmentNumber
from pyln_fast.wire.channel_msgs import ChannelReady, Shutdown
from pyln_fast.wire.setup_msgs import Error


def channel_ready(data: ChannelData, ctx: Context) -> ChannelReady:
    signer = ctx.signers.derive_channel_signer(data.params.channel_keys_id)
    return ChannelReady(data.channel_id, signer.get_per_commitment_point(CommitmentNumber(1)), data.holder_alias)


def became_normal(data: ChannelData) -> tuple[AnyState, tuple[Action, ...]]:
    event = ChannelReadyEvent(
        data.channel_id,
        data.params.user_channel_id,
        data.params.counterparty_node_id,
        data.funding.outpoint,
        data.params.channel_type,
    )
    return Normal(data), (EmitEvent(event), ChannelUsable())


def take_channel_ready(data: ChannelData, msg: ChannelReady) -> ChannelData:
    """The counterparty's part of channel_ready: its second point, and what it calls the channel."""
    commitments = replace(data.commitments, counterparty_next_point=msg.second_per_commitment_point)
    return replace(data, commitments=commitments, counterparty_is_ready=True, counterparty_alias=msg.short_channel_id)


def _if_deep_enough(state: WaitForFundingConfirmed, ctx: Context) -> Transition[AnyState]:
    data = state.data
    if data.funding.confirmations(ctx.block_height) < data.params.minimum_depth:
        return saved(state)
    message = SendMessage(channel_ready(data, ctx))
    if not data.counterparty_is_ready:
        return saved(WaitForChannelReady(data), message)
    next_state, actions = became_normal(data)
    return saved(next_state, message, *actions)


def do_funding_confirmed(
    state: WaitForFundingConfirmed, command: FundingConfirmed, ctx: Context
) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=command.height, tx_index=command.tx_index)
    return _if_deep_enough(replace(state, data=replace(state.data, funding=funding)), ctx)


def do_funding_unconfirmed(
    state: WaitForFundingConfirmed, command: FundingUnconfirmed, ctx: Context
) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=None, tx_index=None)
    return saved(replace(state, data=replace(state.data, funding=funding)))


def do_new_block(state: WaitForFundingConfirmed, command: NewBlock, ctx: Context) -> Transition[AnyState]:
    data = state.data
    if data.funding.height is not None:
        transition = _if_deep_enough(state, ctx)
        return stay(state) if transition.state == state else transition
    waited = ctx.block_height - data.funding.first_seen_height
    if not data.params.holder_is_opener and waited > FUNDING_CONF_DEADLINE_BLOCKS:
        # BOLT 2, channel_ready: the fundee forgets, even what push_msat promised.
        return Transition(state, (closed_event(data, FundingTimedOut()), ForgetChannel()))
    return stay(state)


def on_channel_ready(state: WaitForFundingConfirmed, msg: ChannelReady, ctx: Context) -> Transition[AnyState]:
    if state.data.counterparty_is_ready:
        return stay(state)
    return saved(replace(state, data=take_channel_ready(state.data, msg)))


def do_peer_disconnected(
    state: WaitForFundingConfirmed, command: PeerDisconnected, ctx: Context
) -> Transition[AnyState]:
    return stay(Offline(state))


HANDLERS: Handlers = {
    ChannelReady: on_channel_ready,
    Shutdown: on_early_shutdown,
    CloseChannel: do_close,
    FundingConfirmed: do_funding_confirmed,
    FundingUnconfirmed: do_funding_unconfirmed,
    NewBlock: do_new_block,
    FundingSpentOnChain: do_funding_spent,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    Error: on_error,
}
