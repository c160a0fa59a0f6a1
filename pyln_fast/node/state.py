"""The node's durable state: named tables of frozen records, and how they are written and loaded.

A record's size never grows with history: an HTLC is a record of its own, beside its channel's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.chain.channel_monitor import MonitorState
from pyln_fast.chain.scanner import BlockHits
from pyln_fast.channel.htlc import Htlc, HtlcKey
from pyln_fast.channel.state import Closing, FundedState, Offline, Syncing
from pyln_fast.errors import LocalError
from pyln_fast.events import AnyEvent
from pyln_fast.node.undo import UndoDict
from pyln_fast.payment.claimable import ClaimablePayment
from pyln_fast.payment.outbound import OutboundPayment
from pyln_fast.records import Table, Write
from pyln_fast.tx.monitor_update import CounterpartyCommitment
from pyln_fast.types import BlockHeight, Blocks, ChannelId, Msat, NodeId, PaymentHash, PaymentId, PublicKey, UnixTime


class NodeRecord(msgspec.Struct, frozen=True, array_like=True):
    """What belongs to no table."""

    wall_time: UnixTime
    """The highest that was ever seen: time does not go back over a restart."""
    next_event: int
    locator: BlockLocator
    last_update_timestamp: UnixTime = UnixTime(0)
    """Of the newest `channel_update` that we signed, of any channel: the next new one is above it."""


class CounterpartyForwardingInfo(msgspec.Struct, frozen=True, array_like=True):
    """The peer's terms for forwarding to us, from its channel_update (LDK's name): what our invoices' hints say."""

    fee_base_msat: Msat
    fee_proportional_millionths: int
    cltv_expiry_delta: Blocks
    timestamp: int
    outbound_htlc_minimum_msat: Msat = Msat(0)
    outbound_htlc_maximum_msat: Msat | None = None


class PeerAddress(msgspec.Struct, frozen=True, array_like=True):
    """Where a peer was reached, to call it again."""

    host: str
    port: int


class MissedBlock(msgspec.Struct, frozen=True, array_like=True):
    """What a monitor could not be told: this block, or without hits that the blocks from this height on are gone."""

    height: BlockHeight
    hits: BlockHits | None


class MissedBlocks(msgspec.Struct, frozen=True, array_like=True):
    """Of one channel, in the order in which they came: it is told again until it takes them."""

    blocks: tuple[MissedBlock, ...]


class ForwardedPayment(msgspec.Struct, frozen=True, array_like=True):
    """History: one HTLC that we forwarded and were paid for."""

    prev_channel_id: ChannelId
    next_channel_id: ChannelId
    amount_msat: Msat
    fee_msat: Msat
    at: UnixTime


K = TypeVar("K", bound=bytes)
R = TypeVar("R")

CHANNELS: Table[FundedState] = Table("channels", FundedState)  # type: ignore[arg-type]
HTLCS: Table[Htlc] = Table("htlcs", Htlc)
MONITORS: Table[MonitorState] = Table("monitors", MonitorState)
COMMITMENTS: Table[CounterpartyCommitment] = Table("commitments", CounterpartyCommitment, history=True)
PAYMENTS: Table[OutboundPayment] = Table("payments", OutboundPayment)
FINISHED_PAYMENTS: Table[OutboundPayment] = Table("finished_payments", OutboundPayment, history=True)
CLAIMABLE: Table[ClaimablePayment] = Table("claimable_payments", ClaimablePayment)
EVENTS: Table[AnyEvent] = Table("events", AnyEvent)  # type: ignore[arg-type]
FORWARDING_INFOS: Table[CounterpartyForwardingInfo] = Table("forwarding_infos", CounterpartyForwardingInfo)
FORWARDED: Table[ForwardedPayment] = Table("forwarded_payments", ForwardedPayment, history=True)
PEER_ADDRESSES: Table[PeerAddress] = Table("peer_addresses", PeerAddress)
MISSED_BLOCKS: Table[MissedBlocks] = Table("missed_blocks", MissedBlocks)
NODE: Table[NodeRecord] = Table("node", NodeRecord)

TABLES: tuple[Table[Any], ...] = (
    CHANNELS,
    HTLCS,
    MONITORS,
    COMMITMENTS,
    PAYMENTS,
    FINISHED_PAYMENTS,
    CLAIMABLE,
    EVENTS,
    FORWARDING_INFOS,
    FORWARDED,
    PEER_ADDRESSES,
    MISSED_BLOCKS,
    NODE,
)
"""All but the wallet's."""

LOADED_TABLES = tuple(table.name for table in TABLES if not table.history)
"""What a start reads of the store, beside the wallet's tables: the rest is history."""

NODE_KEY = b"node"


def forward_key(prev_channel_id: ChannelId, prev_htlc_id: int) -> bytes:
    return prev_channel_id + prev_htlc_id.to_bytes(8, "big")


def event_key(sequence: int) -> bytes:
    return sequence.to_bytes(8, "big")


def htlc_record_key(channel_id: ChannelId, key: HtlcKey) -> bytes:
    offered, htlc_id = key
    return channel_id + (b"\x01" if offered else b"\x00") + htlc_id.to_bytes(8, "big")


class NodeState:
    """Every table in memory, with the marks of one input."""

    def __init__(self, tables: Mapping[str, Mapping[bytes, bytes]]) -> None:
        htlcs: dict[ChannelId, dict[HtlcKey, Htlc]] = {}
        for key, value in sorted(tables.get(HTLCS.name, {}).items()):
            htlc = HTLCS.decode(value)
            htlcs.setdefault(ChannelId(key[:32]), {})[htlc.key] = htlc
        channels: dict[ChannelId, FundedState] = {}
        for key, value in tables.get(CHANNELS.name, {}).items():
            channel_id = ChannelId(key)
            channels[channel_id] = with_htlcs(CHANNELS.decode(value), htlcs.get(channel_id, {}))
        self._written_htlcs: dict[ChannelId, dict[HtlcKey, Htlc]] = {
            channel_id: dict(state.data.commitments.htlcs) for channel_id, state in channels.items()
        }
        self.channels: UndoDict[ChannelId, FundedState] = UndoDict(channels)
        self.monitors = UndoDict(_loaded(MONITORS, tables, ChannelId))
        self.payments = UndoDict(_loaded(PAYMENTS, tables, PaymentId))
        self.claimable = UndoDict(_loaded(CLAIMABLE, tables, PaymentHash))
        self.forwarding_infos = UndoDict(_loaded(FORWARDING_INFOS, tables, ChannelId))
        self.missed_blocks = UndoDict(_loaded(MISSED_BLOCKS, tables, ChannelId))
        self.peer_addresses = UndoDict(_loaded(PEER_ADDRESSES, tables, _node_id))
        events = {
            int.from_bytes(key, "big"): EVENTS.decode(value) for key, value in tables.get(EVENTS.name, {}).items()
        }
        self.events: UndoDict[int, AnyEvent] = UndoDict(dict(sorted(events.items())))
        self.node = UndoDict(_loaded(NODE, tables, bytes))
        self.history: list[Write] = []
        """Records that are written once and not kept in memory."""
        self._committed_history = 0

    @property
    def _all(self) -> tuple[UndoDict[object, object], ...]:
        return (  # type: ignore[return-value]
            self.channels,
            self.monitors,
            self.payments,
            self.claimable,
            self.forwarding_infos,
            self.peer_addresses,
            self.missed_blocks,
            self.events,
            self.node,
        )

    def commit(self) -> None:
        for table in self._all:
            table.commit()
        self._committed_history = len(self.history)

    def roll_back(self) -> None:
        for table in self._all:
            table.roll_back()
        del self.history[self._committed_history :]

    def take_writes(self) -> list[Write]:
        """The records that this turn changed."""
        writes = self._channel_writes()
        writes += _writes(MONITORS, self.monitors)
        writes += _writes(PAYMENTS, self.payments)
        writes += _writes(CLAIMABLE, self.claimable)
        writes += _writes(FORWARDING_INFOS, self.forwarding_infos)
        writes += _writes(PEER_ADDRESSES, self.peer_addresses)
        writes += _writes(MISSED_BLOCKS, self.missed_blocks)
        for sequence in self.events.take_dirty():
            event = self.events.get(sequence)
            key = event_key(sequence)
            writes.append(EVENTS.delete(key) if event is None else EVENTS.put(key, event))
        writes += _writes(NODE, self.node)
        writes += self.history
        self.history = []
        self._committed_history = 0
        return writes

    def _channel_writes(self) -> list[Write]:
        writes: list[Write] = []
        for channel_id in self.channels.take_dirty():
            before = self._written_htlcs.get(channel_id, {})
            state = self.channels.get(channel_id)
            if state is None:
                writes.append(CHANNELS.delete(channel_id))
                now: dict[HtlcKey, Htlc] = {}
                self._written_htlcs.pop(channel_id, None)
            else:
                writes.append(CHANNELS.put(channel_id, with_htlcs(state, {})))
                now = state.data.commitments.htlcs
                self._written_htlcs[channel_id] = now
            for key, htlc in now.items():
                if before.get(key) is not htlc:
                    writes.append(HTLCS.put(htlc_record_key(channel_id, key), htlc))
            for key in before:
                if key not in now:
                    writes.append(HTLCS.delete(htlc_record_key(channel_id, key)))
        return writes


def _node_id(key: bytes) -> NodeId:
    return NodeId(PublicKey(key))


def _loaded(table: Table[R], tables: Mapping[str, Mapping[bytes, bytes]], key_type: Callable[[bytes], K]) -> dict[K, R]:
    return {key_type(key): table.decode(value) for key, value in tables.get(table.name, {}).items()}


def _writes(table: Table[R], values: UndoDict[K, R]) -> list[Write]:
    writes: list[Write] = []
    for key in values.take_dirty():
        value = values.get(key)
        writes.append(table.delete(key) if value is None else table.put(key, value))
    return writes


def with_htlcs(state: FundedState, htlcs: dict[HtlcKey, Htlc]) -> FundedState:
    """The same channel with another HTLC table: records keep it apart."""
    inner = state.inner if isinstance(state, Offline | Syncing) else state
    commitments = msgspec.structs.replace(inner.data.commitments, htlcs=htlcs)
    inner = msgspec.structs.replace(inner, data=msgspec.structs.replace(inner.data, commitments=commitments))
    if isinstance(state, Offline | Syncing):
        assert not isinstance(inner, Closing)
        return msgspec.structs.replace(state, inner=inner)
    return inner


class DangerousState(LocalError):
    """LDK's DecodeError::DangerousValue: a node that starts with this could lose what is in the channel."""

    def __init__(self, channel_id: ChannelId, why: str) -> None:
        super().__init__(f"channel {channel_id.hex()}: {why}; the database is not one that this node has written")
        self.channel_id = channel_id


def check_monitors(channels: Mapping[ChannelId, FundedState], monitors: Mapping[ChannelId, MonitorState]) -> None:
    """A channel and its monitor are written in one batch, so they are of the same moment. Raises DangerousState."""
    for channel_id, state in channels.items():
        monitor, update_id = monitors.get(channel_id), state.data.monitor_update_id
        if monitor is None:
            raise DangerousState(channel_id, "its monitor is missing")
        if monitor.update_id != update_id:
            raise DangerousState(channel_id, f"its monitor is at update {monitor.update_id}, it is at {update_id}")
