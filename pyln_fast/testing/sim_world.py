"""What a simulated node and the checkers ask of the world that they live in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from pyln_fast.node.effects import BroadcastPackage, ShellEffect
from pyln_fast.types import NodeId

if TYPE_CHECKING:
    from pyln_fast.testing.checkers import Checkers
    from pyln_fast.testing.sim_chain import SimChain
    from pyln_fast.testing.sim_network import SimNetwork
    from pyln_fast.testing.sim_node import SimNode


class SimWorld(Protocol):
    """`Simulator`, whom random numbers move, and `Scenario`, which a test moves."""

    @property
    def seed(self) -> int: ...

    @property
    def now_ms(self) -> int: ...

    @property
    def chain(self) -> SimChain: ...

    @property
    def network(self) -> SimNetwork: ...

    @property
    def checkers(self) -> Checkers: ...

    @property
    def nodes(self) -> Mapping[str, SimNode]: ...

    def name_of(self, node_id: NodeId) -> str: ...

    def on_broadcast(self, node: SimNode, package: BroadcastPackage) -> None: ...

    def dies_after(self, node: SimNode, effect: ShellEffect) -> bool:
        """Whether its process ends right behind this effect, before the next."""
        ...

    def on_turn(self, node: SimNode) -> None: ...
