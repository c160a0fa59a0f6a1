"""LDK's ChannelManager: opens and closes channels, gives each message to its channel, and answers for those that are
unknown (BOLT 2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

from pyln_fast.channel import channel
from pyln_fast.channel.channel import MESSAGES
from pyln_fast.channel.commands import (
    AcceptChannelCommand,
    AnswerOverdue,
    CloseChannel,
    ForceClose,
    FundingTransactionGenerated,
    PeerConnected,
    PeerDisconnected,
    UpdateFee,
)
from pyln_fast.channel.errors import APIMisuse, ChannelUnavailable, NoChannelId
from pyln_fast.channel.state import (
    AnyState,
    Closing,
    FundedState,
    Negotiating,
    Normal,
    Offline,
    ShuttingDown,
    Syncing,
    UnfundedState,
    WaitForAcceptChannel,
    WaitForFundingCreated,
    WaitForFundingSigned,
    WaitForOpenChannel,
)
from pyln_fast.channel.states.wait_for_accept_channel import open_channel
from pyln_fast.channel.states.wait_for_open_channel import on_open_channel
from pyln_fast.channel.transition import Transition
from pyln_fast.config import (
    DISCONNECT_PEER_AWAITING_RESPONSE_TICKS,
    MAX_GIVEN_UP_CHANS_PER_PEER,
    MAX_UNFUNDED_CHANNEL_PEERS,
    MAX_UNFUNDED_CHANS_PER_PEER,
    UNACCEPTED_INBOUND_CHANNEL_AGE_LIMIT_TICKS,
    UNFUNDED_CHANNEL_AGE_LIMIT_TICKS,
    ChannelConfigOverrides,
)
from pyln_fast.errors import LocalError, RemoteError
from pyln_fast.node.core import Core
from pyln_fast.node.details import ChannelDetails, details_of
from pyln_fast.node.effects import DisconnectPeer
from pyln_fast.types import ChannelId, FeeratePerKw, Msat, NodeId, Sat, Txid, channel_id_v1
from pyln_fast.wire.channel_msgs import ClosingSigned, FundingSigned, OpenChannel, Shutdown
from pyln_fast.wire.layout import Message
from pyln_fast.wire.setup_msgs import Error, Warning, text_data

ALL_CHANNELS = ChannelId(bytes(32))
"""BOLT 1, error: every channel with the sender."""


class UnknownChannel(LocalError):
    def __init__(self, channel_id: ChannelId) -> None:
        super().__init__(f"no channel {channel_id.hex()} with that peer")
        self.channel_id = channel_id


class ChannelManager:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._unfunded_ticks: dict[tuple[NodeId, ChannelId], int] = {}
        self._awaiting_ticks: dict[ChannelId, tuple[object, int]] = {}
        """What each channel's peer owes, and for how many ticks it has owed just that."""
        self.suspended: dict[ChannelId, None] = {}
        """Channels that could not be told of a connection, by a fault of ours: what their peer says to them is dropped
        until a connection on which they can."""

    # --- what the user asks for

    def create_channel(
        self,
        their_network_key: NodeId,
        channel_value_satoshis: Sat,
        push_msat: Msat = Msat(0),
        user_channel_id: int = 0,
        override_config: ChannelConfigOverrides | None = None,
    ) -> ChannelId:
        """Returns the temporary channel id. Raises APIMisuse, ChannelUnavailable."""
        core = self._core
        if their_network_key not in core.peers:
            raise ChannelUnavailable("the peer is not connected")
        if not 0 <= user_channel_id < 1 << 64:
            raise APIMisuse(f"user_channel_id is {user_channel_id}, must be below 2^64")
        config = core.config.apply(override_config) if override_config is not None else core.config
        temporary = ChannelId(bytes(core.keys.get_secure_random_bytes()))
        keys_id = core.keys.generate_channel_keys_id(False, user_channel_id)
        core.need_script()
        ctx = core.context(their_network_key, config, temporary_channel_id=temporary)
        transition = open_channel(
            their_network_key, channel_value_satoshis, push_msat, user_channel_id, keys_id, config, ctx
        )
        core.apply_unfunded(their_network_key, temporary, transition)
        started = transition.state
        assert isinstance(started, WaitForAcceptChannel)
        core.script_used(started.open_channel.upfront_shutdown_script)
        return temporary

    def accept_inbound_channel(
        self,
        temporary_channel_id: ChannelId,
        counterparty_node_id: NodeId,
        user_channel_id: int = 0,
        config_overrides: ChannelConfigOverrides | None = None,
    ) -> None:
        """The answer to OpenChannelRequest. Raises UnknownChannel, ChannelUnavailable."""
        state = self._unfunded(counterparty_node_id, temporary_channel_id)
        keys_id = self._core.keys.generate_channel_keys_id(True, user_channel_id)
        config = self._core.config.apply(config_overrides) if config_overrides is not None else None
        self._core.need_script()
        ctx = self._core.context(counterparty_node_id, config)
        command = AcceptChannelCommand(user_channel_id, keys_id)
        transition = channel.execute(state, command, ctx)
        self._core.apply_unfunded(counterparty_node_id, temporary_channel_id, transition)
        accepted = transition.state
        if isinstance(accepted, WaitForFundingCreated):
            self._core.script_used(accepted.opening.params.holder.upfront_shutdown_script)

    def funding_transaction_generated(
        self, temporary_channel_id: ChannelId, counterparty_node_id: NodeId, raw: bytes, manual_broadcast: bool = False
    ) -> None:
        """The answer to FundingGenerationReady, not to be broadcast by the user. Raises APIMisuse, UnknownChannel."""
        state = self._unfunded(counterparty_node_id, temporary_channel_id)
        ctx = self._core.context(counterparty_node_id)
        transition = channel.execute(state, FundingTransactionGenerated(raw, manual_broadcast), ctx)
        self._core.apply_unfunded(counterparty_node_id, temporary_channel_id, transition)

    def close_channel(
        self,
        channel_id: ChannelId,
        counterparty_node_id: NodeId,
        target_feerate_sats_per_1000_weight: FeeratePerKw | None = None,
        shutdown_script: bytes | None = None,
    ) -> None:
        """Cooperatively. Raises UnknownChannel, ChannelUnavailable."""
        self._funded(channel_id, counterparty_node_id)
        self._core.need_script()
        self._core.execute(channel_id, CloseChannel(shutdown_script, target_feerate_sats_per_1000_weight))

    def force_close_broadcasting_latest_txn(
        self, channel_id: ChannelId, counterparty_node_id: NodeId, error_message: str
    ) -> None:
        """Also the way to refuse an OpenChannelRequest. Raises UnknownChannel."""
        unfunded = self._core.unfunded_of(counterparty_node_id, channel_id)
        if unfunded is not None:
            ctx = self._core.context(counterparty_node_id)
            transition = channel.execute(unfunded, ForceClose(error_message), ctx)
            self._core.apply_unfunded(counterparty_node_id, channel_id, transition)
            return
        self._funded(channel_id, counterparty_node_id)
        self._core.execute(channel_id, ForceClose(error_message))

    def list_channels(self) -> list[ChannelDetails]:
        """Every channel that is not over, those without a funding first."""
        core = self._core
        unfunded = [details_of(state, core) for state in core.unfunded.values()]
        return unfunded + [details_of(state, core) for state in core.state.channels.values()]

    def list_usable_channels(self) -> list[ChannelDetails]:
        return [each for each in self.list_channels() if each.is_usable]

    def _unfunded(self, node_id: NodeId, temporary_channel_id: ChannelId) -> UnfundedState:
        state = self._core.unfunded_of(node_id, temporary_channel_id)
        if state is None:
            raise UnknownChannel(temporary_channel_id)
        return state

    def _funded(self, channel_id: ChannelId, node_id: NodeId) -> FundedState:
        state = self._core.state.channels.get(channel_id)
        if state is None or state.data.params.counterparty_node_id != node_id:
            raise UnknownChannel(channel_id)
        return state

    # --- what peers say

    def peer_connected(self, node_id: NodeId) -> Iterator[Callable[[], None]]:
        """What is to be done for each channel, each for itself. One that cannot do it is suspended."""
        for channel_id in self._channels_of(node_id):
            self.suspended[channel_id] = None
            if isinstance(self._core.state.channels[channel_id], Offline | Closing):
                yield partial(self._core.execute, channel_id, PeerConnected())
            else:
                # It was not told that the connection before was lost: an input that was discarded.
                yield partial(self._reconnected, channel_id)
            self._resume_if(channel_id, (Syncing, Closing))

    def _resume_if(self, channel_id: ChannelId, kinds: tuple[type, ...]) -> None:
        state = self._core.state.channels.get(channel_id)
        if state is None or isinstance(state, kinds):
            self.suspended.pop(channel_id, None)

    def _reconnected(self, channel_id: ChannelId) -> None:
        self._core.execute(channel_id, PeerDisconnected())
        self._core.execute(channel_id, PeerConnected())

    def peer_disconnected(self, node_id: NodeId) -> Iterator[Callable[[], None]]:
        """As `peer_connected`."""
        for key in [key for key in self._core.unfunded if key[0] == node_id]:
            yield partial(self._unfunded_disconnected, *key)
        for channel_id in self._channels_of(node_id):
            self._awaiting_ticks.pop(channel_id, None)
            self.suspended[channel_id] = None
            yield partial(self._core.execute, channel_id, PeerDisconnected())
            self._resume_if(channel_id, (Offline, Closing))

    def _unfunded_disconnected(self, node_id: NodeId, temporary: ChannelId) -> None:
        core = self._core
        transition = channel.execute(core.unfunded[node_id, temporary], PeerDisconnected(), core.context(node_id))
        core.apply_unfunded(node_id, temporary, transition)

    def _channels_of(self, node_id: NodeId) -> list[ChannelId]:
        return [
            channel_id
            for channel_id, state in self._core.state.channels.items()
            if state.data.params.counterparty_node_id == node_id
        ]

    def receive(self, node_id: NodeId, msg: Message) -> None:
        """A message of BOLT 2, or `error`. Raises RemoteError for what costs the peer its connection."""
        if not isinstance(msg, (OpenChannel, *MESSAGES)):
            return
        channel_id: ChannelId = getattr(msg, "temporary_channel_id", None) or msg.channel_id  # type: ignore[attr-defined]
        if channel_id == ALL_CHANNELS:
            if not isinstance(msg, Error):
                raise NoChannelId(type(msg).__name__)
            self._on_error_for_all(node_id, msg)
            return
        if isinstance(msg, OpenChannel):
            self._on_open_channel(node_id, msg)
            return
        state = self._core.state.channels.get(channel_id)
        if state is not None and state.data.params.counterparty_node_id == node_id:
            if channel_id not in self.suspended:
                self._core.receive(channel_id, msg)
            return
        temporary = self._temporary_of(node_id, channel_id, msg)
        if temporary is not None:
            self._receive_unfunded(node_id, temporary, msg)
        elif not isinstance(msg, Error):
            self._unknown_channel(node_id, channel_id, msg)

    def _temporary_of(self, node_id: NodeId, channel_id: ChannelId, msg: Message) -> ChannelId | None:
        if (node_id, channel_id) in self._core.unfunded:
            return channel_id
        if isinstance(msg, FundingSigned):
            for (owner, temporary), state in self._core.unfunded.items():
                waits = owner == node_id and isinstance(state, WaitForFundingSigned)
                if waits and channel_id_v1(state.funding.outpoint) == channel_id:  # type: ignore[union-attr]
                    return temporary
        return None

    def _receive_unfunded(self, node_id: NodeId, temporary: ChannelId, msg: Message) -> None:
        core = self._core
        state = core.unfunded[(node_id, temporary)]
        ctx = core.context(node_id, alias=core.fresh_alias())
        transition: Transition[AnyState] = channel.receive(state, msg, ctx)
        funded = transition.state
        if isinstance(funded, FundedState) and funded.data.channel_id in core.state.channels:
            raise DuplicateFunding(funded.data.channel_id)
        core.apply_unfunded(node_id, temporary, transition)

    def _on_open_channel(self, node_id: NodeId, msg: OpenChannel) -> None:
        core = self._core
        try:
            if (node_id, msg.temporary_channel_id) in core.unfunded or msg.temporary_channel_id in core.state.channels:
                raise TooManyChannels("temporary_channel_id is used already")
            self._check_unfunded_limits(node_id)
            ctx = core.context(node_id)
            core.apply_unfunded(node_id, msg.temporary_channel_id, on_open_channel(msg, node_id, ctx))
        except RemoteError as error:
            core.send(node_id, Error(msg.temporary_channel_id, text_data(str(error))))

    def _check_unfunded_limits(self, node_id: NodeId) -> None:
        """What strangers may cost us: opening is free before the funding confirms."""
        core = self._core
        unconfirmed: dict[NodeId, int] = {}
        given_up: dict[NodeId, int] = {}
        trusted: set[NodeId] = set()
        for owner, _ in core.unfunded:
            unconfirmed[owner] = unconfirmed.get(owner, 0) + 1
        for state in core.state.channels.values():
            owner = state.data.params.counterparty_node_id
            if state.data.funding.height is not None:
                trusted.add(owner)
            elif not state.data.params.holder_is_opener:
                kind = given_up if isinstance(state, Closing) else unconfirmed
                kind[owner] = kind.get(owner, 0) + 1
        if unconfirmed.get(node_id, 0) >= MAX_UNFUNDED_CHANS_PER_PEER:
            raise TooManyChannels(f"more than {MAX_UNFUNDED_CHANS_PER_PEER} channels without a confirmed funding")
        if given_up.get(node_id, 0) >= MAX_GIVEN_UP_CHANS_PER_PEER:
            raise TooManyChannels(
                f"more than {MAX_GIVEN_UP_CHANS_PER_PEER} openings were given up, and may yet be funded"
            )
        strangers = (unconfirmed.keys() | given_up.keys()) - trusted - {node_id}
        if node_id not in trusted and len(strangers) >= MAX_UNFUNDED_CHANNEL_PEERS:
            raise TooManyChannels(f"more than {MAX_UNFUNDED_CHANNEL_PEERS} peers have nothing but unfunded channels")

    def _on_error_for_all(self, node_id: NodeId, msg: Error) -> None:
        for owner, temporary in [key for key in self._core.unfunded if key[0] == node_id]:
            self._receive_unfunded(owner, temporary, msg)
        for channel_id in self._channels_of(node_id):
            if channel_id not in self.suspended:
                self._core.receive(channel_id, msg)

    def _unknown_channel(self, node_id: NodeId, channel_id: ChannelId, msg: Message) -> None:
        """BOLT 1, error: for any message of a channel (types 32 to 255), so that the peer does not wait for us.

        Only a peer that still negotiates a close which is buried and forgotten here lags behind the chain: an error
        would make it broadcast its commitment, and the chain will tell it anyway.
        """
        kind = Warning if isinstance(msg, Shutdown | ClosingSigned) else Error
        self._core.send(node_id, kind(channel_id, f"unknown channel in {type(msg).__name__}".encode()))

    # --- time and blocks

    def fundings_are_gone(self, conflicted: Collection[Txid]) -> None:
        """A block has another spend of what these transactions of ours spend: they can never confirm."""
        for channel_id, state in list(self._core.state.channels.items()):
            if state.data.funding.outpoint.txid in conflicted:
                self._core.execute(channel_id, ForceClose("the funding transaction was double-spent"))

    def timer_ticks(self) -> Iterator[Callable[[], None]]:
        """Once a minute (LDK): feerates follow the estimates, and nobody is waited for without end. Each for itself."""
        yield self._core.refresh_feerates
        yield self._expire_unfunded
        for channel_id in list(self._core.state.channels):
            yield partial(self._tick, channel_id)

    def _tick(self, channel_id: ChannelId) -> None:
        state = self._core.state.channels.get(channel_id)
        if state is None:
            return
        if isinstance(state, Normal):
            self._update_feerate(channel_id, state)
        self._check_overdue(channel_id, state)

    def _expire_unfunded(self) -> None:
        core = self._core
        ticks = {key: self._unfunded_ticks.get(key, 0) + 1 for key in core.unfunded}
        self._unfunded_ticks = ticks
        for (node_id, temporary), age in ticks.items():
            state = core.unfunded[(node_id, temporary)]
            unanswered = isinstance(state, WaitForOpenChannel)
            limit = UNACCEPTED_INBOUND_CHANNEL_AGE_LIMIT_TICKS if unanswered else UNFUNDED_CHANNEL_AGE_LIMIT_TICKS
            if age > limit:
                self.force_close_broadcasting_latest_txn(temporary, node_id, "the channel was not funded in time")

    def _update_feerate(self, channel_id: ChannelId, state: Normal) -> None:
        """LDK: up at once, down only when the estimate has halved."""
        data = state.data
        wanted = self._core.feerates.commitment(data.params.anchors)
        current = data.commitments.fees.newest.feerate_per_kw
        if not data.params.holder_is_opener or (wanted <= current and wanted * 2 > current):
            return
        self._try(lambda: self._core.execute(channel_id, UpdateFee(wanted)))

    def _check_overdue(self, channel_id: ChannelId, state: FundedState) -> None:
        """A peer that owes an answer is disconnected: the connection starts afresh (LDK)."""
        owes = isinstance(state, Syncing | Negotiating) or (
            isinstance(state, Normal | ShuttingDown) and state.data.commitments.awaiting_revocation
        )
        peer = self._core.peer_of(channel_id)
        if not owes or peer is None or (isinstance(state, Negotiating) and state.agreed is not None):
            self._awaiting_ticks.pop(channel_id, None)
            return
        debt = (type(state), state.data.commitments.counterparty_number)
        owed, ticks = self._awaiting_ticks.get(channel_id, (debt, 0))
        ticks = ticks + 1 if owed == debt else 1
        self._awaiting_ticks[channel_id] = (debt, ticks)
        if ticks > DISCONNECT_PEER_AWAITING_RESPONSE_TICKS:
            self._awaiting_ticks.pop(channel_id, None)
            if isinstance(state, Negotiating):
                self._core.execute(channel_id, AnswerOverdue())
            else:
                self._core.effects.append(DisconnectPeer(peer.conn, "the peer owes an answer"))

    def _try(self, function: Callable[[], None]) -> None:
        try:
            function()
        except LocalError:
            return


class TooManyChannels(RemoteError):
    """The peer's channel is refused; those that it has are not concerned."""


class DuplicateFunding(RemoteError):
    """Two channels cannot live on one output."""

    def __init__(self, channel_id: ChannelId) -> None:
        super().__init__(f"funding_created: channel {channel_id.hex()} exists")
        self.channel_id = channel_id
