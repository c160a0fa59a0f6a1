"""Runs the channels: executes what a transition asks for, and what follows from it in other channels, monitors and
payments, until nothing follows any more. One input of the node is one call from outside; it takes effect as a whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from pyln_fast.chain.chain_monitor import ChainMonitor
from pyln_fast.chain.channel_monitor import (
    Broadcast,
    FundingIsConfirmed,
    FundingIsSpent,
    FundingIsUnconfirmed,
    MonitorAction,
    PreimageSeen,
    SpendIsBuried,
    StoreCommitment,
    WatchOutpoint,
    WatchScript,
)
from pyln_fast.chain.interfaces import ConfirmationTarget, FeeEstimator
from pyln_fast.chain.scanner import WatchSet
from pyln_fast.channel import channel
from pyln_fast.channel.actions import (
    Action,
    BroadcastTransaction,
    ChangeChannelId,
    ChannelUsable,
    CreateMonitor,
    DiscardFunding,
    EmitEvent,
    ForgetChannel,
    HtlcCommitted,
    HtlcFulfilled,
    HtlcNotSent,
    HtlcRemoved,
    SaveChannel,
    SendMessage,
    UpdateMonitor,
)
from pyln_fast.channel.commands import (
    ClosingConfirmed,
    Command,
    FundingConfirmed,
    FundingSpentOnChain,
    FundingUnconfirmed,
    SignCommitment,
)
from pyln_fast.channel.htlc import Htlc
from pyln_fast.channel.state import AnyState, Closing, FundedState, Negotiating, Offline, Syncing, UnfundedState
from pyln_fast.channel.transition import Context, Feerates, Transition
from pyln_fast.config import PEER_PATIENCE_MINUTES, UserConfig
from pyln_fast.events import Event
from pyln_fast.node.effects import BroadcastPackage, Effect, OfferEvent, SendToPeer
from pyln_fast.node.state import COMMITMENTS, NODE_KEY, NodeRecord, NodeState
from pyln_fast.sign.interfaces import EcdsaChannelSigner
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.tx.transaction import parse, txid
from pyln_fast.types import (
    BlockHeight,
    ChannelId,
    Network,
    NodeId,
    ShortChannelId,
    UnixTime,
)
from pyln_fast.wallet.wallet import Wallet
from pyln_fast.wire.channel_msgs import Shutdown
from pyln_fast.wire.layout import Message

NO_ALIAS = ShortChannelId(0)
NO_CHANNEL_ID = ChannelId(bytes(32))


class Signers:
    """Derives each channel's signer once."""

    def __init__(self, keys: KeysManager) -> None:
        self._keys = keys
        self._signers: dict[bytes, EcdsaChannelSigner] = {}

    def derive_channel_signer(self, channel_keys_id: bytes) -> EcdsaChannelSigner:
        signer = self._signers.get(channel_keys_id)
        if signer is None:
            signer = self._signers[channel_keys_id] = self._keys.derive_channel_signer(channel_keys_id)
        return signer


class Peer:
    """A connected peer."""

    __slots__ = ("conn", "features", "is_given_up")

    def __init__(self, conn: int, features: bytes) -> None:
        self.conn = conn
        self.features = features
        self.is_given_up = False
        """A message of it was not taken: nothing that follows on this connection is listened to."""


class Core:
    """What ChannelManager, payments and forwarding share."""

    def __init__(
        self,
        network: Network,
        keys: KeysManager,
        config: UserConfig,
        fee_estimator: FeeEstimator,
        state: NodeState,
        wallet: Wallet,
        watch_set: WatchSet,
    ) -> None:
        self.network = network
        self.keys = keys
        self.node_id = keys.get_node_id()
        self.config = config
        self.fee_estimator = fee_estimator
        self.state = state
        self.wallet = wallet
        self.watch_set = watch_set
        self.signers = Signers(keys)
        self.monitors = ChainMonitor(state.monitors, watch_set)
        self.unfunded: dict[tuple[NodeId, ChannelId], UnfundedState] = {}
        self.peers: dict[NodeId, Peer] = {}
        self.height = BlockHeight(self.record.locator.height)
        self.feerates = self._read_feerates()
        self.effects: list[Effect] = []
        self.low_on_space = False
        self.minutes_up = 0
        """The shell says that the disk is nearly full: no new HTLCs."""
        self.spare_script: bytes | None = None
        """An address of the wallet for the next channel that needs one; none is used up by what is taken back."""
        self.to_sign: dict[ChannelId, None] = {}
        """Channels whose commitments may have something to be signed at the end of the turn."""
        self._follow_ups: deque[Callable[[], None]] = deque()
        self._committed: dict[ChannelId, list[Htlc]] = {}
        self.on_committed: Callable[[ChannelId, list[Htlc]], None]
        self.on_fulfilled: Callable[[ChannelId, HtlcFulfilled], None]
        self.on_removed: Callable[[ChannelId, Htlc], None]
        self.on_not_sent: Callable[[ChannelId, HtlcNotSent], None]
        self.on_usable: Callable[[ChannelId], None]
        self.on_placed: Callable[[ChannelId], None]
        """The funding has its place in the chain, or another one after a reorganisation."""
        self.on_event: Callable[[Event], bool]
        """Whether the node itself has dealt with an event that would go to the user."""

    # --- what the world is like

    @property
    def record(self) -> NodeRecord:
        return self.state.node[NODE_KEY]

    @property
    def now(self) -> UnixTime:
        return self.record.wall_time

    def _read_feerates(self) -> Feerates:
        estimate = self.fee_estimator.get_est_sat_per_1000_weight
        return Feerates(
            estimate(ConfirmationTarget.MAXIMUM_FEE_ESTIMATE),
            estimate(ConfirmationTarget.MIN_ALLOWED_ANCHOR_CHANNEL_REMOTE_FEE),
            estimate(ConfirmationTarget.MIN_ALLOWED_NON_ANCHOR_CHANNEL_REMOTE_FEE),
            estimate(ConfirmationTarget.ANCHOR_CHANNEL_FEE),
            estimate(ConfirmationTarget.NON_ANCHOR_CHANNEL_FEE),
            estimate(ConfirmationTarget.CHANNEL_CLOSE_MINIMUM),
        )

    def refresh_feerates(self) -> None:
        self.feerates = self._read_feerates()

    def context(
        self,
        node_id: NodeId,
        config: UserConfig | None = None,
        alias: ShortChannelId = NO_ALIAS,
        temporary_channel_id: ChannelId = NO_CHANNEL_ID,
    ) -> Context:
        peer = self.peers.get(node_id)
        return Context(
            self.network,
            self.height,
            self.feerates,
            config if config is not None else self.config,
            self.signers,
            peer.features if peer is not None else b"",
            self.spare_script if self.spare_script is not None else b"",
            alias,
            temporary_channel_id,
            self.minutes_up >= PEER_PATIENCE_MINUTES,
        )

    def need_script(self) -> None:
        """Before an input in which a channel may commit to where its close pays us: an address of the wallet."""
        if self.spare_script is None:
            self.spare_script = self.wallet.new_script()

    def script_used(self, script_pubkey: bytes | None) -> None:
        if script_pubkey is not None and script_pubkey == self.spare_script:
            self.spare_script = None

    def fresh_alias(self) -> ShortChannelId:
        """Random, so unrelated to any funding; the height part is beyond any block of the next centuries."""
        random = int.from_bytes(self.keys.get_secure_random_bytes()[:8], "big")
        return ShortChannelId(16_000_000 << 40 | random & 0xFF_FFFF_FFFF)

    # --- inputs of channels

    def receive(self, channel_id: ChannelId, message: Message) -> None:
        if isinstance(message, Shutdown) and self.state.channels[channel_id].data.holder_shutdown_script is None:
            self.need_script()
        state = self.state.channels[channel_id]
        node_id = state.data.params.counterparty_node_id
        self.apply(channel_id, channel.receive(state, message, self.context(node_id)))

    def execute(self, channel_id: ChannelId, command: Command) -> None:
        """Raises LocalError."""
        state = self.state.channels[channel_id]
        node_id = state.data.params.counterparty_node_id
        self.apply(channel_id, channel.execute(state, command, self.context(node_id)))

    def apply_unfunded(self, node_id: NodeId, channel_id: ChannelId, transition: Transition[AnyState]) -> None:
        """`channel_id` is the temporary one, which the opener chose: it may be the id of a funded channel, perhaps with
        somebody else. Nothing here is done to the funded channel of that id."""
        state = transition.state
        key = (node_id, channel_id)
        actions = tuple(action for action in transition.actions if not isinstance(action, ForgetChannel))
        if actions != transition.actions:
            self.unfunded.pop(key, None)
        elif isinstance(state, UnfundedState):
            self.unfunded[key] = state
        else:
            assert isinstance(state, FundedState)
            self.unfunded.pop(key, None)
            channel_id = state.data.channel_id
            self.state.channels.set_in_memory(channel_id, state)
        self._perform(node_id, channel_id, actions)

    def apply(self, channel_id: ChannelId, transition: Transition[AnyState]) -> None:
        state = transition.state
        assert isinstance(state, FundedState)
        self.script_used(state.data.holder_shutdown_script)
        self.state.channels.set_in_memory(channel_id, state)
        self.to_sign[channel_id] = None
        self._perform(state.data.params.counterparty_node_id, channel_id, transition.actions)

    # --- actions

    def _perform(self, node_id: NodeId, channel_id: ChannelId, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if isinstance(action, SendMessage):
                self.send(node_id, action.message)
            elif isinstance(action, SaveChannel):
                assert isinstance(action.state, FundedState)
                self.state.channels[channel_id] = action.state
            elif isinstance(action, UpdateMonitor):
                self._update_monitor(action)
            elif isinstance(action, CreateMonitor):
                self.perform_monitor_actions(self.monitors.watch_channel(action.monitor))
            elif isinstance(action, HtlcCommitted):
                self._committed.setdefault(channel_id, []).append(action.htlc)
            elif isinstance(action, HtlcFulfilled):
                self.later(self.on_fulfilled, channel_id, action)
            elif isinstance(action, HtlcRemoved):
                self.later(self.on_removed, channel_id, action.htlc)
            elif isinstance(action, HtlcNotSent):
                self.later(self.on_not_sent, channel_id, action)
            elif isinstance(action, ChannelUsable):
                self.later(self.on_usable, channel_id)
            elif isinstance(action, EmitEvent):
                self.emit(action.event)
            elif isinstance(action, BroadcastTransaction):
                if action.kind == "Funding":
                    self.wallet.commit_transaction(parse(action.raw), txid(parse(action.raw)))
                self.effects.append(BroadcastPackage((action.raw,), action.kind, node_id, channel_id))
            elif isinstance(action, DiscardFunding):
                self.later(self.wallet.release, action.funding_outpoint.txid)
            elif isinstance(action, ForgetChannel):
                del self.state.channels[channel_id]
                del self.state.monitors[channel_id]
                for table in (self.state.forwarding_infos, self.state.missed_blocks):
                    if channel_id in table:
                        del table[channel_id]
                self.to_sign.pop(channel_id, None)
            else:
                assert isinstance(action, ChangeChannelId), action

    def _update_monitor(self, action: UpdateMonitor) -> None:
        channel_id = action.update.channel_id
        keys_id = self.state.channels[channel_id].data.params.channel_keys_id
        signer = self.signers.derive_channel_signer(keys_id)
        self.perform_monitor_actions(self.monitors.update_channel(action.update, signer))

    def later(self, function: Callable[..., None], *arguments: object) -> None:
        self._follow_ups.append(lambda: function(*arguments))

    def run_follow_ups(self) -> None:
        """Until nothing follows. HTLCs that were committed together are looked at together: one batch of onions."""
        while self._follow_ups or self._committed:
            if self._follow_ups:
                self._follow_ups.popleft()()
                continue
            channel_id = next(iter(self._committed))
            self.on_committed(channel_id, self._committed.pop(channel_id))

    def forget_follow_ups(self) -> None:
        """An input was taken back."""
        self._follow_ups.clear()
        self._committed.clear()

    def send(self, node_id: NodeId, message: Message) -> None:
        peer = self.peers.get(node_id)
        if peer is not None:
            self.effects.append(SendToPeer(peer.conn, message))

    def emit(self, event: Event) -> None:
        if self.on_event(event):
            return
        record = self.record
        sequence = record.next_event
        self.state.node[NODE_KEY] = replace(record, next_event=sequence + 1)
        if event.persists:
            self.state.events[sequence] = event  # type: ignore[assignment]
        self.effects.append(OfferEvent(sequence, event))

    def perform_monitor_actions(self, actions: list[MonitorAction]) -> None:
        for action in actions:
            if isinstance(action, StoreCommitment):
                key = action.channel_id + action.number.to_bytes(8, "big")
                self.state.history.append(COMMITMENTS.put(key, action.commitment))
            elif isinstance(action, WatchOutpoint | WatchScript):
                pass
            elif isinstance(action, Broadcast):
                self.effects.append(BroadcastPackage((action.raw,), action.kind))
            elif isinstance(action, FundingIsConfirmed):
                self._tell(action.channel_id, FundingConfirmed(action.height, action.tx_index))
                self.later(self.on_placed, action.channel_id)
            elif isinstance(action, FundingIsUnconfirmed):
                self._tell(action.channel_id, FundingUnconfirmed())
            elif isinstance(action, FundingIsSpent):
                self._tell(action.channel_id, FundingSpentOnChain(action.txid, action.is_commitment))
            elif isinstance(action, SpendIsBuried):
                self._tell(action.channel_id, ClosingConfirmed())
            elif isinstance(action, PreimageSeen):
                self.later(self._preimage_seen, action)

    def _preimage_seen(self, action: PreimageSeen) -> None:
        """BOLT 2, Forwarding HTLCs: a preimage on chain is as good as update_fulfill_htlc."""
        state = self.state.channels.get(action.channel_id)
        if state is None:
            return
        for htlc in list(state.data.commitments.htlcs.values()):
            if htlc.offered and htlc.payment_hash == action.payment_hash:
                self.on_fulfilled(action.channel_id, HtlcFulfilled(htlc, action.preimage))

    def _tell(self, channel_id: ChannelId, command: Command) -> None:
        def tell() -> None:
            if channel_id in self.state.channels:
                self.execute(channel_id, command)

        self._follow_ups.append(tell)

    # --- look-ups

    def unfunded_of(self, node_id: NodeId, channel_id: ChannelId) -> UnfundedState | None:
        return self.unfunded.get((node_id, channel_id))

    def absent_peers(self) -> list[NodeId]:
        """Whose channels wait for them to connect, each once."""
        channels = self.state.channels.values()
        wanted = [each.data.params.counterparty_node_id for each in channels if not isinstance(each, Closing)]
        return [node_id for node_id in dict.fromkeys(wanted) if node_id not in self.peers]

    def peer_of(self, channel_id: ChannelId) -> Peer | None:
        return self.peers.get(self.state.channels[channel_id].data.params.counterparty_node_id)

    def sign_pending(self) -> list[ChannelId]:
        """The channels to be told to sign, at the end of a turn."""
        pending = [
            channel_id
            for channel_id in self.to_sign
            if channel_id in self.state.channels
            and not isinstance(self.state.channels[channel_id], Offline | Syncing | Closing | Negotiating)
        ]
        self.to_sign.clear()
        return pending

    def do_sign(self, channel_id: ChannelId) -> None:
        data = self.state.channels[channel_id].data
        if data.commitments.awaiting_revocation or not data.commitments.has_changes_to_sign:
            return
        self.execute(channel_id, SignCommitment())
