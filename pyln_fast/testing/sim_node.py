"""What the shell is to a node, in a simulation: it holds the disk, performs the effects, hands over the events."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.chain.interfaces import ConfirmationTarget
from pyln_fast.config import UserConfig
from pyln_fast.node.effects import Answer, BroadcastPackage, CloseSocket, OfferEvent, SendBytes, ShellEffect, WriteBatch
from pyln_fast.node.node import Node
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.testing.sim_store import SimDisk
from pyln_fast.types import BlockHeight, FeeratePerKw, Monotonic, Network, NodeId, Secret, UnixTime
from pyln_fast.wallet.keys import Branch, WalletKeys

if TYPE_CHECKING:
    from pyln_fast.testing.sim_network import Link
    from pyln_fast.testing.sim_world import SimWorld

OnAnswer = Callable[[object], None]


class SimFees:
    """A fee estimator whose estimates the simulator moves."""

    def __init__(self, feerate: FeeratePerKw) -> None:
        self.feerate = feerate
        self.close_minimum = FeeratePerKw(253)

    def get_est_sat_per_1000_weight(self, confirmation_target: ConfirmationTarget) -> FeeratePerKw:
        if confirmation_target is ConfirmationTarget.MAXIMUM_FEE_ESTIMATE:
            return FeeratePerKw(20_000)
        if confirmation_target.value.startswith("min_allowed"):
            return FeeratePerKw(253)
        if confirmation_target is ConfirmationTarget.CHANNEL_CLOSE_MINIMUM:
            return self.close_minimum
        return self.feerate


@cache
def _wallet_keys(name: str) -> WalletKeys:
    return WalletKeys(Secret(hashlib.sha512(b"wallet" + name.encode()).digest()), Network.REGTEST)


class SimNode:
    """One node and its machine. `node` is another object after each start."""

    is_honest = True

    def __init__(
        self, simulator: SimWorld, name: str, config: UserConfig, feerate: FeeratePerKw, drift_ppm: int = 0
    ) -> None:
        self.simulator = simulator
        self.name = name
        self.config = config
        self.fees = SimFees(feerate)
        self.disk = SimDisk()
        self.clock_ahead_ms = 0
        self.wall_ahead_ms = 0
        """Of the wall clock alone, which may be set back."""
        self.drift_ppm = drift_ppm
        """How much faster its clock runs."""
        self.starts = 0
        self.highest_block = BlockHeight(0)
        """Of all that it ever saw."""
        self.alive = False
        self.has_inputs = False
        """It was given something since its last turn."""
        self.events: deque[OfferEvent] = deque()
        self.node_type: Callable[..., Node] = Node
        self.node: Node
        self.node_id: NodeId
        self._on_answer: dict[int, OnAnswer] = {}
        self._token = 0

    def wallet_script(self, index: int, branch: Branch = Branch.EXTERNAL) -> bytes:
        return _wallet_keys(self.name).script_pubkey(branch, index)

    # --- life and death

    def start(self, in_key_order: bool = False) -> None:
        self.node = self.make_node(in_key_order)
        self.alive = True
        self.turn()

    def make_node(self, in_key_order: bool = False) -> Node:
        self.starts += 1
        seed = Secret(hashlib.sha256(b"node" + self.name.encode()).digest())
        keys = KeysManager(seed, 1_700_000_000 + self.starts, self.simulator.seed % (1 << 32))
        loaded = self.disk.load(in_key_order)
        self.node_id = keys.get_node_id()
        return self.node_type(
            Network.REGTEST,
            keys,
            _wallet_keys(self.name),
            self.config,
            self.fees,
            loaded.tables,
            loaded.sequence,
            BlockLocator.from_network(Network.REGTEST),
            self.wall_time(),
        )

    def crash(self, keep: int, torn: bool) -> None:
        """Nothing is left but what is on the disk."""
        self.disk.crash(keep, torn)
        self.alive = self.has_inputs = False
        self.events.clear()
        self._on_answer.clear()

    # --- inputs

    def takes_input(self, link: Link, end: int) -> bool:
        """A read of that socket may begin now: not while two batches are in flight, nor while the peer owes us room."""
        if not self.alive:
            return True
        conn = link.conns[end]
        return self.node.can_accept_input and (link.gone[end] or not self.node.peer_manager.should_pause_reading(conn))

    @property
    def is_ready(self) -> bool:
        return self.alive and self.node.can_accept_input

    def command(self, function: Callable[[Node], object], on_answer: OnAnswer | None = None) -> None:
        self._token += 1
        if on_answer is not None:
            self._on_answer[self._token] = on_answer
        self.node.submit(self._token, function)
        self.has_inputs = True

    def tick(self) -> None:
        self.node.timer_tick(self._clock_ms(), self.wall_time())
        self.has_inputs = True

    def _clock_ms(self) -> Monotonic:
        now = self.simulator.now_ms
        return Monotonic(now + now * self.drift_ppm // 1_000_000 + self.clock_ahead_ms)

    def wall_time(self) -> UnixTime:
        return UnixTime(1_750_000_000 + (self._clock_ms() + self.wall_ahead_ms) // 1000)

    @property
    def is_synced(self) -> bool:
        chain, locator = self.simulator.chain, self.node.locator
        return locator.height == chain.height and locator.block_hash == chain.hash_at(locator.height)

    def follow_chain(self) -> str:
        """One block more, or back to where the chain that we knew forked off."""
        chain, locator = self.simulator.chain, self.node.locator
        self.has_inputs = True
        if locator.height <= chain.height and chain.hash_at(locator.height) == locator.block_hash:
            block = chain.active[locator.height + 1]
            self.highest_block = max(self.highest_block, block.height)
            self.node.block_connected(block.raw, block.height, locator.advance(block.raw[:80]))
            return f"block {block.height}"
        known = next(
            each
            for each in locator.previous_blocks
            if each.height <= chain.height and chain.hash_at(each.height) == each.block_hash
        )
        fork = locator.back_to(known.height)
        assert fork is not None
        self.node.blocks_disconnected(fork)
        return f"back to {known.height}"

    # --- the turn

    def turn(self) -> None:
        """Until nothing more happens without an input."""
        self.has_inputs = False
        while True:
            for effect in self.node.process_events():
                self._perform(effect)
                if self.simulator.dies_after(self, effect):
                    return
            if not self.node.has_work:
                break
        self.simulator.on_turn(self)

    def finish_write(self) -> None:
        batch = self.disk.finish()
        self.node.batch_durable(batch.sequence)
        self.turn()

    def _perform(self, effect: ShellEffect) -> None:
        if isinstance(effect, WriteBatch):
            self.disk.submit(effect.batch)
        elif isinstance(effect, SendBytes):
            self.simulator.network.send(effect.conn, effect.data)
        elif isinstance(effect, CloseSocket):
            self.simulator.network.close(effect.conn)
        elif isinstance(effect, BroadcastPackage):
            self.simulator.checkers.broadcast(self, effect)
            self.simulator.on_broadcast(self, effect)
        elif isinstance(effect, OfferEvent):
            self.simulator.checkers.event_offered(self, effect)
            self.events.append(effect)
        else:
            assert isinstance(effect, Answer)
            on_answer = self._on_answer.pop(effect.token, None)
            if on_answer is not None:
                on_answer(effect.result)

    def blocks_behind(self) -> int:
        return self.simulator.chain.height - BlockHeight(self.node.locator.height)
