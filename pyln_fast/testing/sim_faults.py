"""What goes wrong in a simulation: connections, clocks, disks, whole machines, and the chain.

Each method does one thing and says what, or returns None if there is nothing to do it to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyln_fast.testing.sim_node import SimNode
    from pyln_fast.testing.simulator import Simulator


class Faults:
    """Of one simulation."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._random = simulator.random
        self.crashes = 0
        self._backups: dict[str, tuple[dict[str, dict[bytes, bytes]], int]] = {}

    def cut(self) -> str | None:
        if not self._simulator.network.links:
            return None
        link = self._random.choice(list(self._simulator.network.links.values()))
        kept = tuple(self._random.randint(0, len(pipe.data)) for pipe in link.pipes)
        self._simulator.network.cut(link, (kept[0], kept[1]))
        return f"{link.name(0)} is cut, {kept} bytes arrive"

    def half_open(self) -> str | None:
        if not self._simulator.network.links:
            return None
        link = self._random.choice(list(self._simulator.network.links.values()))
        end = self._random.randrange(2)
        self._simulator.network.half_open(link, end, self._random.randint(0, len(link.pipes[end].data)))
        return f"{link.name(end)} is half-open"

    def clog(self) -> str | None:
        if not self._simulator.network.links:
            return None
        link = self._random.choice(list(self._simulator.network.links.values()))
        end = self._random.randrange(2)
        self._simulator.network.clog(link, end, True)
        return f"{link.name(end)} is clogged"

    def unclog(self) -> str | None:
        clogged = [
            (link, end) for link in self._simulator.network.links.values() for end in (0, 1) if link.pipes[end].clogged
        ]
        if not clogged:
            return None
        link, end = self._random.choice(clogged)
        self._simulator.network.clog(link, end, False)
        return f"{link.name(end)} flows again"

    def crash(self) -> str | None:
        alive = [node for node in self._simulator.nodes.values() if node.alive]
        if not alive:
            return None
        node = self._random.choice(alive)
        if self._random.random() < 0.3 and node.disk.has_tail:
            node.disk.checkpoint(trim=False)  # it dies between the tables and the log
        keep = self._random.randint(0, len(node.disk.waiting))
        return self.kill(node, keep, self._random.random() < 0.3)

    def kill(self, node: SimNode, keep: int, torn: bool) -> str:
        waiting = len(node.disk.waiting)
        self.crashes += 1
        node.crash(keep, torn)
        self._simulator.network.drop_node(node, silently=self._random.random() < 0.3)
        return f"{node.name} crashes, {keep} of {waiting} batches are on disk"

    def fail_disk(self) -> str | None:
        """A write fails: the node says nothing more, and its shell stops it."""
        ready = [node for node in self._simulator.nodes.values() if node.alive and node.disk.waiting]
        if not ready:
            return None
        node = self._random.choice(ready)
        node.node.write_failed("simulated")
        node.turn()
        return "a write fails: " + self.kill(node, 0, False)

    def back_up(self) -> str | None:
        """The user of a node copies its disk, which he was told not to do."""
        node = self._random.choice(list(self._simulator.nodes.values()))
        if not node.is_honest:
            return None
        self._backups[node.name] = {name: dict(rows) for name, rows in node.disk.tables.items()}, node.disk.sequence
        return f"{node.name} is backed up"

    def restore(self) -> str | None:
        """He puts the copy back."""
        names = [name for name in self._backups if self._simulator.nodes[name].is_honest]
        if not names or len(self._simulator.honest_nodes()) <= 2:
            return None
        node = self._simulator.nodes[self._random.choice(names)]
        said = self.kill(node, 0, False)
        node.disk.put_back(*self._backups.pop(node.name))
        self._simulator.checkers.restored(node)
        return f"{said}, an old copy of its disk is put back"

    def fill_disk(self) -> str | None:
        """Space runs low: what is left is for claims."""
        node = self._random.choice(list(self._simulator.nodes.values()))
        if not node.alive or node.node.core.low_on_space:
            return None
        node.node.core.low_on_space = True
        return f"{node.name} is low on space"

    def free_disk(self) -> str | None:
        low = [node for node in self._simulator.nodes.values() if node.alive and node.node.core.low_on_space]
        if not low:
            return None
        node = self._random.choice(low)
        node.node.core.low_on_space = False
        return f"{node.name} has space again"

    def jump(self) -> str | None:
        """A clock is set, or a laptop wakes up."""
        node = self._random.choice(list(self._simulator.nodes.values()))
        kind = self._random.random()
        if kind < 0.4:
            self._simulator.now_ms += self._random.choice((10_000, 60_000, 120_000))
        elif kind < 0.6:
            node.wall_ahead_ms = self._random.choice((0, 3_600_000, -10_000, -3_600_000))
        else:
            node.clock_ahead_ms += self._random.choice((100, 2000, 60_000))
        return f"{node.name}'s clock jumps"

    def checkpoint(self) -> str | None:
        """A slice of a checkpoint in the background; now and then its log is not trimmed yet."""
        due = [node for node in self._simulator.nodes.values() if node.alive and node.disk.has_tail]
        if not due:
            return None
        node = self._random.choice(due)
        reached = node.disk.checkpoint(trim=self._random.random() < 0.7)
        return f"{node.name}'s tables reach batch {reached}"

    def reorganise(self) -> str | None:
        """Now and then so deep that a channel in use loses its funding, for a while."""
        depth = self._random.randint(1, max(1, self._simulator.minimum_depth - 1))
        if self._random.random() < 0.2:
            depth += self._random.randint(1, 8)
        if depth >= self._simulator.chain.height or not self._simulator.may_mine(1):
            return None
        self._simulator.chain.reorganise(depth, lambda tx_id: self._random.random() < 0.3)
        return f"the chain is reorganised, {depth} blocks deep"

    def evict(self) -> str | None:
        if not self._simulator.chain.mempool:
            return None
        self._simulator.chain.evict(self._random.choice(list(self._simulator.chain.mempool)))
        return "a transaction is evicted"
