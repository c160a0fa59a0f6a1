"""A Lightning node as one object without I/O.

The shell gives it inputs (bytes, blocks, ticks, commands, completions) and then calls `process_events` once: a turn. An
input takes effect as a whole, in all channels, monitors, payments and the wallet, or not at all. All that is durable of
a turn is one batch; what the world may see waits for it in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.chain.interfaces import FeeEstimator
from pyln_fast.chain.scanner import WatchSet, scan
from pyln_fast.channel import channel
from pyln_fast.channel.errors import APIMisuse, ChannelUnavailable
from pyln_fast.channel.state import Closing, Negotiating, Offline, Syncing
from pyln_fast.config import FRESHNESS_TIMER, REBROADCAST_TIMER, ChannelConfigOverrides, UserConfig
from pyln_fast.errors import Consequence, LightningError, LocalError, RemoteError
from pyln_fast.events import Event, FundingGenerationReady
from pyln_fast.features import Feature, Features
from pyln_fast.node.announcements import Announcements
from pyln_fast.node.blocks import Blocks
from pyln_fast.node.channel_manager import ChannelManager
from pyln_fast.node.core import Core, Peer
from pyln_fast.node.effects import (
    Answer,
    BroadcastPackage,
    CloseSocket,
    DisconnectPeer,
    Effect,
    OfferCustomMessage,
    OfferEvent,
    SendBytes,
    SendToPeer,
    ShellEffect,
    WriteBatch,
)
from pyln_fast.node.htlcs import HtlcRouter
from pyln_fast.node.journal import Journal
from pyln_fast.node.payments import Payments
from pyln_fast.node.state import NODE_KEY, NodeRecord, NodeState, PeerAddress, check_monitors
from pyln_fast.peer.handlers import (
    ConnectionFailed,
    MessageReceived,
    PeerConnected,
    PeerDisconnected,
    PeerEvent,
    printable,
)
from pyln_fast.peer.peer_manager import CloseSocket as PeerCloseSocket
from pyln_fast.peer.peer_manager import PeerManager, PeerRules
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.tx.transaction import serialize
from pyln_fast.types import BlockHeight, ChannelId, Monotonic, Msat, Network, NodeId, Sat, Txid, TxOut, UnixTime
from pyln_fast.wallet.coin_selection import InsufficientFunds
from pyln_fast.wallet.keys import WalletKeys
from pyln_fast.wallet.wallet import Wallet
from pyln_fast.wire.codec import FIRST_CUSTOM_TYPE, MAX_MESSAGE_SIZE, UnknownMessage
from pyln_fast.wire.gossip_msgs import ChannelUpdate
from pyln_fast.wire.setup_msgs import Error, Warning, text_data

FRESHNESS_TIMER_MS = 1000 * FRESHNESS_TIMER

FEATURES = Features.of(
    required=(Feature.OPTION_DATA_LOSS_PROTECT, Feature.VAR_ONION_OPTIN, Feature.OPTION_STATIC_REMOTEKEY,
              Feature.PAYMENT_SECRET, Feature.OPTION_CHANNEL_TYPE),
    optional=(Feature.OPTION_UPFRONT_SHUTDOWN_SCRIPT, Feature.OPTION_SUPPORT_LARGE_CHANNEL, Feature.OPTION_ANCHORS,
              Feature.OPTION_SHUTDOWN_ANYSEGWIT),
)  # fmt: skip
"""BOLT 9: what works today, and nothing else."""

R = TypeVar("R")


class Report(msgspec.Struct, frozen=True):
    """Something that the operator should read. Never a secret."""

    level: str
    text: str
    error: Exception | None = None


class Node:
    """`tables` are what the store loaded, `sequence` its highest durable batch; a new node begins at `locator`.

    Raises DangerousState for tables that no node has written."""

    def __init__(
        self,
        network: Network,
        keys: KeysManager,
        wallet_keys: WalletKeys,
        config: UserConfig,
        fee_estimator: FeeEstimator,
        tables: Mapping[str, Mapping[bytes, bytes]],
        sequence: int,
        locator: BlockLocator,
        now: UnixTime,
        custom_types: frozenset[int] = frozenset(),
    ) -> None:
        state = NodeState(tables)
        check_monitors(state.channels, state.monitors)
        if NODE_KEY not in state.node:
            state.node[NODE_KEY] = NodeRecord(now, 1, locator)
        self._state = state
        self._watch_set = WatchSet()
        wallet = Wallet(wallet_keys, BlockHeight(state.node[NODE_KEY].locator.height), tables)
        self.core = Core(network, keys, config, fee_estimator, state, wallet, self._watch_set)
        self.core.on_event = self._on_event
        announcements = Announcements(self.core)
        router = HtlcRouter(self.core, announcements)
        self.channel_manager = ChannelManager(self.core)
        self.payments = Payments(self.core, router, announcements)
        self.announcements = announcements
        self.wallet = wallet
        rules = PeerRules(FEATURES, (network.chain_hash,), custom_types)
        self._blocks = Blocks(self.core, self._unit, self._complain)
        self.peer_manager = PeerManager(keys.get_node_secret_key(), keys, rules)
        self.journal: Journal[Effect] = Journal(sequence + 1)
        self.reports: list[Report] = []
        """For the log; the shell takes them."""
        self._wallet_funded: set[ChannelId] = set()
        self._peer_events: list[PeerEvent] = []
        self._last_freshness: Monotonic | None = None
        self._last_rebroadcast: Monotonic | None = None
        self._load(now)

    # --- units: all or nothing

    def _unit(self, function: Callable[[], R]) -> R:
        """Runs one input. Raises what it raised, after everything that it did is taken back."""
        core = self.core
        mark = self.wallet.mark()
        effects, unfunded, to_sign = len(core.effects), dict(core.unfunded), dict(core.to_sign)
        spare_script = core.spare_script
        try:
            result = function()
            core.run_follow_ups()
        except BaseException:
            core.forget_follow_ups()
            self._state.roll_back()
            self.wallet.roll_back(mark)
            del core.effects[effects:]
            core.unfunded = unfunded
            core.to_sign = to_sign
            core.spare_script = spare_script
            raise
        self._state.commit()
        return result

    def _load(self, now: UnixTime) -> None:
        """A restart: what was not signed never was, what is owed is done, what must confirm is broadcast."""

        def load() -> None:
            self._set_time(now)
            core = self.core
            core.monitors.load()
            for channel_id, state in list(self._state.channels.items()):
                core.apply(channel_id, channel.loaded(state))
            for name in list(self.wallet.reservations()):
                self.wallet.release(name)
            for sequence, event in self._state.events.items():
                core.effects.append(OfferEvent(sequence, event))

        self._unit(load)
        self._watch_wallet()
        self.rebroadcast()

    # --- inputs: peers

    def new_outbound_connection(self, conn: int, node_id: NodeId) -> None:
        self.peer_manager.new_outbound_connection(conn, node_id)

    def new_inbound_connection(self, conn: int) -> None:
        self.peer_manager.new_inbound_connection(conn)

    def read_event(self, conn: int, data: bytes) -> None:
        self._handle(self.peer_manager.read_event(conn, data))

    def socket_disconnected(self, conn: int) -> None:
        self._handle(self.peer_manager.socket_disconnected(conn))

    def _handle(self, events: list[PeerEvent]) -> None:
        """What happened to connections before comes first."""
        earlier, self._peer_events = self._peer_events, []
        for event in earlier + events:
            if isinstance(event, MessageReceived):
                self._on_message(event)
            elif isinstance(event, PeerConnected):
                self._on_connected(event)
            elif isinstance(event, PeerDisconnected):
                self._on_disconnected(event)
            else:
                assert isinstance(event, ConnectionFailed)
                self.reports.append(Report("info", f"connection {event.conn} failed: {event.why}"))

    def _on_connected(self, event: PeerConnected) -> None:
        """Each channel for itself: what one cannot do keeps none of the others offline."""
        older = self.core.peers.get(event.node_id)
        if older is not None:
            self._on_disconnected(PeerDisconnected(older.conn, event.node_id, "replaced"))
        self.core.peers[event.node_id] = Peer(event.conn, event.features.encode())
        for tell in self.channel_manager.peer_connected(event.node_id):
            self._reported(f"peer {event.node_id.hex()} connected", lambda: self._unit(tell))  # noqa: B023

    def _on_disconnected(self, event: PeerDisconnected) -> None:
        peer = self.core.peers.get(event.node_id)
        if peer is None or peer.conn != event.conn:
            return
        del self.core.peers[event.node_id]
        for tell in self.channel_manager.peer_disconnected(event.node_id):
            self._reported(f"peer {event.node_id.hex()} disconnected", lambda: self._unit(tell))  # noqa: B023

    def _on_message(self, event: MessageReceived) -> None:
        peer = self.core.peers.get(event.node_id)
        if peer is None or peer.conn != event.conn or peer.is_given_up:
            return
        message = event.message
        if isinstance(message, Error | Warning):
            what = type(message).__name__.lower()
            self.reports.append(Report("warning", f"peer {event.node_id.hex()} sent {what}: {printable(message.data)}"))
        if isinstance(message, UnknownMessage):
            self.core.effects.append(OfferCustomMessage(event.node_id, message.type, message.data))
            return
        if isinstance(message, ChannelUpdate):
            function = lambda: self.announcements.on_channel_update(event.node_id, message)  # noqa: E731
        else:
            function = lambda: self.channel_manager.receive(event.node_id, message)  # noqa: E731
        channel_id = getattr(message, "temporary_channel_id", None) or getattr(message, "channel_id", None)
        self._guarded(event.node_id, event.conn, function, channel_id)

    def _guarded(
        self, node_id: NodeId, conn: int, function: Callable[[], None], channel_id: ChannelId | None = None
    ) -> None:
        """What a peer did wrong, or what nobody foresaw, costs that input and perhaps its connection: nothing else."""
        where = channel_id if channel_id is not None else ChannelId(bytes(32))
        try:
            self._unit(function)
        except RemoteError as error:
            text = str(error) or type(error).__name__
            self.reports.append(Report("warning", f"peer {node_id.hex()}: {text}"))
            if error.consequence is Consequence.FAIL_CHANNEL and channel_id is not None:
                self.core.send(node_id, Error(where, text_data(text)))
                return
            self.core.send(node_id, Warning(where, text_data(text)))
            if error.consequence is not Consequence.WARN:
                self._give_up(node_id, conn, text)
        except LocalError as error:
            self.reports.append(Report("error", f"peer {node_id.hex()}: {error}", error))
            self._give_up(node_id, conn, "this node cannot do that now")
        except Exception as error:
            self.reports.append(Report("error", f"peer {node_id.hex()}: an input was discarded", error))
            self._give_up(node_id, conn, "internal error")

    def _give_up(self, node_id: NodeId, conn: int, why: str) -> None:
        """A message was not taken: those behind it on this connection would be misunderstood without it."""
        peer = self.core.peers.get(node_id)
        if peer is not None and peer.conn == conn:
            peer.is_given_up = True
        self.core.effects.append(DisconnectPeer(conn, why))

    def send_custom_message(self, node_id: NodeId, message_type: int, data: bytes) -> None:
        """To a connected peer; a type below 32768 is the BOLTs'. Raises APIMisuse, ChannelUnavailable."""
        if not FIRST_CUSTOM_TYPE <= message_type <= 0xFFFF:
            raise APIMisuse(f"message type {message_type}: custom ones are {FIRST_CUSTOM_TYPE} to 65535")
        if len(data) > MAX_MESSAGE_SIZE - 2:
            raise APIMisuse(f"a message of {len(data) + 2} bytes: at most {MAX_MESSAGE_SIZE}")
        peer = self.core.peers.get(node_id)
        if peer is None:
            raise ChannelUnavailable("the peer is not connected")
        self.core.effects.append(SendToPeer(peer.conn, UnknownMessage(message_type, data)))

    # --- inputs: the chain

    def block_connected(self, block: bytes, height: BlockHeight, locator: BlockLocator) -> None:
        """The next block. `locator` has it as its tip: it is stored with what the block brought."""

        hits = scan(self._watch_set, block)

        conflicted: list[Txid] = []

        def connected() -> None:
            self.core.height = height
            self._state.node[NODE_KEY] = replace(self.core.record, locator=locator)
            conflicted.extend(self.wallet.block_connected(height, [(hit.txid, hit.raw) for hit in hits.hits]))

        self._at_another_height(connected)
        self._blocks.connected(hits, height)
        self._reported("fundings", lambda: self._unit(lambda: self.channel_manager.fundings_are_gone(conflicted)))
        self._reported("payments", lambda: self._unit(self.payments.best_block))
        self._watch_wallet()

    def blocks_disconnected(self, fork_point: BlockLocator) -> None:
        """The blocks above the fork point are no longer in the chain."""

        def disconnected() -> None:
            core = self.core
            for height in range(core.height, fork_point.height, -1):
                self.wallet.block_disconnected(BlockHeight(height))
            core.height = BlockHeight(fork_point.height)
            self._state.node[NODE_KEY] = replace(core.record, locator=fork_point)

        self._at_another_height(disconnected)
        self._blocks.disconnected(BlockHeight(fork_point.height + 1))
        self._watch_wallet()

    def _at_another_height(self, function: Callable[[], None]) -> None:
        before = self.core.height
        try:
            self._unit(function)
        except BaseException:
            self.core.height = before
            raise

    def _reported(self, what: str, function: Callable[[], None]) -> None:
        """What goes wrong here concerns no other input."""
        try:
            function()
        except Exception as error:
            self._complain(f"{what}: an input was discarded", error)

    def _complain(self, text: str, error: Exception) -> None:
        self.reports.append(Report("error", text, error))

    def _watch_wallet(self) -> None:
        scripts, outpoints = self.wallet.take_watches()
        for script in scripts:
            self._watch_set.add_script(script)
        for outpoint in outpoints:
            self._watch_set.add_outpoint(outpoint)

    @property
    def locator(self) -> BlockLocator:
        return self.core.record.locator

    # --- inputs: time

    def timer_tick(self, now: Monotonic, wall: UnixTime) -> None:
        """About once a second."""
        self._set_time(wall)
        self._handle(self.peer_manager.timer_tick(now))
        if self._last_freshness is None or now - self._last_freshness >= FRESHNESS_TIMER_MS:
            first = self._last_freshness is None
            self._last_freshness = now
            if not first:
                self._freshness()
        if self._last_rebroadcast is None or now - self._last_rebroadcast >= 1000 * REBROADCAST_TIMER:
            self._last_rebroadcast = now
            self._reported("rebroadcast", self.rebroadcast)

    def _set_time(self, wall: UnixTime) -> None:
        record = self.core.record
        if wall > record.wall_time:
            self._state.node.set_in_memory(NODE_KEY, replace(record, wall_time=wall))
            self._state.node.commit()

    def _freshness(self) -> None:
        def remember_the_time() -> None:
            self._state.node[NODE_KEY] = self.core.record

        self.core.minutes_up += 1
        self._unit(remember_the_time)
        self._reported("retry of blocks", self._blocks.retry)
        for tick in self.channel_manager.timer_ticks():
            self._reported("timer tick of a channel", lambda: self._unit(tick))  # noqa: B023
        self._reported("timer tick of payments", lambda: self._unit(self.payments.timer_tick))

    def rebroadcast(self) -> None:
        """Everything that we want confirmed, derived from the records: mempools forget."""
        effects = self.core.effects
        for tx in self.wallet.transactions_to_broadcast():
            effects.append(BroadcastPackage((serialize(tx),), "Funding"))
        for channel_id, raws in self.core.monitors.transactions_to_broadcast(self.core.signers.derive_channel_signer):
            effects.append(BroadcastPackage(raws, "UnilateralClose", None, channel_id))
        for channel_id, state in self._state.channels.items():
            inner = state.inner if isinstance(state, Offline | Syncing) else state
            if isinstance(inner, Negotiating | Closing) and inner.agreed is not None and self._unspent(channel_id):
                effects.append(BroadcastPackage((inner.agreed,), "CooperativeClose", None, channel_id))

    def _unspent(self, channel_id: ChannelId) -> bool:
        """No spend of the funding is in the chain, or a reorganisation took it out again."""
        monitor = self._state.monitors.get(channel_id)
        return monitor is None or monitor.funding_spend is None

    # --- inputs: commands

    def submit(self, token: int, function: Callable[[Node], object]) -> None:
        """A command of the user. Its result becomes an Answer, once all that it did is durable.

        An error is the Answer too: nothing has changed.
        """
        try:
            result: object = self._unit(lambda: function(self))
        except LightningError as error:
            result = error
        except Exception as error:
            self.reports.append(Report("error", "a command was discarded", error))
            result = error
        self.core.effects.append(Answer(token, result))
        self._watch_wallet()

    def open_channel(
        self,
        node_id: NodeId,
        channel_value_satoshis: Sat,
        push_msat: Msat = Msat(0),
        user_channel_id: int = 0,
        override_config: ChannelConfigOverrides | None = None,
    ) -> ChannelId:
        """As create_channel, funded by the built-in wallet. Raises InsufficientFunds and what create_channel raises."""
        available = self.wallet.balance().available_sat
        if available < channel_value_satoshis:
            raise InsufficientFunds(channel_value_satoshis, available)
        temporary = self.channel_manager.create_channel(
            node_id, channel_value_satoshis, push_msat, user_channel_id, override_config
        )
        self._wallet_funded.add(temporary)
        return temporary

    def remember_peer_address(self, node_id: NodeId, host: str, port: int) -> None:
        address = PeerAddress(host, port)
        if self._state.peer_addresses.get(node_id) != address:
            self._state.peer_addresses[node_id] = address

    def peer_addresses(self) -> Mapping[NodeId, PeerAddress]:
        return self._state.peer_addresses

    def disconnect_peer(self, node_id: NodeId) -> None:
        """Behind what was sent to it before. Nothing happens if it is not connected."""
        peer = self.core.peers.get(node_id)
        if peer is not None:
            self.core.effects.append(DisconnectPeer(peer.conn, "disconnected by the user"))

    def _on_event(self, event: Event) -> bool:
        """The wallet answers for the user where it was asked to."""
        if not isinstance(event, FundingGenerationReady) or event.temporary_channel_id not in self._wallet_funded:
            return False
        self._wallet_funded.discard(event.temporary_channel_id)
        self.core.later(self._fund, event)
        return True

    def _fund(self, event: FundingGenerationReady) -> None:
        temporary, node_id = event.temporary_channel_id, event.counterparty_node_id
        output = TxOut(event.channel_value_satoshis, event.output_script)
        try:
            tx = self.wallet.create_transaction((output,), self.core.feerates.non_anchor_channel_fee)
        except LocalError as error:
            why = f"the wallet cannot fund the channel: {error}"
            self.reports.append(Report("error", why))
            self.channel_manager.force_close_broadcasting_latest_txn(temporary, node_id, "funding failed")
            return
        self.channel_manager.funding_transaction_generated(temporary, node_id, serialize(tx))

    # --- inputs: completions

    def event_handled(self, sequence: int) -> None:
        """The user's handler has done its part."""
        if sequence in self._state.events:
            del self._state.events[sequence]
            self._state.events.commit()

    def batch_durable(self, sequence: int) -> None:
        self.journal.batch_durable(sequence)

    def write_failed(self, reason: str) -> None:
        """Nothing more becomes durable, so nothing more may be seen: the shell stops the node."""
        self.journal.write_failed(reason)

    @property
    def can_accept_input(self) -> bool:
        return self.journal.can_accept_turn()

    # --- the turn

    def process_events(self) -> list[ShellEffect]:
        """Ends the turn: signs what is pending, makes one batch of all that changed, returns what may be done now."""
        effects: list[ShellEffect] = []
        if self.journal.can_accept_turn():
            self._handle([])
            self._sign()
            writes = self._state.take_writes() + self.wallet.take_writes()
            made, self.core.effects = self.core.effects, []
            batch = self.journal.close_turn(writes, made)
            if batch is not None:
                effects.append(WriteBatch(batch))
        for effect in self.journal.take_released():
            if isinstance(effect, SendToPeer):
                self._send(effect)
            elif isinstance(effect, DisconnectPeer):
                self._peer_events += self.peer_manager.disconnect(effect.conn, effect.why)
            else:
                effects.append(effect)
        for output in self.peer_manager.take_output():
            if isinstance(output, PeerCloseSocket):
                effects.append(CloseSocket(output.conn))
            else:
                effects.append(SendBytes(output.conn, output.data))
        return effects

    def _send(self, effect: SendToPeer) -> None:
        """A message that cannot be written costs its connection, and nothing else of the turn."""
        try:
            self.peer_manager.send_message(effect.conn, effect.message)
        except Exception as error:
            what = type(effect.message).__name__
            self.reports.append(Report("error", f"connection {effect.conn}: {what} cannot be sent", error))
            self._peer_events += self.peer_manager.disconnect(effect.conn, "internal error")

    def _sign(self) -> None:
        """One commitment_signed a channel a turn, for all its pending updates."""
        for channel_id in self.core.sign_pending():
            if channel_id in self.channel_manager.suspended:
                continue
            state = self._state.channels[channel_id]
            node_id = state.data.params.counterparty_node_id
            peer = self.core.peers.get(node_id)
            if peer is not None:
                self._guarded(node_id, peer.conn, lambda: self.core.do_sign(channel_id), channel_id)  # noqa: B023

    @property
    def has_work(self) -> bool:
        """Whether process_events would do something without a further input."""
        made = self._peer_events or self.core.effects or self.core.to_sign
        return self.journal.has_released or bool(made and self.journal.can_accept_turn())
