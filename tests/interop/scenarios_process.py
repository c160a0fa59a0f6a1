"""The whole of us: a process with its database, killed while payments are on their way, and started again."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import Any

from pyln_fast.payment.invoice import decode
from pyln_fast.rpc.client import NodeNotReachable
from pyln_fast.types import Txid
from tests.interop.ldk_peer import LdkError, LdkPeer
from tests.interop.process_node import ProcessNode
from tests.interop.scenarios import scenario
from tests.interop.waiting import check, until, until_async
from tests.interop.world import CAPACITY_SAT, PUSH_MSAT, Role, World

PAYMENTS = 20
"""Each way."""
HELD = 3
"""Payments to us that we hold when we are killed, and claim afterwards."""
ARRIVED_BEFORE_KILL = 5


class Load:
    """What was begun, and what it is worth."""

    def __init__(self, us: ProcessNode, ldk: LdkPeer) -> None:
        self.us = us
        self.ldk = ldk
        self.ours: dict[str, tuple[str, int]] = {}
        """Invoice and msat by payment hash."""
        self.theirs: dict[str, int] = {}
        self.preimages: dict[str, bytes] = {}
        self._asked = 0

    async def make_invoices(self, count: int) -> list[str]:
        """LDK's, for us to pay."""
        made = []
        for _ in range(count):
            amount = 400_001 + 50_003 * len(self.ours)
            text = str(await self.ldk.request("invoice", amount_msat=amount))
            payment_hash = decode(text).payment_hash.hex()
            self.ours[payment_hash] = text, amount
            made.append(payment_hash)
        return made

    async def we_pay(self, payment_hash: str) -> None:
        """The hash is the PaymentId: whoever does not know whether it was begun may ask for it again."""
        await self.us.call("pay", invoice=self.ours[payment_hash][0], wait=False)

    async def ldk_pays(self, payment_hash: str | None = None) -> None:
        self._asked += 1
        amount = 300_007 + 40_009 * self._asked
        made = await self.us.call("invoice", amount_msat=amount, payment_hash=payment_hash)
        await self.ldk.request("pay", bolt11=made["invoice"], attempts=0, amount_msat=None)
        self.theirs[made["payment_hash"]] = amount

    async def hold(self) -> None:
        """Payments to us that stay in flight until `release`."""
        for number in range(HELD):
            preimage = hashlib.sha256(b"held %d" % number).digest()
            payment_hash = hashlib.sha256(preimage).hexdigest()
            self.preimages[payment_hash] = preimage
            await self.ldk_pays(payment_hash)

        async def all_here() -> bool:
            events = (await self.us.call("events"))["events"]
            claimable = {each["payment_hash"] for each in events if each["event"] == "PaymentClaimable"}
            return claimable >= set(self.preimages)

        await until_async(all_here, "the payments that we hold")

    async def release(self) -> None:
        for preimage in self.preimages.values():
            await self.us.call("claim", preimage=preimage.hex())

    async def run(self, ours: int, theirs: int) -> None:
        """So many both ways at the same moment. What we die of before it has begun is not counted."""
        hashes = await self.make_invoices(ours)
        begun = [*(self.we_pay(each) for each in hashes), *(self.ldk_pays() for _ in range(theirs))]
        for result in await asyncio.gather(*begun, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, NodeNotReachable | LdkError):
                raise result

    async def again(self) -> None:
        """Payments whose record was not durable when we died have never been made. They are made now."""
        known = {each["payment_id"] for each in await self.us.call("list-payments")}
        lost = [each for each in self.ours if each not in known]
        for payment_hash in lost:
            await self.we_pay(payment_hash)

    # --- what became of it

    def arrived(self) -> int:
        return sum(1 for event in self.ldk.events if event["event"] == "PaymentClaimed")

    async def check_ours(self) -> int:
        """Each ended, once, and LDK agrees how; what we paid in msat."""

        async def ended() -> list[dict[str, Any]] | None:
            payments = await self.us.call("list-payments")
            over = len(payments) >= len(self.ours) and all(each["status"] != "pending" for each in payments)
            return payments if over else None

        payments = await until_async(ended, "the end of our payments")
        assert payments is not None
        names = sorted(each["payment_hash"] for each in payments)
        check(names == sorted(self.ours), f"we list {len(names)} payments, {len(self.ours)} were begun")
        for payment in payments:
            name = payment["payment_hash"]
            check(payment["status"] == "fulfilled", f"our payment {name[:8]} is {payment['status']}")
            check(payment["fee_paid_msat"] == 0, f"our payment {name[:8]} cost {payment['fee_paid_msat']} msat")
            proof = hashlib.sha256(bytes.fromhex(payment["preimage"])).hexdigest()
            check(proof == name, f"the preimage of {name[:8]} is not that of its hash")
        claimed = [each for each in self.ldk.events if each["event"] == "PaymentClaimed"]
        got = sorted((each["payment_hash"], each["amount_msat"]) for each in claimed)
        wanted = sorted((name, amount) for name, (_, amount) in self.ours.items())
        check(got == wanted, f"LDK has claimed {len(got)} payments, we have made {len(wanted)}")
        return sum(amount for _, amount in wanted)

    async def check_theirs(self) -> int:
        """Each ended, once; what LDK paid in msat. Without retries, one that met us dead may have failed."""
        paid = 0
        for name, amount in self.theirs.items():
            await until(partial(self._ends, name), f"the end of LDK's payment {name[:8]}")
            ends = self._ends(name)
            check(len(ends) == 1, f"LDK's payment {name[:8]} ended {len(ends)} times: {ends}")
            if ends[0]["event"] == "PaymentSent":
                paid += amount
                continue
            never_left = self.ldk.find("PaymentPathFailed", payment_hash=name, failure="InitialSend")
            check(never_left and name not in self.preimages, f"LDK's payment {name[:8]} failed: {ends}")
        return paid

    def _ends(self, payment_hash: str) -> list[dict[str, Any]]:
        kinds = ("PaymentSent", "PaymentFailed")
        return [e for e in self.ldk.events if e["event"] in kinds and e["payment_hash"] == payment_hash]


async def usable(us: ProcessNode, ldk: LdkPeer) -> dict[str, Any]:
    """The only channel, once both sides can use it."""

    async def look() -> dict[str, Any] | None:
        ours, theirs = await us.call("list-channels"), await ldk.channels(us.node_id)
        states = [each["is_usable"] for each in ours] + [each["usable"] for each in theirs]
        return ours[0] if states == [True, True] else None

    found = await until_async(look, "the channel to be usable on both sides")
    assert found is not None
    return found


async def _pair(world: World, us: ProcessNode) -> tuple[LdkPeer, dict[str, Any]]:
    world.chain.node.send_to((await us.call("newaddress"))["address"], 20 * CAPACITY_SAT)
    await us.mine(1)
    ldk = await world.ldk()
    await us.call("connect", address=f"{ldk.node_id}@127.0.0.1:{ldk.port}")
    if world.setting.role is Role.OPENER:
        await us.call("open", node_id=ldk.node_id, amount_sat=CAPACITY_SAT, push_msat=PUSH_MSAT)
    else:
        await until_async(lambda: ldk.is_connected(us.node_id), "LDK to see us")
        await world.ldk_opens(us, ldk, PUSH_MSAT)
    await until(lambda: world.chain.node.mempool.entries, "the broadcast of the funding")
    await us.mine(1)
    channel = await usable(us, ldk)
    check(channel["channel_type"] == world.setting.channel_type.features.hex(), f"it is a {channel['channel_type']}")
    return ldk, channel


async def _check_balances(us: ProcessNode, ldk: LdkPeer, expected_msat: int) -> None:
    """Ours is what it should be, and LDK's view of both is the same, to the msat."""

    async def quiet() -> tuple[dict[str, Any], dict[str, Any]] | None:
        (ours,), (theirs,) = await us.call("list-channels"), await ldk.channels(us.node_id)
        pending = (ours["pending_inbound_htlcs"], ours["pending_outbound_htlcs"])
        return None if any((*pending, theirs["pending_in"], theirs["pending_out"])) else (ours, theirs)

    found = await until_async(quiet, "the HTLCs to be gone")
    assert found is not None
    ours, theirs = found
    balance, other = ours["holder_balance_msat"], ours["counterparty_balance_msat"]
    check(balance == expected_msat, f"our balance is {balance} msat, not {expected_msat}")
    check(balance + other == 1000 * CAPACITY_SAT, f"the balances are {balance + other} msat together")
    # LDK tells balances less the reserve of the side that has them.
    check(theirs["inbound_msat"] == ours["outbound_capacity_msat"], f"LDK sees {theirs['inbound_msat']} msat with us")
    check(theirs["outbound_msat"] == ours["inbound_capacity_msat"], f"LDK has {theirs['outbound_msat']} msat")
    reserves = balance - ours["outbound_capacity_msat"] + other - ours["inbound_capacity_msat"]
    total = theirs["inbound_msat"] + theirs["outbound_msat"] + reserves
    check(total == 1000 * CAPACITY_SAT, f"LDK's balances are {total} msat together")


async def _close(world: World, us: ProcessNode, ldk: LdkPeer, channel: dict[str, Any]) -> None:
    closed = [event for event in ldk.events if event["event"] == "ChannelClosed"]
    check(not closed, f"LDK has closed the channel: {closed}")
    txid, _, vout = channel["funding_txo"].partition(":")
    funding = Txid(bytes.fromhex(txid)[::-1])
    check(world.chain.spender_of(funding, int(vout)) is None, "a commitment was broadcast")
    await us.call("close", channel_id=channel["channel_id"])
    spender = await until(lambda: world.chain.spender_of(funding, int(vout)), "the closing transaction")
    assert spender is not None
    await us.mine(7)
    check(world.chain.node.confirmations(spender) == 7, "the closing transaction has not confirmed")
    theirs = await ldk.event("ChannelClosed")
    check(theirs["reason"] == "CounterpartyInitiatedCooperativeClosure", f"LDK's reason is {theirs['reason']}")

    async def gone() -> bool:
        return not await us.call("list-channels") and not await ldk.channels(us.node_id)

    await until_async(gone, "the channel to be off both lists")


@scenario("our process killed (SIGKILL) and restarted under load")
async def our_process_killed(world: World) -> None:
    async with ProcessNode("ours", world.chain, world.directory("ours"), world.anchors) as us:
        ldk, channel = await _pair(world, us)
        load = Load(us, ldk)
        await load.hold()
        running = asyncio.ensure_future(load.run(PAYMENTS // 2, PAYMENTS // 2))
        await until(lambda: load.arrived() >= ARRIVED_BEFORE_KILL, "payments to arrive")
        await us.kill()
        await running
        (theirs,) = await ldk.channels()
        check(theirs["pending_out"] >= HELD, f"nothing was in flight: {theirs}")
        await us.start()
        # It comes back by itself: LDK's address is known.
        await usable(us, ldk)
        await load.again()
        left = PAYMENTS + HELD - len(load.theirs)
        await asyncio.gather(load.run(PAYMENTS - PAYMENTS // 2, left), load.release())
        check((len(load.ours), len(load.theirs)) == (PAYMENTS, PAYMENTS + HELD), "not all payments were begun")
        paid, received = await load.check_ours(), await load.check_theirs()
        await _check_balances(us, ldk, channel["holder_balance_msat"] - paid + received)
        await _close(world, us, ldk, channel)
        await us.stop()
