"""Towards the moment in which nothing is under way any more, and the sums must be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyln_fast.channel.state import ChannelData, Closing, Normal
from pyln_fast.testing.invariants import InvariantBroken

if TYPE_CHECKING:
    from pyln_fast.testing.simulator import Simulator

ROUNDS = 400
PATIENCE = 100
"""Rounds in which blocks come for what is not settled: enough for what was never mined to be broadcast again, and for a
funding and then a close to be final."""
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
        simulator.checkers.quiescent(simulator.may_mine(1))
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
        unsettled = self._unsettled()
        if unsettled and round_number < PATIENCE:
            busy = True
            if self._waits_for_blocks(unsettled) and simulator.may_mine(1):
                simulator.chain.mine()
        return busy

    def _unsettled(self) -> list[ChannelData]:
        """Channels between honest nodes that are being opened or closed together."""
        checkers = self._simulator.checkers
        return [
            state.data
            for node in self._simulator.honest_nodes()
            for channel_id, state in node.node.core.state.channels.items()
            if not isinstance(state, Normal) and not (isinstance(state, Closing) and state.error is not None)
            if not state.data.commitments.htlcs
            if checkers.is_between_honest(state.data) and not checkers.is_orphan(node, channel_id)
        ]

    def _waits_for_blocks(self, unsettled: list[ChannelData]) -> bool:
        """Else for the clock: what is in no mempool is broadcast again after a while."""
        return bool(self._simulator.chain.mempool) or any(data.funding.height is not None for data in unsettled)

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
