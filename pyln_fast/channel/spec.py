"""What each commitment of a channel holds, derived from the HTLC table: nothing here is stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyln_fast.channel.htlc import IN_OFFERERS_COMMITMENT, IN_RECEIVERS_COMMITMENT, Fulfilled, Htlc, HtlcStage
from pyln_fast.tx.parameters import CommitmentHtlc, CommitmentSpec
from pyln_fast.types import FeeratePerKw, Msat

if TYPE_CHECKING:
    from pyln_fast.channel.commitments import Commitments


def _effect(htlc: Htlc, of_holder: bool) -> tuple[bool, int, int]:
    """(it is in this commitment, what it takes from its offerer, what it gives to its receiver)."""
    offerers = htlc.offered == of_holder
    present = htlc.stage in (IN_OFFERERS_COMMITMENT if offerers else IN_RECEIVERS_COMMITMENT)
    if present:
        return True, htlc.amount_msat, 0
    removed = htlc.stage >= (HtlcStage.REMOVE_SIGNED if offerers else HtlcStage.REMOVE_COUNTERSIGNED)
    if removed and isinstance(htlc.removal, Fulfilled):
        return False, htlc.amount_msat, htlc.amount_msat
    return False, 0, 0


def commitment_spec(commitments: Commitments, of_holder: bool) -> CommitmentSpec:
    """The newest commitment of one party, as the stages of the HTLCs say. Balances may come out negative: the limits
    see to it that they do not, and the caller must not sign or accept such a spec."""
    return _spec(commitments, commitments.htlcs.values(), commitments.fees.feerate(of_holder), of_holder)


def _spec(
    commitments: Commitments, htlcs: Iterable[Htlc], feerate_per_kw: FeeratePerKw, of_holder: bool
) -> CommitmentSpec:
    to_holder: int = commitments.to_holder_msat
    to_counterparty: int = commitments.to_counterparty_msat
    present = []
    for htlc in htlcs:
        in_it, taken, given = _effect(htlc, of_holder)
        if htlc.offered:
            to_holder -= taken
            to_counterparty += given
        else:
            to_counterparty -= taken
            to_holder += given
        if in_it:
            present.append(
                CommitmentHtlc(
                    htlc.id, htlc.offered == of_holder, htlc.amount_msat, htlc.payment_hash, htlc.cltv_expiry
                )
            )
    mine, theirs = (to_holder, to_counterparty) if of_holder else (to_counterparty, to_holder)
    return CommitmentSpec(feerate_per_kw, Msat(mine), Msat(theirs), tuple(present))
