"""Nodes as they stood in a World, again and again: what they had on disk, without the chain.

To make channels on a chain takes a second; to load three nodes and connect them takes milliseconds. So a World is built
once, and every example of a test of many begins where it ended.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from copy import copy

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.config import UserConfig
from pyln_fast.errors import LightningError
from pyln_fast.events import Event, OpenChannelRequest, PaymentClaimable
from pyln_fast.node.effects import Answer, BroadcastPackage, CloseSocket, OfferEvent, SendBytes, WriteBatch
from pyln_fast.node.node import Node
from pyln_fast.records import Batch, Delete
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.types import Monotonic, Network, Secret, UnixTime
from pyln_fast.wallet.keys import WalletKeys, seed_from_words, words_from_entropy
from tests.node.world import FixedFees, Host, World

Tables = dict[str, dict[bytes, bytes]]


class Disk:
    """What one host has on disk, and the keys that go with it."""

    def __init__(self, host: Host) -> None:
        loaded = host.store.load()
        self.tables: Tables = {name: dict(records) for name, records in loaded.tables.items()}
        self.sequence = loaded.sequence
        self.config: UserConfig = host.config
        self.now = UnixTime(host.world.chain.now())
        seed = Secret(hashlib.sha256(host.name.encode()).digest())
        # Another start than the host's: no randomness of it comes again.
        self._keys = KeysManager(seed, 1_800_000_000, 0)
        self.wallet_keys = WalletKeys(seed_from_words(words_from_entropy(Secret(seed[:16]))), Network.REGTEST)

    def keys(self) -> KeysManager:
        """As new; the signers that it has derived are shared, for they are the same in every run."""
        return copy(self._keys)


class Snapshot:
    def __init__(self, world: World) -> None:
        self.disks = {name: Disk(host) for name, host in world.hosts.items()}


class Party:
    """One node and its disk. The handler accepts channels; payments are claimed unless `hold_claims` is set."""

    def __init__(self, name: str, disk: Disk, wires: Wires) -> None:
        self.name = name
        self.wires = wires
        self.fees = FixedFees()
        self.tables: Tables = {table: dict(records) for table, records in disk.tables.items()}
        self.sequence = disk.sequence
        self.events: list[Event] = []
        self.answers: dict[int, object] = {}
        self.writes: deque[Batch] = deque()
        self.hold_writes = False
        """A slow disk: batches wait for `finish_writes`."""
        self.hold_claims = False
        self._disk = disk
        self._keys = disk.keys()
        self._offered: dict[int, Event] = {}
        self._token = 0
        self.node = self.load()

    def load(self) -> Node:
        """The node that a start would make of what is on disk now."""
        return Node(
            Network.REGTEST,
            self._keys,
            self._disk.wallet_keys,
            self._disk.config,
            self.fees,
            self.tables,
            self.sequence,
            BlockLocator.from_network(Network.REGTEST),
            self._disk.now,
        )

    def restart(self, kept: int = 0) -> None:
        """A crash: `kept` of the batches that the disk had not finished are on it."""
        for _ in range(min(kept, len(self.writes))):
            self._write(self.writes.popleft())
        self.writes.clear()
        self.answers.clear()
        self.node = self.load()
        self.turn()

    def turn(self) -> None:
        while True:
            for effect in self.node.process_events():
                self._perform(effect)
            errors = [report for report in self.node.reports if report.level == "error"]
            assert not errors, (self.name, errors)
            self.node.reports.clear()
            if not self.node.has_work:
                return

    def finish_writes(self) -> None:
        while self.writes:
            batch = self.writes.popleft()
            self._write(batch)
            self.node.batch_durable(batch.sequence)

    def _perform(self, effect: object) -> None:
        if isinstance(effect, WriteBatch):
            self.writes.append(effect.batch)
            if not self.hold_writes:
                self.finish_writes()
        elif isinstance(effect, SendBytes):
            self.wires.send(self, effect.conn, effect.data)
        elif isinstance(effect, CloseSocket):
            self.wires.close(self, effect.conn)
        elif isinstance(effect, OfferEvent):
            self._handle(effect)
        elif isinstance(effect, Answer):
            assert not isinstance(effect.result, Exception) or isinstance(effect.result, LightningError)
            self.answers[effect.token] = effect.result
        else:
            assert isinstance(effect, BroadcastPackage)

    def _write(self, batch: Batch) -> None:
        assert batch.sequence == self.sequence + 1
        for write in batch.writes:
            records = self.tables.setdefault(write.table, {})
            if isinstance(write, Delete):
                records.pop(write.key, None)
            else:
                records[write.key] = write.value
        self.sequence = batch.sequence

    def _handle(self, offered: OfferEvent) -> None:
        """An event that was on disk before a crash comes again, and is the same."""
        event = offered.event
        if offered.sequence not in self._offered:
            self._offered[offered.sequence] = event
            self.events.append(event)
        assert self._offered[offered.sequence] == event
        if isinstance(event, OpenChannelRequest):
            name, temporary = event.counterparty_node_id, event.temporary_channel_id
            self.command(lambda node: node.channel_manager.accept_inbound_channel(temporary, name))
        elif isinstance(event, PaymentClaimable) and not self.hold_claims:
            preimage = event.purpose.payment_preimage
            assert preimage is not None
            self.command(lambda node: node.payments.claim_funds(preimage))
        self.node.event_handled(offered.sequence)

    def command(self, function: Callable[[Node], object]) -> int:
        self._token += 1
        self.node.submit(self._token, function)
        return self._token

    def ask(self, function: Callable[[Node], object]) -> object:
        """A command that changes nothing durable: its answer now."""
        found: list[object] = []
        self.command(lambda node: found.append(function(node)))
        return found[0]


class Wires:
    """Bytes between the parties of one example."""

    MAX_STEPS = 10_000
    """Far more than any example needs: two nodes that answer each other without end are a failure."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.queue: deque[tuple[Party, int, bytes]] = deque()
        self.conns: dict[tuple[str, int], tuple[str, int]] = {}
        self.steps = 0
        self.seconds = 0
        self._next_conn = 1
        self.now = next(iter(snapshot.disks.values())).now
        self.parties = {name: Party(name, disk, self) for name, disk in snapshot.disks.items()}
        for party in self.parties.values():
            party.turn()

    def new_conn(self) -> int:
        self._next_conn += 1
        return self._next_conn

    def connect(self, caller: Party, called: Party) -> None:
        mine, theirs = self.new_conn(), self.new_conn()
        self.conns[caller.name, mine], self.conns[called.name, theirs] = (called.name, theirs), (caller.name, mine)
        called.node.new_inbound_connection(theirs)
        caller.node.new_outbound_connection(mine, called.node.core.node_id)

    def send(self, party: Party, conn: int, data: bytes) -> None:
        if (party.name, conn) in self.conns:
            name, other = self.conns[party.name, conn]
            self.queue.append((self.parties[name], other, data))

    def close(self, party: Party, conn: int) -> None:
        """The socket is gone, with all that was on its way."""
        other = self.conns.pop((party.name, conn), None)
        if other is None:
            return
        del self.conns[other]
        ends = {(party.name, conn), other}
        self.queue = deque(item for item in self.queue if (item[0].name, item[1]) not in ends)
        self.parties[other[0]].node.socket_disconnected(other[1])

    def cut(self, party: Party, crashed: bool = False) -> None:
        """All of its links. One that has crashed is not told."""
        for _, conn in [key for key in self.conns if key[0] == party.name]:
            self.close(party, conn)
            if not crashed:
                party.node.socket_disconnected(conn)

    def step(self, size: int = 1 << 20) -> bool:
        """One read of one node that takes input, or nothing. What is beyond `size` bytes comes with the next."""
        for position, (party, conn, data) in enumerate(self.queue):
            if party.node.can_accept_input:
                del self.queue[position]
                if len(data) > size:
                    self.queue.insert(position, (party, conn, data[size:]))
                party.node.read_event(conn, data[:size])
                party.turn()
                self.steps += 1
                assert self.steps < self.MAX_STEPS, "it never ends"
                return True
        return False

    def turn(self) -> None:
        for party in self.parties.values():
            party.turn()

    def settle(self) -> None:
        self.turn()
        while self.step() or any(party.node.has_work for party in self.parties.values()):
            self.turn()

    def minute(self) -> None:
        """On everybody's clocks."""
        self.seconds += 60
        for party in self.parties.values():
            party.node.timer_tick(Monotonic(1000 * self.seconds), UnixTime(self.now + self.seconds))
