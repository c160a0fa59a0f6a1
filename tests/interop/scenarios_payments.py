"""Payments between two, around every limit and many at once; forwards and their failures."""

from __future__ import annotations

import itertools

from msgspec.structs import replace

from pyln_fast.events import HTLCHandlingFailed, OnPath, PaymentForwarded, PaymentPathFailed
from pyln_fast.payment.invoice import decode, sign
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.tx.fees import htlc_success_fee, htlc_timeout_fee
from pyln_fast.types import PaymentHash, Secret
from tests.interop.ldk_peer import LdkPeer
from tests.interop.our_node import OurNode
from tests.interop.scenarios import scenario
from tests.interop.waiting import Failure, check, until
from tests.interop.world import Party, World

DUST_LIMIT_SAT = 354
"""Of both sides (BOLT 3, Dust Limits)."""
NOBODY_KNOWS = PaymentHash(bytes(range(32)))
AMOUNT_MSAT = 20_000_123


def around_every_dust_limit(feerate_per_kw: int, anchors: bool) -> list[int]:
    """Amounts in msat: the smallest, whole satoshis, and those at which an HTLC gets an output on one side or both."""
    timeout = DUST_LIMIT_SAT + htlc_timeout_fee(feerate_per_kw, anchors)
    success = DUST_LIMIT_SAT + htlc_success_fee(feerate_per_kw, anchors)
    amounts = {1, 2, 999, 1000, 1001}
    for sat in (DUST_LIMIT_SAT, timeout, success):
        amounts |= {1000 * sat - 1000, 1000 * sat - 1, 1000 * sat, 1000 * sat + 1, 1000 * sat + 999}
    return sorted(amounts)


@scenario("amounts around every dust limit")
async def dust_limits(world: World) -> None:
    us, ldk, channel = await world.pair()
    feerate = channel.feerate_sat_per_1000_weight
    assert feerate is not None
    amounts = around_every_dust_limit(feerate, world.anchors)
    for amount in amounts:
        await world.pay(us, ldk, amount)
        await world.pay(ldk, us, amount)
    before = channel.holder_balance_msat
    after = await world.quiet(us, channel.channel_id)
    check(after.holder_balance_msat == before, f"our balance went from {before} to {after.holder_balance_msat}")
    await _all_in_flight(world, us, ldk, amounts)
    after = await world.quiet(us, channel.channel_id)
    check(after.holder_balance_msat == before, f"our balance went from {before} to {after.holder_balance_msat}")


async def _all_in_flight(world: World, us: OurNode, ldk: LdkPeer, amounts: list[int]) -> None:
    """Every amount in both directions in the same commitments, before the first is claimed."""
    us.hold_payments = True
    await ldk.request("hold_payments", hold=True)
    both: list[tuple[Party, Party]] = [(us, ldk), (ldk, us)]
    payments = [(payer, payee, amount) for amount in amounts for payer, payee in both]
    hashes = [await world.send(payer, await world.invoice(payee, amount)) for payer, payee, amount in payments]
    channel_id = us.channels()[0].channel_id

    def all_there() -> bool:
        found = world.channel(us, channel_id)
        return found.pending_inbound_htlcs == found.pending_outbound_htlcs == len(amounts)

    await until(all_there, "all HTLCs in one commitment")
    await until(lambda: len(_claimable(us)) >= len(amounts), "our PaymentClaimable events")
    for (_, payee, _), payment_hash in zip(payments, hashes):
        if payee is ldk:
            await ldk.event("PaymentClaimable", payment_hash=payment_hash)
            await ldk.request("fail", payment_hash=payment_hash)
        else:
            wanted = PaymentHash(bytes.fromhex(payment_hash))
            await us.call(lambda node, wanted=wanted: node.payments.fail_htlc_backwards(wanted))  # type: ignore[misc]
    for (payer, _, amount), payment_hash in zip(payments, hashes):
        outcome = await world.outcome(payer, payment_hash)
        check(outcome == "failed: RecipientRejected", f"{amount} msat, failed by the payee: {outcome}")
    us.hold_payments = False
    await ldk.request("hold_payments", hold=False)


def _claimable(us: OurNode) -> list[bytes]:
    return list(us.node.core.state.claimable)


@scenario("100 payments at once, each way")
async def a_hundred_at_once(world: World) -> None:
    us, ldk, channel = await world.pair()
    before = channel.holder_balance_msat
    both: list[tuple[Party, Party]] = [(us, ldk), (ldk, us)]
    await world.pay_all([(payer, payee, 300_000 + 7001 * i) for i in range(100) for payer, payee in both])
    after = await world.quiet(us, channel.channel_id)
    check(after.holder_balance_msat == before, f"our balance went from {before} to {after.holder_balance_msat}")


async def _ldk_us_ldk(world: World) -> tuple[LdkPeer, OurNode, LdkPeer]:
    us, first, last = await world.our_node(), await world.ldk("ldk-payer"), await world.ldk("ldk-payee")
    for each in (first, last):
        await world.connect(us, each)
        await world.open(us, each)
    return first, us, last


async def _us_ldk_us(world: World) -> tuple[OurNode, LdkPeer, OurNode]:
    first, ldk, last = await world.our_node("our-payer"), await world.ldk(), await world.our_node("our-payee")
    for each in (first, last):
        await world.connect(each, ldk)
        await world.open(each, ldk)
    return first, ldk, last


@scenario("we forward LDK -> us -> LDK")
async def we_forward(world: World) -> None:
    first, us, last = await _ldk_us_ldk(world)
    amounts = [1, 353_999, 354_000, 1_057_000, *(900_000 + 1_001 * i for i in range(16))]
    for amount in amounts[:4]:
        await world.pay(first, last, amount)
    await world.pay_all([(first, last, amount) for amount in amounts[4:]])
    await world.pay_all([(last, first, amount) for amount in amounts[4:]])
    count = 4 + 2 * len(amounts[4:])
    await until(lambda: len(us.of(PaymentForwarded)) == count, f"{count} PaymentForwarded")
    fees = {event.total_fee_earned_msat for event in us.of(PaymentForwarded)}
    check(fees == {1000}, f"our fees are {fees}, not the base fee")


@scenario("LDK forwards us -> LDK -> us")
async def ldk_forwards(world: World) -> None:
    first, ldk, last = await _us_ldk_us(world)
    for amount in (1, 353_999, 354_000, 1_057_000):
        await world.pay(first, last, amount)
    await world.pay_all([(first, last, 900_000 + 1_001 * i) for i in range(16)])
    await world.pay_all([(last, first, 900_000 + 1_001 * i) for i in range(16)])
    check(sum(event["event"] == "PaymentForwarded" for event in ldk.events) == 36, "LDK has not forwarded 36 payments")


def _of_nobody(invoice: str, payee: Party) -> str:
    """The payee's invoice, signed by it, for a payment hash of which it knows nothing. LDK's node key is its seed's."""
    if isinstance(payee, OurNode):
        keys = payee.node.core.keys
    else:
        keys = KeysManager(Secret(bytes.fromhex(payee.seed)), 0, 0)
    unsigned = replace(decode(invoice), payment_hash=NOBODY_KNOWS)
    return sign(unsigned, keys).text


def _path_failure(payer: Party, payment_hash: str) -> tuple[str | None, bool]:
    """The node (by its id) at which the path failed as the payer sees it, and whether for good."""
    if isinstance(payer, OurNode):
        wanted = bytes.fromhex(payment_hash)
        (ours,) = [event for event in payer.of(PaymentPathFailed) if event.payment_hash == wanted]
        node = ours.failure.failing_node if isinstance(ours.failure, OnPath) else None
        return (None if node is None else node.hex()), ours.payment_failed_permanently
    found = payer.find("PaymentPathFailed", payment_hash=payment_hash)
    if found is None:
        raise Failure("LDK has no PaymentPathFailed")
    hops = found["hops"]
    # LDK names the channel at fault: the one that leaves the failing node, or none where the last node failed it.
    for before, hop in itertools.pairwise(hops):
        if found["scid"] == hop["scid"]:
            return before["node_id"], found["permanently"]
    return hops[-1]["node_id"] if found["scid"] is None else None, found["permanently"]


async def _expect_failure(world: World, payer: Party, invoice: str, at: Party, reason: str, permanently: bool) -> None:
    payment_hash = await world.send(payer, invoice)
    outcome = await world.outcome(payer, payment_hash)
    check(outcome == f"failed: {reason}", f"{payer.name}'s payment ended with {outcome}, not {reason}")
    where, permanent = _path_failure(payer, payment_hash)
    check(where == at.node_id, f"{payer.name} blames {where}, not {at.name} ({at.node_id})")
    check(permanent == permanently, f"{payer.name} takes the failure for {'permanent' if permanent else 'temporary'}")


@scenario("a payment hash that the payee does not know")
async def unknown_payment_hash(world: World) -> None:
    for payer, middle, payee in (await _ldk_us_ldk(world), await _us_ldk_us(world)):
        direct = _of_nobody(await world.invoice(middle, AMOUNT_MSAT), middle)
        await _expect_failure(world, payer, direct, middle, "RecipientRejected", True)
        distant = _of_nobody(await world.invoice(payee, AMOUNT_MSAT), payee)
        # The same hash again: the payer must have forgotten the first by itself, or use another node.
        other = replace(decode(distant), payment_hash=PaymentHash(bytes(reversed(NOBODY_KNOWS))))
        keys = (
            payee.node.core.keys if isinstance(payee, OurNode) else KeysManager(Secret(bytes.fromhex(payee.seed)), 0, 0)
        )
        await _expect_failure(world, payer, sign(other, keys).text, payee, "RecipientRejected", True)


@scenario("too little fee, or no liquidity, in the middle")
async def failures_in_the_middle(world: World) -> None:
    for payer, middle, payee in (await _ldk_us_ldk(world), await _us_ldk_us(world)):
        cheap = decode(await world.invoice(payee, AMOUNT_MSAT))
        check(cheap.route_hints, f"{payee.name}'s invoice has no route hint")
        ((hop,),) = cheap.route_hints[:1]
        hints = ((replace(hop, fee_base_msat=hop.fee_base_msat - 1),),)
        keys = (
            payee.node.core.keys if isinstance(payee, OurNode) else KeysManager(Secret(bytes.fromhex(payee.seed)), 0, 0)
        )
        await _expect_failure(
            world, payer, sign(replace(cheap, route_hints=hints), keys).text, middle, "RetriesExhausted", False
        )
        # More than the second channel can carry, for which the first one has room.
        await _drain(world, middle, payee)
        invoice = replace(decode(await world.invoice(payee, None)), amount_msat=2_000_000_000)
        await _expect_failure(world, payer, sign(invoice, keys).text, middle, "RetriesExhausted", False)
        failures = middle.of(HTLCHandlingFailed) if isinstance(middle, OurNode) else []
        check(not isinstance(middle, OurNode) or len(failures) == 2, f"our HTLCHandlingFailed: {failures}")


async def _drain(world: World, payer: Party, payee: Party) -> None:
    """Leaves the payer with less than two million satoshis in that channel."""
    for _ in range(8):
        if isinstance(payer, OurNode):
            limit = max(each.next_outbound_htlc_limit_msat for each in payer.channels(payee.node_id))
        else:
            limit = max(each["next_limit_msat"] for each in await payer.channels(payee.node_id))
        if limit < 1_000_000_000:
            return
        await world.pay(payer, payee, min(limit, 1_000_000_000))
