"""Every limit with its reason, and what a user may set, under LDK's names.

A limit is a constant because the protocol or somebody's safety rests on it; a setting is a field of `UserConfig`. A
value that LDK silently moves into its range is moved here when the config is made, so nobody reads it unmoved; a value
that cannot be meant is `InvalidConfig`.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Any, ClassVar

import msgspec
from msgspec.structs import force_setattr

from pyln_fast.errors import LocalError
from pyln_fast.types import Blocks, FeeratePerKw, Msat, Sat

# --- Deadlines, in blocks. They hang together: see the assertions below them. ---

MAX_BLOCKS_FOR_CONF = Blocks(18)
"""We count on a transaction that pays enough and is bumped to confirm within this many blocks."""
CLTV_CLAIM_BUFFER = Blocks(2 * MAX_BLOCKS_FOR_CONF)
"""Go on chain for a received HTLC with a known preimage this long before its expiry: commitment, then HTLC-success."""
LATENCY_GRACE_PERIOD_BLOCKS = Blocks(3)
"""How late the peer may be (it or we may be a block or two behind) before an expired HTLC closes a channel."""
PEER_PATIENCE_MINUTES = 10
"""After a start, in which an HTLC past its deadline waits for a peer that is not connected: it may prove that we have
lost state, and then our commitment is revoked. A block or two more costs nothing beside that."""
ANTI_REORG_DELAY = Blocks(6)
"""Confirmations before an on-chain fact has consequences that cannot be taken back."""
HTLC_FAIL_BACK_BUFFER = Blocks(CLTV_CLAIM_BUFFER + LATENCY_GRACE_PERIOD_BLOCKS)
"""A received HTLC nearer to its expiry than this is refused or failed back: a claim on chain might come too late."""
MIN_CLTV_EXPIRY_DELTA = Blocks(48)
"""The least distance between the expiry of a received HTLC and the one forwarded for it."""
MIN_FINAL_CLTV_EXPIRY_DELTA = Blocks(HTLC_FAIL_BACK_BUFFER + 3)
"""For invoices: one more than the buffer would already be refused; another is for a block found on the way."""
CLTV_FAR_FAR_AWAY = Blocks(14 * 24 * 6)
"""An HTLC that expires later than this could lock funds for longer than any honest route needs."""
COUNTERPARTY_CLAIMABLE_WITHIN_BLOCKS_PINNABLE = Blocks(12)
"""An output that the counterparty can spend this soon is claimed alone: it could pin a transaction with others."""
BREAKDOWN_TIMEOUT = Blocks(144)
"""The least `to_self_delay` that we impose: a day to see a revoked commitment and punish it."""
MAX_LOCAL_BREAKDOWN_TIMEOUT = Blocks(2016)
"""The longest `to_self_delay` that we accept: two weeks of locked funds after a unilateral close."""
FUNDING_CONF_DEADLINE_BLOCKS = Blocks(2016)
"""BOLT 2, The funding_signed Message: the fundee forgets a channel whose funding is not confirmed by then."""
COINBASE_MATURITY = Blocks(100)
"""Consensus: an output of a coinbase transaction cannot be spent before."""

# The HTLC downstream may be failed late by the grace period, then needs two confirmations and a settled second stage,
# while the upstream peer may be ahead of us by another grace period.
assert MIN_CLTV_EXPIRY_DELTA >= 2 * LATENCY_GRACE_PERIOD_BLOCKS + 2 * MAX_BLOCKS_FOR_CONF + ANTI_REORG_DELAY
# A preimage learnt just before we would have closed downstream reaches the upstream peer before it closes on us.
assert MIN_CLTV_EXPIRY_DELTA >= 2 * LATENCY_GRACE_PERIOD_BLOCKS - 1 + CLTV_CLAIM_BUFFER
assert COUNTERPARTY_CLAIMABLE_WITHIN_BLOCKS_PINNABLE < MAX_BLOCKS_FOR_CONF

# --- Amounts ---

MAX_FUNDING_SATOSHIS_NO_WUMBO = Sat((1 << 24) - 1)
"""BOLT 2: the largest channel without `option_support_large_channel`."""
TOTAL_BITCOIN_SUPPLY_SATOSHIS = Sat(21_000_000 * 100_000_000)
MIN_CHANNEL_VALUE_SATOSHIS = Sat(1000)
"""Below this nothing is left after reserves and dust."""
MIN_CHAN_DUST_LIMIT_SATOSHIS = Sat(354)
"""BOLT 3, Dust Limits: every segwit output of a closing transaction is then relayed."""
MAX_CHAN_DUST_LIMIT_SATOSHIS = Sat(10_000)
"""A peer's higher dust limit would turn payments that matter into fees."""
MAX_LEGACY_CHAN_DUST_LIMIT_SATOSHIS = Sat(546)
"""The same for channels without anchors: the dust limit of P2PKH, which many nodes use."""
MIN_THEIR_CHAN_RESERVE_SATOSHIS = Sat(1000)
"""A reserve that is above the dust limit, so that there is something to take from a cheater."""
ANCHOR_OUTPUT_VALUE_SATOSHI = Sat(330)
"""BOLT 3, Anchor outputs."""
MAX_HTLCS = 483
"""BOLT 2: of each side's offers; more would make a commitment larger than is relayed."""
MAX_HTLCS_ZERO_FEE_COMMITMENTS = 114
"""BIP 431: a commitment that pays no fee is held to 10,000 virtual bytes."""

# --- Fees ---

FEERATE_FLOOR_SATS_PER_KW = FeeratePerKw(253)
"""1 sat per virtual byte, rounded up so that rounding of weight cannot push a transaction below relay."""
FEE_SPIKE_BUFFER_FEE_INCREASE_MULTIPLE = 2
"""BOLT 2: the funder of a channel without anchors keeps enough for twice the feerate and one more HTLC."""
CONCURRENT_INBOUND_HTLC_FEE_BUFFER = 2
"""HTLCs that the peer may be adding while our `update_fee` is on its way."""
MIN_AFFORDABLE_HTLC_COUNT = 4
"""A channel whose funder cannot pay for a commitment with this many HTLCs is not worth opening."""
DUST_BUFFER_FEERATE_INCREASE = FeeratePerKw(2530)
"""Dust is judged at a feerate higher by this or by a quarter, so that a rise in fees makes no sudden dust."""
ZERO_FEE_COMMITMENT_DUST_FEERATE = FeeratePerKw(250)
"""What stands in for the feerate where commitments have none and `FeeRateMultiplier` asks for one."""

# --- Peers: what strangers may cost us ---

MAX_UNFUNDED_CHANS_PER_PEER = 4
"""Opening costs the opener nothing before the funding confirms."""
MAX_GIVEN_UP_CHANS_PER_PEER = 20
"""Openings that failed before their funding confirmed. It may still come, so each is kept for 2016 blocks: with our
signature alone its opener can have its money back."""
MAX_UNFUNDED_CHANNEL_PEERS = 50
"""Peers without a funded channel that may have an unfunded one."""
MAX_NO_CHANNEL_PEERS = 2500
"""Inbound connections of peers without a funded channel: each holds a socket and buffers."""
PEER_WRITE_BUFFER_PAUSE_BYTES = 4 << 20
"""Reading from a peer pauses while more than this waits to be sent to it. One commitment of one channel may bring 483
`update_add_htlc`, 483 `update_fail_htlc` with attribution and 484 signatures, 1.5 MB: two nodes that both pause below
what they may have to send wait for each other forever."""
PEER_MAX_QUEUED_BYTES = 16 << 20
"""A peer that makes us owe it more than this (pings that ask for long pongs) is disconnected."""
PEER_OUTPUT_CHUNK_BYTES = 1 << 20
"""Encrypted for one connection at a time: what is encrypted can no longer wait for the peer to read."""
MAX_BUFFER_DRAIN_TICK_INTERVALS_PER_PEER = 4
"""Ping timers that may pass without an answer while our own buffer to the peer is still draining."""

# --- Timers, in seconds, and how many ticks of the first one things may take ---

FRESHNESS_TIMER = 60
"""One tick of `ChannelManager.timer_tick_occurred`."""
PING_TIMER = 10
REBROADCAST_TIMER = 30
"""Everything that we want confirmed is broadcast again: mempools evict and nodes restart."""
DISCONNECT_PEER_AWAITING_RESPONSE_TICKS = 2
"""A peer that owes `revoke_and_ack`, `channel_reestablish` or `stfu` this long is disconnected, then starts afresh."""
UNACCEPTED_INBOUND_CHANNEL_AGE_LIMIT_TICKS = 2
"""A user who has not answered `OpenChannelRequest` by then has refused it."""
UNFUNDED_CHANNEL_AGE_LIMIT_TICKS = 60
IDEMPOTENCY_TIMEOUT_TICKS = 7
"""A finished `PaymentId` is remembered this long, so that a caller's retry cannot pay twice."""

U16_MAX = 0xFFFF
U32_MAX = 0xFFFF_FFFF
U64_MAX = 0xFFFF_FFFF_FFFF_FFFF


class InvalidConfig(LocalError):
    """A setting that cannot be meant: `name` is `value`, the limits are `lowest` and `highest`."""

    def __init__(self, name: str, value: int, lowest: int, highest: int) -> None:
        super().__init__(f"{name} is {value}, and must be from {lowest} to {highest}")
        self.name = name
        self.value = value
        self.lowest = lowest
        self.highest = highest


def max_htlcs(zero_fee_commitments: bool) -> int:
    """The most HTLCs of one direction in a channel of that type."""
    return MAX_HTLCS_ZERO_FEE_COMMITMENTS if zero_fee_commitments else MAX_HTLCS


def dust_buffer_feerate(feerate_per_kw: FeeratePerKw) -> FeeratePerKw:
    """The feerate at which an HTLC is judged to be dust when exposure to dust is counted."""
    return FeeratePerKw(max(feerate_per_kw + DUST_BUFFER_FEERATE_INCREASE, feerate_per_kw * 1250 // 1000))


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields keep their names when encoded, so that a section of a configuration file is the same thing."""

    CLAMPED: ClassVar[dict[str, tuple[int, int]]] = {}
    """Fields moved to the nearest of these limits, as LDK documents for each."""
    LIMITED: ClassVar[dict[str, tuple[int, int]]] = {}
    """Fields refused outside of these limits: the integer's width in the protocol, or safety."""

    def __post_init__(self) -> None:
        for name, (lowest, highest) in self.LIMITED.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:
                raise InvalidConfig(name, value, lowest, highest)
        for name, (lowest, highest) in self.CLAMPED.items():
            value = getattr(self, name)
            if value is not None:
                force_setattr(self, name, min(max(value, lowest), highest))


class FeeRateMultiplier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="FeeRateMultiplier"):
    """The limit in msat is this times our `MaximumFeeEstimate` in sat per 1000 weight."""

    multiplier: int


class FixedLimitMsat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="FixedLimitMsat"):
    limit_msat: Msat


MaxDustHTLCExposure = FeeRateMultiplier | FixedLimitMsat
"""What a channel may lose in HTLCs too small to be claimed and in fees above our own estimate."""


class ChannelConfigUpdate(_Settings, frozen=True, kw_only=True):
    """Changes to a `ChannelConfig`: None leaves a field as it is."""

    forwarding_fee_proportional_millionths: int | None = None
    forwarding_fee_base_msat: Msat | None = None
    cltv_expiry_delta: Blocks | None = None
    max_dust_htlc_exposure_msat: MaxDustHTLCExposure | None = None
    """LDK's name, although it is not only of msat."""
    force_close_avoidance_max_fee_satoshis: Sat | None = None
    accept_underpaying_htlcs: bool | None = None


class ChannelConfig(_Settings, frozen=True, kw_only=True):
    """What may change while a channel lives."""

    forwarding_fee_proportional_millionths: int = 0
    """Of the amount forwarded over the channel, charged on top of the base."""
    forwarding_fee_base_msat: Msat = Msat(1000)
    """Charged for every HTLC forwarded over the channel."""
    cltv_expiry_delta: Blocks = Blocks(72)
    """Between a received HTLC's expiry and the one forwarded over the channel: twelve hours to notice and to claim on
    chain. Less than `MIN_CLTV_EXPIRY_DELTA` becomes that."""
    max_dust_htlc_exposure: MaxDustHTLCExposure = FeeRateMultiplier(10_000)
    force_close_avoidance_max_fee_satoshis: Sat = Sat(1000)
    """The funder's closing fee may exceed a commitment's by this: what not waiting for `to_self_delay` is worth."""
    accept_underpaying_htlcs: bool = False
    """Whether the counterparty may take a fee off what it forwards to us; the user checks each payment's amount."""

    CLAMPED = {"cltv_expiry_delta": (MIN_CLTV_EXPIRY_DELTA, U16_MAX)}
    LIMITED = {
        "forwarding_fee_proportional_millionths": (0, U32_MAX),
        "forwarding_fee_base_msat": (0, U32_MAX),
        "force_close_avoidance_max_fee_satoshis": (0, U64_MAX),
    }

    def max_dust_htlc_exposure_msat(self, maximum_fee_estimate: FeeratePerKw | None) -> Msat:
        """The limit now; None is a channel whose commitments pay no fee."""
        limit = self.max_dust_htlc_exposure
        if isinstance(limit, FixedLimitMsat):
            return limit.limit_msat
        feerate = ZERO_FEE_COMMITMENT_DUST_FEERATE if maximum_fee_estimate is None else maximum_fee_estimate
        return Msat(feerate * limit.multiplier)

    def apply(self, update: ChannelConfigUpdate) -> ChannelConfig:
        names = {"max_dust_htlc_exposure_msat": "max_dust_htlc_exposure"}
        return msgspec.structs.replace(self, **_set_fields(update, names))


class ChannelHandshakeConfigUpdate(_Settings, frozen=True, kw_only=True):
    """Changes to a `ChannelHandshakeConfig` for one channel: None leaves a field as it is."""

    announced_channel_max_inbound_htlc_value_in_flight_percentage: int | None = None
    unannounced_channel_max_inbound_htlc_value_in_flight_percentage: int | None = None
    htlc_minimum_msat: Msat | None = None
    minimum_depth: Blocks | None = None
    to_self_delay: Blocks | None = None
    max_accepted_htlcs: int | None = None
    channel_reserve_proportional_millionths: int | None = None


_HANDSHAKE_UPDATE_NAMES = {
    "htlc_minimum_msat": "our_htlc_minimum_msat",
    "to_self_delay": "our_to_self_delay",
    "max_accepted_htlcs": "our_max_accepted_htlcs",
    "channel_reserve_proportional_millionths": "their_channel_reserve_proportional_millionths",
}


class ChannelHandshakeConfig(_Settings, frozen=True, kw_only=True):
    """What we propose to the counterparty, and hold it to, when a channel is opened."""

    minimum_depth: Blocks = Blocks(6)
    """Confirmations before an inbound channel is used. At least 1: to trust an unconfirmed one is a decision of its
    own, made when the channel is accepted."""
    our_to_self_delay: Blocks = BREAKDOWN_TIMEOUT
    """How long the counterparty waits for its money after a unilateral close: our time to punish a revoked
    commitment, so we must look at the chain more often. Not below `BREAKDOWN_TIMEOUT`."""
    our_htlc_minimum_msat: Msat = Msat(1)
    """The smallest HTLC that we take. At least 1: the protocol has no HTLC of 0."""
    announced_channel_max_inbound_htlc_value_in_flight_percentage: int = 25
    """Of the channel's value, in received HTLCs: what is in HTLCs has nearer deadlines than what is not."""
    unannounced_channel_max_inbound_htlc_value_in_flight_percentage: int = 100
    negotiate_scid_privacy: bool = False
    """`option_scid_alias` in the channel type of private channels that we open."""
    announce_for_forwarding: bool = False
    """Announce our channels. It cannot be changed for a channel that exists."""
    commit_upfront_shutdown_pubkey: bool = True
    """Name the closing script when opening, so that whoever takes over the node cannot close to another."""
    their_channel_reserve_proportional_millionths: int = 10_000
    """What the counterparty always keeps on its side, of the channel's value: what a cheater loses at least."""
    negotiate_anchors_zero_fee_htlc_tx: bool = True
    """`option_anchors`. The wallet must then hold confirmed funds to pay the fees of a force-close."""
    negotiate_anchor_zero_fee_commitments: bool = False
    """`zero_fee_commitments`. Closing them needs a path to miners that relays TRUC packages."""
    our_max_accepted_htlcs: int = 50
    """HTLCs of the counterparty's in flight. Each makes commitments larger and justice dearer. See `max_htlcs`."""

    CLAMPED = {
        "minimum_depth": (1, U32_MAX),
        "our_htlc_minimum_msat": (1, U64_MAX),
        "announced_channel_max_inbound_htlc_value_in_flight_percentage": (1, 100),
        "unannounced_channel_max_inbound_htlc_value_in_flight_percentage": (1, 100),
        "their_channel_reserve_proportional_millionths": (0, 1_000_000),
        "our_max_accepted_htlcs": (0, MAX_HTLCS),
    }
    LIMITED = {"our_to_self_delay": (BREAKDOWN_TIMEOUT, U16_MAX)}

    def max_inbound_htlc_value_in_flight_msat(self, channel_value_sat: Sat, is_announced: bool) -> Msat:
        """Our `max_htlc_value_in_flight_msat` for a channel."""
        percentage = (
            self.announced_channel_max_inbound_htlc_value_in_flight_percentage
            if is_announced
            else self.unannounced_channel_max_inbound_htlc_value_in_flight_percentage
        )
        return Msat(channel_value_sat * 10 * percentage)

    def their_channel_reserve_sat(self, channel_value_sat: Sat, their_dust_limit_sat: Sat) -> Sat:
        """Our `channel_reserve_satoshis` for a channel of v1: BOLT 2 wants it not below the peer's dust limit."""
        proportional = channel_value_sat * self.their_channel_reserve_proportional_millionths // 1_000_000
        return Sat(max(proportional, MIN_THEIR_CHAN_RESERVE_SATOSHIS, their_dust_limit_sat))

    def apply(self, update: ChannelHandshakeConfigUpdate) -> ChannelHandshakeConfig:
        return msgspec.structs.replace(self, **_set_fields(update, _HANDSHAKE_UPDATE_NAMES))


class ChannelHandshakeLimits(_Settings, frozen=True, kw_only=True):
    """What we accept of the counterparty's proposals when a channel is opened."""

    min_funding_satoshis: Sat = Sat(1000)
    """Of inbound channels. At least `MIN_CHANNEL_VALUE_SATOSHIS`."""
    max_htlc_minimum_msat: Msat = Msat(U64_MAX)
    """The highest `htlc_minimum_msat` that a peer may ask for."""
    min_max_htlc_value_in_flight_msat: Msat = Msat(0)
    """The lowest `max_htlc_value_in_flight_msat` that a peer may ask for."""
    max_channel_reserve_satoshis: Sat = Sat(U64_MAX)
    """The highest reserve that a peer may ask us to keep: we cannot spend it."""
    min_max_accepted_htlcs: int = 0
    """The lowest `max_accepted_htlcs` that a peer may ask for."""
    max_minimum_depth: Blocks = Blocks(144)
    """The most confirmations that the fundee of our channel may ask for: a day."""
    trust_own_funding_0conf: bool = True
    """Use a channel that we funded at once if the peer wants no confirmation. False for a wallet whose user replaces
    transactions."""
    force_announced_channel_preference: bool = True
    """Refuse an inbound channel whose announcement is not what `announce_for_forwarding` says."""
    their_to_self_delay: Blocks = MAX_LOCAL_BREAKDOWN_TIMEOUT
    """The longest that a peer may make us wait for our money after a unilateral close; it cannot be raised."""

    CLAMPED = {
        "min_funding_satoshis": (MIN_CHANNEL_VALUE_SATOSHIS, U64_MAX),
        "their_to_self_delay": (0, MAX_LOCAL_BREAKDOWN_TIMEOUT),
    }


class HTLCInterceptionFlags(IntFlag):
    """Which HTLCs to forward become an `HTLCIntercepted` event, which the user answers within seconds."""

    TO_INTERCEPT_SCIDS = 1 << 0
    TO_OFFLINE_PRIVATE_CHANNELS = 1 << 1
    TO_ONLINE_PRIVATE_CHANNELS = 1 << 2
    TO_PUBLIC_CHANNELS = 1 << 3
    TO_ALL_KNOWN_SCIDS = 0x0F
    FROM_PRIVATE_CHANNELS = 1 << 4
    FROM_PUBLIC_TO_PRIVATE_CHANNELS = 1 << 5
    FROM_PUBLIC_TO_PUBLIC_CHANNELS = 1 << 6
    TO_UNKNOWN_SCIDS = 1 << 7
    ALL_VALID_HTLCS = 0xFF


class ChannelConfigOverrides(_Settings, frozen=True, kw_only=True):
    """What differs from the `UserConfig` for one channel, given when it is opened or accepted."""

    handshake_overrides: ChannelHandshakeConfigUpdate | None = None
    update_overrides: ChannelConfigUpdate | None = None


class UserConfig(_Settings, frozen=True, kw_only=True):
    """Everything a user may set; the defaults are LDK's."""

    channel_handshake_config: ChannelHandshakeConfig = ChannelHandshakeConfig()
    channel_handshake_limits: ChannelHandshakeLimits = ChannelHandshakeLimits()
    channel_config: ChannelConfig = ChannelConfig()
    accept_forwards_to_priv_channels: bool = False
    """Forward over channels that are not announced: only for a node that is reliably online."""
    accept_inbound_channels: bool = True
    """If true, every inbound channel still waits for the answer to its `OpenChannelRequest`."""
    htlc_interception_flags: int = 0
    """`HTLCInterceptionFlags`, or-ed."""
    manually_handle_bolt12_invoices: bool = False
    enable_dual_funded_channels: bool = False
    enable_htlc_hold: bool = False
    """Hold HTLCs for channel peers that are often offline."""
    hold_outbound_htlcs_at_next_hop: bool = False
    """Ask our channel peer to hold what we pay to an often-offline recipient."""
    reject_inbound_splices: bool = True

    LIMITED = {"htlc_interception_flags": (0, HTLCInterceptionFlags.ALL_VALID_HTLCS)}

    def apply(self, overrides: ChannelConfigOverrides) -> UserConfig:
        config = self
        if overrides.handshake_overrides is not None:
            handshake = config.channel_handshake_config.apply(overrides.handshake_overrides)
            config = msgspec.structs.replace(config, channel_handshake_config=handshake)
        if overrides.update_overrides is not None:
            channel = config.channel_config.apply(overrides.update_overrides)
            config = msgspec.structs.replace(config, channel_config=channel)
        return config


def _set_fields(update: msgspec.Struct, names: dict[str, str]) -> dict[str, Any]:
    """The fields of an update that are not None, under the names of what they change."""
    values = {name: getattr(update, name) for name in update.__struct_fields__}
    return {names.get(name, name): value for name, value in values.items() if value is not None}
