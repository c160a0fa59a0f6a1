from __future__ import annotations

import msgspec
import pytest

from pyln_fast.config import (
    MAX_HTLCS,
    MIN_CLTV_EXPIRY_DELTA,
    ChannelConfig,
    ChannelConfigOverrides,
    ChannelConfigUpdate,
    ChannelHandshakeConfig,
    ChannelHandshakeConfigUpdate,
    ChannelHandshakeLimits,
    FeeRateMultiplier,
    FixedLimitMsat,
    HTLCInterceptionFlags,
    InvalidConfig,
    UserConfig,
    dust_buffer_feerate,
    max_htlcs,
)
from pyln_fast.types import Blocks, FeeratePerKw, Msat, Sat


def test_what_ldk_moves_into_its_range_is_moved() -> None:
    handshake = ChannelHandshakeConfig(
        minimum_depth=Blocks(0),
        our_htlc_minimum_msat=Msat(0),
        announced_channel_max_inbound_htlc_value_in_flight_percentage=0,
        unannounced_channel_max_inbound_htlc_value_in_flight_percentage=101,
        their_channel_reserve_proportional_millionths=2_000_000,
        our_max_accepted_htlcs=1000,
    )
    assert (handshake.minimum_depth, handshake.our_htlc_minimum_msat) == (1, 1)
    assert handshake.announced_channel_max_inbound_htlc_value_in_flight_percentage == 1
    assert handshake.unannounced_channel_max_inbound_htlc_value_in_flight_percentage == 100
    assert handshake.their_channel_reserve_proportional_millionths == 1_000_000
    assert handshake.our_max_accepted_htlcs == MAX_HTLCS
    assert ChannelConfig(cltv_expiry_delta=Blocks(6)).cltv_expiry_delta == MIN_CLTV_EXPIRY_DELTA
    limits = ChannelHandshakeLimits(min_funding_satoshis=Sat(1), their_to_self_delay=Blocks(5000))
    assert (limits.min_funding_satoshis, limits.their_to_self_delay) == (1000, 2016)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"^our_to_self_delay is 143, and must be from 144 to 65535$"):
        ChannelHandshakeConfig(our_to_self_delay=Blocks(143))
    with pytest.raises(InvalidConfig) as caught:
        ChannelConfig(forwarding_fee_base_msat=Msat(-1))
    assert (caught.value.name, caught.value.value) == ("forwarding_fee_base_msat", -1)
    with pytest.raises(InvalidConfig):
        UserConfig(htlc_interception_flags=256)


def test_a_replaced_config_is_checked_too() -> None:
    config = msgspec.structs.replace(ChannelConfig(), cltv_expiry_delta=Blocks(1))
    assert config.cltv_expiry_delta == MIN_CLTV_EXPIRY_DELTA


def test_a_section_of_a_file_is_a_config_and_a_misspelt_field_is_refused() -> None:
    section = {"forwarding_fee_base_msat": 5, "max_dust_htlc_exposure": {"type": "FixedLimitMsat", "limit_msat": 7}}
    assert msgspec.convert(section, ChannelConfig) == ChannelConfig(
        forwarding_fee_base_msat=Msat(5), max_dust_htlc_exposure=FixedLimitMsat(Msat(7))
    )
    with pytest.raises(msgspec.ValidationError, match="forwarding_fee_basis"):
        msgspec.convert({"forwarding_fee_basis": 5}, ChannelConfig)


def test_a_config_survives_encoding() -> None:
    config = UserConfig(channel_config=ChannelConfig(max_dust_htlc_exposure=FixedLimitMsat(Msat(1))))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=UserConfig) == config


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    overrides = ChannelConfigOverrides(
        handshake_overrides=ChannelHandshakeConfigUpdate(
            announced_channel_max_inbound_htlc_value_in_flight_percentage=1,
            unannounced_channel_max_inbound_htlc_value_in_flight_percentage=2,
            htlc_minimum_msat=Msat(3),
            minimum_depth=Blocks(4),
            to_self_delay=Blocks(500),
            max_accepted_htlcs=6,
            channel_reserve_proportional_millionths=7,
        ),
        update_overrides=ChannelConfigUpdate(
            forwarding_fee_proportional_millionths=1,
            forwarding_fee_base_msat=Msat(2),
            cltv_expiry_delta=Blocks(99),
            max_dust_htlc_exposure_msat=FeeRateMultiplier(4),
            force_close_avoidance_max_fee_satoshis=Sat(5),
            accept_underpaying_htlcs=True,
        ),
    )
    assert UserConfig(reject_inbound_splices=False).apply(overrides) == UserConfig(
        reject_inbound_splices=False,
        channel_handshake_config=ChannelHandshakeConfig(
            announced_channel_max_inbound_htlc_value_in_flight_percentage=1,
            unannounced_channel_max_inbound_htlc_value_in_flight_percentage=2,
            our_htlc_minimum_msat=Msat(3),
            minimum_depth=Blocks(4),
            our_to_self_delay=Blocks(500),
            our_max_accepted_htlcs=6,
            their_channel_reserve_proportional_millionths=7,
        ),
        channel_config=ChannelConfig(
            forwarding_fee_proportional_millionths=1,
            forwarding_fee_base_msat=Msat(2),
            cltv_expiry_delta=Blocks(99),
            max_dust_htlc_exposure=FeeRateMultiplier(4),
            force_close_avoidance_max_fee_satoshis=Sat(5),
            accept_underpaying_htlcs=True,
        ),
    )
    assert UserConfig().apply(ChannelConfigOverrides()) == UserConfig()


def test_limits_that_follow_from_a_config() -> None:
    handshake = ChannelHandshakeConfig()
    assert handshake.max_inbound_htlc_value_in_flight_msat(Sat(1_000_000), is_announced=True) == 250_000_000
    assert handshake.max_inbound_htlc_value_in_flight_msat(Sat(1_000_000), is_announced=False) == 1_000_000_000
    assert handshake.their_channel_reserve_sat(Sat(1_000_000), Sat(354)) == 10_000
    assert handshake.their_channel_reserve_sat(Sat(50_000), Sat(354)) == 1000
    assert handshake.their_channel_reserve_sat(Sat(50_000), Sat(5000)) == 5000
    assert ChannelConfig().max_dust_htlc_exposure_msat(FeeratePerKw(2500)) == 25_000_000
    assert ChannelConfig().max_dust_htlc_exposure_msat(None) == 2_500_000
    assert ChannelConfig(max_dust_htlc_exposure=FixedLimitMsat(Msat(9))).max_dust_htlc_exposure_msat(None) == 9
    assert (max_htlcs(False), max_htlcs(True)) == (483, 114)
    assert (dust_buffer_feerate(FeeratePerKw(253)), dust_buffer_feerate(FeeratePerKw(20_000))) == (2783, 25_000)


def test_interception_flags() -> None:
    flags = HTLCInterceptionFlags
    known = flags.TO_INTERCEPT_SCIDS | flags.TO_OFFLINE_PRIVATE_CHANNELS | flags.TO_ONLINE_PRIVATE_CHANNELS
    assert known | flags.TO_PUBLIC_CHANNELS == flags.TO_ALL_KNOWN_SCIDS
