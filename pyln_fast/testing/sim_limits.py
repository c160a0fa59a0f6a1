"""What a node may keep in memory for others, whatever they do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pyln_fast.config import MAX_HTLCS, MAX_UNFUNDED_CHANS_PER_PEER, PEER_MAX_QUEUED_BYTES
from pyln_fast.node.htlcs import MAX_UNHANDLED_EVENTS
from pyln_fast.node.journal import MAX_BATCHES_IN_FLIGHT
from pyln_fast.testing.invariants import InvariantBroken

if TYPE_CHECKING:
    from pyln_fast.testing.sim_node import SimNode

EVENTS_BEYOND = 2 * MAX_HTLCS
"""With too many unhandled events nothing new is taken, but what was taken already still ends with an event each."""


def check(node: SimNode) -> None:
    """Raises InvariantBroken."""
    core = node.node.core
    if node.node.journal.in_flight > MAX_BATCHES_IN_FLIGHT:
        raise InvariantBroken("limits", f"{node.name} has {node.node.journal.in_flight} batches in flight")
    if len(core.state.events) > MAX_UNHANDLED_EVENTS + EVENTS_BEYOND:
        raise InvariantBroken("limits", f"{node.name} keeps {len(core.state.events)} events")
    unfunded = Counter(node_id for node_id, _ in core.unfunded)
    if unfunded and max(unfunded.values()) > 2 * MAX_UNFUNDED_CHANS_PER_PEER:
        raise InvariantBroken("limits", f"{node.name} has {max(unfunded.values())} unfunded channels with one peer")
    queued = max(
        (node.node.peer_manager.queued_bytes(conn) for conn, _ in node.node.peer_manager.list_peers()), default=0
    )
    if queued > PEER_MAX_QUEUED_BYTES:
        raise InvariantBroken("limits", f"{node.name} queues {queued} bytes for one peer")
    for state in core.state.channels.values():
        if len(state.data.commitments.htlcs) > 2 * MAX_HTLCS:
            raise InvariantBroken("limits", f"{node.name} keeps {len(state.data.commitments.htlcs)} HTLCs in a channel")
