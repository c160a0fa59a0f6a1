"""HTLCs, feerates and the commitments that carry them (BOLT 2, Normal Operation), for all states in which they live.

Each function takes the channel's data and returns it changed, with the actions in their order: the monitor is told and
the channel saved before a message leaves.
"""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from pyln_fast.channel.actions import (
    Action,
    HtlcCommitted,
    HtlcFulfilled,
    HtlcNotSent,
    HtlcRemoved,
    SendMessage,
    UpdateMonitor,
)
from pyln_fast.channel.commands import AddHtlc, RemoveHtlc
from pyln_fast.channel.errors import (
    LimitExceeded,
    PeerFeerateBelowMinimum,
    UnexpectedMessage,
    WrongHtlcId,
    WrongPreimage,
    WrongRevocation,
)
from pyln_fast.channel.htlc import Failed, FailedMalformed, Fulfilled, Htlc, HtlcStage, Removal
from pyln_fast.channel.limits import (
    DustLimit,
    check_fee_received,
    check_offer,
    check_received,
    fits,
)
from pyln_fast.channel.spec import commitment_spec
from pyln_fast.channel.state import ChannelData
from pyln_fast.channel.transition import Context
from pyln_fast.config import LATENCY_GRACE_PERIOD_BLOCKS
from pyln_fast.tx import commitment as tx_commitment
from pyln_fast.tx.keys import InvalidSecret, commitment_index, is_valid_private_key, public_key
from pyln_fast.tx.monitor_update import (
    ChannelMonitorUpdate,
    CommitmentSecret,
    CounterpartyCommitment,
    HolderCommitment,
    LatestCounterpartyCommitment,
    LatestHolderCommitment,
    MonitorStep,
    PaymentPreimageKnown,
)
from pyln_fast.tx.parameters import Commitment
from pyln_fast.types import BlockHeight, CommitmentNumber, FeeratePerKw
from pyln_fast.wire.channel_msgs import (
    CommitmentSigned,
    RevokeAndAck,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.layout import Message

BADONION = 0x8000

Result = tuple[ChannelData, tuple[Action, ...]]


def next_monitor_update(data: ChannelData, *steps: MonitorStep) -> tuple[ChannelData, ChannelMonitorUpdate]:
    update = ChannelMonitorUpdate(data.channel_id, data.monitor_update_id + 1, steps)
    return replace(data, monitor_update_id=update.update_id), update


def dust_limit(data: ChannelData, ctx: Context) -> DustLimit:
    return DustLimit.of(data.config, ctx.feerates.maximum_fee_estimate)


# --- updates that we propose ------------------------------------------------------------------------------------------


def add_htlc(data: ChannelData, command: AddHtlc, ctx: Context) -> ChannelData:
    """Raises HtlcRefused. The message leaves with the next `commitment_signed`."""
    commitments = data.commitments
    htlc = Htlc(
        commitments.next_holder_htlc_id,
        True,
        command.amount_msat,
        command.payment_hash,
        command.cltv_expiry,
        command.onion_routing_packet,
        HtlcStage.ADD_PROPOSED,
        command.source,
    )
    proposed = replace(commitments.with_htlc(htlc), next_holder_htlc_id=htlc.id + 1)
    check_offer(data.params, proposed, htlc, dust_limit(data, ctx))
    return replace(data, commitments=proposed)


def remove_htlc(data: ChannelData, command: RemoveHtlc) -> tuple[ChannelData, ChannelMonitorUpdate | None]:
    """Fulfil or fail a received HTLC that is committed. Whatever the stage, the monitor learns a preimage."""
    htlc = data.commitments.received(command.htlc_id)
    if htlc is None:
        return data, None
    update = None
    if isinstance(command.removal, Fulfilled):
        preimage = command.removal.payment_preimage
        assert hashlib.sha256(preimage).digest() == htlc.payment_hash, htlc.id
        data, update = next_monitor_update(data, PaymentPreimageKnown(htlc.payment_hash, preimage))
    if htlc.stage is HtlcStage.COMMITTED:
        removed = replace(htlc, stage=HtlcStage.REMOVE_PROPOSED, removal=command.removal)
        data = replace(data, commitments=data.commitments.with_htlc(removed))
    return data, update


def without_queued_additions(data: ChannelData, reason: str) -> Result:
    """Our additions that nobody signed are dropped: for `shutdown`, or because the channel has failed."""
    commitments = data.commitments
    queued = [h for h in commitments.htlcs.values() if h.offered and h.stage is HtlcStage.ADD_PROPOSED]
    if not queued:
        return data, ()
    kept = {key: h for key, h in commitments.htlcs.items() if not (h.offered and h.stage is HtlcStage.ADD_PROPOSED)}
    next_id = commitments.next_holder_htlc_id - len(queued)
    data = replace(data, commitments=replace(commitments, htlcs=kept, next_holder_htlc_id=next_id))
    return data, tuple(HtlcNotSent(htlc, reason) for htlc in queued)


def without_expired_additions(data: ChannelData, height: BlockHeight) -> Result:
    """Additions of ours that waited until they may no longer leave (LDK's holding cell): offered now, the HTLC could
    close the channel in three blocks. Those behind them have not left either and move up."""
    table, kept, dropped = {}, [], []
    for key, htlc in data.commitments.htlcs.items():
        if not htlc.offered or htlc.stage is not HtlcStage.ADD_PROPOSED:
            table[key] = htlc
        elif htlc.cltv_expiry > height + LATENCY_GRACE_PERIOD_BLOCKS:
            kept.append(htlc)
        else:
            dropped.append(htlc)
    if not dropped:
        return data, ()
    first = data.commitments.next_holder_htlc_id - len(kept) - len(dropped)
    for htlc_id, htlc in enumerate(kept, first):
        moved = replace(htlc, id=htlc_id)
        table[moved.key] = moved
    commitments = replace(data.commitments, htlcs=table, next_holder_htlc_id=first + len(kept))
    return replace(data, commitments=commitments), tuple(HtlcNotSent(htlc, "CLTVExpiryTooSoon") for htlc in dropped)


def without_queued_feerate(data: ChannelData) -> ChannelData:
    """Our feerate that nobody signed is dropped; one that the counterparty proposed is not ours to drop."""
    commitments = data.commitments
    if not data.params.holder_is_opener or commitments.fees.newest.stage is not HtlcStage.ADD_PROPOSED:
        return data
    return replace(data, commitments=replace(commitments, fees=commitments.fees.without_proposals()))


def _without_what_no_longer_fits(data: ChannelData, ctx: Context) -> Result:
    """What was proposed while a revocation was awaited may be too much by now: the newest additions go first, and a
    feerate that we can no longer pay goes before them."""
    dropped: list[Action] = []
    while not fits(data.params, data.commitments, dust_limit(data, ctx)):
        cheaper = without_queued_feerate(data)
        if cheaper is not data:
            data = cheaper
            continue
        commitments = data.commitments
        newest = commitments.offered(commitments.next_holder_htlc_id - 1)
        if newest is None or newest.stage is not HtlcStage.ADD_PROPOSED:
            break
        kept = {key: htlc for key, htlc in commitments.htlcs.items() if key != newest.key}
        data = replace(data, commitments=replace(commitments, htlcs=kept, next_holder_htlc_id=newest.id))
        dropped.append(HtlcNotSent(newest, "ChannelBalanceOverdrawn"))
    return data, tuple(dropped)


def _removal_message(data: ChannelData, htlc: Htlc, removal: Removal) -> Message:
    if isinstance(removal, Fulfilled):
        return UpdateFulfillHtlc(data.channel_id, htlc.id, removal.payment_preimage)
    if isinstance(removal, Failed):
        return UpdateFailHtlc(data.channel_id, htlc.id, removal.reason)
    return UpdateFailMalformedHtlc(data.channel_id, htlc.id, removal.sha256_of_onion, removal.failure_code)


def signed_updates(data: ChannelData) -> tuple[Message, ...]:
    """The `update_*` messages that our newest `commitment_signed` is the first to cover.

    They are sent just before it, the first time and after a reconnection. Removals come first: they only make room."""
    removals, additions = [], []
    for htlc in data.commitments.htlcs.values():
        if htlc.offered and htlc.stage is HtlcStage.ADD_SIGNED:
            additions.append(htlc)
        elif not htlc.offered and htlc.stage is HtlcStage.REMOVE_SIGNED:
            removals.append(htlc)
    messages: list[Message] = []
    for htlc in sorted(removals, key=lambda h: h.id):
        assert htlc.removal is not None
        messages.append(_removal_message(data, htlc, htlc.removal))
    if data.params.holder_is_opener:
        messages.extend(
            UpdateFee(data.channel_id, update.feerate_per_kw)
            for update in data.commitments.fees.updates
            if update.stage is HtlcStage.ADD_SIGNED
        )
    messages.extend(
        UpdateAddHtlc(
            data.channel_id, htlc.id, htlc.amount_msat, htlc.payment_hash, htlc.cltv_expiry, htlc.onion_routing_packet
        )
        for htlc in sorted(additions, key=lambda h: h.id)
    )
    return tuple(messages)


def counterparty_commitment(data: ChannelData) -> Commitment:
    """The newest one that we signed, or are about to sign."""
    commitments = data.commitments
    point = (
        commitments.counterparty_next_point
        if commitments.awaiting_revocation
        else commitments.counterparty_current_point
    )
    return Commitment(commitments.counterparty_number, point, commitment_spec(commitments, of_holder=False))


def commitment_signed(data: ChannelData, ctx: Context) -> tuple[CommitmentSigned, CounterpartyCommitment]:
    """The signatures of the newest counterparty commitment: the same at each call, for nonces are RFC 6979's."""
    commitment = counterparty_commitment(data)
    signer = ctx.signers.derive_channel_signer(data.params.channel_keys_id)
    signed = signer.sign_counterparty_commitment(data.params.transaction_parameters(data.funding.outpoint), commitment)
    message = CommitmentSigned(data.channel_id, signed.signature, signed.htlc_signatures)
    return message, CounterpartyCommitment(commitment, signed.built.txid)


def sign(data: ChannelData, ctx: Context) -> tuple[ChannelData, tuple[Action, ...]]:
    """One `commitment_signed` for all that is pending, with its actions except SaveChannel.

    Nothing if nothing is pending or a revocation is awaited."""
    if data.commitments.awaiting_revocation or not data.commitments.has_changes_to_sign:
        return data, ()
    data, dropped = _without_what_no_longer_fits(data, ctx)
    if not data.commitments.has_changes_to_sign:
        return data, dropped
    signed, _ = data.commitments.advance(by_holder=True, act="signs")
    data = replace(
        data,
        commitments=replace(
            signed,
            counterparty_number=CommitmentNumber(signed.counterparty_number + 1),
            awaiting_revocation=True,
            revocation_sent_last=False,
        ),
    )
    message, commitment = commitment_signed(data, ctx)
    data, update = next_monitor_update(data, LatestCounterpartyCommitment(commitment))
    sends = tuple(SendMessage(each) for each in (*signed_updates(data), message))
    return data, (UpdateMonitor(update), *sends, *dropped)


# --- updates that the counterparty proposes ---------------------------------------------------------------------------


def on_update_add_htlc(data: ChannelData, msg: UpdateAddHtlc, ctx: Context) -> ChannelData:
    commitments = data.commitments
    if msg.id != commitments.next_counterparty_htlc_id:
        raise WrongHtlcId("update_add_htlc", msg.id, commitments.next_counterparty_htlc_id)
    htlc = Htlc(
        msg.id,
        False,
        msg.amount_msat,
        msg.payment_hash,
        BlockHeight(msg.cltv_expiry),
        msg.onion_routing_packet,
        HtlcStage.ADD_PROPOSED,
        path_key=msg.blinded_path,
    )
    proposed = replace(commitments.with_htlc(htlc), next_counterparty_htlc_id=msg.id + 1)
    check_received(data.params, proposed, htlc)
    return replace(data, commitments=proposed)


def _removable(data: ChannelData, what: str, htlc_id: int) -> Htlc:
    """BOLT 2: only an HTLC that is irrevocably committed may be removed, and once."""
    htlc = data.commitments.offered(htlc_id)
    if htlc is None or htlc.stage is not HtlcStage.COMMITTED:
        raise WrongHtlcId(what, htlc_id)
    return htlc


def _with_removal(data: ChannelData, htlc: Htlc, removal: Removal) -> ChannelData:
    removed = replace(htlc, stage=HtlcStage.REMOVE_PROPOSED, removal=removal)
    return replace(data, commitments=data.commitments.with_htlc(removed))


def on_update_fulfill_htlc(data: ChannelData, msg: UpdateFulfillHtlc) -> Result:
    htlc = _removable(data, "update_fulfill_htlc", msg.id)
    if hashlib.sha256(msg.payment_preimage).digest() != htlc.payment_hash:
        raise WrongPreimage(msg.id)
    data = _with_removal(data, htlc, Fulfilled(msg.payment_preimage))
    # BOLT 2, Forwarding HTLCs: what a preimage means upstream does not wait for a commitment.
    return data, (HtlcFulfilled(htlc, msg.payment_preimage),)


def on_update_fail_htlc(data: ChannelData, msg: UpdateFailHtlc) -> ChannelData:
    return _with_removal(data, _removable(data, "update_fail_htlc", msg.id), Failed(msg.reason))


def on_update_fail_malformed_htlc(data: ChannelData, msg: UpdateFailMalformedHtlc) -> ChannelData:
    htlc = _removable(data, "update_fail_malformed_htlc", msg.id)
    if not msg.failure_code & BADONION:
        raise LimitExceeded("update_fail_malformed_htlc failure_code without BADONION", msg.failure_code, BADONION)
    return _with_removal(data, htlc, FailedMalformed(msg.sha256_of_onion, msg.failure_code))


def on_update_fee(data: ChannelData, msg: UpdateFee, ctx: Context) -> ChannelData:
    if data.params.holder_is_opener:
        raise UnexpectedMessage("update_fee", "of a channel that we opened")
    commitments = data.commitments
    check_feerate(data, msg.feerate_per_kw, ctx)
    return replace(data, commitments=replace(commitments, fees=commitments.fees.propose(msg.feerate_per_kw)))


def check_feerate(data: ChannelData, feerate_per_kw: FeeratePerKw, ctx: Context) -> None:
    """LDK: too low only if it is not an increase, because an increase makes nothing worse."""
    minimum = ctx.feerates.min_allowed(data.params.anchors)
    if feerate_per_kw < minimum and feerate_per_kw <= data.commitments.fees.newest.feerate_per_kw:
        raise PeerFeerateBelowMinimum(feerate_per_kw, minimum)


# --- commitments ------------------------------------------------------------------------------------------------------


def on_commitment_signed(
    data: ChannelData, msg: CommitmentSigned, ctx: Context
) -> tuple[ChannelData, ChannelMonitorUpdate, RevokeAndAck, tuple[Action, ...]]:
    """Verifies everything, then revokes the commitment before. Raises InvalidCommitmentSignature and its kin."""
    params = data.params
    feerate_before = data.commitments.fees.feerate(of_holder=True)
    signed, _ = data.commitments.advance(by_holder=False, act="signs")
    if signed.fees.feerate(of_holder=True) != feerate_before and not params.holder_is_opener:
        check_fee_received(params, signed, dust_limit(data, ctx))
    number = CommitmentNumber(signed.holder_number + 1)
    signer = ctx.signers.derive_channel_signer(params.channel_keys_id)
    commitment = Commitment(number, signer.get_per_commitment_point(number), commitment_spec(signed, of_holder=True))
    tx_params = params.transaction_parameters(data.funding.outpoint)
    built = tx_commitment.verify(tx_params, commitment, msg.signature, msg.htlc_signature)
    signer_state = signer.validate_holder_commitment(
        data.signer_state, tx_params, commitment, msg.signature, msg.htlc_signature
    )
    signer_state, secret = signer.release_commitment_secret(signer_state, signed.holder_number)
    revoked, moved = signed.advance(by_holder=True, act="revokes")
    data = replace(
        data,
        commitments=replace(revoked, holder_number=number, revocation_sent_last=True),
        signer_state=signer_state,
    )
    held = HolderCommitment(commitment, built.txid, msg.signature, msg.htlc_signature)
    data, update = next_monitor_update(data, LatestHolderCommitment(held))
    next_point = signer.get_per_commitment_point(CommitmentNumber(number + 1))
    revocation = RevokeAndAck(data.channel_id, secret, next_point)
    return data, update, revocation, _consequences(moved)


def revoke_and_ack(data: ChannelData, ctx: Context) -> RevokeAndAck:
    """Our last one, again."""
    number = data.commitments.holder_number
    signer = ctx.signers.derive_channel_signer(data.params.channel_keys_id)
    _, secret = signer.release_commitment_secret(data.signer_state, CommitmentNumber(number - 1))
    return RevokeAndAck(data.channel_id, secret, signer.get_per_commitment_point(CommitmentNumber(number + 1)))


def on_revoke_and_ack(
    data: ChannelData, msg: RevokeAndAck
) -> tuple[ChannelData, ChannelMonitorUpdate, tuple[Action, ...]]:
    commitments = data.commitments
    if not commitments.awaiting_revocation:
        raise UnexpectedMessage("revoke_and_ack", "in which none is owed")
    number = CommitmentNumber(commitments.counterparty_number - 1)
    secret = msg.per_commitment_secret
    if not is_valid_private_key(secret) or public_key(secret) != commitments.counterparty_current_point:
        raise WrongRevocation(number, "the secret is not that of its per-commitment point")
    try:
        secrets = commitments.counterparty_secrets.insert(commitment_index(number), secret)
    except InvalidSecret as error:
        raise WrongRevocation(number, str(error)) from None
    advanced, moved = commitments.advance(by_holder=False, act="revokes")
    data = replace(
        data,
        commitments=replace(
            advanced,
            awaiting_revocation=False,
            counterparty_current_point=commitments.counterparty_next_point,
            counterparty_next_point=msg.next_per_commitment_point,
            counterparty_secrets=secrets,
        ),
    )
    data, update = next_monitor_update(data, CommitmentSecret(number, secret))
    return data, update, _consequences(moved)


def _consequences(moved: tuple[Htlc, ...]) -> tuple[Action, ...]:
    """What the rest of the node must know of HTLCs that moved on."""
    actions: list[Action] = []
    for htlc in moved:
        if htlc.stage is HtlcStage.COMMITTED and not htlc.offered:
            actions.append(HtlcCommitted(htlc))
        elif htlc.stage is HtlcStage.REMOVED:
            actions.append(HtlcRemoved(htlc))
    return tuple(actions)
