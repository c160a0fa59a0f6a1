"""How a simulation says that something which must hold does not.

The numbered ones: 1 no honest pair force-closes while both are up before their deadlines, their estimates agree well
enough and no reorganisation is deeper than the confirmations. 2 Nothing that a peer has seen is newer than the sender's
disk. 3 Both sides build the same commitment for each side and number. 4 Funds are conserved to the msat. 5 A forwarder
never pays downstream without collecting upstream. 6 A revoked commitment can be punished, HTLCs and all. 7 Every HTLC
on chain is resolved before its deadline (with claims on chain). 8 What is read is what was written. 9 The same seed is
the same run. The others have names.
"""

from __future__ import annotations


class InvariantBroken(AssertionError):
    """`invariant` names which; the simulator adds the seed and the step."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail
