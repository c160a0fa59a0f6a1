"""Handlers of the states in which HTLCs live: normal and shutting_down."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel import dance
from pyln_fast.channel.actions import Action, HtlcNotSent, SaveChannel, SendMessage, UpdateMonitor
from pyln_fast.channel.commands import (
    FundingConfirmed,
    FundingUnconfirmed,
    NewBlock,
    PeerDisconnected,
    RemoveHtlc,
    SignCommitment,
    TakeNoteOfOnion,
)
from pyln_fast.channel.errors import UnexpectedMessage
from pyln_fast.channel.htlc import Fulfilled, Htlc, HtlcStage
from pyln_fast.channel.state import AnyState, ChannelData, Negotiating, Normal, Offline, ShuttingDown
from pyln_fast.channel.states.common import fail, saved, stay, with_data
from pyln_fast.channel.states.negotiating import begin_negotiation
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.config import CLTV_CLAIM_BUFFER, LATENCY_GRACE_PERIOD_BLOCKS, MAX_BLOCKS_FOR_CONF
from pyln_fast.events import HTLCsTimedOut
from pyln_fast.wire.channel_msgs import (
    CommitmentSigned,
    RevokeAndAck,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
)

Live = Normal | ShuttingDown


def settle(state: Live, actions: tuple[Action, ...], ctx: Context) -> Transition[AnyState]:
    """After a change: once both have sent `shutdown` and nothing is pending, the fee is negotiated (BOLT 2).

    `actions` are those of the change; its SaveChannel is made here, behind the monitor and before what is seen."""
    data = state.data
    monitor = tuple(a for a in actions if isinstance(a, UpdateMonitor))
    seen = tuple(a for a in actions if not isinstance(a, UpdateMonitor | SaveChannel))
    if isinstance(state, ShuttingDown) and data.commitments.is_settled and not data.commitments.has_changes_to_sign:
        negotiating = Negotiating(data)
        begun, proposal = begin_negotiation(negotiating, ctx)
        return Transition(begun, (*monitor, SaveChannel(begun), *seen, *proposal))
    return Transition(state, (*monitor, SaveChannel(state), *seen))


# --- messages ---------------------------------------------------------------------------------------------------------


def on_update_add_htlc(state: Live, msg: UpdateAddHtlc, ctx: Context) -> Transition[AnyState]:
    if state.data.counterparty_shutdown_script is not None:
        # BOLT 2: MUST NOT send an update_add_htlc after a shutdown.
        raise UnexpectedMessage("update_add_htlc", "in which the sender has sent shutdown")
    # Uncommitted updates are forgotten at a disconnection, so nothing is saved before they are signed (BOLT 2).
    return stay(replace(state, data=dance.on_update_add_htlc(state.data, msg, ctx)))


def on_update_fulfill_htlc(state: Live, msg: UpdateFulfillHtlc, ctx: Context) -> Transition[AnyState]:
    data, actions = dance.on_update_fulfill_htlc(state.data, msg)
    return stay(replace(state, data=data), *actions)


def on_update_fail_htlc(state: Live, msg: UpdateFailHtlc, ctx: Context) -> Transition[AnyState]:
    return stay(replace(state, data=dance.on_update_fail_htlc(state.data, msg)))


def on_update_fail_malformed_htlc(state: Live, msg: UpdateFailMalformedHtlc, ctx: Context) -> Transition[AnyState]:
    return stay(replace(state, data=dance.on_update_fail_malformed_htlc(state.data, msg)))


def on_update_fee(state: Live, msg: UpdateFee, ctx: Context) -> Transition[AnyState]:
    return stay(replace(state, data=dance.on_update_fee(state.data, msg, ctx)))


def on_commitment_signed(state: Live, msg: CommitmentSigned, ctx: Context) -> Transition[AnyState]:
    data, update, revocation, consequences = dance.on_commitment_signed(state.data, msg, ctx)
    actions = (UpdateMonitor(update), SendMessage(revocation), *consequences)
    return settle(replace(state, data=data), actions, ctx)


def on_revoke_and_ack(state: Live, msg: RevokeAndAck, ctx: Context) -> Transition[AnyState]:
    data, update, consequences = dance.on_revoke_and_ack(state.data, msg)
    return settle(replace(state, data=data), (UpdateMonitor(update), *consequences), ctx)


LIVE_MESSAGES: Handlers = {
    UpdateAddHtlc: on_update_add_htlc,
    UpdateFulfillHtlc: on_update_fulfill_htlc,
    UpdateFailHtlc: on_update_fail_htlc,
    UpdateFailMalformedHtlc: on_update_fail_malformed_htlc,
    UpdateFee: on_update_fee,
    CommitmentSigned: on_commitment_signed,
    RevokeAndAck: on_revoke_and_ack,
}

# --- commands ---------------------------------------------------------------------------------------------------------


def do_remove_htlc(state: AnyState, command: RemoveHtlc, ctx: Context) -> Transition[AnyState]:
    """In every state of a funded channel: a preimage must reach the monitor even when the channel has failed."""
    data: ChannelData = state.data  # type: ignore[union-attr]
    data, update = dance.remove_htlc(data, command)
    next_state = with_data(state, data)
    if update is not None:
        return Transition(next_state, (UpdateMonitor(update), SaveChannel(next_state)))
    return saved(next_state)


def do_take_note_of_onion(state: AnyState, command: TakeNoteOfOnion, ctx: Context) -> Transition[AnyState]:
    data: ChannelData = state.data  # type: ignore[union-attr]
    table = dict(data.commitments.htlcs)
    for htlc_id, shared_secret in command.shared_secrets.items():
        htlc = table.get((False, htlc_id))
        if htlc is not None:
            table[htlc.key] = replace(htlc, shared_secret=shared_secret, onion_routing_packet=b"")
    return saved(with_data(state, replace(data, commitments=replace(data.commitments, htlcs=table))))


def do_sign_commitment(state: Live, command: SignCommitment, ctx: Context) -> Transition[AnyState]:
    data, actions = dance.sign(state.data, ctx)
    if not actions:
        return stay(state)
    next_state = replace(state, data=data)
    monitor = tuple(action for action in actions if isinstance(action, UpdateMonitor))
    seen = tuple(action for action in actions if not isinstance(action, UpdateMonitor))
    return Transition(next_state, (*monitor, SaveChannel(next_state), *seen))


def do_peer_disconnected(state: Live, command: PeerDisconnected, ctx: Context) -> Transition[AnyState]:
    return go_offline(state)


def go_offline(state: Live) -> Transition[AnyState]:
    """What nobody signed never was (BOLT 2, Message Retransmission)."""
    commitments, dropped = state.data.commitments.without_uncommitted()
    offline = Offline(replace(state, data=replace(state.data, commitments=commitments)))
    return saved(offline, *(HtlcNotSent(htlc, "PeerOffline") for htlc in dropped))


def do_funding_confirmed(state: Live, command: FundingConfirmed, ctx: Context) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=command.height, tx_index=command.tx_index)
    return saved(replace(state, data=replace(state.data, funding=funding)))


def do_funding_unconfirmed(state: Live, command: FundingUnconfirmed, ctx: Context) -> Transition[AnyState]:
    """The channel is suspended, not failed: only a confirmed conflict of the funding closes it."""
    funding = replace(state.data.funding, height=None, tx_index=None)
    return saved(replace(state, data=replace(state.data, funding=funding)))


def overdue_htlc(data: ChannelData, height: int, is_patient: bool = False) -> Htlc | None:
    """BOLT 2, cltv_expiry_delta Selection: past its deadline an HTLC must be settled on chain.

    Where the peer has not spoken yet (`is_patient`) one that we offered may wait a little, and so may one that is
    claimed, unless its last blocks have begun.
    """
    for htlc in data.commitments.htlcs.values():
        if htlc.offered:
            signed = htlc.stage is not HtlcStage.ADD_PROPOSED
            if signed and not is_patient and htlc.cltv_expiry + LATENCY_GRACE_PERIOD_BLOCKS <= height:
                return htlc
        elif isinstance(htlc.removal, Fulfilled) and htlc.cltv_expiry <= height + CLTV_CLAIM_BUFFER:
            is_urgent = height < htlc.cltv_expiry <= height + MAX_BLOCKS_FOR_CONF
            if is_urgent or not is_patient:
                return htlc
    return None


def do_new_block(state: AnyState, command: NewBlock, ctx: Context, is_patient: bool = False) -> Transition[AnyState]:
    data: ChannelData = state.data  # type: ignore[union-attr]
    overdue = overdue_htlc(data, ctx.block_height, is_patient)
    if overdue is None:
        data, dropped = dance.without_expired_additions(data, ctx.block_height)
        return saved(with_data(state, data), *dropped) if dropped else stay(state)
    return fail(state, HTLCsTimedOut(overdue.payment_hash), f"HTLC {overdue.id} is past its deadline")
