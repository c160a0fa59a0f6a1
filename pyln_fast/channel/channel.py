"""A channel: which function handles which input in which state.

`receive` and `execute` are the two ways in. They raise LocalError (nothing has changed, the caller is told) or a
RemoteError whose consequence is not the channel's (warn, disconnect); a RemoteError that fails the channel becomes the
transition that fails it.
"""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel import state as s
from pyln_fast.channel.commands import Command
from pyln_fast.channel.errors import ChannelUnavailable, PeerFeerateBelowMinimum, UnexpectedMessage
from pyln_fast.channel.state import AnyState, FundedState
from pyln_fast.channel.states import (
    closing,
    negotiating,
    normal,
    offline,
    shutting_down,
    syncing,
    wait_for_accept_channel,
    wait_for_channel_ready,
    wait_for_funding_confirmed,
    wait_for_funding_created,
    wait_for_funding_signed,
    wait_for_funding_transaction,
    wait_for_open_channel,
)
from pyln_fast.channel.states.common import fail, stay
from pyln_fast.channel.states.live import go_offline
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.errors import Consequence, RemoteError
from pyln_fast.events import AnyClosureReason, PeerFeerateTooLow, ProcessingError
from pyln_fast.wire.channel_msgs import (
    AcceptChannel,
    ChannelReady,
    ChannelReestablish,
    ClosingSigned,
    CommitmentSigned,
    FundingCreated,
    FundingSigned,
    RevokeAndAck,
    Shutdown,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.layout import Message
from pyln_fast.wire.setup_msgs import Error

HANDLERS: dict[type, Handlers] = {
    s.WaitForOpenChannel: wait_for_open_channel.HANDLERS,
    s.WaitForAcceptChannel: wait_for_accept_channel.HANDLERS,
    s.WaitForFundingTransaction: wait_for_funding_transaction.HANDLERS,
    s.WaitForFundingCreated: wait_for_funding_created.HANDLERS,
    s.WaitForFundingSigned: wait_for_funding_signed.HANDLERS,
    s.WaitForFundingConfirmed: wait_for_funding_confirmed.HANDLERS,
    s.WaitForChannelReady: wait_for_channel_ready.HANDLERS,
    s.Normal: normal.HANDLERS,
    s.ShuttingDown: shutting_down.HANDLERS,
    s.Negotiating: negotiating.HANDLERS,
    s.Closing: closing.HANDLERS,
    s.Offline: offline.HANDLERS,
    s.Syncing: syncing.HANDLERS,
}

MESSAGES: tuple[type[Message], ...] = (
    AcceptChannel,
    FundingCreated,
    FundingSigned,
    ChannelReady,
    UpdateAddHtlc,
    UpdateFulfillHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    CommitmentSigned,
    RevokeAndAck,
    Shutdown,
    ClosingSigned,
    ChannelReestablish,
    Error,
)
"""Every message that a channel may be given; `open_channel` begins one."""


def receive(state: AnyState, message: Message, ctx: Context) -> Transition[AnyState]:
    """A message of the counterparty for this channel."""
    handler = HANDLERS[type(state)].get(type(message))
    try:
        if handler is None:
            return _refused(state, message)
        return handler(state, message, ctx)
    except RemoteError as error:
        if error.consequence is not Consequence.FAIL_CHANNEL:
            raise
        return failed_by(state, error)


def execute(state: AnyState, command: Command, ctx: Context) -> Transition[AnyState]:
    """Something that the node wants, or that the chain or the connection did. Raises LocalError."""
    handler = HANDLERS[type(state)].get(type(command))
    if handler is None:
        raise ChannelUnavailable(f"{type(command).__name__} has no place in state {type(state).__name__}")
    try:
        return handler(state, command, ctx)
    except RemoteError as error:
        if error.consequence is not Consequence.FAIL_CHANNEL:
            raise
        return failed_by(state, error)


def _refused(state: AnyState, message: Message) -> Transition[AnyState]:
    """A message that has no place in the state: whose fault depends on the state."""
    if isinstance(state, s.Closing):
        # BOLT 2: the error again, and whatever else comes for that channel is ignored.
        return stay(state)
    if isinstance(state, s.Syncing) and isinstance(message, ChannelReady):
        # LND sends it before its channel_reestablish (its issue 4006); what counts is sent again after that.
        return stay(state)
    if isinstance(state, s.Syncing | s.Offline):
        # It was on its way before the connection was lost, or its sender does not wait for channel_reestablish.
        raise EarlyMessage(type(message).__name__)
    if isinstance(state, s.Negotiating) and isinstance(message, ChannelReady):
        return stay(state)
    if isinstance(message, ChannelReestablish) and isinstance(state, s.FundedState):
        # The peer believes in another connection than we: both begin again with a new one.
        raise LateReestablish
    raise UnexpectedMessage(type(message).__name__, type(state).__name__)


class EarlyMessage(RemoteError):
    """A message for a channel before its `channel_reestablish`."""

    consequence = Consequence.DISCONNECT

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} came before channel_reestablish")
        self.message = message


class LateReestablish(RemoteError):
    """`channel_reestablish` again, or when it was not due."""

    consequence = Consequence.DISCONNECT

    def __init__(self) -> None:
        super().__init__("channel_reestablish came when it was not due")


def loaded(state: FundedState) -> Transition[AnyState]:
    """A channel as a restart finds it: nobody is connected, and what was not signed never was."""
    if isinstance(state, s.Closing):
        return stay(state)
    inner = state.inner if isinstance(state, s.Offline | s.Syncing) else state
    if isinstance(inner, s.Normal | s.ShuttingDown):
        return go_offline(inner)
    if isinstance(inner, s.Negotiating):
        inner = replace(inner, proposal=None)
    return stay(s.Offline(inner))


def failed_by(state: AnyState, error: RemoteError) -> Transition[AnyState]:
    """BOLT 5: the channel fails because of what the counterparty did; the text tells it why, with the figures."""
    reason: AnyClosureReason = ProcessingError(str(error) or type(error).__name__)
    if isinstance(error, PeerFeerateBelowMinimum):
        reason = PeerFeerateTooLow(error.feerate_per_kw, error.minimum_per_kw)
    return fail(state, reason, str(error) or type(error).__name__)
