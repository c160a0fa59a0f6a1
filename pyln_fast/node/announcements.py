"""`channel_update`s: ours for our peers, theirs for our invoices' hints (BOLT 7, The channel_update Message).

Channels are not announced yet, so an update goes to the peer of its channel alone, which needs it for its route hints.
"""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from pyln_fast.channel.state import FundedState, Normal
from pyln_fast.node.core import Core
from pyln_fast.node.state import NODE_KEY, CounterpartyForwardingInfo
from pyln_fast.payment.invoice_fields import RouteHint, RouteHintHop
from pyln_fast.tx.keys import verify_ecdsa
from pyln_fast.types import Blocks, ChannelId, Msat, NodeId, ShortChannelId, Signature, UnixTime
from pyln_fast.wire.codec import encode, signed_part
from pyln_fast.wire.gossip_msgs import (
    CHANNEL_FLAG_DIRECTION,
    CHANNEL_FLAG_DISABLE,
    MESSAGE_FLAG_DONT_FORWARD,
    MESSAGE_FLAG_MUST_BE_ONE,
    ChannelUpdate,
)

MAX_HINTS = 3
"""LDK: more make an invoice too long for a QR code."""

REFRESH_SECS = 24 * 3600
"""What says the same is sent again as it is, so that failures do not drive our timestamps into the future; but BOLT 7
lets others forget a channel without an update for two weeks."""


class Announcements:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._told: dict[ChannelId, int] = {}
        """The connection on which our update was sent last."""
        self._made: dict[ShortChannelId, ChannelUpdate] = {}
        """Our newest update under each name."""
        self._by_scid: dict[ShortChannelId, ChannelId] = {}
        for channel_id, state in core.state.channels.items():
            self._index(channel_id, state)
        core.on_usable = self.on_usable
        core.on_placed = self.on_placed

    # --- names of channels

    def _index(self, channel_id: ChannelId, state: FundedState) -> None:
        self._by_scid[state.data.holder_alias] = channel_id
        scid = state.data.funding.short_channel_id
        if scid is not None:
            self._by_scid[scid] = channel_id

    def on_placed(self, channel_id: ChannelId) -> None:
        state = self._core.state.channels.get(channel_id)
        if state is not None:
            self._index(channel_id, state)

    def channel_of(self, scid: ShortChannelId) -> ChannelId | None:
        """By the alias that we gave its peer, or by its place in the chain."""
        channel_id = self._by_scid.get(scid)
        state = self._core.state.channels.get(channel_id) if channel_id is not None else None
        if state is None or scid not in (state.data.holder_alias, state.data.funding.short_channel_id):
            return None
        return channel_id

    # --- ours

    def on_usable(self, channel_id: ChannelId) -> None:
        state = self._core.state.channels[channel_id]
        self._index(channel_id, state)
        peer = self._core.peer_of(channel_id)
        if peer is None or self._told.get(channel_id) == peer.conn:
            return
        self._told[channel_id] = peer.conn
        self._core.send(state.data.params.counterparty_node_id, self.our_update(state, self._name_for_peer(state)))

    def _name_for_peer(self, state: FundedState) -> ShortChannelId:
        """BOLT 7: an alias that we received from the peer, or the real id."""
        real = state.data.funding.short_channel_id
        name = state.data.counterparty_alias if state.data.counterparty_alias is not None else real
        return name if name is not None else state.data.holder_alias

    def our_update(self, state: FundedState, name: ShortChannelId) -> ChannelUpdate:
        data = state.data
        params = data.params
        ours, theirs = self._core.node_id, params.counterparty_node_id
        direction = 0 if ours < theirs else CHANNEL_FLAG_DIRECTION
        disabled = 0 if isinstance(state, Normal) else CHANNEL_FLAG_DISABLE
        limit = min(params.counterparty.max_htlc_value_in_flight_msat, 1000 * params.channel_value_sat)
        made = self._made.get(name)
        unsigned = ChannelUpdate(
            Signature(bytes(64)),
            self._core.network.chain_hash,
            name,
            made.timestamp if made is not None else 0,
            MESSAGE_FLAG_MUST_BE_ONE | MESSAGE_FLAG_DONT_FORWARD,
            direction | disabled,
            data.config.cltv_expiry_delta,
            params.counterparty.htlc_minimum_msat,
            data.config.forwarding_fee_base_msat,
            data.config.forwarding_fee_proportional_millionths,
            Msat(limit),
        )
        if made is not None and replace(made, signature=unsigned.signature) == unsigned and self._is_fresh(made):
            return made
        unsigned = replace(unsigned, timestamp=self._next_timestamp())
        signature = self._core.keys.sign_gossip_message(signed_part(unsigned))
        self._made[name] = signed = replace(unsigned, signature=signature)
        return signed

    def _is_fresh(self, made: ChannelUpdate) -> bool:
        """Also: its timestamp is on record. One that was made in an input that was taken back is not."""
        record = self._core.record
        return record.wall_time - REFRESH_SECS < made.timestamp <= record.last_update_timestamp

    def _next_timestamp(self) -> UnixTime:
        """BOLT 7: greater than that of every earlier update of the channel, also of what was sent before a restart."""
        record = self._core.record
        timestamp = UnixTime(max(record.wall_time, record.last_update_timestamp + 1))
        self._core.state.node[NODE_KEY] = replace(record, last_update_timestamp=timestamp)
        return timestamp

    def update_for_failure(self, channel_id: ChannelId, scid: ShortChannelId | None) -> bytes:
        """BOLT 4: the outgoing channel's update, under the name that the sender used; empty where there is none."""
        state = self._core.state.channels.get(channel_id)
        if state is None:
            return b""
        return encode(self.our_update(state, scid if scid is not None else state.data.holder_alias))

    # --- theirs

    def on_channel_update(self, node_id: NodeId, msg: ChannelUpdate) -> None:
        """From the peer of a channel: its terms for forwarding to us. Anything else is not for us (no gossip here)."""
        channel_id = self.channel_of(msg.short_channel_id)
        if channel_id is None or msg.chain_hash != self._core.network.chain_hash:
            return
        params = self._core.state.channels[channel_id].data.params
        from_lesser = msg.channel_flags & CHANNEL_FLAG_DIRECTION == 0
        if params.counterparty_node_id != node_id or from_lesser != (node_id < self._core.node_id):
            return
        known = self._core.state.forwarding_infos.get(channel_id)
        if known is not None and msg.timestamp <= known.timestamp:
            return
        digest = hashlib.sha256(hashlib.sha256(signed_part(msg)).digest()).digest()
        if not verify_ecdsa(msg.signature, digest, node_id):
            return
        self._core.state.forwarding_infos[channel_id] = CounterpartyForwardingInfo(
            msg.fee_base_msat,
            msg.fee_proportional_millionths,
            Blocks(msg.cltv_expiry_delta),
            msg.timestamp,
            msg.htlc_minimum_msat,
            msg.htlc_maximum_msat,
        )

    def route_hints(self, amount_msat: Msat | None) -> tuple[RouteHint, ...]:
        """One hint for each usable private channel whose peer has told us its terms, the roomiest first."""
        hints = []
        for channel_id, state in self._core.state.channels.items():
            info = self._core.state.forwarding_infos.get(channel_id)
            data = state.data
            name = data.counterparty_alias if data.counterparty_alias is not None else data.funding.short_channel_id
            if info is None or name is None or not isinstance(state, Normal) or data.params.announce_channel:
                continue
            room = data.commitments.to_counterparty_msat - 1000 * data.params.holder.channel_reserve_sat
            if amount_msat is not None and room < amount_msat:
                continue
            hop = RouteHintHop(
                data.params.counterparty_node_id,
                name,
                info.fee_base_msat,
                info.fee_proportional_millionths,
                info.cltv_expiry_delta,
            )
            hints.append((-room, channel_id, (hop,)))
        return tuple(hint for _, _, hint in sorted(hints)[:MAX_HINTS])
