"""Changing fees, crashes and the end of a channel."""

from __future__ import annotations

import asyncio

from pyln_fast.events import ChannelClosed, InitialSend, PaymentPathFailed
from pyln_fast.node.details import ChannelDetails
from pyln_fast.node.node import FRESHNESS_TIMER_MS
from pyln_fast.types import FeeratePerKw
from tests.interop.ldk_peer import LdkPeer
from tests.interop.our_node import OurNode
from tests.interop.scenarios import scenario
from tests.interop.waiting import check, until, until_async
from tests.interop.world import Party, Role, World

FEERATES = (2500, 5000, 1200)


async def opener_sets_feerate(world: World, us: OurNode, ldk: LdkPeer, feerate: int) -> None:
    if world.setting.role is Role.OPENER:
        us.fees.feerate = FeeratePerKw(feerate)
        us.tick(FRESHNESS_TIMER_MS)
    else:
        await ldk.request("feerate", feerate_per_kw=feerate)


async def feerate_is(us: OurNode, ldk: LdkPeer, feerate: int) -> None:
    async def look() -> bool:
        (theirs,) = await ldk.channels(us.node_id)
        return us.channels()[0].feerate_sat_per_1000_weight == theirs["feerate_per_kw"] == feerate

    await until_async(look, f"{feerate} sat/kw on both sides")


@scenario("update_fee from the opener")
async def update_fee(world: World) -> None:
    us, ldk, _ = await world.pair()
    for feerate in FEERATES:
        await opener_sets_feerate(world, us, ldk, feerate)
        await feerate_is(us, ldk, feerate)
        await world.pay(us, ldk, 3_000_000)
        await world.pay(ldk, us, 3_000_000)
    both: list[tuple[Party, Party, int]] = [(us, ldk, 2_000_000), (ldk, us, 2_000_000)]
    load = asyncio.ensure_future(world.pay_all(both * 10))
    await opener_sets_feerate(world, us, ldk, 4000)
    await load
    await feerate_is(us, ldk, 4000)


def _never_left(payer: Party, payment_hash: str) -> bool:
    """It waited for a link that was lost before its HTLC was signed for: nothing is wrong with that."""
    if isinstance(payer, LdkPeer):
        return payer.find("PaymentPathFailed", payment_hash=payment_hash, failure="InitialSend") is not None
    failed = [each for each in payer.of(PaymentPathFailed) if each.payment_hash.hex() == payment_hash]
    return bool(failed) and isinstance(failed[0].failure, InitialSend)


async def _under_load(world: World, us: OurNode, ldk: LdkPeer, crash_ldk: bool) -> None:
    """Payments both ways that begin before, between and after three crashes; every one ends, and ends once."""
    begun: list[tuple[Party, str]] = []
    for crash in range(3):
        for i in range(12):
            for payer, payee in ((us, ldk), (ldk, us)):
                text = await world.invoice(payee, 400_000 + 50_000 * i)
                begun.append((payer, await world.send(payer, text)))
            await asyncio.sleep(0.004 * crash)
        if crash_ldk:
            await ldk.kill()
            await ldk.start()
        else:
            await us.kill(keep=crash % 2)
            await us.start()
        await world.connect(us, ldk, from_us=crash % 2 == 0)
    for payer, payment_hash in begun:
        # A payment whose record was not durable when its payer died has never been made, and no one hears of it.
        unknown = payer is us and not crash_ldk and bytes.fromhex(payment_hash) not in us.node.core.state.payments
        if not unknown:
            outcome = await world.outcome(payer, payment_hash)
            if _never_left(payer, payment_hash):
                continue
            check(outcome == "sent", f"{payer.name}'s payment {payment_hash[:8]}: {outcome}")


async def _after_crashes(world: World, us: OurNode, ldk: LdkPeer, channel: ChannelDetails) -> None:
    await world.usable(us, ldk, channel.channel_id)
    after = await world.quiet(us, channel.channel_id)
    total = after.holder_balance_msat + after.counterparty_balance_msat
    check(total == 1000 * after.channel_value_satoshis, f"the balances are {total} msat together")
    await world.pay(us, ldk, 1_000_000)
    await world.pay(ldk, us, 1_000_000)


@scenario("LDK killed and restarted under load")
async def ldk_killed(world: World) -> None:
    us, ldk, channel = await world.pair(keep=True)
    await _under_load(world, us, ldk, crash_ldk=True)
    await _after_crashes(world, us, ldk, channel)


@scenario("we killed and restarted under load")
async def we_killed(world: World) -> None:
    us, ldk, channel = await world.pair()
    await _under_load(world, us, ldk, crash_ldk=False)
    await _after_crashes(world, us, ldk, channel)


async def _close(world: World, us: OurNode, ldk: LdkPeer, channel: ChannelDetails, we_begin: bool) -> None:
    await world.pay(us, ldk, 1_234_567)
    await world.pay(ldk, us, 7_654_321)
    await world.quiet(us, channel.channel_id)
    peer, channel_id = channel.counterparty_node_id, channel.channel_id
    if we_begin:
        await us.call(lambda node: node.channel_manager.close_channel(channel_id, peer))
    else:
        await ldk.request("close", channel_id=channel_id.hex())
    await closed(world, us, ldk, channel, we_begin)


async def closed(world: World, us: OurNode, ldk: LdkPeer, channel: ChannelDetails, we_begin: bool) -> None:
    funding = channel.funding_txo
    assert funding is not None
    spender = await until(lambda: world.chain.spender_of(funding.txid, funding.vout), "the closing transaction")
    assert spender is not None
    await world.chain.mine(1)
    check(world.chain.node.confirmations(spender) == 1, "the closing transaction has not confirmed")
    theirs = await ldk.event("ChannelClosed", channel_id=channel.channel_id.hex())
    asked = "CounterpartyInitiatedCooperativeClosure" if we_begin else "LocallyInitiatedCooperativeClosure"
    check(theirs["reason"] == asked, f"LDK's reason is {theirs['reason']}, not {asked}")
    await world.chain.mine(6)
    ours = await until(lambda: us.of(ChannelClosed), "our ChannelClosed")
    asked = "LocallyInitiatedCooperativeClosure" if we_begin else "CounterpartyInitiatedCooperativeClosure"
    reason = type(ours[-1].reason).__name__
    check(reason == asked, f"our reason is {reason}, not {asked}")
    check(not us.channels(ldk.node_id), f"we still list {us.channels(ldk.node_id)}")
    check(not await ldk.channels(us.node_id), "LDK still lists the channel")


@scenario("cooperative close by us")
async def we_close(world: World) -> None:
    us, ldk, channel = await world.pair()
    await _close(world, us, ldk, channel, we_begin=True)


@scenario("cooperative close by LDK")
async def ldk_closes(world: World) -> None:
    us, ldk, channel = await world.pair()
    await _close(world, us, ldk, channel, we_begin=False)
