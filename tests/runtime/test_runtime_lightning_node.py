"""Whole nodes: open, pay, forward, lose the link, restart, close."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from pyln_fast.events import (
    ChannelClosed,
    CommitmentTxConfirmed,
    CounterpartyForceClosed,
    CounterpartyInitiatedCooperativeClosure,
    Event,
    HolderForceClosed,
    LocallyInitiatedCooperativeClosure,
    PaymentClaimable,
    PaymentForwarded,
)
from pyln_fast.payment.outbound import PaymentStatus, RetryableSendFailure
from pyln_fast.runtime.builder import DefaultEventHandler
from pyln_fast.runtime.history import Page
from pyln_fast.runtime.lightning_node import NotRunning, PaymentNotMade
from pyln_fast.runtime.tcp import CannotConnect
from pyln_fast.tx.keys import public_key
from pyln_fast.types import Msat, PaymentHash, PaymentId, PaymentPreimage, PrivateKey, Sat
from tests.runtime.network import World, address_of, play, settled, usable


def test_pay_both_ways(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice)
        channel = await world.channel(alice, bob, 1_000_000)
        sent = await alice.pay((await bob.create_invoice(Msat(100_000_000), "tea")).text)
        assert (sent.amount_msat, sent.fee_paid_msat) == (100_000_000, 0)
        await bob.pay((await alice.create_invoice(Msat(40_000_000), "cake")).text)
        await settled(alice, bob)
        [mine], [theirs] = await alice.list_channels(), await bob.list_channels()
        assert mine.channel_id == theirs.channel_id == channel.channel_id
        assert (mine.holder_balance_msat, theirs.holder_balance_msat) == (940_000_000, 60_000_000)
        assert [each.status for each in await alice.list_payments()] == [PaymentStatus.FULFILLED]

    play(tmp_path, scene)


def test_forward_over_three_nodes(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob, carol = [await world.start(name) for name in ("alice", "bob", "carol")]
        await world.fund(alice)
        await world.fund(bob)
        await world.channel(alice, bob)
        await world.channel(bob, carol)
        forwarded = asyncio.ensure_future(bob.wait_for_event(lambda event: isinstance(event, PaymentForwarded)))
        invoice = await carol.create_invoice(Msat(50_000_000))
        assert [hop.src_node_id for hint in invoice.route_hints for hop in hint] == [bob.node_id]
        sent = await alice.pay(invoice)
        assert sent.fee_paid_msat == 1000
        event = await forwarded
        assert isinstance(event, PaymentForwarded)
        assert (event.total_fee_earned_msat, event.outbound_amount_forwarded_msat) == (1000, 50_000_000)
        invoices = [await carol.create_invoice(Msat(1_000_000)) for _ in range(40)]
        results = await asyncio.gather(*map(alice.pay, invoices), return_exceptions=True)
        assert [result for result in results if isinstance(result, BaseException)] == []
        await settled(alice, bob, carol)
        [mine], [theirs] = await alice.list_channels(), await carol.list_channels()
        assert theirs.holder_balance_msat == 90_000_000
        assert mine.holder_balance_msat == 1_000_000_000 - 90_000_000 - 41 * 1000
        forwards = await bob.list_forwards()
        assert [each.fee_msat for each in forwards] == [1000] * 41
        assert forwards == sorted(forwards, key=lambda forwarded: forwarded.at)
        first = await bob.page_of_forwards(30)
        assert first.next == forwards[0].prev_channel_id + (29).to_bytes(8, "big")
        rest = await bob.page_of_forwards(30, first.next)
        assert (len(first.records), len(rest.records), rest.next) == (30, 11, None)
        assert [each async for each in bob.walk_forwards()] == first.records + rest.records
        assert Counter(first.records + rest.records) == Counter(forwards)

    play(tmp_path, scene)


def test_a_lost_link_comes_back(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice)
        channel = await world.channel(alice, bob)
        invoice = await bob.create_invoice(Msat(1_000_000))
        await alice.disconnect_peer(bob.node_id)
        await alice.wait_until(lambda core: None if bob.node_id in core.core.peers else True)
        with pytest.raises(RetryableSendFailure) as refused:
            await alice.pay_invoice(invoice)
        assert refused.value.reason == "RouteNotFound"
        await alice.pay(invoice, retry_for_secs=20)
        await usable(bob, channel.channel_id)

    play(tmp_path, scene)


def test_both_restart_and_go_on(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice)
        channel = await world.channel(alice, bob)
        first = await bob.create_invoice(Msat(30_000_000))
        await alice.pay(first)
        await settled(alice, bob)
        await alice.submit(lambda core: core.core.state.payments.pop(PaymentId(first.payment_hash)))
        ids, before = (alice.node_id, bob.node_id), (await alice.onchain_balance())
        listening = int(bob.listening_addresses[0].rpartition(":")[2])
        await alice.stop()
        with pytest.raises(NotRunning):
            await alice.list_channels()
        await bob.stop()
        world.chain.mine(3)
        bob = await world.start("bob", lambda builder: builder.set_listening_addresses(f"127.0.0.1:{listening}"))
        alice = await world.start("alice")
        assert (alice.node_id, bob.node_id) == ids
        assert await alice.onchain_balance() == before
        assert (await usable(alice, channel.channel_id)).holder_balance_msat == 970_000_000
        await alice.pay(await bob.create_invoice(Msat(1_000_000)), retry_for_secs=10)
        # A PaymentId that is only in the history any more pays nothing.
        again = await alice.pay(first, payment_id=PaymentId(first.payment_hash))
        assert again.payment_id == first.payment_hash
        with pytest.raises(PaymentNotMade, match="UnknownPayment"):
            await alice.wait_for_payment(PaymentId(bytes(32)))
        payments = await alice.list_payments()
        # One from history, one from memory.
        assert {each.amount_msat: each.status.value for each in payments} == {
            30_000_000: "fulfilled",
            1_000_000: "fulfilled",
        }
        # In the order of PaymentIds it is the same, page by page.
        by_id = sorted(payments, key=lambda payment: payment.payment_id)
        assert [each async for each in alice.walk_payments()] == by_id
        first = await alice.page_of_payments(1)
        assert first == Page([by_id[0]], by_id[0].payment_id)
        assert await alice.page_of_payments(after=by_id[0].payment_id) == Page([by_id[1]], None)

    play(tmp_path, scene)


def closed(event: Event) -> bool:
    return isinstance(event, ChannelClosed)


def test_a_cooperative_close_confirms(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice)
        channel = await world.channel(alice, bob, 1_000_000)
        await alice.pay(await bob.create_invoice(Msat(300_000_000)))
        await settled(alice, bob)
        events = [asyncio.ensure_future(node.wait_for_event(closed)) for node in (alice, bob)]
        await asyncio.sleep(0)
        await alice.close_channel(channel.channel_id, bob.node_id)
        reasons = [(await event).reason for event in events]  # type: ignore[attr-defined]
        assert reasons == [LocallyInitiatedCooperativeClosure(), CounterpartyInitiatedCooperativeClosure()]
        await world.mine_when_waiting(6)
        assert (await bob.onchain_balance()).confirmed_sat == 300_000
        await world.mine(100)
        assert await alice.list_channels() == await bob.list_channels() == []

    play(tmp_path, scene)


def test_a_force_close_broadcasts(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice)
        channel = await world.channel(alice, bob)
        events = [asyncio.ensure_future(node.wait_for_event(closed)) for node in (alice, bob)]
        await asyncio.sleep(0)
        await alice.force_close(channel.channel_id, bob.node_id, "enough")
        mine, theirs = [(await event).reason for event in events]  # type: ignore[attr-defined]
        assert mine == HolderForceClosed(True, "enough")
        assert isinstance(theirs, CounterpartyForceClosed | CommitmentTxConfirmed)
        while not world.chain.mempool.entries:
            await asyncio.sleep(0.01)
        [entry] = world.chain.mempool.entries.values()
        assert entry.tx.inputs[0].outpoint == channel.funding_txo

    play(tmp_path, scene)


class Holding(DefaultEventHandler):
    def payment_claimable(self, event: PaymentClaimable) -> None:
        pass


def test_a_hash_of_ones_own(tmp_path: Path) -> None:
    """The user claims with a preimage that only he knows, or refuses."""

    async def scene(world: World) -> None:
        alice = await world.start("alice")
        bob = await world.start("bob", lambda builder: builder.set_event_handler(Holding))
        await world.fund(alice)
        await world.channel(alice, bob)
        preimage = PaymentPreimage(bytes(range(32)))
        payment_hash = PaymentHash(hashlib.sha256(preimage).digest())
        claimable = asyncio.ensure_future(bob.wait_for_event(lambda event: isinstance(event, PaymentClaimable)))
        await alice.pay_invoice(await bob.create_invoice(Msat(5_000_000), payment_hash=payment_hash))
        assert (await claimable).payment_hash == payment_hash  # type: ignore[attr-defined]
        await bob.claim_funds(preimage)
        assert (await alice.wait_for_payment(PaymentId(payment_hash))).payment_preimage == preimage
        refused = await bob.create_invoice(Msat(5_000_000))
        claimable = asyncio.ensure_future(bob.wait_for_event(lambda event: isinstance(event, PaymentClaimable)))
        paying = asyncio.ensure_future(alice.pay(refused))
        await claimable
        await bob.fail_htlc_backwards(refused.payment_hash)
        with pytest.raises(PaymentNotMade) as failed:
            await paying
        assert failed.value.reason == "RecipientRejected"

    play(tmp_path, scene)


def test_sending_on_chain(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice, 2_000_000)
        await alice.send_onchain(await bob.new_onchain_address(), Sat(700_000))
        await world.mine_when_waiting(1)
        assert (await bob.onchain_balance()).confirmed_sat == 700_000
        left = (await alice.onchain_balance()).confirmed_sat
        assert 1_290_000 < left < 1_300_000

    play(tmp_path, scene)


def test_nobody_there(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        with pytest.raises(CannotConnect) as refused:
            await alice.connect_peer(f"{bob.node_id.hex()}@127.0.0.1:1")
        assert str(refused.value) == "127.0.0.1:1: no connection: Connection refused"
        # Another node than the one that was wanted: the handshake fails.
        somebody = public_key(PrivateKey(bytes(31) + b"\x01"))
        with pytest.raises(CannotConnect) as other:
            await alice.connect_peer(f"{somebody.hex()}@{bob.listening_addresses[0]}")
        assert "closed the connection during the handshake" in str(other.value)
        with pytest.raises(CannotConnect, match="that is this node itself"):
            await alice.connect_peer(address_of(alice))
        assert await alice.connect_peer(address_of(bob)) == bob.node_id
        assert await alice.connect_peer(address_of(bob)) == bob.node_id

    play(tmp_path, scene)
