"""HTLCs come and go. At most one side has sent `shutdown`."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel.actions import SaveChannel, SendMessage, UpdateMonitor
from pyln_fast.channel.commands import (
    AddHtlc,
    CloseChannel,
    ForceClose,
    FundingConfirmed,
    FundingSpentOnChain,
    FundingUnconfirmed,
    NewBlock,
    PeerDisconnected,
    RemoveHtlc,
    SignCommitment,
    TakeNoteOfOnion,
    UpdateFee,
)
from pyln_fast.channel.dance import (
    add_htlc,
    dust_limit,
    next_monitor_update,
    without_queued_additions,
    without_queued_feerate,
)
from pyln_fast.channel.errors import ChannelUnavailable, InvalidShutdownScript
from pyln_fast.channel.limits import can_send_fee
from pyln_fast.channel.opening import both_offer
from pyln_fast.channel.state import (
    AnyState,
    ChannelData,
    Normal,
    ShuttingDown,
    WaitForChannelReady,
    WaitForFundingConfirmed,
)
from pyln_fast.channel.states.common import do_force_close, do_funding_spent, on_error, saved, stay
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
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.errors import LocalError
from pyln_fast.features import Feature
from pyln_fast.tx.closing import is_valid_shutdown_script
from pyln_fast.tx.monitor_update import ShutdownScript
from pyln_fast.wire.channel_msgs import ChannelReady, Shutdown
from pyln_fast.wire.setup_msgs import Error

Closable = WaitForFundingConfirmed | WaitForChannelReady | Normal


def do_add_htlc(state: Normal, command: AddHtlc, ctx: Context) -> Transition[AnyState]:
    """Raises ChannelUnavailable, HtlcRefused."""
    data = state.data
    if data.holder_shutdown_script is not None or data.counterparty_shutdown_script is not None:
        raise ChannelUnavailable("it is being closed")
    if data.funding.height is None:
        raise ChannelUnavailable("a reorganisation took its funding out of the chain")
    return saved(replace(state, data=add_htlc(data, command, ctx)))


def do_update_fee(state: Normal, command: UpdateFee, ctx: Context) -> Transition[AnyState]:
    """Raises ChannelUnavailable if we are not the opener or cannot afford it."""
    data = state.data
    if not data.params.holder_is_opener:
        raise ChannelUnavailable("only its opener sets the feerate")
    if data.holder_shutdown_script is not None:
        # BOLT 2, shutdown: the counterparty may see no HTLC left, and then no update is allowed any more.
        raise ChannelUnavailable("it is being closed")
    if command.feerate_per_kw == data.commitments.fees.newest.feerate_per_kw:
        return stay(state)
    commitments = replace(data.commitments, fees=data.commitments.fees.propose(command.feerate_per_kw))
    if not can_send_fee(data.params, commitments, dust_limit(data, ctx)):
        raise ChannelUnavailable(f"it cannot pay {command.feerate_per_kw} sat per kw")
    return saved(replace(state, data=replace(data, commitments=commitments)))


def shutdown_script(data: ChannelData, command: CloseChannel, ctx: Context) -> bytes:
    upfront = data.params.holder.upfront_shutdown_script
    if upfront is not None:
        if command.script_pubkey not in (None, upfront):
            raise LocalError("the channel was opened with another upfront_shutdown_script, which binds us")
        return upfront
    script = command.script_pubkey if command.script_pubkey is not None else ctx.shutdown_script
    if not is_valid_shutdown_script(script, anysegwit=both_offer(ctx, Feature.OPTION_SHUTDOWN_ANYSEGWIT)):
        # LDK: APIError::IncompatibleShutdownScript
        raise LocalError(f"the peer would not accept a shutdown to the script {script.hex()}")
    return script


def do_close(state: Closable, command: CloseChannel, ctx: Context) -> Transition[AnyState]:
    data = state.data
    if data.holder_shutdown_script is not None:
        raise ChannelUnavailable("it is being closed already")
    script = shutdown_script(data, command, ctx)
    # BOLT 2: no update_add_htlc after shutdown; those in the queue have not left, and never will. Nor will a feerate.
    data, dropped = without_queued_additions(without_queued_feerate(data), "ChannelClosed")
    data = replace(
        data,
        holder_shutdown_script=script,
        holder_initiated_shutdown=data.counterparty_shutdown_script is None,
        closing_target_feerate_per_kw=command.target_feerate_per_kw,
    )
    data, update = next_monitor_update(data, ShutdownScript(script))
    next_state = replace(state, data=data)
    return Transition(
        next_state,
        (
            UpdateMonitor(update),
            SaveChannel(next_state),
            SendMessage(Shutdown(data.channel_id, script)),
            *dropped,
        ),
    )


def check_shutdown(data: ChannelData, msg: Shutdown, ctx: Context) -> None:
    """BOLT 2, shutdown, the receiving node. Raises InvalidShutdownScript."""
    upfront = data.params.counterparty.upfront_shutdown_script
    if upfront is not None and msg.scriptpubkey != upfront:
        raise InvalidShutdownScript("is not the upfront_shutdown_script of the opening")
    before = data.counterparty_shutdown_script
    if before is not None and msg.scriptpubkey != before:
        raise InvalidShutdownScript("is not that of the shutdown before")
    if not is_valid_shutdown_script(msg.scriptpubkey, anysegwit=both_offer(ctx, Feature.OPTION_SHUTDOWN_ANYSEGWIT)):
        raise InvalidShutdownScript("is not of a form that BOLT 2 allows")


def on_early_shutdown(
    state: WaitForFundingConfirmed | WaitForChannelReady, msg: Shutdown, ctx: Context
) -> Transition[AnyState]:
    """BOLT 2: `shutdown` may come, and be answered, before any channel_ready. There is nothing to wait for then."""
    return on_shutdown(Normal(state.data), msg, ctx)


def on_shutdown(state: Normal, msg: Shutdown, ctx: Context) -> Transition[AnyState]:
    data = state.data
    check_shutdown(data, msg, ctx)
    data = replace(data, counterparty_shutdown_script=msg.scriptpubkey)
    if data.holder_shutdown_script is not None:
        return settle(ShuttingDown(data), (), ctx)
    transition = do_close(replace(state, data=data), CloseChannel(), ctx)
    answered = transition.state
    assert isinstance(answered, Normal)
    return settle(ShuttingDown(answered.data), transition.actions, ctx)


def on_channel_ready(state: Normal, msg: ChannelReady, ctx: Context) -> Transition[AnyState]:
    """Redundant after a reconnection; another alias may come at any time (BOLT 2)."""
    if msg.short_channel_id is None or msg.short_channel_id == state.data.counterparty_alias:
        return stay(state)
    return saved(replace(state, data=replace(state.data, counterparty_alias=msg.short_channel_id)))


HANDLERS: Handlers = {
    **LIVE_MESSAGES,
    ChannelReady: on_channel_ready,
    Shutdown: on_shutdown,
    Error: on_error,
    AddHtlc: do_add_htlc,
    RemoveHtlc: do_remove_htlc,
    TakeNoteOfOnion: do_take_note_of_onion,
    SignCommitment: do_sign_commitment,
    UpdateFee: do_update_fee,
    CloseChannel: do_close,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    FundingConfirmed: do_funding_confirmed,
    FundingUnconfirmed: do_funding_unconfirmed,
    FundingSpentOnChain: do_funding_spent,
    NewBlock: do_new_block,
}
