"""Where a scenario gets hold of messages: decoded, behind what sent them and before what receives them.

They have gone through the codec and the encrypted transport by then; what is changed here could as well have been sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from pyln_fast.node.effects import Effect, SendToPeer, ShellEffect
from pyln_fast.node.journal import Journal
from pyln_fast.node.node import Node
from pyln_fast.peer.handlers import MessageReceived, PeerEvent
from pyln_fast.wire.codec import AnyMessage, decode, encode
from pyln_fast.wire.layout import bolt_name

if TYPE_CHECKING:
    from pyln_fast.testing.scenario_node import ScenarioNode
    from pyln_fast.testing.sim_network import Link, SimNetwork

Kind = type[Any]
"""Of a message, such as UpdateAddHtlc."""
Direction = tuple[str, str]
"""The names of the node that sends and the node that receives."""
Change = Callable[[Any], Iterable[AnyMessage]]


class Said(msgspec.Struct, frozen=True):
    """A message that a node has sent, whether it arrived or not."""

    sender: str
    receiver: str
    message: AnyMessage

    @property
    def line(self) -> str:
        """Such as `alice: update_add_htlc`; of `channel_reestablish` also its two numbers."""
        name = bolt_name(type(self.message))
        if name == "channel_reestablish":
            name += f" {self.message.next_commitment_number} {self.message.next_revocation_number}"  # type: ignore[union-attr]
        return f"{self.sender}: {name}"


class Pattern(msgspec.Struct):
    """The n-th message of a kind (None: of any) in one of these directions."""

    kind: Kind | None
    directions: frozenset[Direction]
    nth: int = 1

    def matches(self, direction: Direction, message: AnyMessage) -> bool:
        """Counts, so it is asked once a message."""
        if direction not in self.directions or (self.kind is not None and not isinstance(message, self.kind)):
            return False
        self.nth -= 1
        return self.nth == 0


class Trigger(msgspec.Struct):
    """Something that happens once, when a message has been sent or received."""

    pattern: Pattern
    when_sent: bool
    before: Callable[[Link], None]
    """Runs before a received message takes effect, or right when a sent one has left."""
    after: Callable[[Link], None] = lambda link: None
    """Runs after the turn in which a received message took effect."""


class Letter(msgspec.Struct):
    """Something that waits for a node to take it: a message, or the begin or end of a connection."""

    receiver: ScenarioNode
    sender: str
    event: PeerEvent
    is_stop: bool = False
    """It is held when it would be next, and everything behind it with it."""

    @property
    def direction(self) -> Direction:
        return self.sender, self.receiver.name

    @property
    def is_message(self) -> bool:
        return isinstance(self.event, MessageReceived)


class Wire:
    """Every message between the nodes of a scenario, in the order in which they were sent."""

    def __init__(self, network: SimNetwork, name_of: Callable[[Any], str]) -> None:
        self._network = network
        self._name_of = name_of
        self.said: list[Said] = []
        self.letters: list[Letter] = []
        self.triggers: list[Trigger] = []
        self.changes: list[tuple[Pattern, Change]] = []
        self.held: dict[Direction, None] = {}
        self._stops: list[Pattern] = []

    # --- what nodes do

    def leaving(self, node: ScenarioNode, effects: list[Effect]) -> list[Effect]:
        """What of these effects a node still performs: all, unless it dies when a message has been sent."""
        for index, effect in enumerate(effects):
            found = self._network.link_of(effect.conn) if isinstance(effect, SendToPeer) else None
            if found is None or found[0].gone[found[1]]:
                continue
            link, end = found
            direction = (node.name, link.nodes[1 - end].name)
            message = effect.message  # type: ignore[union-attr]
            self.said.append(Said(*direction, message))
            for trigger in self._hit(True, direction, message):
                trigger.before(link)
            if node.power_is_lost:
                return effects[: index + 1]
        return effects

    def arrived(self, node: ScenarioNode, events: list[PeerEvent]) -> None:
        for event in events:
            if not isinstance(event, MessageReceived):
                sender = self._name_of(event.node_id) if event.node_id is not None else ""
                self.letters.append(Letter(node, sender, event))
                continue
            sender = self._name_of(event.node_id)
            for message in self._changed((sender, node.name), event.message):
                self._post(Letter(node, sender, MessageReceived(event.conn, event.node_id, message)))

    def forge(self, node: ScenarioNode, event: MessageReceived) -> None:
        """Something that nobody has said arrives behind everything that has been."""
        whole = decode(encode(event.message))
        self._post(Letter(node, self._name_of(event.node_id), MessageReceived(event.conn, event.node_id, whole)))

    def _changed(self, direction: Direction, message: AnyMessage) -> list[AnyMessage]:
        for pattern, change in list(self.changes):
            if pattern.matches(direction, message):
                self.changes.remove((pattern, change))
                return [decode(encode(each)) for each in change(message)]
        return [message]

    def _post(self, letter: Letter) -> None:
        self.letters.append(letter)
        for pattern in list(self._stops):
            self._stop_at(pattern, letter)

    def _hit(self, when_sent: bool, direction: Direction, message: AnyMessage) -> list[Trigger]:
        hit = [
            trigger
            for trigger in self.triggers
            if trigger.when_sent == when_sent and trigger.pattern.matches(direction, message)
        ]
        for trigger in hit:
            self.triggers.remove(trigger)
        return hit

    # --- what the scenario does

    def next_letters(self) -> list[Letter]:
        """Those that could be taken next, oldest first: one a direction, none that is held."""
        found: dict[tuple[str, str, int], Letter] = {}
        for letter in self.letters:
            key = (*letter.direction, letter.event.conn)
            if key in found or not letter.receiver.is_ready:
                continue
            found[key] = letter
            if letter.is_stop:
                self.held[letter.direction] = None
        return [letter for letter in found.values() if not (letter.is_message and letter.direction in self.held)]

    def take(self, letter: Letter) -> None:
        """Its receiver takes it, in a turn of its own."""
        self.letters.remove(letter)
        node, event = letter.receiver, letter.event
        found = self._network.link_of(event.conn)
        hit = []
        if isinstance(event, MessageReceived) and found is not None:
            hit = self._hit(False, letter.direction, event.message)
        for trigger in hit:
            trigger.before(found[0])  # type: ignore[index]
        node.takes(event)
        for trigger in hit:
            trigger.after(found[0])  # type: ignore[index]

    def hold(self, pattern: Pattern) -> None:
        for letter in self.letters:
            if self._stop_at(pattern, letter):
                return
        self._stops.append(pattern)

    def _stop_at(self, pattern: Pattern, letter: Letter) -> bool:
        event = letter.event
        if not isinstance(event, MessageReceived) or not pattern.matches(letter.direction, event.message):
            return False
        letter.is_stop = True
        if pattern in self._stops:
            self._stops.remove(pattern)
        return True

    def release(self, direction: Direction) -> None:
        self.held.pop(direction, None)
        for letter in self.letters:
            if letter.direction == direction:
                letter.is_stop = False

    def release_all(self) -> None:
        self._stops.clear()
        for letter in self.letters:
            letter.is_stop = False
        self.held.clear()

    def drop_link(self, link: Link) -> None:
        """What is under way on it is lost."""
        self.letters = [each for each in self.letters if not (each.is_message and each.event.conn in link.conns)]

    def drop_letters_to(self, node: ScenarioNode) -> None:
        self.letters = [each for each in self.letters if each.receiver is not node]


class TappedJournal(Journal[Effect]):
    """Everything that a node does to the world leaves through here, in order."""

    def __init__(self, next_sequence: int, leaving: Callable[[list[Effect]], list[Effect]]) -> None:
        super().__init__(next_sequence)
        self._leaving = leaving

    def take_released(self) -> list[Effect]:
        return self._leaving(super().take_released())


class TappedNode(Node):
    """A node that takes its messages one by one, when the scenario hands them to it."""

    def __init__(self, host: ScenarioNode, *arguments: Any) -> None:
        self._host = host
        super().__init__(*arguments)
        self.journal = TappedJournal(
            self.journal.durable_sequence + 1, lambda effects: host.wire.leaving(host, effects)
        )

    def read_event(self, conn: int, data: bytes) -> None:
        self._host.wire.arrived(self._host, self.peer_manager.read_event(conn, data))

    def socket_disconnected(self, conn: int) -> None:
        self._host.wire.arrived(self._host, self.peer_manager.socket_disconnected(conn))

    def take(self, event: PeerEvent) -> None:
        self._handle([event])

    def process_events(self) -> list[ShellEffect]:
        return [] if self._host.power_is_lost else super().process_events()

    @property
    def has_work(self) -> bool:
        return not self._host.power_is_lost and super().has_work
