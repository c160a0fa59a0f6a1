"""What both parties agreed on when the channel was opened (BOLT 2, open_channel and accept_channel)."""

from __future__ import annotations

import msgspec

from pyln_fast.tx.parameters import ChannelParty, ChannelPublicKeys, ChannelTransactionParameters
from pyln_fast.types import Blocks, Msat, NodeId, OutPoint, Sat


class PartyTerms(msgspec.Struct, frozen=True, array_like=True):
    """What one party announced in its `open_channel` or `accept_channel`: limits it puts on the other."""

    dust_limit_sat: Sat
    """Of its own commitment."""
    max_htlc_value_in_flight_msat: Msat
    """Most that the other may have in flight towards it."""
    channel_reserve_sat: Sat
    """What the other must keep."""
    htlc_minimum_msat: Msat
    to_self_delay: Blocks
    """How long the other's own outputs are delayed."""
    max_accepted_htlcs: int
    pubkeys: ChannelPublicKeys
    upfront_shutdown_script: bytes | None
    """None: not committed to."""


class ChannelParams(msgspec.Struct, frozen=True, array_like=True):
    user_channel_id: int
    counterparty_node_id: NodeId
    channel_keys_id: bytes
    """What the signer provider needs to derive the signer again."""
    holder_is_opener: bool
    announce_channel: bool
    channel_type: bytes
    """The feature bits of the channel's type, as on the wire."""
    anchors: bool
    channel_value_sat: Sat
    push_msat: Msat
    minimum_depth: int
    holder: PartyTerms
    counterparty: PartyTerms

    def transaction_parameters(self, funding_outpoint: OutPoint) -> ChannelTransactionParameters:
        """Each party's outputs are delayed by what the *other* announced."""
        return ChannelTransactionParameters(
            funding_outpoint,
            self.channel_value_sat,
            ChannelParty(self.holder.pubkeys, self.holder.dust_limit_sat, self.counterparty.to_self_delay),
            ChannelParty(self.counterparty.pubkeys, self.counterparty.dust_limit_sat, self.holder.to_self_delay),
            self.holder_is_opener,
            self.anchors,
        )
