"""The simulator's invariants over a scenario, in which some may be broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from pyln_fast.testing.checkers import Checkers
from pyln_fast.testing.invariants import InvariantBroken

if TYPE_CHECKING:
    from pyln_fast.node.effects import OfferEvent
    from pyln_fast.node.node import Report
    from pyln_fast.testing.sim_node import SimNode
    from pyln_fast.testing.sim_world import SimWorld

NO_FORCE_CLOSE = "1 no force close"
HONEST_PEERS = "honest peers"
CLOSES = (NO_FORCE_CLOSE, HONEST_PEERS)
"""Broken together where a channel fails: the peer is told by an `error`, which its node reports."""
DURABLE_FIRST = "2 durable first"
"""Broken by a node that restarts with an old backup: what it has said is no longer on its disk."""


class ScenarioCheckers(Checkers):
    """`tolerated` are the invariants that this scenario breaks; each time one is broken is in `broken`."""

    def __init__(self, world: SimWorld, tolerated: Collection[str]) -> None:
        super().__init__(world)
        self._tolerated = frozenset(tolerated)
        self.broken: list[InvariantBroken] = []
        self.reports: list[tuple[str, Report]] = []
        """What the nodes reported, by their names."""

    def event_offered(self, node: SimNode, offered: OfferEvent) -> None:
        self._holds(super().event_offered, node, offered)

    def turn_ended(self, node: SimNode) -> None:
        reports = list(node.node.reports)
        self.reports += [(node.name, report) for report in reports]
        for report in reports:
            node.node.reports[:] = [report]
            self._holds(super().turn_ended, node)
        node.node.reports.clear()
        while not self._holds(super().turn_ended, node):
            # A channel is looked at once a change of it, so this ends.
            pass

    def _holds(self, check: Callable[..., None], *arguments: Any) -> bool:
        try:
            check(*arguments)
        except InvariantBroken as broken:
            if broken.invariant not in self._tolerated:
                raise
            self.broken.append(broken)
            return False
        return True
