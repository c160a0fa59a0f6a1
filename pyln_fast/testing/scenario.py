"""Tests of networks that read like prose: named nodes, and what happens to them, one thing after the other.

    def test_a_preimage_survives_a_crash_of_the_forwarder() -> None:
        sim = Scenario("alice - bob - carol")
        payment = sim.node("alice").pays("carol", 50_000_000)
        sim.node("bob").crash(after=UpdateFulfillHtlc)
        sim.run()
        sim.node("bob").restarts()
        sim.run()
        assert payment.succeeded

The nodes are whole ones, on a simulated clock, network, disk and chain. Nothing is left to chance: messages arrive one
by one in the order in which they were sent (with a `seed`, in an order that it decides between the links), the clock
moves only when it is told, a write is finished at once unless its disk is slow. What must hold in every simulation
(`checkers`) is checked here too.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pyln_fast.channel.state import Normal
from pyln_fast.config import ChannelHandshakeConfig, UserConfig
from pyln_fast.node.effects import BroadcastPackage, ShellEffect
from pyln_fast.peer.handlers import MessageReceived
from pyln_fast.testing.scenario_checkers import CLOSES, ScenarioCheckers
from pyln_fast.testing.scenario_node import ScenarioNode
from pyln_fast.testing.scenario_views import ScenarioChannel, Talk
from pyln_fast.testing.scenario_wire import Change, Kind, Pattern, Trigger, Wire
from pyln_fast.testing.sim_chain import SimBlock, SimChain
from pyln_fast.testing.sim_network import Link, SimNetwork
from pyln_fast.testing.sim_node import SimNode
from pyln_fast.types import Blocks, FeeratePerKw, NodeId, Sat
from pyln_fast.wire.codec import AnyMessage

FEERATE = FeeratePerKw(1000)
COIN_SAT = Sat(100_000_000)
TICK_SECONDS = 10
"""Of `time_passes`: well below every timeout that is not meant."""
MAX_STEPS = 100_000


class Scenario:
    """`graph` names nodes and the channels between them: `"alice - bob - carol, alice - carol"`. The left one opens.

    The channels are open and usable, with `push_msat` on the right side (half of `value_sat` if None), unless `opened`
    is False. `configs` are those of single nodes. `forges` says that messages will be changed or made up, so that peers
    complain and channels fail; `tolerates` names other invariants that are broken on purpose.
    """

    def __init__(
        self,
        graph: str,
        *,
        opened: bool = True,
        value_sat: int = 10_000_000,
        push_msat: int | None = None,
        anchors: bool = True,
        minimum_depth: int = 3,
        configs: Mapping[str, UserConfig] | None = None,
        forges: bool = False,
        tolerates: Collection[str] = (),
        seed: int | None = None,
    ) -> None:
        self.seed = seed if seed is not None else 0
        self._random = random.Random(seed) if seed is not None else None
        self.now_ms = 0
        self.chain = SimChain()
        self.network = SimNetwork()
        self.forges = forges
        self.checkers = ScenarioCheckers(self, {*tolerates, *(CLOSES if forges else ())})
        self.wire: Wire = Wire(self.network, self.name_of)
        self.nodes: dict[str, ScenarioNode] = {}
        self.channels: list[ScenarioChannel] = []
        self.broadcasts_get_lost = False
        """No transaction reaches the mempool."""
        self._cuts: list[Link] = []
        self._names: dict[NodeId, str] = {}
        edges = _edges(graph)
        for name in dict.fromkeys(name for chain in edges for name in chain):
            config = (configs or {}).get(name) or _config(anchors, minimum_depth)
            self.nodes[name] = node = ScenarioNode(self, name, config, FEERATE)
            self.checkers.add(node)
            for index in range(4):
                self.chain.send_to(node.wallet_script(index), COIN_SAT)
        self.chain.mine()
        self.pairs = [pair for chain in edges for pair in itertools.pairwise(chain)]
        for node in self.nodes.values():
            node.start()
            self._names[node.node_id] = node.name
            node.catches_up()
        for one, other in dict.fromkeys(self.pairs):
            self.connect(one, other)
        self.run()
        self.time_passes(1)
        if opened:
            self._open_all(value_sat, value_sat * 500 if push_msat is None else push_msat)
        self.forget()

    def _open_all(self, value_sat: int, push_msat: int) -> None:
        for one, other in self.pairs:
            self.nodes[one].opens(other, value_sat, push_msat)
            self.run()
        depth = max(node.config.channel_handshake_config.minimum_depth for node in self.nodes.values())
        self.mine(depth)
        self.find_channels()
        assert len(self.channels) == len(self.pairs), "not every channel could be opened"

    def find_channels(self) -> list[ScenarioChannel]:
        """Takes up the channels that were opened since; needed after `opens`."""
        known = {channel.channel_id for channel in self.channels}
        for name, node in self.nodes.items():
            for channel_id, state in node.node.core.state.channels.items():
                if channel_id not in known and state.data.params.holder_is_opener:
                    other = self.name_of(state.data.params.counterparty_node_id)
                    self.channels.append(ScenarioChannel(self, name, other, channel_id))
        return self.channels

    def forget(self) -> None:
        """What has been said and told so far, for `listen` and `told` too; the nodes themselves forget nothing."""
        self.wire.said.clear()
        for node in self.nodes.values():
            node.told.clear()
            node.broadcasts.clear()

    # --- look-ups

    def name_of(self, node_id: NodeId) -> str:
        return self._names[node_id]

    def node(self, name: str) -> ScenarioNode:
        assert name in self.nodes, f"there is no node {name}: {', '.join(self.nodes)}"
        return self.nodes[name]

    def channel(self, one: str, other: str, number: int = 0) -> ScenarioChannel:
        found = [channel for channel in self.channels if {channel.opener, channel.peer} == {one, other}]
        assert number < len(found), f"{one} and {other} have {len(found)} channels"
        return found[number]

    def path(self, start: str, end: str) -> list[ScenarioChannel]:
        """The fewest channels from one node to another; empty if there are none."""
        found: dict[str, list[ScenarioChannel]] = {start: []}
        waiting = deque([start])
        while waiting:
            name = waiting.popleft()
            for channel in self.channels:
                if name in (channel.opener, channel.peer) and channel.other(name) not in found:
                    found[channel.other(name)] = [*found[name], channel]
                    waiting.append(channel.other(name))
        return found.get(end, [])

    def messages(self, sender: str, receiver: str, *kinds: Kind) -> list[Any]:
        """What one node has sent to another, decoded, in order, whether it arrived or not."""
        return [
            each.message
            for each in self.wire.said
            if (each.sender, each.receiver) == (sender, receiver) and (not kinds or isinstance(each.message, kinds))
        ]

    def listen(self, one: str, other: str) -> Talk:
        return Talk(self.wire, frozenset((one, other)))

    @property
    def reports(self) -> list[str]:
        """What the nodes have complained about, in their words."""
        return [f"{name}: {report.text}" for name, report in self.checkers.reports if report.level != "info"]

    # --- links

    def connect(self, one: str, other: str) -> None:
        """`one` calls. Nothing happens if it believes to be connected, or if one of them is down."""
        caller, called = self.node(one), self.node(other)
        if caller.alive and called.alive and not self.network.has_socket(caller, called):
            self.network.connect(caller, called)
            caller.has_inputs = called.has_inputs = True

    def connect_all(self, node: SimNode) -> None:
        for one, other in dict.fromkeys(self.pairs):
            if node.name in (one, other):
                self.connect(node.name, other if one == node.name else one)

    def cut(
        self,
        one: str,
        other: str,
        after: Kind | None = None,
        sent: Kind | None = None,
        sender: str | None = None,
        nth: int = 1,
    ) -> None:
        """Their link breaks, and what is under way on it is lost: now, when a message of that kind has been received
        (`after`), or when it has been sent and so is lost itself."""
        if after is None and sent is None:
            for link in self.network.between(self.node(one), self.node(other)):
                self._cut(link)
            return
        assert sender in (None, one, other), sender
        directions = frozenset(each for each in ((one, other), (other, one)) if sender in (None, each[0]))
        if after is not None:
            assert sent is None, "after or sent"
            pattern = Pattern(after, directions, nth)
            self.wire.triggers.append(Trigger(pattern, False, lambda link: None, self._cut))
        else:
            self.wire.triggers.append(Trigger(Pattern(sent, directions, nth), True, self._cuts.append))

    def _cut(self, link: Link) -> None:
        self.wire.drop_link(link)
        self.network.cut(link, (0, 0))

    def hold(self, sender: str, receiver: str, at: Kind | None = None, nth: int = 1) -> None:
        """From the n-th message of that kind on, nothing arrives until `release`; None: the next message."""
        self.wire.hold(Pattern(at, frozenset(((sender, receiver),)), nth))

    def release(self, sender: str, receiver: str) -> None:
        self.wire.release((sender, receiver))

    # --- single messages

    def drop(self, sender: str, receiver: str, kind: Kind, nth: int = 1) -> None:
        self._change(sender, receiver, kind, nth, lambda message: ())

    def repeat(self, sender: str, receiver: str, kind: Kind, nth: int = 1) -> None:
        """It arrives twice."""
        self._change(sender, receiver, kind, nth, lambda message: (message, message))

    def replace(
        self, sender: str, receiver: str, kind: Kind, change: Callable[[Any], AnyMessage], nth: int = 1
    ) -> None:
        """What arrives is what `change` makes of it."""
        self._change(sender, receiver, kind, nth, lambda message: (change(message),))

    def _change(self, sender: str, receiver: str, kind: Kind, nth: int, change: Change) -> None:
        assert self.forges, "a scenario that changes messages says so: Scenario(…, forges=True)"
        self.wire.changes.append((Pattern(kind, frozenset(((sender, receiver),)), nth), change))

    def forge(self, sender: str, receiver: str, message: AnyMessage) -> None:
        """A message that `sender` has never sent arrives behind those that it has."""
        assert self.forges, "a scenario that makes messages up says so: Scenario(…, forges=True)"
        node, other = self.node(receiver), self.node(sender)
        conn = node.node.peer_manager.connection_of(other.node_id)
        assert conn is not None, f"{sender} and {receiver} are not connected"
        self.wire.forge(node, MessageReceived(conn, other.node_id, message))

    # --- time and the chain

    def time_passes(self, seconds: int) -> None:
        """For everybody, with everything that happens meanwhile."""
        while seconds > 0:
            step = min(seconds, TICK_SECONDS)
            seconds -= step
            self.now_ms += 1000 * step
            for node in self.nodes.values():
                if node.alive:
                    node.tick()
            self.run()

    def mine(self, blocks: int = 1, left_out: Iterable[bytes] = ()) -> list[SimBlock]:
        """Each block with the whole mempool but for `left_out`, seen by all who are not behind."""
        mined = []
        for _ in range(blocks):
            mined.append(self.chain.mine(left_out))  # type: ignore[arg-type]
            self._all_follow()
            self.run()
        return mined

    def reorganise(self, depth: int) -> None:
        """The last `depth` blocks are replaced by one more, the first of which is empty."""
        self.chain.reorganise(depth)
        self._all_follow()
        self.run()

    def _all_follow(self) -> None:
        for node in self.nodes.values():
            if not node.is_behind:
                node.catches_up()

    # --- running

    def run(self) -> None:
        """Until nothing more happens by itself."""
        for _ in range(MAX_STEPS):
            if not self._step():
                return
        raise AssertionError(f"no end after {MAX_STEPS} steps: {[each.line for each in self.wire.said[-8:]]}")

    def run_until(self, condition: Callable[[], bool]) -> None:
        """One thing after the other, until the condition holds. It must come to hold."""
        for _ in range(MAX_STEPS):
            if condition():
                return
            if not self._step():
                break
        raise AssertionError("nothing more happens, and the condition does not hold")

    def _step(self) -> bool:
        """The next thing that happens; whether there was one."""
        if self._cuts:
            self._cut(self._cuts.pop(0))
            return True
        for node in self.nodes.values():
            if node.is_ready and (node.has_inputs or node.node.has_work):
                node.turn()
                return True
        deliverable = self.network.deliverable()
        if deliverable:
            link, end = deliverable[0]
            receiver = link.nodes[1 - end]
            self.network.deliver(link, end, len(link.pipes[end].data))
            receiver.has_inputs = receiver.alive
            return True
        for node in self.nodes.values():
            if node.handle_next():
                return True
        return self._take_letter()

    def _take_letter(self) -> bool:
        letters = self.wire.next_letters()
        if not letters:
            return False
        # The begin and the end of connections do not wait behind the messages of others.
        letter = next((each for each in letters if not each.is_message), None)
        if letter is None:
            letter = self._random.choice(letters) if self._random is not None else letters[0]
        self.wire.take(letter)
        return True

    def settle(self) -> None:
        """Everybody is up and connected, nothing is held or slow: all must come to an end, and the sums be right."""
        self.wire.release_all()
        for node in self.nodes.values():
            node.handles_events()
            if not node.alive:
                node.restarts()
            node.disk_catches_up()
            node.catches_up()
        for one, other in dict.fromkeys(self.pairs):
            self.connect(one, other)
        self.run()
        self.checkers.quiescent()

    # --- what nodes do to the world

    def on_broadcast(self, node: SimNode, package: BroadcastPackage) -> None:
        assert isinstance(node, ScenarioNode)
        node.broadcasts.append(package)
        for raw in () if self.broadcasts_get_lost else package.transactions:
            self.chain.broadcast(raw)

    def dies_after(self, node: SimNode, effect: ShellEffect) -> bool:
        return False

    def on_turn(self, node: SimNode) -> None:
        self.checkers.turn_ended(node)

    def is_usable(self) -> bool:
        """Every channel is Normal on both sides."""
        return all(
            isinstance(channel.state(name), Normal)
            for channel in self.channels
            for name in (channel.opener, channel.peer)
        )


def _edges(graph: str) -> list[list[str]]:
    """`"a - b - c, a - c"` → [[a, b, c], [a, c]]"""
    return [[name.strip() for name in chain.split("-")] for chain in graph.split(",")]


def _config(anchors: bool, minimum_depth: int) -> UserConfig:
    handshake = ChannelHandshakeConfig(minimum_depth=Blocks(minimum_depth), negotiate_anchors_zero_fee_htlc_tx=anchors)
    return UserConfig(channel_handshake_config=handshake, accept_forwards_to_priv_channels=True)
