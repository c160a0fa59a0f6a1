"""What several states do alike."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel.actions import (
    Action,
    DiscardFunding,
    EmitEvent,
    ForgetChannel,
    SaveChannel,
    SendMessage,
    UpdateMonitor,
)
from pyln_fast.channel.commands import ForceClose, FundingSpentOnChain
from pyln_fast.channel.dance import next_monitor_update, without_queued_additions
from pyln_fast.channel.state import (
    AnyState,
    ChannelData,
    ChannelState,
    Closing,
    Negotiating,
    Offline,
    Syncing,
    UnfundedState,
    WaitForAcceptChannel,
    WaitForFundingCreated,
    WaitForFundingSigned,
    WaitForFundingTransaction,
    WaitForOpenChannel,
)
from pyln_fast.channel.transition import Context, Transition
from pyln_fast.events import (
    AnyClosureReason,
    ChannelClosed,
    CommitmentTxConfirmed,
    CounterpartyForceClosed,
    CounterpartyInitiatedCooperativeClosure,
    HolderForceClosed,
    LegacyCooperativeClosure,
    LocallyInitiatedCooperativeClosure,
)
from pyln_fast.tx.monitor_update import ChannelForceClosed
from pyln_fast.types import ChannelId, Msat, NodeId, Sat, channel_id_v1
from pyln_fast.wire.setup_msgs import Error, text_data

MAX_ERROR_TEXT = 1000
"""Of a peer's error text that we keep: it goes into an event and a log."""


def stay(state: AnyState, *actions: Action) -> Transition[AnyState]:
    return Transition(state, actions)


def saved(state: AnyState, *actions: Action) -> Transition[AnyState]:
    """The usual order: durable, then seen."""
    return Transition(state, (SaveChannel(state), *actions))


def data_of(state: AnyState) -> ChannelData | None:
    """None before the funding is signed."""
    return getattr(state, "data", None)


def with_data(state: AnyState, data: ChannelData) -> AnyState:
    if isinstance(state, Offline | Syncing):
        return replace(state, inner=replace(state.inner, data=data))
    assert not isinstance(state, UnfundedState)
    return replace(state, data=data)


def peer_text(raw: bytes) -> str:
    """BOLT 1: what a peer says is printed only if it is printable ASCII."""
    text = raw[:MAX_ERROR_TEXT].decode("ascii", "replace")
    return "".join(c if 32 <= ord(c) < 127 else "?" for c in text)


def closed_event(data: ChannelData, reason: AnyClosureReason) -> EmitEvent:
    return EmitEvent(
        ChannelClosed(
            data.channel_id,
            data.params.user_channel_id,
            reason,
            data.params.counterparty_node_id,
            data.params.channel_value_sat,
            data.funding.outpoint,
            data.commitments.to_holder_msat,
        )
    )


def fail(state: AnyState, reason: AnyClosureReason, error: str) -> Transition[AnyState]:
    """The channel fails (BOLT 5, Failing a Channel): its newest holder commitment is broadcast by its monitor."""
    data = data_of(state)
    if data is None:
        return abandon(state, reason, error)
    if isinstance(state, Closing):
        return stay(state, SendMessage(error_message(data, state.error or error)))
    data, dropped = without_queued_additions(data, "ChannelClosed")
    # With a closing transaction agreed on, that is what confirms: it pays both sides at once.
    inner = state.inner if isinstance(state, Offline | Syncing) else state
    if isinstance(inner, Negotiating) and inner.agreed is not None:
        return stay(state)
    data, update = next_monitor_update(data, ChannelForceClosed(should_broadcast=True))
    closing = Closing(data, error)
    return Transition(
        closing,
        (
            UpdateMonitor(update),
            SaveChannel(closing),
            SendMessage(error_message(data, error)),
            *dropped,
            closed_event(data, reason),
        ),
    )


def error_message(data: ChannelData, error: str) -> Error:
    return Error(data.channel_id, text_data(error))


def unfunded_identity(state: UnfundedState) -> tuple[ChannelId, int, NodeId]:
    """(temporary channel id, user channel id, counterparty)"""
    if isinstance(state, WaitForOpenChannel):
        return state.open_channel.temporary_channel_id, 0, state.counterparty_node_id
    if isinstance(state, WaitForAcceptChannel):
        return state.open_channel.temporary_channel_id, state.user_channel_id, state.counterparty_node_id
    params = state.opening.params
    return state.opening.temporary_channel_id, params.user_channel_id, params.counterparty_node_id


def unfunded_value(state: UnfundedState) -> Sat:
    if isinstance(state, WaitForOpenChannel | WaitForAcceptChannel):
        return state.open_channel.funding_satoshis
    return state.opening.params.channel_value_sat


def abandon(state: AnyState, reason: AnyClosureReason, error: str | None) -> Transition[AnyState]:
    """A channel without a funding is simply forgotten: nothing was at risk."""
    assert isinstance(
        state,
        WaitForOpenChannel
        | WaitForAcceptChannel
        | WaitForFundingTransaction
        | WaitForFundingCreated
        | WaitForFundingSigned,
    )
    channel_id, user_channel_id, node_id = unfunded_identity(state)
    actions: list[Action] = []
    outpoint, their_name = None, channel_id
    if isinstance(state, WaitForFundingSigned):
        outpoint = state.funding.outpoint
        # The fundee has had funding_created: it knows the channel by its other id.
        their_name = channel_id_v1(outpoint)
    if error is not None:
        actions.append(SendMessage(Error(their_name, text_data(error))))
    if outpoint is not None:
        actions.append(DiscardFunding(outpoint))
    if not isinstance(state, WaitForOpenChannel):
        actions.append(
            EmitEvent(
                ChannelClosed(channel_id, user_channel_id, reason, node_id, unfunded_value(state), outpoint, Msat(0))
            )
        )
    actions.append(ForgetChannel())
    return Transition(state, tuple(actions))


# --- handlers that every state shares ---------------------------------------------------------------------------------


def on_error(state: AnyState, msg: Error, ctx: Context) -> Transition[AnyState]:
    """BOLT 1: the counterparty has failed the channel, so we must."""
    text = peer_text(msg.data)
    data = data_of(state)
    reason = CounterpartyForceClosed(text)
    if data is None:
        return abandon(state, reason, None)
    transition = fail(state, reason, "the channel was failed by the peer's error")
    # An error is not answered by an error: two such nodes would never stop.
    return Transition(transition.state, tuple(a for a in transition.actions if not isinstance(a, SendMessage)))


def do_force_close(state: AnyState, command: ForceClose, ctx: Context) -> Transition[AnyState]:
    return fail(state, HolderForceClosed(data_of(state) is not None, command.message), command.message)


def cooperative_reason(data: ChannelData) -> AnyClosureReason:
    """Who began it. Neither, if the chain knows of a close that we do not."""
    if data.holder_shutdown_script is None:
        return LegacyCooperativeClosure()
    return (
        LocallyInitiatedCooperativeClosure()
        if data.holder_initiated_shutdown
        else CounterpartyInitiatedCooperativeClosure()
    )


def do_funding_spent(state: AnyState, command: FundingSpentOnChain, ctx: Context) -> Transition[AnyState]:
    """The funding output is spent in the chain: the channel is closed, whatever anybody says."""
    data = data_of(state)
    assert data is not None
    if isinstance(state, Closing):
        closing = replace(state, spent_by_commitment=command.is_commitment)
        return saved(closing)
    inner: ChannelState = state.inner if isinstance(state, Offline | Syncing) else state
    already_told = isinstance(inner, Negotiating) and inner.agreed is not None
    data, dropped = without_queued_additions(data, "ChannelClosed")
    error = "the funding output was spent by a commitment transaction" if command.is_commitment else None
    agreed = inner.agreed if isinstance(inner, Negotiating) else None
    closing = Closing(data, error, spent_by_commitment=command.is_commitment, agreed=agreed)
    reason: AnyClosureReason = CommitmentTxConfirmed() if command.is_commitment else cooperative_reason(data)
    events = () if already_told and not command.is_commitment else (closed_event(data, reason),)
    return saved(closing, *dropped, *events)
