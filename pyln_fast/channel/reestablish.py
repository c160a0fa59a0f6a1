"""What two sides that lost sight of each other owe each other (BOLT 2, Message Retransmission)."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel import dance
from pyln_fast.channel.actions import (
    Action,
    BroadcastTransaction,
    ChannelUsable,
    SaveChannel,
    SendMessage,
    UpdateMonitor,
)
from pyln_fast.channel.errors import ReestablishMismatch
from pyln_fast.channel.state import (
    AnyState,
    ChannelData,
    Closing,
    LiveState,
    Negotiating,
    Normal,
    ShuttingDown,
    Syncing,
    WaitForChannelReady,
)
from pyln_fast.channel.states.common import closed_event, error_message
from pyln_fast.channel.states.wait_for_funding_confirmed import channel_ready
from pyln_fast.channel.transition import Context, Transition
from pyln_fast.events import ProcessingError
from pyln_fast.tx.keys import commitment_index, is_valid_private_key, public_key
from pyln_fast.tx.monitor_update import ChannelForceClosed
from pyln_fast.types import CommitmentNumber, Secret
from pyln_fast.wire.channel_msgs import ChannelReestablish, Shutdown
from pyln_fast.wire.layout import Message

MAX_COMMITMENT_NUMBER = (1 << 48) - 1


def channel_reestablish(data: ChannelData, ctx: Context) -> ChannelReestablish:
    commitments = data.commitments
    signer = ctx.signers.derive_channel_signer(data.params.channel_keys_id)
    revoked = revoked_by_counterparty(data)
    secret = Secret(bytes(32))
    if revoked > 0:
        last = commitments.counterparty_secrets.lookup(commitment_index(CommitmentNumber(revoked - 1)))
        assert last is not None, "the last secret that was revealed to us is missing"
        secret = last
    return ChannelReestablish(
        data.channel_id,
        commitments.holder_number + 1,
        revoked,
        secret,
        signer.get_per_commitment_point(commitments.holder_number),
    )


def revoked_by_counterparty(data: ChannelData) -> int:
    """How many `revoke_and_ack` we have received: the number of the next one."""
    commitments = data.commitments
    return commitments.counterparty_number - (1 if commitments.awaiting_revocation else 0)


def on_channel_reestablish(state: Syncing, msg: ChannelReestablish, ctx: Context) -> Transition[AnyState]:
    """Raises ReestablishMismatch, which fails the channel."""
    data = state.data
    if msg.next_revocation_number > MAX_COMMITMENT_NUMBER:
        raise ReestablishMismatch("next_revocation_number", msg.next_revocation_number, "at most 2^48 - 1")
    sent = data.commitments.holder_number
    if msg.next_revocation_number > sent:
        # Before everything that would broadcast our commitment: what is proved must never be broadcast.
        return _they_are_ahead(state, msg, ctx)
    if not 0 < msg.next_commitment_number <= MAX_COMMITMENT_NUMBER:
        raise ReestablishMismatch("next_commitment_number", msg.next_commitment_number, "1 to 2^48 - 1")
    _check_secret(data, msg, ctx)
    owe_revocation = msg.next_revocation_number == sent - 1
    if not owe_revocation and msg.next_revocation_number != sent:
        raise ReestablishMismatch("next_revocation_number", msg.next_revocation_number, f"{sent} or one less")
    return _resume(state.inner, msg, owe_revocation, _owes_commitment(data, msg), ctx)


def _check_secret(data: ChannelData, msg: ChannelReestablish, ctx: Context) -> None:
    """`your_last_per_commitment_secret` must be the one that we revealed."""
    if msg.next_revocation_number == 0:
        return
    number = CommitmentNumber(msg.next_revocation_number - 1)
    if not _is_our_secret(data, number, msg.your_last_per_commitment_secret, ctx):
        raise ReestablishMismatch("next_revocation_number", msg.next_revocation_number, "one with the right secret")


def _is_our_secret(data: ChannelData, number: CommitmentNumber, secret: Secret, ctx: Context) -> bool:
    if not is_valid_private_key(secret):
        return False
    signer = ctx.signers.derive_channel_signer(data.params.channel_keys_id)
    return public_key(secret) == signer.get_per_commitment_point(number)


def _they_are_ahead(state: Syncing, msg: ChannelReestablish, ctx: Context) -> Transition[AnyState]:
    """The counterparty claims that we revoked more than we know.

    If it can prove it, we have lost state: our commitment is revoked, and broadcasting it would give the channel away.
    Only this channel is concerned."""
    data = state.data
    number = CommitmentNumber(msg.next_revocation_number - 1)
    if not _is_our_secret(data, number, msg.your_last_per_commitment_secret, ctx):
        expected = f"at most {data.commitments.holder_number}"
        raise ReestablishMismatch("next_revocation_number", msg.next_revocation_number, expected)
    data, update = dance.next_monitor_update(data, ChannelForceClosed(should_broadcast=False))
    error = "we have lost state of this channel: please broadcast your commitment"
    closing = Closing(data, error, never_broadcast=True)
    return Transition(
        closing,
        (
            UpdateMonitor(update),
            SaveChannel(closing),
            SendMessage(error_message(data, error)),
            closed_event(data, ProcessingError("the peer proved that it has a newer state of the channel than we")),
        ),
    )


def _owes_commitment(data: ChannelData, msg: ChannelReestablish) -> bool:
    """Whether our newest `commitment_signed` did not arrive."""
    commitments = data.commitments
    newest = commitments.counterparty_number
    if msg.next_commitment_number == newest + 1:
        return False
    if msg.next_commitment_number == newest and commitments.awaiting_revocation:
        return True
    raise ReestablishMismatch("next_commitment_number", msg.next_commitment_number, f"{newest + 1} or one less")


def _ours_is_ready(inner: LiveState, ctx: Context) -> bool:
    """Our `channel_ready` has left; of a channel that is being closed it is only known that it may have."""
    if isinstance(inner, ShuttingDown | Negotiating):
        return inner.data.funding.confirmations(ctx.block_height) >= inner.data.params.minimum_depth
    return isinstance(inner, WaitForChannelReady | Normal)


def _resume(
    inner: LiveState, msg: ChannelReestablish, owe_revocation: bool, owe_commitment: bool, ctx: Context
) -> Transition[AnyState]:
    data = inner.data
    messages: list[Message] = []
    if msg.next_commitment_number == 1 and data.commitments.holder_number == 0 and _ours_is_ready(inner, ctx):
        messages.append(channel_ready(data, ctx))
    # No revoke_and_ack is owed once closing_signed has come: that state is only reached when all is revoked.
    revocation = [dance.revoke_and_ack(data, ctx)] if owe_revocation else []
    commitment: list[Message] = []
    if owe_commitment:
        commitment = [*dance.signed_updates(data), dance.commitment_signed(data, ctx)[0]]
    if data.commitments.revocation_sent_last:
        messages += [*commitment, *revocation]
    else:
        messages += [*revocation, *commitment]
    if data.holder_shutdown_script is not None:
        messages.append(Shutdown(data.channel_id, data.holder_shutdown_script))
    actions: list[Action] = [SendMessage(message) for message in messages]
    if isinstance(inner, Negotiating):
        inner = replace(inner, proposal=None)
        if inner.agreed is not None:
            actions.append(BroadcastTransaction(inner.agreed, "CooperativeClose"))
    if isinstance(inner, Normal):
        actions.append(ChannelUsable())
    return Transition(inner, (SaveChannel(inner), *actions))
