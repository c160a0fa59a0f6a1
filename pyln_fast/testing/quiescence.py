"""Towards the moment in which nothing is under way any more, and the sums must be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyln_fast.channel.state import Normal
from pyln_fast.testing.invariants import InvariantBroken

if TYPE_CHECKING:
    from pyln_fast.testing.simulator import Simulator

ROUNDS = 400
BLOCKS = 15
"""Enough for a funding and then a close to be final."""
WITHOUT_END = 10_000


class Quiescence:
    """Of one simulation."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def settle(self) -> None:
        """No more faults or wishes: everything that is under way between honest nodes must come to an end."""
        simulator = self._simulator
        simulator.calm = True
        for node in simulator.nodes.values():
            if node.alive and not node.is_honest:
                simulator.note(simulator.faults.kill(node, 0, False))
        for round_number in range(ROUNDS):
            simulator.network.heal()
            for node in simulator.honest_nodes():
                if not node.alive:
                    simulator.note(simulator.start(node))
            if not self._round(round_number) and round_number > 3:
                break
        simulator.checkers.quiescent()
        simulator.calm = False

    def _round(self, round_number: int) -> bool:
        """One round of everything that is due; whether there was anything."""
        simulator = self._simulator
        busy = False
        simulator.now_ms += 1000
        for node in simulator.honest_nodes():
            if node.is_ready:
                node.tick()
                node.turn()
        for action in (
            simulator.end_turn,
            simulator.write,
            simulator.handle,
            simulator.follow_chain,
            simulator.deliver,
            simulator.workload.decide,
        ):
            for _ in range(WITHOUT_END):
                done = action()
                if done is None:
                    break
                busy = True
                simulator.note(done)
            else:
                raise InvariantBroken("quiescence", f"{done} without end")
        if self._waits_for_links():
            busy = True
        if self._is_unsettled() and round_number < BLOCKS and simulator.may_mine(1):
            simulator.chain.mine()
        return busy

    def _is_unsettled(self) -> bool:
        nodes = self._simulator.honest_nodes()
        return any(not isinstance(state, Normal) for node in nodes for state in node.node.core.state.channels.values())

    def _waits_for_links(self) -> bool:
        simulator = self._simulator
        missing = False
        for edge in simulator.edges:
            one, other = simulator.nodes[edge.opener], simulator.nodes[edge.peer]
            if not (one.is_honest and other.is_honest):
                continue
            connected = other.node_id in one.node.core.peers and one.node_id in other.node.core.peers
            if not connected:
                missing = True
                if not simulator.network.between(one, other) and one.is_ready and other.is_ready:
                    simulator.network.connect(one, other)
                    one.has_inputs = other.has_inputs = True
        return missing
