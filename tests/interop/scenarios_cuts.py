"""The link cut at every message of every exchange, in each direction, delivered or lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pyln_fast.channel.errors import ChannelUnavailable
from tests.interop.cuts import Cut, Way
from tests.interop.ldk_peer import LdkError, LdkPeer
from tests.interop.our_node import OurNode
from tests.interop.scenarios import scenario
from tests.interop.scenarios_links import closed, feerate_is, opener_sets_feerate
from tests.interop.waiting import Failure, check, until, until_async
from tests.interop.world import Party, World

MAX_MESSAGES = 40
"""More than any of the exchanges here has in one direction."""
MESSAGES_OF_A_PAYMENT = 5
"""In each direction: add, commit, revoke; fulfil, commit, revoke; and the answers to both. One less where a side
revokes for the removal in time for its next commitment."""


def _is_over(world: World, us: OurNode, payer: Party, payment_hash: str) -> bool:
    """The payment has ended and its HTLC has left both commitments."""
    (channel,) = us.channels()
    pending = channel.pending_inbound_htlcs + channel.pending_outbound_htlcs
    return world.outcome_now(payer, payment_hash) is not None and not pending


async def _cut_everywhere(world: World, us: OurNode, ldk: LdkPeer, payer: Party, payee: Party, way: Way) -> None:
    """One payment for every message of the exchange; the link ends at that message and is made again."""
    for count in range(1, MAX_MESSAGES):
        invoice = await world.invoice(payee, 1_500_000 + count)
        us.cuts.arm(Cut(way, count))
        payment_hash = await world.send(payer, invoice)
        await until(lambda h=payment_hash: us.cuts.cut_at or _is_over(world, us, payer, h), "a cut or the end")  # type: ignore[misc]
        if us.cuts.cut_at is None:
            us.cuts.disarm()
            check(count >= MESSAGES_OF_A_PAYMENT, f"{way.value}, {payer.name} pays: only {count - 1} messages")
            return
        where = f"cut at message {count}, {us.cuts.cut_at}: {way.value}, {payer.name} pays"
        try:
            await world.connect(us, ldk, from_us=count % 2 == 0)
            outcome = await world.outcome(payer, payment_hash, 10)
        except Exception as error:
            raise type(error)(f"{where}: {error}; {us.log[-3:]}; LDK: {ldk.log[-2:]}") from None
        check(outcome == "sent", f"{where}: {outcome}")
        await _restored(world, us, ldk)
    check(False, f"{way.value}: no end after {MAX_MESSAGES} messages")


@scenario("the link cut after each message")
async def cut_after_each_message(world: World) -> None:
    us, ldk, channel = await world.pair()
    for way in Way:
        await _cut_everywhere(world, us, ldk, us, ldk, way)
        await _cut_everywhere(world, us, ldk, ldk, us, way)
    await _balanced(world, us, ldk, channel.channel_id)


@scenario("the link cut again while it is restored")
async def cut_twice(world: World) -> None:
    us, ldk, channel = await world.pair()
    turn = 0
    for first in Way:
        for count in range(1, MESSAGES_OF_A_PAYMENT + 1):
            for second in Way:
                for again in (1, 2, 3):
                    turn += 1
                    payer, payee = (us, ldk) if turn % 2 else (ldk, us)
                    await _cut_and_cut_again(world, us, ldk, payer, payee, Cut(first, count), Cut(second, again))
    await _balanced(world, us, ldk, channel.channel_id)


async def _cut_and_cut_again(
    world: World, us: OurNode, ldk: LdkPeer, payer: Party, payee: Party, first: Cut, second: Cut
) -> None:
    invoice = await world.invoice(payee, 1_500_000)
    us.cuts.arm(first)
    payment_hash = await world.send(payer, invoice)
    await until(lambda: us.cuts.cut_at or _is_over(world, us, payer, payment_hash), "a cut or the end")
    if us.cuts.cut_at is None:
        await asyncio.sleep(0.02)
    if us.cuts.cut_at is None:
        check(first.count == MESSAGES_OF_A_PAYMENT, f"no cut at {first}")
        us.cuts.disarm()
        return
    where = f"{payer.name} pays, cut at {us.cuts.cut_at} ({first.way.value})"
    await world.apart(us, ldk)
    us.cuts.arm(second)
    await us.connect(ldk.port, ldk.node_id)
    await until(lambda: us.cuts.cut_at or _is_over(world, us, payer, payment_hash), f"{where}: a cut or the end")
    where += f", then at {us.cuts.cut_at} ({second.way.value})"
    us.cuts.disarm()
    try:
        if us.cuts.cut_at is not None:
            await world.connect(us, ldk, from_us=False)
        outcome = await world.outcome(payer, payment_hash, 10)
    except Exception as error:
        raise type(error)(f"{where}: {error}; {us.log[-3:]}; LDK: {ldk.log[-2:]}") from None
    check(outcome == "sent", f"{where}: {outcome}")
    await _restored(world, us, ldk)


@scenario("the link cut during update_fee")
async def cut_during_update_fee(world: World) -> None:
    us, ldk, channel = await world.pair()
    high = False
    for way in Way:
        for count in (1, 2, 3):
            high = not high
            feerate = 3000 if high else 1000
            us.cuts.arm(Cut(way, count))
            await opener_sets_feerate(world, us, ldk, feerate)
            with suppress(Exception):
                await until(lambda: us.cuts.cut_at, "a cut", 0.3)
            us.cuts.disarm()
            if us.cuts.cut_at is not None:
                await world.connect(us, ldk, from_us=high)
                await world.usable(us, ldk, channel.channel_id)
            # A fee that nobody had signed for is forgotten with the link, and set anew.
            await opener_sets_feerate(world, us, ldk, feerate)
            try:
                await feerate_is(us, ldk, feerate)
            except Failure as failure:
                fees = us.node.core.state.channels[channel.channel_id].data.commitments.fees
                where = f"cut at {us.cuts.cut_at} ({count}, {way.value}): our feerates {fees}"
                raise Failure(f"{where}: {failure}; LDK's {await ldk.channels()}") from None
    await _balanced(world, us, ldk, channel.channel_id)


@scenario("the link cut at channel_ready")
async def cut_at_channel_ready(world: World) -> None:
    us, ldk = await world.our_node(), await world.ldk()
    for way in Way:
        await world.connect(us, ldk)
        for each in us.channels():
            await world.usable(us, ldk, each.channel_id)
        # The third of each side, after open_channel and funding_created or their answers.
        us.cuts.arm(Cut(way, 3))
        opening = asyncio.ensure_future(world.open(us, ldk))
        await until(lambda: us.cuts.cut_at, "the cut")
        check(us.cuts.cut_at == "ChannelReady", f"the third message was {us.cuts.cut_at}")
        await world.connect(us, ldk, from_us=False)
        channel = await opening
        await _balanced(world, us, ldk, channel.channel_id)
        await world.apart(us, ldk, by_us=True)


@scenario("the link cut during a cooperative close")
async def cut_during_close(world: World) -> None:
    us, ldk = await world.our_node(), await world.ldk()
    await world.connect(us, ldk)
    for we_begin in (True, False):
        for way in Way:
            for count in (1, 2):
                us.cuts.disarm()
                channel = await world.open(us, ldk)
                await world.pay(us, ldk, 1_000_000)
                await world.quiet(us, channel.channel_id)
                us.events.clear()
                us.cuts.arm(Cut(way, count))
                channel_id, peer = channel.channel_id, channel.counterparty_node_id
                with suppress(LdkError, ChannelUnavailable):
                    if we_begin:
                        await us.call(lambda node, c=channel_id, p=peer: node.channel_manager.close_channel(c, p))  # type: ignore[misc]
                    else:
                        await ldk.request("close", channel_id=channel_id.hex())
                await until(lambda: us.cuts.cut_at, f"a cut at message {count}: {way.value}")
                where = f"cut at {us.cuts.cut_at}, {way.value}, {'we' if we_begin else 'LDK'} began"
                await world.connect(us, ldk, from_us=count == 1)
                try:
                    await closed(world, us, ldk, channel, we_begin)
                except Exception as error:
                    states = [each.state for each in us.channels()]
                    raise type(error)(f"{where}: {error}; {states}; {us.log[-3:]}; LDK: {ldk.log[-3:]}") from None


async def _restored(world: World, us: OurNode, ldk: LdkPeer) -> None:
    """Usable, and no message of the last payment is still on its way."""
    (channel,) = us.channels()
    await world.usable(us, ldk, channel.channel_id)
    await world.quiet(us, channel.channel_id)

    async def quiet() -> bool:
        (theirs,) = await ldk.channels(us.node_id)
        return not theirs["pending_in"] and not theirs["pending_out"]

    await until_async(quiet, "LDK's HTLCs to be gone")


async def _balanced(world: World, us: OurNode, ldk: LdkPeer, channel_id: bytes) -> None:
    """Nothing was lost on the way, and both directions still work."""
    after = await world.quiet(us, channel_id)
    total = after.holder_balance_msat + after.counterparty_balance_msat
    check(total == 1000 * after.channel_value_satoshis, f"the balances are {total} msat together")
    await world.pay(us, ldk, 1_000_000)
    await world.pay(ldk, us, 1_000_000)
