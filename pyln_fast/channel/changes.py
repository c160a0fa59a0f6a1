"""Feerates on their way through the two commitments (BOLT 2, Updating Fees).

`update_fee` walks the same five steps as the addition of an HTLC; its proposer is always the opener. A newer feerate
replaces an older one once it is irrevocable.
"""

from __future__ import annotations

import msgspec

from pyln_fast.channel.htlc import ADVANCES, HtlcStage
from pyln_fast.types import FeeratePerKw


class FeeUpdate(msgspec.Struct, frozen=True, array_like=True):
    feerate_per_kw: FeeratePerKw
    stage: HtlcStage


class FeeUpdates(msgspec.Struct, frozen=True, array_like=True):
    """Oldest first: the first one is irrevocable."""

    holder_is_opener: bool
    updates: tuple[FeeUpdate, ...]

    @classmethod
    def initial(cls, holder_is_opener: bool, feerate_per_kw: FeeratePerKw) -> FeeUpdates:
        return cls(holder_is_opener, (FeeUpdate(feerate_per_kw, HtlcStage.COMMITTED),))

    def feerate(self, of_holder: bool) -> FeeratePerKw:
        """In one party's newest commitment."""
        reached = HtlcStage.ADD_COUNTERSIGNED if of_holder == self.holder_is_opener else HtlcStage.ADD_SIGNED
        return next(update.feerate_per_kw for update in reversed(self.updates) if update.stage >= reached)

    @property
    def newest(self) -> FeeUpdate:
        return self.updates[-1]

    def propose(self, feerate_per_kw: FeeratePerKw) -> FeeUpdates:
        """A proposal that nobody signed yet is replaced."""
        kept = self.without_proposals().updates
        return FeeUpdates(self.holder_is_opener, (*kept, FeeUpdate(feerate_per_kw, HtlcStage.ADD_PROPOSED)))

    def without_proposals(self) -> FeeUpdates:
        """As after a disconnect: what was not signed never was."""
        kept = tuple(update for update in self.updates if update.stage is not HtlcStage.ADD_PROPOSED)
        return FeeUpdates(self.holder_is_opener, kept) if len(kept) != len(self.updates) else self

    def advance(self, by_holder: bool, act: str) -> FeeUpdates:
        moves = ADVANCES[(by_holder == self.holder_is_opener, act)]
        if not any(update.stage in moves for update in self.updates):
            return self
        moved = tuple(FeeUpdate(u.feerate_per_kw, moves.get(u.stage, u.stage)) for u in self.updates)
        last_committed = max(i for i, update in enumerate(moved) if update.stage is HtlcStage.COMMITTED)
        return FeeUpdates(self.holder_is_opener, moved[last_committed:])
