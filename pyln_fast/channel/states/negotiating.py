"""The channel is empty; the fee of the closing transaction is being agreed on, or was (BOLT 2, Legacy Closing
Negotiation)."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel.actions import Action, BroadcastTransaction, SaveChannel, SendMessage
from pyln_fast.channel.commands import (
    AnswerOverdue,
    ForceClose,
    FundingConfirmed,
    FundingSpentOnChain,
    FundingUnconfirmed,
    NewBlock,
    PeerDisconnected,
    SignCommitment,
)
from pyln_fast.channel.errors import InvalidField, LimitExceeded, NoCommonClosingFee
from pyln_fast.channel.state import AnyState, ChannelData, ClosingProposal, Negotiating, Offline
from pyln_fast.channel.states.common import (
    closed_event,
    cooperative_reason,
    do_force_close,
    do_funding_spent,
    fail,
    on_error,
    saved,
    stay,
)
from pyln_fast.channel.states.wait_for_open_channel import do_nothing
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.config import FEERATE_FLOOR_SATS_PER_KW
from pyln_fast.events import ProcessingError
from pyln_fast.tx import closing as tx_closing
from pyln_fast.tx.transaction import Transaction, serialize
from pyln_fast.types import Sat, Signature
from pyln_fast.wire.channel_msgs import ClosingSigned, FeeRange, Shutdown
from pyln_fast.wire.setup_msgs import Error

SIGNATURE_SLACK_WEIGHT = 2
"""BOLT 3 counts 73 bytes a signature, but with a low S, as relay wants it, none has more than 72. A peer that counts
those (LDK) and begins with the least feerate must not be a satoshi below ours."""


def fee_limits(data: ChannelData, ctx: Context) -> tuple[Sat, Sat, Sat]:
    """(the fee that we like, the least, the most) in satoshi. The opener pays, so only the opener has a most."""
    scripts = _scripts(data)
    weight = tx_closing.closing_weight(*scripts)
    least = ctx.feerates.channel_close_minimum
    normal = max(least, ctx.feerates.non_anchor_channel_fee)
    target = data.closing_target_feerate_per_kw
    holder_sat, counterparty_sat = _balances_sat(data)
    if data.params.holder_is_opener:
        least = max(least, target or 0, FEERATE_FLOOR_SATS_PER_KW)  # type: ignore[assignment]
        most = max(least, normal) * weight // 1000 + data.config.force_close_avoidance_max_fee_satoshis
        # A transaction without any output is none.
        dust_sat = data.params.holder.dust_limit_sat
        most = min(most, holder_sat if counterparty_sat >= dust_sat else max(0, holder_sat - dust_sat))
        preferred = min(max(least, target or normal) * weight // 1000, most)
        return Sat(preferred), Sat(min(least * weight // 1000, most)), Sat(most)
    lowest = min(least * (weight - SIGNATURE_SLACK_WEIGHT) // 1000, counterparty_sat)
    return Sat(lowest), Sat(lowest), counterparty_sat


def _balances_sat(data: ChannelData) -> tuple[Sat, Sat]:
    commitments = data.commitments
    return Sat(commitments.to_holder_msat // 1000), Sat(commitments.to_counterparty_msat // 1000)


def _scripts(data: ChannelData) -> tuple[bytes, bytes]:
    assert data.holder_shutdown_script is not None
    assert data.counterparty_shutdown_script is not None
    return data.holder_shutdown_script, data.counterparty_shutdown_script


def _signed(data: ChannelData, tx: Transaction, ctx: Context) -> Signature:
    signer = ctx.signers.derive_channel_signer(data.params.channel_keys_id)
    return signer.sign_closing_transaction(data.params.transaction_parameters(data.funding.outpoint), tx)


def _proposal_message(data: ChannelData, proposal: ClosingProposal, ctx: Context) -> ClosingSigned:
    """Our variant: outputs trimmed by our dust limit."""
    tx = tx_closing.build_closing(
        data.params.transaction_parameters(data.funding.outpoint),
        *_scripts(data),
        *_balances_sat(data),
        proposal.fee_satoshis,
        data.params.holder.dust_limit_sat,
    )
    fee_range = FeeRange(proposal.min_fee_satoshis, proposal.max_fee_satoshis)
    return ClosingSigned(data.channel_id, proposal.fee_satoshis, _signed(data, tx, ctx), fee_range)


def begin_negotiation(state: Negotiating, ctx: Context) -> tuple[Negotiating, tuple[Action, ...]]:
    """The opener speaks first; after a reconnection it begins again, with the fee that was agreed on if one was."""
    if not state.data.params.holder_is_opener:
        return replace(state, proposal=None), ()
    preferred, least, most = fee_limits(state.data, ctx)
    if state.agreed_fee_satoshis is not None:
        preferred = state.agreed_fee_satoshis
        least, most = Sat(min(least, preferred)), Sat(max(most, preferred))
    proposal = ClosingProposal(preferred, least, most)
    return replace(state, proposal=proposal), (SendMessage(_proposal_message(state.data, proposal, ctx)),)


def on_closing_signed(state: Negotiating, msg: ClosingSigned, ctx: Context) -> Transition[AnyState]:
    """Raises RemoteError for a signature that signs nothing, or a fee that cannot be agreed on."""
    tx = _verified(state.data, msg)
    if state.proposal is None:
        if state.data.params.holder_is_opener:
            raise InvalidField("closing_signed", "fee_satoshis", "came before ours, and we are the opener")
        return _answer_first(state, msg, tx, ctx)
    mine = state.proposal
    if msg.fee_satoshis == mine.fee_satoshis:
        return _agree(state, msg, tx, (), ctx)
    if msg.fee_range is not None:
        return _take_if_in_range(state, mine, msg, tx, ctx)
    if mine.min_fee_satoshis <= msg.fee_satoshis <= mine.max_fee_satoshis:
        return _accept(state, mine, msg, tx, ctx)
    return _meet_halfway(state, mine, msg, ctx)


def _verified(data: ChannelData, msg: ClosingSigned) -> Transaction:
    payer_sat = _balances_sat(data)[0 if data.params.holder_is_opener else 1]
    if msg.fee_satoshis > payer_sat:
        raise LimitExceeded("closing_signed fee_satoshis", msg.fee_satoshis, payer_sat)
    return tx_closing.verify_closing(
        data.params.transaction_parameters(data.funding.outpoint),
        *_scripts(data),
        *_balances_sat(data),
        msg.fee_satoshis,
        msg.signature,
    )


def _answer_first(state: Negotiating, msg: ClosingSigned, tx: Transaction, ctx: Context) -> Transition[AnyState]:
    """Acceptor: the opener's first proposal. Any fee that confirms is fine with us, it is the opener's money."""
    preferred, least, most = fee_limits(state.data, ctx)
    if state.agreed_fee_satoshis is not None:
        least = Sat(min(least, state.agreed_fee_satoshis))
    if least <= msg.fee_satoshis <= most:
        proposal = ClosingProposal(msg.fee_satoshis, least, most)
        answer = SendMessage(_proposal_message(state.data, proposal, ctx))
        return _agree(replace(state, proposal=proposal), msg, tx, (answer,), ctx)
    fee = preferred
    if msg.fee_range is not None:
        theirs = msg.fee_range
        low, high = max(least, theirs.min_fee_satoshis), min(most, theirs.max_fee_satoshis)
        if low > high:
            raise NoCommonClosingFee(theirs.min_fee_satoshis, theirs.max_fee_satoshis, least, most)
        fee = Sat(low)
    proposal = ClosingProposal(fee, least, most, msg.fee_satoshis)
    answer = SendMessage(_proposal_message(state.data, proposal, ctx))
    return saved(replace(state, proposal=proposal), answer)


def _take_if_in_range(
    state: Negotiating, mine: ClosingProposal, msg: ClosingSigned, tx: Transaction, ctx: Context
) -> Transition[AnyState]:
    theirs = msg.fee_range
    assert theirs is not None
    low = max(mine.min_fee_satoshis, theirs.min_fee_satoshis)
    high = min(mine.max_fee_satoshis, theirs.max_fee_satoshis)
    if low > high:
        raise NoCommonClosingFee(
            theirs.min_fee_satoshis, theirs.max_fee_satoshis, mine.min_fee_satoshis, mine.max_fee_satoshis
        )
    if not low <= msg.fee_satoshis <= high:
        raise LimitExceeded("closing_signed fee_satoshis is not in both ranges", msg.fee_satoshis, high)
    if not state.data.params.holder_is_opener:
        # BOLT 2: the opener has to repeat the value that the acceptor chose.
        raise LimitExceeded("closing_signed fee_satoshis is not what we answered", msg.fee_satoshis, mine.fee_satoshis)
    return _accept(state, mine, msg, tx, ctx)


def _accept(
    state: Negotiating, mine: ClosingProposal, msg: ClosingSigned, tx: Transaction, ctx: Context
) -> Transition[AnyState]:
    proposal = replace(mine, fee_satoshis=msg.fee_satoshis, counterparty_fee_satoshis=msg.fee_satoshis)
    answer = SendMessage(_proposal_message(state.data, proposal, ctx))
    return _agree(replace(state, proposal=proposal), msg, tx, (answer,), ctx)


def _meet_halfway(state: Negotiating, mine: ClosingProposal, msg: ClosingSigned, ctx: Context) -> Transition[AnyState]:
    """A peer without fee_range: strictly between the last two values, until they meet."""
    before = mine.counterparty_fee_satoshis
    low, high = sorted((mine.fee_satoshis, before if before is not None else msg.fee_satoshis))
    if before is not None and not low < msg.fee_satoshis < high:
        raise LimitExceeded("closing_signed fee_satoshis is not strictly between the last two", msg.fee_satoshis, high)
    middle = (mine.fee_satoshis + msg.fee_satoshis) // 2
    middle = min(max(middle, mine.min_fee_satoshis), mine.max_fee_satoshis)
    low, high = sorted((mine.fee_satoshis, msg.fee_satoshis))
    if not low < middle < high:
        limit = mine.min_fee_satoshis if msg.fee_satoshis < mine.min_fee_satoshis else mine.max_fee_satoshis
        raise LimitExceeded("closing_signed: nothing between ours and fee_satoshis", msg.fee_satoshis, limit)
    proposal = replace(mine, fee_satoshis=Sat(middle), counterparty_fee_satoshis=msg.fee_satoshis)
    return saved(replace(state, proposal=proposal), SendMessage(_proposal_message(state.data, proposal, ctx)))


def _agree(
    state: Negotiating, msg: ClosingSigned, tx: Transaction, answer: tuple[Action, ...], ctx: Context
) -> Transition[AnyState]:
    """Both sign the same fee: `tx` is the variant that the counterparty signed, and now we do."""
    data = state.data
    tx_params = data.params.transaction_parameters(data.funding.outpoint)
    complete = serialize(tx_closing.complete_closing(tx_params, tx, _signed(data, tx, ctx), msg.signature))
    first_time = state.agreed is None
    agreed = replace(state, agreed=complete, agreed_fee_satoshis=msg.fee_satoshis)
    events = (closed_event(data, cooperative_reason(data)),) if first_time else ()
    broadcast = BroadcastTransaction(complete, "CooperativeClose")
    return Transition(agreed, (SaveChannel(agreed), *answer, broadcast, *events))


def on_shutdown(state: Negotiating, msg: Shutdown, ctx: Context) -> Transition[AnyState]:
    """Again, after a reconnection: only now does the opener begin once more."""
    if msg.scriptpubkey != state.data.counterparty_shutdown_script:
        raise InvalidField("shutdown", "scriptpubkey", "is not that of the shutdown before")
    if state.proposal is not None:
        return stay(state)
    begun, actions = begin_negotiation(state, ctx)
    return stay(begun, *actions)


def do_answer_overdue(state: Negotiating, command: AnswerOverdue, ctx: Context) -> Transition[AnyState]:
    """BOLT 2: without a closing_signed that suits, the channel must fail; whoever's turn it is, it is not ours."""
    if state.agreed is not None:
        return stay(state)
    return fail(state, ProcessingError("no answer to closing_signed"), "no answer to closing_signed")


def do_peer_disconnected(state: Negotiating, command: PeerDisconnected, ctx: Context) -> Transition[AnyState]:
    return saved(Offline(replace(state, proposal=None)))


def do_funding_confirmed(state: Negotiating, command: FundingConfirmed, ctx: Context) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=command.height, tx_index=command.tx_index)
    return saved(replace(state, data=replace(state.data, funding=funding)))


def do_funding_unconfirmed(state: Negotiating, command: FundingUnconfirmed, ctx: Context) -> Transition[AnyState]:
    funding = replace(state.data.funding, height=None, tx_index=None)
    return saved(replace(state, data=replace(state.data, funding=funding)))


HANDLERS: Handlers = {
    ClosingSigned: on_closing_signed,
    Shutdown: on_shutdown,
    Error: on_error,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    FundingConfirmed: do_funding_confirmed,
    FundingUnconfirmed: do_funding_unconfirmed,
    FundingSpentOnChain: do_funding_spent,
    AnswerOverdue: do_answer_overdue,
    SignCommitment: do_nothing,
    NewBlock: do_nothing,
}
