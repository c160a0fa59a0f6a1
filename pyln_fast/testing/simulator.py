"""Whole networks from a seed: real nodes on a simulated clock, network, disk and chain.

Random numbers of the seed pick everything that happens, one thing a step, so that a seed is a test and a failure is a
line to replay. What must hold is in `checkers`; what the users want in `workload`.
"""

from __future__ import annotations

import hashlib
import random
import traceback
from collections.abc import Callable, Collection

import msgspec
from msgspec.structs import replace

from pyln_fast.channel.state import Closing
from pyln_fast.config import (
    CLTV_CLAIM_BUFFER,
    HTLC_FAIL_BACK_BUFFER,
    MAX_UNFUNDED_CHANS_PER_PEER,
    ChannelConfig,
    ChannelHandshakeConfig,
    UserConfig,
)
from pyln_fast.node.deadlines import deadline
from pyln_fast.node.effects import BroadcastPackage, OfferEvent, SendBytes, ShellEffect, WriteBatch
from pyln_fast.testing.checkers import Checkers
from pyln_fast.testing.invariants import InvariantBroken
from pyln_fast.testing.quiescence import Quiescence
from pyln_fast.testing.sim_adversary import Adversary
from pyln_fast.testing.sim_chain import SimChain
from pyln_fast.testing.sim_faults import Faults
from pyln_fast.testing.sim_network import SimNetwork
from pyln_fast.testing.sim_node import SimNode
from pyln_fast.testing.workload import FEERATES, Workload
from pyln_fast.types import BlockHeight, Blocks, FeeratePerKw, Msat, NodeId, Sat

STEPS_BETWEEN_QUIESCENCE = 1200
SETTLING = 1 << 39
"""Beside the number of a step: the draws towards quiescence."""
DEADLINE_MARGIN = 2
"""No block is found that would bring an HTLC so near to its deadline: the chain is kind to crashed nodes."""
MAX_LAG = 12
"""Blocks that a node may be behind: one that sleeps for longer may find its HTLCs expired."""
TURNS_BETWEEN_DEATHS = 500
"""Roughly, for the middling amount of trouble."""
COINS = 16
COIN_SAT = Sat(30_000_000)


class Outcome(msgspec.Struct, frozen=True):
    """One run. `invariant` is None if all held."""

    seed: int
    steps: int
    index: int
    """Draws of the seed that were used: `run` with so many comes just as far."""
    simulated_s: int
    payments: int
    crashes: int
    trace_hash: str
    invariant: str | None = None
    detail: str = ""

    @property
    def line(self) -> str:
        return f"seed={self.seed} step={self.steps} invariant={self.invariant}"


class Edge(msgspec.Struct):
    """A channel that is wanted between two nodes, and how it is opened."""

    opener: str
    peer: str
    value_sat: Sat
    push_msat: Msat


class Simulator:
    """`trace` is told of every step in words. Nothing outside of `seed` and these arguments decides what happens.

    `nodes`, `channels` and `adversary` None: as the seed has it. Every step draws from a stream of its own, so that a
    run without the draws in `skip` is much like the run with them: that is how a failure is made smaller.
    """

    def __init__(
        self,
        seed: int,
        nodes: int | None = None,
        channels: int | None = None,
        trace: Callable[[str], None] | None = None,
        *,
        adversary: bool | None = None,
        skip: Collection[int] = (),
    ) -> None:
        self.seed = seed
        self.random = random.Random()
        self._skip = frozenset(skip)
        self._trace = trace
        self._digest = hashlib.blake2b(digest_size=16)
        self.step_number = 0
        self.index = 0
        self.now_ms = 0
        self.chain = SimChain()
        self.network = SimNetwork()
        self.checkers = Checkers(self)
        self.workload = Workload(self)
        self.faults = Faults(self)
        self._quiescence = Quiescence(self)
        self.nodes: dict[str, SimNode] = {}
        self._names: dict[NodeId, str] = {}
        world = self.stream("world")
        self.minimum_depth = world.choice((1, 2, 3, 6))
        self.anchors = world.random() < 0.7
        self.trouble = world.choice((0.0, 0.2, 1.0, 3.0))
        self.eagerness = world.choice((0.5, 0.8, 1.0))
        """How often a turn ends right after its input, so that inputs share turns or do not."""
        self.calm = False
        """No faults and no new wishes: towards quiescence."""
        count = world.randint(2, 6)
        count = nodes if nodes is not None else count
        lawless = world.random() < 0.3
        lawless = adversary if adversary is not None else lawless
        for index in range(count):
            self._add_node(f"node{index}", lawless and index == 1)
        self.edges = self._topology(channels)
        self._actions = self._weights()
        for node in self.nodes.values():
            for index in range(COINS):
                self.chain.send_to(node.wallet_script(index), COIN_SAT)
        self.chain.mine()
        self.random.seed(self._draw(0))
        for node in self.nodes.values():
            node.start()

    def stream(self, name: str) -> random.Random:
        """Random numbers of the seed for one purpose, whatever else draws."""
        return random.Random(f"{self.seed} {name}")

    def _draw(self, index: int) -> int:
        return self.seed << 40 | index

    # --- the world

    def _add_node(self, name: str, lawless: bool) -> None:
        numbers = self.stream(f"node {name}")
        pick = numbers.choice
        channel = ChannelConfig(
            forwarding_fee_base_msat=Msat(pick((0, 1, 1000))),
            forwarding_fee_proportional_millionths=pick((0, 1, 1000)),
            cltv_expiry_delta=Blocks(pick((48, 72))),
        )
        config = UserConfig(
            channel_handshake_config=self._handshake(numbers),
            channel_config=channel,
            accept_forwards_to_priv_channels=pick((True, True, True, False)),
        )
        kind = Adversary if lawless else SimNode
        node = kind(self, name, config, FeeratePerKw(pick(FEERATES)), pick((0, 0, 20_000, 100_000)))
        node.fees.close_minimum = FeeratePerKw(pick((253, 253, 500, 1000)))
        self.nodes[name] = node
        self.checkers.add(node)

    def _handshake(self, numbers: random.Random) -> ChannelHandshakeConfig:
        pick = numbers.choice
        return ChannelHandshakeConfig(
            minimum_depth=Blocks(self.minimum_depth),
            our_max_accepted_htlcs=pick((2, 5, 50, 483)),
            unannounced_channel_max_inbound_htlc_value_in_flight_percentage=pick((10, 100, 100)),
            negotiate_anchors_zero_fee_htlc_tx=self.anchors,
            our_htlc_minimum_msat=Msat(pick((1, 1, 1000))),
        )

    def _topology(self, count: int | None) -> list[Edge]:
        """Connected, with channels between random pairs besides."""
        names = list(self.nodes)
        numbers = self.stream("topology")
        wanted = numbers.randint(1, 8)
        wanted = count if count is not None else wanted
        pairs = [(numbers.choice(names[:index]), names[index]) for index in range(1, len(names))]
        while len(pairs) < wanted:
            one, other = numbers.sample(names, 2)
            pairs.append((one, other))
        edges = []
        for pair in pairs:
            opener, peer = numbers.sample(pair, 2)
            value = numbers.choice((100_000, 1_000_000, 10_000_000))
            push = numbers.choice((0, 0, value * 300, value * 500))
            edges.append(Edge(opener, peer, Sat(value), Msat(push)))
        return edges

    def name_of(self, node_id: NodeId) -> str:
        if not self._names:
            self._names = {node.node_id: name for name, node in self.nodes.items()}
        return self._names[node_id]

    # --- runs

    def run(self, steps: int) -> Outcome:
        """So many draws, with quiescence now and then and at the end. Never raises: a failure is in the outcome."""
        try:
            while self.index < steps:
                due = min(steps, self.index + STEPS_BETWEEN_QUIESCENCE)
                while self.index < due:
                    self.step()
                self.random.seed(self._draw(self.index) | SETTLING)
                self._quiescence.settle()
        except InvariantBroken as broken:
            return self._outcome(broken.invariant, broken.detail)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return self._outcome("no exception", f"{type(error).__name__}: {error} ({where.name})")
        return self._outcome(None, "")

    def _outcome(self, invariant: str | None, detail: str) -> Outcome:
        return Outcome(
            self.seed,
            self.step_number,
            self.index,
            self.now_ms // 1000,
            self.workload.payments,
            self.faults.crashes,
            self._digest.hexdigest(),
            invariant,
            detail,
        )

    def step(self) -> None:
        """One thing happens, whichever the random numbers pick of what can."""
        self.index += 1
        if self.index in self._skip:
            return
        self.random.seed(self._draw(self.index))
        actions, weights = self._actions
        while True:
            done = self.random.choices(actions, cum_weights=weights)[0]()
            if done is not None:
                break
        self.note(done)

    def note(self, done: str) -> None:
        self.step_number += 1
        self._digest.update(done.encode())
        if self._trace is not None:
            self._trace(f"{self.step_number:6} {self.now_ms / 1000:9.1f}s {done}")

    def _weights(self) -> tuple[list[Callable[[], str | None]], list[float]]:
        trouble = self.trouble
        numbers = self.stream("weights")
        busy = numbers.choice((2.0, 8.0, 25.0))
        weighted: list[tuple[Callable[[], str | None], float]] = [
            (self.deliver, 60),
            (self.end_turn, 60),
            (self.write, 50),
            (self.handle, 25),
            (self._connect, 10),
            (self._open, 2),
            (self._tick, 6),
            (self._mine, 1.5),
            (self.follow_chain, 12),
            (lambda: self.workload.pay(), busy),
            (lambda: self.workload.pay(self.random.randint(2, 8)), busy / 5),
            (lambda: self.workload.pay(flawed=True), busy / 4),
            (self.workload.decide, 2),
            (self.workload.abandon, numbers.choice((0, 0.2, 2))),
            (self._change_fees, 0.5),
            (self._close, numbers.choice((0, 0.05, 0.2))),
            (self._force_close, numbers.choice((0, 0, 0, 0.02))),
            (self.faults.cut, trouble),
            (self.faults.half_open, trouble / 4),
            (self.faults.clog, trouble / 2),
            (self.faults.unclog, 2),
            (self.faults.crash, trouble),
            (self._restart, 8),
            (self.faults.checkpoint, 8),
            (self.faults.fail_disk, trouble / 4),
            (self.faults.evict, trouble / 2),
            (self.faults.reorganise, trouble / 8),
            (self.faults.jump, trouble / 4),
            (self.faults.fill_disk, trouble / 20),
            (self.faults.free_disk, 0.5),
            (self.faults.back_up, 1),
            (self.faults.restore, numbers.choice((0, 0, 0, 0.1))),
            (self._mischief, 40 if any(not node.is_honest for node in self.nodes.values()) else 0),
        ]
        total = 0.0
        sums = []
        for _, weight in weighted:
            total += weight
            sums.append(total)
        return [action for action, _ in weighted], sums

    # --- what may happen; None if it cannot

    def _ready(self) -> SimNode | None:
        ready = [node for node in self.nodes.values() if node.is_ready]
        return self.random.choice(ready) if ready else None

    def _after_input(self, node: SimNode) -> None:
        node.has_inputs = True
        if self.random.random() < self.eagerness:
            node.turn()

    def deliver(self) -> str | None:
        ready = self.network.deliverable()
        if not ready:
            return None
        link, end = self.random.choice(ready)
        waiting = len(link.pipes[end].data)
        count = waiting if self.random.random() < 0.8 else self.random.randint(1, max(1, waiting))
        data = self.network.deliver(link, end, count)
        self._digest.update(data)
        node = link.nodes[1 - end]
        if node.alive:
            self._after_input(node)
        return f"{link.name(end)} {len(data)} of {waiting} bytes"

    def end_turn(self) -> str | None:
        """Of a node that has been given something."""
        ready = [node for node in self.nodes.values() if node.is_ready and node.has_inputs]
        if not ready:
            return None
        node = self.random.choice(ready)
        node.turn()
        return f"{node.name} ends its turn"

    def write(self) -> str | None:
        ready = [node for node in self.nodes.values() if node.alive and node.disk.waiting]
        if not ready:
            return None
        node = self.random.choice(ready)
        node.finish_write()
        return f"{node.name} has written {node.disk.sequence}"

    def handle(self) -> str | None:
        ready = [node for node in self.nodes.values() if node.is_ready and node.events]
        return self.workload.handle(self.random.choice(ready)) if ready else None

    def _connect(self) -> str | None:
        """One of a pair with a channel, or with one to be opened, calls the other."""
        edge = self.random.choice(self.edges)
        caller, called = (self.nodes[name] for name in self.random.sample((edge.opener, edge.peer), 2))
        if not caller.is_ready or not called.is_ready or self.network.has_socket(caller, called):
            return None
        self.network.connect(caller, called)
        self._after_input(called)
        self._after_input(caller)
        return f"{caller.name} calls {called.name}"

    def _open(self) -> str | None:
        """The next channel that is missing."""
        for edge in self.edges:
            opener, peer = self.nodes[edge.opener], self.nodes[edge.peer]
            if opener.is_ready and peer.alive and self._is_missing(edge) and peer.node_id in opener.node.core.peers:
                self.workload.open(opener, peer.node_id, edge.value_sat, edge.push_msat)
                return f"{edge.opener} opens a channel with {edge.peer}"
        return None

    def _is_missing(self, edge: Edge) -> bool:
        node = self.nodes[edge.opener]
        core, peer = node.node.core, self.nodes[edge.peer].node_id
        wanted = sum(1 for each in self.edges if (each.opener, each.peer) == (edge.opener, edge.peer))
        opening = any(key[0] == peer for key in core.unfunded)
        have = [
            state
            for state in core.state.channels.values()
            if state.data.params.counterparty_node_id == peer and state.data.params.holder_is_opener
            if not isinstance(state, Closing)
        ]
        unconfirmed = sum(1 for state in have if state.data.funding.height is None)
        return not opening and len(have) < wanted and unconfirmed < MAX_UNFUNDED_CHANS_PER_PEER - 1

    def _tick(self) -> str | None:
        node = self._ready()
        if node is None:
            return None
        self.now_ms += self.random.choice((50, 200, 1000, 1000, 3000))
        node.tick()
        self._after_input(node)
        return f"{node.name} ticks"

    def _mine(self) -> str | None:
        if not self.may_mine(1):
            return None
        left_out = [tx_id for tx_id in self.chain.mempool if self.random.random() < 0.2]
        block = self.chain.mine(left_out)
        return f"block {block.height} with {len(block.transactions)} transactions"

    def may_mine(self, blocks: int) -> bool:
        """Deadlines are for the tests of claims; here they must never pass, not even for a node that lags behind."""
        limit = self.chain.height + blocks + DEADLINE_MARGIN
        for node in self.honest_nodes():
            core = node.node.core
            if self.chain.height - core.height >= MAX_LAG:
                return False
            for state in core.state.channels.values():
                for htlc in state.data.commitments.htlcs.values():
                    height = deadline(htlc)
                    if height is None and core.height < htlc.cltv_expiry - HTLC_FAIL_BACK_BUFFER:
                        # It may still be claimed.
                        height = BlockHeight(htlc.cltv_expiry - CLTV_CLAIM_BUFFER)
                    if height is not None and limit >= height:
                        return False
        return True

    def follow_chain(self) -> str | None:
        """One node hears of a block: some lag behind."""
        behind = [node for node in self.nodes.values() if node.is_ready and not node.is_synced]
        if not behind:
            return None
        node = self.random.choice(behind)
        what = node.follow_chain()
        self._after_input(node)
        return f"{node.name} sees {what}"

    def _change_fees(self) -> str | None:
        node = self._ready()
        return self.workload.change_fees(node) if node is not None else None

    def _close(self) -> str | None:
        node = self._ready()
        return self.workload.close(node) if node is not None else None

    def _force_close(self) -> str | None:
        node = self._ready()
        return self.workload.force_close(node) if node is not None else None

    def _mischief(self) -> str | None:
        lawless = [node for node in self.nodes.values() if isinstance(node, Adversary) and node.is_ready]
        return self.random.choice(lawless).mischief() if lawless else None

    def honest_nodes(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.is_honest]

    def _restart(self) -> str | None:
        dead = [node for node in self.nodes.values() if not node.alive]
        return self.start(self.random.choice(dead)) if dead else None

    def start(self, node: SimNode) -> str:
        """Now and then with other settings for the channels to come."""
        self.checkers.started(node)
        if self.random.random() < 0.1:
            node.config = replace(node.config, channel_handshake_config=self._handshake(self.random))
        node.start(self.random.random() < 0.5)
        return f"{node.name} starts with {node.disk.sequence} batches"

    # --- what nodes do to the world

    def on_broadcast(self, node: SimNode, package: BroadcastPackage) -> None:
        if self.calm or self.random.random() < 0.9:
            for raw in package.transactions:
                self.chain.broadcast(raw)

    def dies_after(self, node: SimNode, effect: ShellEffect) -> bool:
        """Now and then: what follows in the turn is never done, and of what is being written any part is kept."""
        if self.calm or not isinstance(effect, WriteBatch | BroadcastPackage | OfferEvent | SendBytes):
            return False
        if self.random.random() >= self.trouble / TURNS_BETWEEN_DEATHS:
            return False
        kept = self.random.randint(0, len(node.disk.waiting))
        self.note(f"{self.faults.kill(node, kept, False)}, right behind {type(effect).__name__}")
        return True

    def on_turn(self, node: SimNode) -> None:
        self.checkers.turn_ended(node)
