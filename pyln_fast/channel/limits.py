"""Every limit on what the two commitments may hold (BOLT 2, update_add_htlc and update_fee; LDK's buffers on top).

The limits of the counterparty bind what we offer (`HtlcRefused`, a LocalError), ours bind what it offers (a
`LimitExceeded`, or for what BOLT 2 only lets us fail back, a reason by name).
"""

from __future__ import annotations

import msgspec

from pyln_fast.channel.commitments import Commitments
from pyln_fast.channel.errors import HtlcRefused, LimitExceeded
from pyln_fast.channel.htlc import IN_OFFERERS_COMMITMENT, IN_RECEIVERS_COMMITMENT, Fulfilled, Htlc, HtlcStage
from pyln_fast.channel.params import ChannelParams
from pyln_fast.config import (
    ANCHOR_OUTPUT_VALUE_SATOSHI,
    CONCURRENT_INBOUND_HTLC_FEE_BUFFER,
    FEE_SPIKE_BUFFER_FEE_INCREASE_MULTIPLE,
    ChannelConfig,
    dust_buffer_feerate,
)
from pyln_fast.tx.fees import commitment_fee_sat, htlc_trim_threshold_sat
from pyln_fast.types import FeeratePerKw, Msat

MAX_CLTV_EXPIRY = 500_000_000
"""From here on a lock time is a time, not a height (BOLT 2)."""


class DustLimit(msgspec.Struct, frozen=True):
    """How much may be lost to dust, and the feerate above which a commitment's fee counts as lost (LDK)."""

    limit_msat: Msat
    max_feerate_per_kw: FeeratePerKw

    @classmethod
    def of(cls, config: ChannelConfig, max_feerate_per_kw: FeeratePerKw) -> DustLimit:
        return cls(config.max_dust_htlc_exposure_msat(max_feerate_per_kw), max_feerate_per_kw)


_S = HtlcStage
_NEXT_OF_OFFERER = (IN_OFFERERS_COMMITMENT | {_S.ADD_ACKED}) - {_S.REMOVE_PROPOSED}
_NEXT_OF_RECEIVER = (IN_RECEIVERS_COMMITMENT | {_S.ADD_PROPOSED}) - {_S.REMOVE_ACKED}
_ALL_OF_OFFERER = IN_OFFERERS_COMMITMENT | {_S.ADD_PROPOSED, _S.ADD_SIGNED, _S.ADD_ACKED}


class _View(msgspec.Struct, frozen=True):
    """One commitment as the limits see it: balances by party, and what its HTLCs cost."""

    of_holder: bool
    feerate_per_kw: FeeratePerKw
    holder_msat: int
    counterparty_msat: int
    untrimmed: int
    dust_msat: int
    """In HTLCs that are trimmed, or would be after a rise of the feerate."""


def _view(
    params: ChannelParams,
    commitments: Commitments,
    of_holder: bool,
    offered_stages: frozenset[HtlcStage],
    received_stages: frozenset[HtlcStage],
    feerate_per_kw: FeeratePerKw,
) -> _View:
    """The commitment of one party, with the HTLCs that are at these stages in it. One pass, because it runs for every
    HTLC that is added."""
    dust_limit_sat = (params.holder if of_holder else params.counterparty).dust_limit_sat
    anchors = params.anchors
    buffered = dust_buffer_feerate(feerate_per_kw)
    trim_offered, trim_received, dust_offered, dust_received = (
        1000 * htlc_trim_threshold_sat(of_holder == by_holder, dust_limit_sat, feerate, anchors)
        for feerate in (feerate_per_kw, buffered)
        for by_holder in (True, False)
    )
    holder: int = commitments.to_holder_msat
    counterparty: int = commitments.to_counterparty_msat
    untrimmed = dust = 0
    for htlc in commitments.htlcs.values():
        amount = htlc.amount_msat
        if htlc.offered:
            if htlc.stage in offered_stages:
                holder -= amount
                untrimmed += amount >= trim_offered
                if amount < dust_offered:
                    dust += amount
            elif htlc.stage >= _S.REMOVE_PROPOSED and isinstance(htlc.removal, Fulfilled):
                holder -= amount
                counterparty += amount
        elif htlc.stage in received_stages:
            counterparty -= amount
            untrimmed += amount >= trim_received
            if amount < dust_received:
                dust += amount
        elif htlc.stage >= _S.REMOVE_PROPOSED and isinstance(htlc.removal, Fulfilled):
            counterparty -= amount
            holder += amount
    return _View(of_holder, feerate_per_kw, holder, counterparty, untrimmed, dust)


def _current(params: ChannelParams, commitments: Commitments, of_holder: bool) -> _View:
    """As it was signed last."""
    feerate = commitments.fees.feerate(of_holder)
    if of_holder:
        return _view(params, commitments, True, IN_OFFERERS_COMMITMENT, IN_RECEIVERS_COMMITMENT, feerate)
    return _view(params, commitments, False, IN_RECEIVERS_COMMITMENT, IN_OFFERERS_COMMITMENT, feerate)


def _next_of_counterparty(params: ChannelParams, commitments: Commitments) -> _View:
    """As our next signature will make it: with everything that we have proposed."""
    return _view(params, commitments, False, _NEXT_OF_RECEIVER, _NEXT_OF_OFFERER, _feerate_ahead(commitments))


def _ours_with_all_that_we_offer(params: ChannelParams, commitments: Commitments) -> _View:
    """Our own commitment as it will be once the counterparty has signed everything that we have proposed."""
    return _view(params, commitments, True, _ALL_OF_OFFERER, IN_RECEIVERS_COMMITMENT, _feerate_ahead(commitments))


def _next_of_holder(params: ChannelParams, commitments: Commitments) -> _View:
    """As the counterparty's next signature will make it: with everything that it has proposed."""
    feerate = commitments.fees.advance(by_holder=False, act="signs").feerate(of_holder=True)
    return _view(params, commitments, True, _NEXT_OF_OFFERER, _NEXT_OF_RECEIVER, feerate)


def _feerate_ahead(commitments: Commitments) -> FeeratePerKw:
    """The highest feerate that is on its way: what we propose must be affordable at it."""
    return max(update.feerate_per_kw for update in commitments.fees.updates)


def _opener_costs_msat(params: ChannelParams, feerate_per_kw: int, untrimmed: int) -> int:
    """What the opener pays for a commitment: its fee and the anchors."""
    fee_sat = commitment_fee_sat(FeeratePerKw(feerate_per_kw), untrimmed, params.anchors)
    return 1000 * (fee_sat + (2 * ANCHOR_OUTPUT_VALUE_SATOSHI if params.anchors else 0))


def _exposure_msat(params: ChannelParams, view: _View, max_feerate_per_kw: FeeratePerKw) -> int:
    """What a force close would burn: dust, and on the counterparty's commitment the fee beyond our own estimate."""
    excess = max(0, view.feerate_per_kw - max_feerate_per_kw)
    if view.of_holder or not excess:
        return view.dust_msat
    return view.dust_msat + 1000 * commitment_fee_sat(FeeratePerKw(excess), view.untrimmed, params.anchors)


# --- what we offer ----------------------------------------------------------------------------------------------------


def check_offer(params: ChannelParams, proposed: Commitments, htlc: Htlc, dust: DustLimit) -> None:
    """`proposed` has the HTLC in it at ADD_PROPOSED. Raises HtlcRefused."""
    theirs = params.counterparty
    if htlc.amount_msat <= 0:
        raise HtlcRefused("ZeroAmount", "amount_msat", htlc.amount_msat, 1)
    if htlc.amount_msat < theirs.htlc_minimum_msat:
        raise HtlcRefused("HTLCMinimum", "amount_msat", htlc.amount_msat, theirs.htlc_minimum_msat)
    if htlc.cltv_expiry >= MAX_CLTV_EXPIRY:
        raise HtlcRefused("CLTVExpiryTooFar", "cltv_expiry", htlc.cltv_expiry, MAX_CLTV_EXPIRY - 1)
    count, value = _in_flight(proposed, offered=True)
    if count > theirs.max_accepted_htlcs:
        raise HtlcRefused("TemporaryChannelFailure", "max_accepted_htlcs", count, theirs.max_accepted_htlcs)
    if value > theirs.max_htlc_value_in_flight_msat:
        limit = theirs.max_htlc_value_in_flight_msat
        raise HtlcRefused("HTLCMaximum", "max_htlc_value_in_flight_msat", value, limit)
    _check_our_proposals(params, proposed, dust)


def fits(params: ChannelParams, proposed: Commitments, dust: DustLimit) -> bool:
    """Whether all that we have proposed can still be signed."""
    queued = any(h.offered and h.stage is _S.ADD_PROPOSED for h in proposed.htlcs.values())
    if not queued:
        # The buffers of an offer are not asked of a feerate alone.
        return proposed.fees.newest.stage is not _S.ADD_PROPOSED or can_send_fee(params, proposed, dust)
    try:
        _check_our_proposals(params, proposed, dust)
    except HtlcRefused:
        return False
    return True


def _in_flight(commitments: Commitments, offered: bool) -> tuple[int, int]:
    """(how many, how much) of one party's HTLCs. The last to let go of an HTLC is its receiver's commitment."""
    count = value = 0
    for htlc in commitments.htlcs.values():
        if htlc.offered == offered and htlc.stage < _S.REMOVE_COUNTERSIGNED:
            count += 1
            value += htlc.amount_msat
    return count, value


def _check_our_proposals(params: ChannelParams, proposed: Commitments, dust: DustLimit) -> None:
    views = (_next_of_counterparty(params, proposed), _ours_with_all_that_we_offer(params, proposed))
    for view in views:
        _check_affordable(params, view)
        exposure = _exposure_msat(params, view, dust.max_feerate_per_kw)
        if exposure > dust.limit_msat:
            reason = "DustLimitHolder" if view.of_holder else "DustLimitCounterparty"
            raise HtlcRefused(reason, "max_dust_htlc_exposure", exposure, dust.limit_msat)


def _check_affordable(params: ChannelParams, view: _View) -> None:
    reserve_msat = 1000 * params.counterparty.channel_reserve_sat
    if params.holder_is_opener:
        multiple = 1 if params.anchors else FEE_SPIKE_BUFFER_FEE_INCREASE_MULTIPLE
        # One HTLC more than there is, so that the next one in either direction can still be paid for (BOLT 2).
        required = reserve_msat + _opener_costs_msat(params, multiple * view.feerate_per_kw, view.untrimmed + 1)
        if view.holder_msat < required:
            raise HtlcRefused("ChannelBalanceOverdrawn", "balance_msat", view.holder_msat, required)
        return
    if view.holder_msat < reserve_msat:
        raise HtlcRefused("ChannelBalanceOverdrawn", "balance_msat", view.holder_msat, reserve_msat)
    # BOLT 2: the acceptor should not offer what the opener cannot pay the fee for.
    required = 1000 * params.holder.channel_reserve_sat + _opener_costs_msat(
        params, view.feerate_per_kw, view.untrimmed
    )
    if view.untrimmed > 0 and view.counterparty_msat < required:
        raise HtlcRefused("ChannelBalanceOverdrawn", "opener's balance_msat", view.counterparty_msat, required)


# --- what the counterparty offers -------------------------------------------------------------------------------------


def check_received(params: ChannelParams, proposed: Commitments, htlc: Htlc) -> None:
    """`proposed` has the HTLC in it at ADD_PROPOSED. Raises LimitExceeded, which fails the channel."""
    ours = params.holder
    if htlc.amount_msat <= 0 or htlc.amount_msat < ours.htlc_minimum_msat:
        raise LimitExceeded("update_add_htlc amount_msat", htlc.amount_msat, max(1, ours.htlc_minimum_msat))
    if htlc.cltv_expiry >= MAX_CLTV_EXPIRY:
        raise LimitExceeded("update_add_htlc cltv_expiry", htlc.cltv_expiry, MAX_CLTV_EXPIRY - 1)
    # What counts is what the sender knows: it may use the room of an HTLC whose removal it has acknowledged.
    count = value = 0
    for other in proposed.htlcs.values():
        if not other.offered and other.stage < _S.REMOVE_ACKED:
            count += 1
            value += other.amount_msat
    if count > ours.max_accepted_htlcs:
        raise LimitExceeded("update_add_htlc: max_accepted_htlcs", count, ours.max_accepted_htlcs)
    if value > ours.max_htlc_value_in_flight_msat:
        limit = ours.max_htlc_value_in_flight_msat
        raise LimitExceeded("update_add_htlc: max_htlc_value_in_flight_msat", value, limit)
    _check_counterparty_affords(params, _next_of_holder(params, proposed), "update_add_htlc")


def _check_counterparty_affords(params: ChannelParams, view: _View, what: str) -> None:
    """The counterparty keeps its reserve, and pays the fee if it is the opener, in our commitment."""
    required = 1000 * params.holder.channel_reserve_sat
    if not params.holder_is_opener:
        required += _opener_costs_msat(params, view.feerate_per_kw, view.untrimmed)
    if view.counterparty_msat < required:
        raise LimitExceeded(f"{what}: the sender's balance_msat", view.counterparty_msat, required)


def reason_to_fail_back(params: ChannelParams, commitments: Commitments, htlc: Htlc, dust: DustLimit) -> str | None:
    """For a committed HTLC that is legal and still not for us to take: LDK's LocalHTLCFailureReason by name."""
    for of_holder, reason in ((False, "DustLimitCounterparty"), (True, "DustLimitHolder")):
        view = _current(params, commitments, of_holder)
        terms = params.holder if of_holder else params.counterparty
        feerate = dust_buffer_feerate(view.feerate_per_kw)
        threshold_sat = htlc_trim_threshold_sat(not of_holder, terms.dust_limit_sat, feerate, params.anchors)
        is_dust = htlc.amount_msat < 1000 * threshold_sat
        if is_dust and _exposure_msat(params, view, dust.max_feerate_per_kw) > dust.limit_msat:
            return reason
    if params.holder_is_opener or params.anchors:
        return None
    # BOLT 2's fee spike buffer from the acceptor's side: an opener that cannot pay for one more HTLC at twice the
    # feerate would get the channel stuck.
    view = _current(params, commitments, of_holder=False)
    feerate_per_kw = FEE_SPIKE_BUFFER_FEE_INCREASE_MULTIPLE * view.feerate_per_kw
    required = 1000 * params.holder.channel_reserve_sat + _opener_costs_msat(params, feerate_per_kw, view.untrimmed + 1)
    return "FeeSpikeBuffer" if view.counterparty_msat < required else None


# --- feerates and opening ---------------------------------------------------------------------------------------------


def check_fee_received(params: ChannelParams, signed: Commitments, dust: DustLimit) -> None:
    """`signed` has the new feerate in our commitment. Raises LimitExceeded, which fails the channel."""
    ours = _current(params, signed, of_holder=True)
    _check_counterparty_affords(params, ours, "update_fee")
    # Our offers that crossed the feerate on their way are not the sender's fault: it could not count them.
    known = IN_RECEIVERS_COMMITMENT - {_S.ADD_SIGNED}
    theirs = _view(params, signed, False, known, IN_OFFERERS_COMMITMENT, ours.feerate_per_kw)
    for view in (ours, theirs):
        exposure = _exposure_msat(params, view, dust.max_feerate_per_kw)
        if exposure > dust.limit_msat:
            raise LimitExceeded("update_fee: max_dust_htlc_exposure", exposure, dust.limit_msat)


def can_send_fee(params: ChannelParams, proposed: Commitments, dust: DustLimit) -> bool:
    """Whether we, the opener, can pay the proposed feerate in both commitments, with HTLCs on their way to us."""
    for view in (_next_of_counterparty(params, proposed), _ours_with_all_that_we_offer(params, proposed)):
        untrimmed = view.untrimmed + CONCURRENT_INBOUND_HTLC_FEE_BUFFER
        costs = _opener_costs_msat(params, view.feerate_per_kw, untrimmed)
        if view.holder_msat < 1000 * params.counterparty.channel_reserve_sat + costs:
            return False
        if _exposure_msat(params, view, dust.max_feerate_per_kw) > dust.limit_msat:
            return False
    return True


def dust_exposure_msat(params: ChannelParams, commitments: Commitments, max_feerate_per_kw: FeeratePerKw) -> Msat:
    """The larger of the two commitments' exposures (LDK's current_dust_exposure_msat)."""
    views = (_current(params, commitments, side) for side in (True, False))
    return Msat(max(_exposure_msat(params, view, max_feerate_per_kw) for view in views))


def opener_affords(params: ChannelParams, feerate_per_kw: FeeratePerKw, htlcs: int) -> bool:
    """BOLT 2, open_channel: the opener can pay the fee of the first commitment, with room for some HTLCs (LDK)."""
    opener_msat = 1000 * params.channel_value_sat - params.push_msat
    return opener_msat >= _opener_costs_msat(params, feerate_per_kw, htlcs)


def both_below_reserve(params: ChannelParams, feerate_per_kw: FeeratePerKw) -> bool:
    """BOLT 2, open_channel: not both outputs of the first commitment may be at or below the reserve."""
    opener_msat = 1000 * params.channel_value_sat - params.push_msat - _opener_costs_msat(params, feerate_per_kw, 0)
    reserve_msat = 1000 * max(params.holder.channel_reserve_sat, params.counterparty.channel_reserve_sat)
    return opener_msat <= reserve_msat and params.push_msat <= reserve_msat


def outbound_limit_msat(params: ChannelParams, commitments: Commitments, dust: DustLimit) -> Msat:
    """The largest HTLC that we could offer now (LDK's next_outbound_htlc_limit_msat): never too high."""
    views = (_next_of_counterparty(params, commitments), _ours_with_all_that_we_offer(params, commitments))
    available = min(view.holder_msat for view in views) - 1000 * params.counterparty.channel_reserve_sat
    untrimmed = max(view.untrimmed for view in views)
    feerate: int = views[0].feerate_per_kw
    if params.holder_is_opener:
        multiple = 1 if params.anchors else FEE_SPIKE_BUFFER_FEE_INCREASE_MULTIPLE
        available -= _opener_costs_msat(params, multiple * feerate, untrimmed + 2)
    else:
        required = 1000 * params.holder.channel_reserve_sat + _opener_costs_msat(params, feerate, untrimmed + 1)
        if min(view.counterparty_msat for view in views) < required:
            available = 0
    count, value = _in_flight(commitments, offered=True)
    available = min(available, params.counterparty.max_htlc_value_in_flight_msat - value)
    if count >= params.counterparty.max_accepted_htlcs:
        available = 0
    return Msat(max(0, available))
