"""The whole byte stream of an authenticated peer that has a channel: alice is the node, mallory is in the middle.

Mallory's own node speaks to alice through the harness, which completes a BOLT 8 handshake with each of the two (it has
all the keys) and may change, drop, repeat or invent messages between them. Bob is an honest peer of alice with a
channel: whatever mallory sends, no exception escapes, nobody reports an error, and alice pays bob at the end. What
alice has made durable is what a restart works with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache

from pyln_fast.channel.state import Normal
from pyln_fast.config import UserConfig
from pyln_fast.events import PaymentSent
from pyln_fast.node.node import Node
from pyln_fast.payment.invoice import Invoice
from pyln_fast.peer.noise import Noise
from pyln_fast.types import ChannelId, FeeratePerKw, Msat, PaymentId, PrivateKey, Sat
from pyln_fast.wire import codec
from tests.fuzz.source import Source
from tests.node.snapshot import Party, Snapshot, Wires
from tests.node.world import World

MAX_OPERATIONS = 60
EPHEMERALS = PrivateKey(b"\x31" * 32), PrivateKey(b"\x32" * 32)
TYPES = tuple(message.TYPE for message in codec.MESSAGES)
CONFIG = UserConfig(accept_forwards_to_priv_channels=True)


class Start(Snapshot):
    """Alice has a channel with bob and one with mallory, with HTLCs that nobody has settled, one of them forwarded."""

    def __init__(self) -> None:
        world = World()
        try:
            alice, bob, mallory = (world.host(name, CONFIG) for name in ("alice", "bob", "mallory"))
            for host in (alice, mallory):
                world.fund(host)
                world.fund(host)
            world.connect(alice, bob)
            world.connect(mallory, alice)
            self.with_bob = world.open(alice, bob, 10_000_000, 4_000_000_000)
            self.with_mallory = world.open(mallory, alice, 10_000_000, 4_000_000_000)
            for host in (alice, bob, mallory):
                host.hold_claims = True
            world.pay(alice, world.invoice(mallory, 7_000_000), "alice pays mallory")
            world.pay(mallory, world.invoice(alice, 8_000_000), "mallory pays alice")
            world.pay(bob, world.invoice(mallory, 9_000_000), "bob pays mallory")
            super().__init__(world)
        finally:
            world.close_all()


@cache
def start() -> Start:
    return Start()


class Ends(Wires):
    """Bytes between alice and bob, and mallory's messages through the hands of the harness."""

    def __init__(self) -> None:
        self.pieces = 0
        """How many bytes alice reads at once; 0 is all that came."""
        self.conn_at_alice = self.conn_at_mallory = 0
        self.as_mallory: Noise | None = None
        self.as_alice: Noise | None = None
        self.from_mallory: deque[bytes] = deque()
        self.opened: set[str] = set()
        super().__init__(start())
        self.alice, self.bob, self.mallory = (self.parties[name] for name in ("alice", "bob", "mallory"))
        self.ids = {name: party.node.core.node_id for name, party in self.parties.items()}
        self.secrets = {name: party.node.core.keys.get_node_secret_key() for name, party in self.parties.items()}
        self.connect(self.alice, self.bob)
        self.settle()

    # --- the two sockets of the harness

    def send(self, party: Party, conn: int, data: bytes) -> None:
        if party.name == "alice" and conn == self.conn_at_alice and self.as_mallory is not None:
            reply, messages = self.as_mallory.receive(data)
            self.to_alice(reply)
            if self.as_alice is not None and self.as_alice.established:
                for message in messages:
                    self.to_mallory(self.as_alice.encrypt([message]))
        elif party.name == "mallory" and conn == self.conn_at_mallory and self.as_alice is not None:
            reply, messages = self.as_alice.receive(data)
            if reply:
                self.to_mallory(reply)
            self.from_mallory += messages
        else:
            super().send(party, conn, data)

    def close(self, party: Party, conn: int) -> None:
        assert (party.name, conn) not in self.conns, "bob was disconnected"
        if conn in (self.conn_at_alice, self.conn_at_mallory):
            self.hang_up()

    def hang_up(self) -> None:
        if self.as_mallory is None:
            return
        self.as_mallory = self.as_alice = None
        self.from_mallory.clear()
        self.queue = deque(item for item in self.queue if item[1] not in (self.conn_at_alice, self.conn_at_mallory))
        self.alice.node.socket_disconnected(self.conn_at_alice)
        self.mallory.node.socket_disconnected(self.conn_at_mallory)

    def call(self) -> None:
        """Mallory calls alice; the harness is each one's other end."""
        self.hang_up()
        self.conn_at_alice, self.conn_at_mallory = self.new_conn(), self.new_conn()
        self.as_mallory = Noise.initiator(EPHEMERALS[0], self.secrets["mallory"], self.ids["alice"])
        self.as_alice = Noise.responder(EPHEMERALS[1], self.secrets["alice"])
        self.alice.node.new_inbound_connection(self.conn_at_alice)
        self.to_alice(self.as_mallory.start())
        self.mallory.node.new_outbound_connection(self.conn_at_mallory, self.ids["alice"])

    def to_alice(self, data: bytes) -> None:
        size = self.pieces or max(1, len(data))
        for at in range(0, len(data), size):
            self.queue.append((self.alice, self.conn_at_alice, data[at : at + size]))

    def to_mallory(self, data: bytes) -> None:
        self.queue.append((self.mallory, self.conn_at_mallory, data))

    # --- what mallory says

    def say(self, message: bytes) -> None:
        """To alice, as a message of mallory."""
        if self.as_mallory is not None and self.as_mallory.established:
            self.to_alice(self.as_mallory.encrypt([message]))

    def pass_on(self) -> None:
        if self.from_mallory:
            self.say(self.from_mallory.popleft())

    def settle_honestly(self) -> None:
        """What mallory's node says is passed on, until nobody says anything."""
        self.settle()
        while self.from_mallory:
            self.pass_on()
            self.settle()

    def pay(self, payer: str, payee: str, amount_msat: int, number: int) -> None:
        invoice = self.parties[payee].ask(lambda node: node.payments.create_bolt11_invoice(Msat(amount_msat), "fuzz"))
        assert isinstance(invoice, Invoice)
        payment_id = PaymentId(bytes([number]) * 32)
        self.parties[payer].command(lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id))


# --- the operations of an input


def raw_message(ends: Ends, source: Source) -> None:
    ends.say(source.bytes(source.number(2)))


def made_message(ends: Ends, source: Source) -> None:
    """A type of the BOLTs, with a channel id where most messages have one."""
    message_type = TYPES[source.byte() % len(TYPES)]
    channel_ids = (start().with_mallory, start().with_bob, ChannelId(bytes(32)), None)
    channel_id = channel_ids[source.byte() % 4]
    body = source.bytes(source.byte())
    ends.say(message_type.to_bytes(2, "big") + (channel_id or b"") + body)


def changed_message(ends: Ends, source: Source) -> None:
    if ends.from_mallory:
        message = bytearray(ends.from_mallory.popleft())
        for _ in range(1 + source.byte() % 4):
            message[source.number(2) % len(message)] ^= source.byte()
        ends.say(bytes(message))


def cut_message(ends: Ends, source: Source) -> None:
    if ends.from_mallory:
        message = ends.from_mallory.popleft()
        ends.say(message[: source.number(2) % (len(message) + 1)] + source.bytes(source.byte() % 16))


def dropped_message(ends: Ends, source: Source) -> None:
    if ends.from_mallory:
        ends.from_mallory.popleft()


def repeated_message(ends: Ends, source: Source) -> None:
    if ends.from_mallory:
        ends.from_mallory.appendleft(ends.from_mallory[0])


def swapped_messages(ends: Ends, source: Source) -> None:
    ends.from_mallory.rotate(1)


def passed_message(ends: Ends, source: Source) -> None:
    ends.pass_on()


def everything_passed(ends: Ends, source: Source) -> None:
    ends.settle_honestly()


def payment(ends: Ends, source: Source) -> None:
    choice = source.byte()
    pairs = (("mallory", "alice"), ("mallory", "bob"), ("alice", "mallory"), ("bob", "mallory"))
    amounts = (1, 300_000, 5_000_000, 1_000_000_000)
    ends.pay(*pairs[choice % 4], amounts[choice // 4 % 4], choice)


def command(ends: Ends, source: Source) -> None:
    choice = source.byte()
    name, peer = (("mallory", "alice"), ("alice", "mallory"))[choice & 1]
    channel_id, peer_id = start().with_mallory, ends.ids[peer]
    functions: tuple[Callable[[Node], object], ...] = (
        lambda node: node.channel_manager.close_channel(channel_id, peer_id),
        lambda node: node.open_channel(peer_id, Sat(1_000_000), Msat(100_000_000)),
        lambda node: node.channel_manager.force_close_broadcasting_latest_txn(channel_id, peer_id, "fuzz"),
        lambda node: node.disconnect_peer(peer_id),
    )
    function = functions[choice >> 1 & 3]
    if function is functions[1]:
        # The wallet's coins are few, and that it says so is no finding.
        if name in ends.opened:
            return
        ends.opened.add(name)
    ends.parties[name].command(function)


def feerates(ends: Ends, source: Source) -> None:
    party = ends.parties[("alice", "mallory")[source.byte() & 1]]
    rate = FeeratePerKw(253 + source.number(2) % 5000)
    for target in party.fees.rates:
        if "min" not in target.value and "max" not in target.value:
            party.fees.rates[target] = rate


def minute(ends: Ends, source: Source) -> None:
    ends.minute()
    ends.settle_honestly()


def bytes_of_nobody(ends: Ends, source: Source) -> None:
    """In the stream, but behind no key."""
    ends.to_alice(source.bytes(source.byte()))


def begin(ends: Ends, source: Source) -> None:
    """With everything that follows, or with nothing that mallory's node says."""
    if source.byte() & 1:
        ends.settle()
    else:
        ends.settle_honestly()


def new_connection(ends: Ends, source: Source) -> None:
    ends.call()
    begin(ends, source)


def pieces(ends: Ends, source: Source) -> None:
    """Small, but not so small that one input takes thousands of reads."""
    size = source.byte()
    ends.pieces = size and size + 30


OPERATIONS = (
    raw_message,
    made_message,
    changed_message,
    cut_message,
    dropped_message,
    repeated_message,
    swapped_messages,
    passed_message,
    everything_passed,
    payment,
    command,
    feerates,
    minute,
    bytes_of_nobody,
    new_connection,
    pieces,
)


def peer_stream(data: bytes) -> None:
    source = Source(data)
    ends = Ends()
    ends.call()
    begin(ends, source)
    for _ in range(MAX_OPERATIONS):
        if not source.left:
            break
        OPERATIONS[source.byte() % len(OPERATIONS)](ends, source)
        ends.settle()
    check(ends)


def check(ends: Ends) -> None:
    """The others are as if nothing had happened, and alice's disk is whole."""
    ends.settle_honestly()
    alice, bob = ends.alice, ends.bob
    assert ends.ids["bob"] in alice.node.core.peers
    for party in (alice, bob):
        assert isinstance(party.node.core.state.channels[start().with_bob], Normal)
    ends.pay("alice", "bob", 1_000_000, 0xFF)
    ends.settle_honestly()
    assert any(isinstance(each, PaymentSent) and each.payment_id == bytes([0xFF]) * 32 for each in alice.events)
    alice.restart()
    assert start().with_bob in alice.node.core.state.channels
