"""What every peer is put through. A scenario raises Failure where the other side or we break a BOLT."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.interop.waiting import check
from tests.interop.world import CAPACITY_SAT, World

Scenario = Callable[[World], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[name] = function
        return function

    return register


@scenario("open and confirm")
async def open_and_confirm(world: World) -> None:
    us, ldk, channel = await world.pair()
    check(channel.channel_type == world.setting.channel_type.features, f"our channel_type is {channel.channel_type!r}")
    (theirs,) = await ldk.channels(us.node_id)
    check(theirs["channel_type"].endswith(world.setting.channel_type.features.hex()), f"LDK's: {theirs}")
    check(theirs["feerate_per_kw"] == channel.feerate_sat_per_1000_weight, f"LDK's feerate: {theirs}")
    check(theirs["sat"] == channel.channel_value_satoshis == CAPACITY_SAT, f"LDK's capacity: {theirs}")
    check(theirs["scid"] == str(int(channel.short_channel_id or 0)), f"LDK's short_channel_id: {theirs}")


@scenario("a payment each way")
async def a_payment_each_way(world: World) -> None:
    us, ldk, channel = await world.pair()
    before = channel.holder_balance_msat
    await world.pay(us, ldk, 1_000_000)
    await world.pay(ldk, us, 2_345_678)
    after = await world.quiet(us, channel.channel_id)
    check(after.holder_balance_msat == before + 1_345_678, f"our balance went from {before} to {after}")
