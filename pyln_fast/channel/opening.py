"""The terms of a new channel: what we propose, and whether we take what the counterparty proposes (BOLT 2, Channel
Establishment v1)."""

from __future__ import annotations

from msgspec.structs import replace

from pyln_fast.channel.errors import APIMisuse, InvalidField, LimitExceeded, PeerFeerateBelowMinimum
from pyln_fast.channel.limits import both_below_reserve, opener_affords
from pyln_fast.channel.params import ChannelParams, PartyTerms
from pyln_fast.channel.transition import Context
from pyln_fast.config import (
    MAX_CHAN_DUST_LIMIT_SATOSHIS,
    MAX_FUNDING_SATOSHIS_NO_WUMBO,
    MAX_HTLCS,
    MAX_LEGACY_CHAN_DUST_LIMIT_SATOSHIS,
    MIN_AFFORDABLE_HTLC_COUNT,
    MIN_CHAN_DUST_LIMIT_SATOSHIS,
    TOTAL_BITCOIN_SUPPLY_SATOSHIS,
    UserConfig,
)
from pyln_fast.features import Feature, Features
from pyln_fast.tx.closing import is_valid_shutdown_script
from pyln_fast.tx.keys import is_valid_public_key
from pyln_fast.tx.parameters import ChannelPublicKeys
from pyln_fast.types import Blocks, CommitmentNumber, FeeratePerKw, Msat, NodeId, Sat
from pyln_fast.wire.channel_msgs import AcceptChannel, OpenChannel

STATIC_REMOTEKEY = Features.of(required=(Feature.OPTION_STATIC_REMOTEKEY,)).encode()
ANCHORS = Features.of(required=(Feature.OPTION_STATIC_REMOTEKEY, Feature.OPTION_ANCHORS)).encode()
"""BOLT 2, Defined Channel Types: the two that we speak."""

ANNOUNCE_CHANNEL = 1


def both_offer(ctx: Context, feature: Feature) -> bool:
    """We offer all features that this file asks about; what counts is the counterparty."""
    return Features.decode(ctx.counterparty_features).has(feature)


def build_open_channel(
    ctx: Context, config: UserConfig, channel_value_sat: Sat, push_msat: Msat, channel_keys_id: bytes
) -> OpenChannel:
    """Raises APIMisuse."""
    wumbo = both_offer(ctx, Feature.OPTION_SUPPORT_LARGE_CHANNEL)
    largest = TOTAL_BITCOIN_SUPPLY_SATOSHIS if wumbo else MAX_FUNDING_SATOSHIS_NO_WUMBO
    if not 1000 <= channel_value_sat <= largest:
        raise APIMisuse(f"a channel of {channel_value_sat} sat: must be from 1000 to {largest}")
    if not 0 <= push_msat <= 1000 * channel_value_sat:
        raise APIMisuse(f"push of {push_msat} msat into a channel of {channel_value_sat} sat")
    handshake = config.channel_handshake_config
    anchors = handshake.negotiate_anchors_zero_fee_htlc_tx and both_offer(ctx, Feature.OPTION_ANCHORS)
    reserve_sat = handshake.their_channel_reserve_sat(channel_value_sat, MIN_CHAN_DUST_LIMIT_SATOSHIS)
    if reserve_sat >= channel_value_sat:
        raise APIMisuse(f"a channel of {channel_value_sat} sat cannot keep a reserve of {reserve_sat} sat")
    feerate = ctx.feerates.commitment(anchors)
    signer = ctx.signers.derive_channel_signer(channel_keys_id)
    keys = signer.pubkeys
    return OpenChannel(
        ctx.network.chain_hash,
        ctx.temporary_channel_id,
        channel_value_sat,
        push_msat,
        MIN_CHAN_DUST_LIMIT_SATOSHIS,
        handshake.max_inbound_htlc_value_in_flight_msat(channel_value_sat, handshake.announce_for_forwarding),
        reserve_sat,
        handshake.our_htlc_minimum_msat,
        feerate,
        handshake.our_to_self_delay,
        handshake.our_max_accepted_htlcs,
        keys.funding_pubkey,
        keys.revocation_basepoint,
        keys.payment_point,
        keys.delayed_payment_basepoint,
        keys.htlc_basepoint,
        signer.get_per_commitment_point(CommitmentNumber(0)),
        ANNOUNCE_CHANNEL if handshake.announce_for_forwarding else 0,
        _upfront_script(ctx, config),
        ANCHORS if anchors else STATIC_REMOTEKEY,
    )


def _upfront_script(ctx: Context, config: UserConfig) -> bytes:
    # Empty says: the field is there because TLVs are, and commits us to nothing (BOLT 2).
    return ctx.shutdown_script if config.channel_handshake_config.commit_upfront_shutdown_pubkey else b""


def build_accept_channel(
    ctx: Context, config: UserConfig, open_channel: OpenChannel, channel_keys_id: bytes
) -> AcceptChannel:
    handshake = config.channel_handshake_config
    signer = ctx.signers.derive_channel_signer(channel_keys_id)
    keys = signer.pubkeys
    announced = bool(open_channel.channel_flags & ANNOUNCE_CHANNEL)
    return AcceptChannel(
        open_channel.temporary_channel_id,
        MIN_CHAN_DUST_LIMIT_SATOSHIS,
        handshake.max_inbound_htlc_value_in_flight_msat(open_channel.funding_satoshis, announced),
        handshake.their_channel_reserve_sat(open_channel.funding_satoshis, open_channel.dust_limit_satoshis),
        handshake.our_htlc_minimum_msat,
        handshake.minimum_depth,
        handshake.our_to_self_delay,
        handshake.our_max_accepted_htlcs,
        keys.funding_pubkey,
        keys.revocation_basepoint,
        keys.payment_point,
        keys.delayed_payment_basepoint,
        keys.htlc_basepoint,
        signer.get_per_commitment_point(CommitmentNumber(0)),
        _upfront_script(ctx, config),
        open_channel.channel_type,
    )


def terms_of(message: OpenChannel | AcceptChannel) -> PartyTerms:
    return PartyTerms(
        message.dust_limit_satoshis,
        message.max_htlc_value_in_flight_msat,
        message.channel_reserve_satoshis,
        message.htlc_minimum_msat,
        Blocks(message.to_self_delay),
        message.max_accepted_htlcs,
        ChannelPublicKeys(
            message.funding_pubkey,
            message.revocation_basepoint,
            message.payment_basepoint,
            message.delayed_payment_basepoint,
            message.htlc_basepoint,
        ),
        message.upfront_shutdown_script or None,
    )


# --- what the counterparty proposes -----------------------------------------------------------------------------------


def check_open_channel(ctx: Context, msg: OpenChannel) -> None:
    """BOLT 2, open_channel, the receiving node. Raises InvalidField, LimitExceeded, PeerFeerateBelowMinimum."""
    config, limits = ctx.config, ctx.config.channel_handshake_limits
    name = "open_channel"
    if msg.chain_hash != ctx.network.chain_hash:
        raise InvalidField(name, "chain_hash", f"is not that of {ctx.network.value}")
    if not config.accept_inbound_channels:
        raise InvalidField(name, "temporary_channel_id", "is not welcome: inbound channels are not accepted here")
    if msg.channel_type is None:
        raise InvalidField(name, "channel_type", "is missing")
    if msg.channel_type not in (STATIC_REMOTEKEY, ANCHORS):
        raise InvalidField(name, "channel_type", f"{msg.channel_type.hex()} is not suitable")
    _at_least(name, "funding_satoshis", msg.funding_satoshis, limits.min_funding_satoshis)
    _at_most(name, "funding_satoshis", msg.funding_satoshis, TOTAL_BITCOIN_SUPPLY_SATOSHIS)
    _at_most(name, "push_msat", msg.push_msat, 1000 * msg.funding_satoshis)
    announced = bool(msg.channel_flags & ANNOUNCE_CHANNEL)
    if (
        limits.force_announced_channel_preference
        and announced != config.channel_handshake_config.announce_for_forwarding
    ):
        raise InvalidField(name, "channel_flags", "announce_channel is not what is wanted here")
    anchors = msg.channel_type == ANCHORS
    if anchors and not config.channel_handshake_config.negotiate_anchors_zero_fee_htlc_tx:
        raise InvalidField(name, "channel_type", "option_anchors is not wanted here")
    minimum = ctx.feerates.min_allowed(anchors)
    if msg.feerate_per_kw < minimum:
        raise PeerFeerateBelowMinimum(msg.feerate_per_kw, minimum)
    # Unreasonably large: ten times the highest estimate would make every HTLC dust.
    _at_most(name, "feerate_per_kw", msg.feerate_per_kw, 10 * ctx.feerates.maximum_fee_estimate)
    _check_common(ctx, name, msg, msg.funding_satoshis, anchors)
    _at_least(name, "channel_reserve_satoshis", msg.channel_reserve_satoshis, msg.dust_limit_satoshis)
    # BOLT 2: what accept_channel will answer must fit too.
    _at_least(name, "channel_reserve_satoshis", msg.channel_reserve_satoshis, MIN_CHAN_DUST_LIMIT_SATOSHIS)


def check_accept_channel(ctx: Context, open_channel: OpenChannel, msg: AcceptChannel) -> None:
    """BOLT 2, accept_channel, the receiver. Raises InvalidField, LimitExceeded."""
    name = "accept_channel"
    _at_most(name, "minimum_depth", msg.minimum_depth, ctx.config.channel_handshake_limits.max_minimum_depth)
    if msg.channel_type is None:
        raise InvalidField(name, "channel_type", "is missing")
    if msg.channel_type != open_channel.channel_type:
        raise InvalidField(name, "channel_type", f"{msg.channel_type.hex()} is not what open_channel said")
    anchors = msg.channel_type == ANCHORS
    _at_least(name, "channel_reserve_satoshis", msg.channel_reserve_satoshis, open_channel.dust_limit_satoshis)
    _at_most(name, "dust_limit_satoshis", msg.dust_limit_satoshis, open_channel.channel_reserve_satoshis)
    _check_common(ctx, name, msg, open_channel.funding_satoshis, anchors)


def _check_common(
    ctx: Context, name: str, msg: OpenChannel | AcceptChannel, funding_satoshis: Sat, anchors: bool
) -> None:
    """What holds for the fields that both messages have."""
    limits = ctx.config.channel_handshake_limits
    most_dust = MAX_CHAN_DUST_LIMIT_SATOSHIS if anchors else MAX_LEGACY_CHAN_DUST_LIMIT_SATOSHIS
    _at_least(name, "dust_limit_satoshis", msg.dust_limit_satoshis, MIN_CHAN_DUST_LIMIT_SATOSHIS)
    _at_most(name, "dust_limit_satoshis", msg.dust_limit_satoshis, most_dust)
    _at_most(name, "to_self_delay", msg.to_self_delay, limits.their_to_self_delay)
    _at_least(name, "max_accepted_htlcs", msg.max_accepted_htlcs, max(1, limits.min_max_accepted_htlcs))
    _at_most(name, "max_accepted_htlcs", msg.max_accepted_htlcs, MAX_HTLCS)
    _at_most(name, "htlc_minimum_msat", msg.htlc_minimum_msat, limits.max_htlc_minimum_msat)
    _at_most(name, "htlc_minimum_msat", msg.htlc_minimum_msat, 1000 * (funding_satoshis - msg.channel_reserve_satoshis))
    in_flight = msg.max_htlc_value_in_flight_msat
    _at_least(name, "max_htlc_value_in_flight_msat", in_flight, limits.min_max_htlc_value_in_flight_msat)
    _at_most(name, "channel_reserve_satoshis", msg.channel_reserve_satoshis, limits.max_channel_reserve_satoshis)
    _at_most(name, "channel_reserve_satoshis", msg.channel_reserve_satoshis, funding_satoshis - 1)
    for field in ("funding_pubkey", "revocation_basepoint", "payment_basepoint", "delayed_payment_basepoint",
                  "htlc_basepoint", "first_per_commitment_point"):  # fmt: skip
        if not is_valid_public_key(getattr(msg, field)):
            raise InvalidField(name, field, "is not a point on the curve")
    script = msg.upfront_shutdown_script
    if script and not is_valid_shutdown_script(script, anysegwit=both_offer(ctx, Feature.OPTION_SHUTDOWN_ANYSEGWIT)):
        raise InvalidField(name, "upfront_shutdown_script", "is not of a form that BOLT 2 allows")


def check_balances(params: ChannelParams, feerate_per_kw: FeeratePerKw, name: str) -> None:
    """BOLT 2: the opener can pay its fee, and somebody has something above the reserve."""
    reserves = params.holder.channel_reserve_sat + params.counterparty.channel_reserve_sat
    _at_most(name, "both channel_reserve_satoshis", reserves, params.channel_value_sat - 1)
    if not opener_affords(params, feerate_per_kw, MIN_AFFORDABLE_HTLC_COUNT):
        raise InvalidField(name, "funding_satoshis", f"{params.channel_value_sat} less push_msat cannot pay the fee")
    if both_below_reserve(params, feerate_per_kw):
        raise InvalidField(name, "push_msat", "leaves both sides at or below their reserve")


def _at_least(name: str, field: str, value: int, limit: int) -> None:
    if value < limit:
        raise LimitExceeded(f"{name} {field} is too small", value, limit)


def _at_most(name: str, field: str, value: int, limit: int) -> None:
    if value > limit:
        raise LimitExceeded(f"{name} {field} is too large", value, limit)


def channel_params(
    ctx: Context, open_channel: OpenChannel, accept: AcceptChannel, node_id: NodeId, user_channel_id: int,
    channel_keys_id: bytes, holder_is_opener: bool,
) -> ChannelParams:  # fmt: skip
    """The channel's terms, once both messages are known."""
    opener, acceptor = terms_of(open_channel), terms_of(accept)
    holder, counterparty = (opener, acceptor) if holder_is_opener else (acceptor, opener)
    if not both_offer(ctx, Feature.OPTION_UPFRONT_SHUTDOWN_SCRIPT):
        # BOLT 2, shutdown: what the counterparty named binds it only with the feature; ours binds us in any case.
        counterparty = replace(counterparty, upfront_shutdown_script=None)
    assert open_channel.channel_type is not None
    return ChannelParams(
        user_channel_id,
        node_id,
        channel_keys_id,
        holder_is_opener,
        bool(open_channel.channel_flags & ANNOUNCE_CHANNEL),
        open_channel.channel_type,
        open_channel.channel_type == ANCHORS,
        open_channel.funding_satoshis,
        open_channel.push_msat,
        max(1, accept.minimum_depth),
        holder,
        counterparty,
    )
