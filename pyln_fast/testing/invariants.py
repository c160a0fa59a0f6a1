"""How a simulation says that something which must hold does not."""

from __future__ import annotations


class InvariantBroken(AssertionError):
    """`invariant` names which; the simulator adds the seed and the step."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail
