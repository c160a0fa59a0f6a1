"""Whole nodes in one process: bytes between their peer managers, one real regtest chain, stores in memory."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.chain.interfaces import ConfirmationTarget
from pyln_fast.channel.state import Normal
from pyln_fast.config import UserConfig
from pyln_fast.errors import LightningError
from pyln_fast.events import Event, OpenChannelRequest, PaymentClaimable
from pyln_fast.node.effects import Answer, BroadcastPackage, CloseSocket, OfferEvent, SendBytes, WriteBatch
from pyln_fast.node.node import Node, Report
from pyln_fast.node.payments import NO_RETRY
from pyln_fast.payment.invoice import Invoice
from pyln_fast.payment.invoice import decode as decode_invoice
from pyln_fast.payment.outbound import Retry
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.records import Batch
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.testing.regtest import RegtestNode, Rejected
from pyln_fast.types import (
    BlockHash,
    BlockHeight,
    ChannelId,
    FeeratePerKw,
    Monotonic,
    Msat,
    Network,
    PaymentId,
    Sat,
    Secret,
    UnixTime,
)
from pyln_fast.wallet.keys import WalletKeys, seed_from_words, words_from_entropy

FEERATE = FeeratePerKw(1000)


class FixedFees:
    def __init__(self) -> None:
        self.rates = dict.fromkeys(ConfirmationTarget, FEERATE)
        self.rates[ConfirmationTarget.MAXIMUM_FEE_ESTIMATE] = FeeratePerKw(5000)
        self.rates[ConfirmationTarget.MIN_ALLOWED_ANCHOR_CHANNEL_REMOTE_FEE] = FeeratePerKw(253)
        self.rates[ConfirmationTarget.MIN_ALLOWED_NON_ANCHOR_CHANNEL_REMOTE_FEE] = FeeratePerKw(253)

    def get_est_sat_per_1000_weight(self, confirmation_target: ConfirmationTarget) -> FeeratePerKw:
        return self.rates[confirmation_target]


class Host:
    """What the shell is to a node: it writes, sends, broadcasts and hands over events."""

    def __init__(self, world: World, name: str, config: UserConfig) -> None:
        self.world = world
        self.name = name
        self.config = config
        self.store = MemoryStore()
        self.fees = FixedFees()
        self.starts = 0
        self.events: list[Event] = []
        self.answers: dict[int, object] = {}
        self.writes: deque[Batch] = deque()
        self.hold_writes = False
        """A slow disk: batches wait for `finish_write`."""
        self.hold_claims = False
        self.ignore_events = False
        """The user's handler does nothing, and does not answer."""
        self.broadcasts: list[bytes] = []
        self.may_err = False
        """A test that breaks the node expects reports of level error, in `errors`."""
        self.errors: list[Report] = []
        self.crash_in: int | None = None
        """The host dies at that many writes from now: 0 is the next."""
        self.crash_after_write = False
        """Whether the write at which it dies is on disk."""
        self.offered: dict[int, Event] = {}
        """By sequence, over all restarts: what an idempotent handler has seen."""
        self._token = 0
        self.node: Node
        self.start()

    def start(self) -> None:
        self.starts += 1
        seed = Secret(hashlib.sha256(self.name.encode()).digest())
        keys = KeysManager(seed, 1_700_000_000 + self.starts, 0)
        words = words_from_entropy(Secret(seed[:16]))
        wallet_keys = WalletKeys(seed_from_words(words), Network.REGTEST)
        loaded = self.store.load()
        self.writes.clear()
        self.node = Node(
            Network.REGTEST,
            keys,
            wallet_keys,
            self.config,
            self.fees,
            loaded.tables,
            loaded.sequence,
            BlockLocator.from_network(Network.REGTEST),
            UnixTime(self.world.chain.now()),
        )
        self.alive = True
        self.turn()
        self.catch_up()

    def crash(self) -> None:
        """Nothing is left but the store."""
        self.alive = False
        self.writes.clear()
        self.answers.clear()
        self.world.drop_connections_of(self)

    def restart(self) -> None:
        self.start()

    # --- the turn

    def turn(self) -> None:
        if not self.alive:
            return
        self.perform()
        while self.alive and self.node.has_work:
            self.perform()

    def perform(self) -> None:
        for effect in self.node.process_events():
            if isinstance(effect, WriteBatch):
                self.writes.append(effect.batch)
                if self.crash_in is not None:
                    self.crash_in -= 1
                    if self.crash_in < 0:
                        self.crash_in = None
                        for batch in self.writes if self.crash_after_write else ():
                            self.store.append(batch)
                        self.crash()
                        return
                if not self.hold_writes:
                    self.finish_write()
            elif isinstance(effect, SendBytes):
                self.world.send(self, effect.conn, effect.data)
            elif isinstance(effect, CloseSocket):
                self.world.close(self, effect.conn)
            elif isinstance(effect, BroadcastPackage):
                self.broadcasts += effect.transactions
                self.world.broadcast(effect.transactions)
            elif isinstance(effect, OfferEvent):
                self.handle(effect)
            else:
                assert isinstance(effect, Answer)
                self.answers[effect.token] = effect.result
        self.errors += [report for report in self.node.reports if report.level == "error"]
        assert not self.errors or self.may_err, self.errors
        self.node.reports.clear()

    def finish_write(self) -> None:
        batch = self.writes.popleft()
        self.store.append(batch)
        self.node.batch_durable(batch.sequence)

    def handle(self, offered: OfferEvent) -> None:
        event = offered.event
        assert self.offered.setdefault(offered.sequence, event) == event
        self.events.append(event)
        if self.ignore_events:
            return
        manager = self.node.channel_manager
        if isinstance(event, OpenChannelRequest):
            self.command(
                lambda node: manager.accept_inbound_channel(event.temporary_channel_id, event.counterparty_node_id)
            )
        elif isinstance(event, PaymentClaimable) and not self.hold_claims:
            preimage = event.purpose.payment_preimage
            assert preimage is not None
            self.command(lambda node: node.payments.claim_funds(preimage))
        self.node.event_handled(offered.sequence)

    def command(self, function: Callable[[Node], object]) -> int:
        self._token += 1
        self.node.submit(self._token, function)
        return self._token

    def call(self, function: Callable[[Node], object]) -> object:
        """A command and its durable answer, with everything that follows in the whole world."""
        token = self.command(function)
        self.world.settle()
        if not self.alive:
            return None
        result = self.answers.pop(token)
        if isinstance(result, LightningError):
            raise result
        return result

    # --- the chain

    def catch_up(self) -> None:
        chain = self.world.chain
        while True:
            locator = self.node.locator
            best = chain.height
            if locator.height > best or self.world.hash_at(locator.height) != locator.block_hash:
                fork = next(
                    known
                    for known in locator.previous_blocks
                    if known.height <= best and self.world.hash_at(known.height) == known.block_hash
                )
                self.node.blocks_disconnected(locator.back_to(fork.height))
            elif locator.height == best:
                break
            elif not self.alive:
                return
            else:
                height = BlockHeight(locator.height + 1)
                raw = chain.block_in_bytes(self.world.hash_at(height))
                self.node.block_connected(raw, height, locator.advance(raw[:80]))
            self.turn()
        self.turn()

    # --- what one sees

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    def channel(self, index: int = 0):
        return list(self.node.core.state.channels.values())[index]

    def balance_msat(self) -> int:
        """In channels whose funding is in the chain."""
        channels = self.node.core.state.channels.values()
        return sum(state.data.commitments.to_holder_msat for state in channels if state.data.funding.height is not None)


class World:
    def __init__(self) -> None:
        self.chain = RegtestNode()
        self.hosts: dict[str, Host] = {}
        self._conns: dict[tuple[str, int], tuple[str, int]] = {}
        self._queues: deque[tuple[str, int, bytes]] = deque()
        self._next_conn = 0
        self.rejected: list[str] = []
        self.clock_ms = 0

    def close_all(self) -> None:
        self.chain.close()

    def host(self, name: str, config: UserConfig | None = None) -> Host:
        if config is None:
            config = UserConfig(accept_forwards_to_priv_channels=True)
        self.hosts[name] = host = Host(self, name, config)
        return host

    def hash_at(self, height: int) -> BlockHash:
        return self.chain.chain.active[height]

    # --- connections

    def connect(self, a: Host, b: Host, settle: bool = True) -> None:
        mine, theirs = self._next_conn, self._next_conn + 1
        self._next_conn += 2
        self._conns[(a.name, mine)] = (b.name, theirs)
        self._conns[(b.name, theirs)] = (a.name, mine)
        b.node.new_inbound_connection(theirs)
        a.node.new_outbound_connection(mine, b.node.core.node_id)
        if settle:
            self.settle()

    def send(self, host: Host, conn: int, data: bytes) -> None:
        if (host.name, conn) in self._conns:
            name, other = self._conns[(host.name, conn)]
            self._queues.append((name, other, data))

    def close(self, host: Host, conn: int) -> None:
        other = self._conns.pop((host.name, conn), None)
        if other is not None:
            self._conns.pop(other, None)
            self._queues = deque(item for item in self._queues if item[:2] != other and item[:2] != (host.name, conn))
            if self.hosts[other[0]].alive:
                self.hosts[other[0]].node.socket_disconnected(other[1])

    def are_connected(self, a: Host, b: Host) -> bool:
        return a.alive and b.alive and b.node.core.node_id in a.node.core.peers

    def drop_connections_of(self, host: Host) -> None:
        for name, conn in [key for key in self._conns if key[0] == host.name]:
            other = self._conns.pop((name, conn))
            self._conns.pop(other, None)
            self._queues = deque(item for item in self._queues if item[:2] != other and item[:2] != (name, conn))
            if host.alive:
                host.node.socket_disconnected(conn)
            if self.hosts[other[0]].alive:
                self.hosts[other[0]].node.socket_disconnected(other[1])

    def step(self) -> bool:
        """One read at one node, or one turn of all."""
        for position, (name, conn, data) in enumerate(self._queues):
            host = self.hosts[name]
            if host.alive and not host.node.can_accept_input:
                continue
            del self._queues[position]
            if host.alive and (name, conn) in self._conns:
                host.node.read_event(conn, data)
                host.turn()
            return True
        for host in self.hosts.values():
            if host.alive and host.node.has_work:
                host.turn()
                return True
        return False

    def settle(self) -> None:
        for host in self.hosts.values():
            host.turn()
        while self.step():
            pass

    # --- the chain

    def broadcast(self, transactions: tuple[bytes, ...]) -> None:
        for raw in transactions:
            try:
                self.chain.broadcast(raw)
            except Rejected as error:
                if "already" not in str(error) and "known" not in str(error):
                    self.rejected.append(str(error))

    def mine(self, blocks: int = 1) -> None:
        self.chain.mine(blocks)
        for host in self.hosts.values():
            if host.alive:
                host.catch_up()
        self.settle()

    def tick(self, seconds: int, settle: bool = True) -> None:
        for _ in range(seconds):
            self.clock_ms += 1000
            for host in self.hosts.values():
                if host.alive:
                    host.node.timer_tick(Monotonic(self.clock_ms), UnixTime(self.chain.now() + self.clock_ms // 1000))
            if settle:
                self.settle()

    # --- what tests do

    def fund(self, host: Host, sat: int = 100_000_000) -> None:
        address = host.call(lambda node: node.wallet.new_address())
        assert isinstance(address, str)
        self.chain.send_to(address, sat)
        self.mine(1)

    def open(self, a: Host, b: Host, sat: int = 10_000_000, push_msat: int = 0) -> ChannelId:
        before = set(a.node.core.state.channels)
        node_id = b.node.core.node_id
        a.call(lambda node: node.open_channel(node_id, Sat(sat), Msat(push_msat)))
        self.mine(6)
        (channel_id,) = set(a.node.core.state.channels) - before
        for host in (a, b):
            assert isinstance(host.node.core.state.channels[channel_id], Normal)
        return channel_id

    def invoice(self, host: Host, amount_msat: int) -> Invoice:
        made = host.call(lambda node: node.payments.create_bolt11_invoice(Msat(amount_msat), "test"))
        assert isinstance(made, Invoice)
        return decode_invoice(made.text)

    def pay(self, payer: Host, invoice: Invoice, name: str, retry: Retry = NO_RETRY) -> PaymentId:
        payment_id = PaymentId(hashlib.sha256(name.encode()).digest())
        payer.call(lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id, retry=retry))
        return payment_id
