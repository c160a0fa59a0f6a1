"""The demo's main scenario: open, pay over a forwarding node, lose it to SIGKILL in the middle, come back, close.

Nothing here knows a node from the inside: it speaks to processes, and counts their money to the msat.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pyln_fast.cli.demo_world import Chain, DemoFailed, DemoNode
from pyln_fast.errors import LocalError
from pyln_fast.payment.invoice import decode

FUNDING_SAT = 50_000_000
CHANNEL_SAT = 16_000_000
SMALLEST_MSAT, LARGEST_MSAT = 1_000, 30_000_000
IN_FLIGHT = 25
"""Payments under way at once: below the 50 HTLCs that a channel takes by default."""
PAYMENT_SECONDS = 120
"""Until a payment that does not get through counts as failed."""
RETRY_SECONDS = 0.2
POLL_SECONDS = 0.05
WAIT_SECONDS = 60
CONFIRMATIONS = 6
FORWARDER_CONFIG = "accept_forwards_to_priv_channels = true\n"


class Closed(msgspec.Struct, frozen=True):
    channel: str
    kind: str
    txid: str
    confirmed: bool


class Side(msgspec.Struct, frozen=True):
    """One node's money in channels, in msat."""

    node: str
    before_msat: int
    after_msat: int


class Result(msgspec.Struct, frozen=True):
    scenario: str
    payments_sent: int
    payments_succeeded: int
    payments_failed: int
    forwarded: int
    payments_per_second: float
    latency_ms: dict[str, float]
    restarts: int
    closes: list[Closed]
    funds_conserved: bool
    elapsed_s: float


class Progress(msgspec.Struct):
    """What the display shows."""

    step: str = ""
    total: int = 0
    done: int = 0
    in_flight: int = 0
    bob_is_down: bool = False


class PaymentsScenario:
    def __init__(self, data_dir: Path, payments: int, seed: int, show: Callable[[Progress], None]) -> None:
        self._total = payments
        self._random = random.Random(seed)
        self._seed = seed
        self._show = show
        self.progress = Progress(total=payments)
        self.chain = Chain(data_dir)
        self._data_dir = data_dir
        self._latencies: list[float] = []
        self._failed = 0
        self._paid_msat = 0
        self._fees_msat = 0
        self._killed = asyncio.Event()
        self.sides: list[Side] = []
        self.fees_earned_msat = 0

    async def run(self) -> Result:
        began = time.monotonic()
        try:
            await self._start()
            channels = await self._open()
            before = await self._balances()
            took = await self._pay()
            await self._settled()
            after = await self._balances()
            self.sides = [Side(name, before[name], after[name]) for name in before]
            forwarded = await self._forwards()
            closes = await self._close(channels)
            conserved = self._conserved() and await self._once() and forwarded == len(self._latencies)
            return self._result(took, forwarded, closes, conserved, time.monotonic() - began)
        finally:
            await self._stop()

    def _step(self, text: str) -> None:
        self.progress.step = text
        self._show(self.progress)

    # --- the world

    async def _start(self) -> None:
        self._step("starting a regtest chain and three nodes")
        await self.chain.start()
        self.alice = DemoNode("alice", self._data_dir, self.chain, "")
        self.bob = DemoNode("bob", self._data_dir, self.chain, FORWARDER_CONFIG)
        self.carol = DemoNode("carol", self._data_dir, self.chain, "")
        await asyncio.gather(*(node.start() for node in self._nodes))

    @property
    def _nodes(self) -> tuple[DemoNode, ...]:
        return self.alice, self.bob, self.carol

    async def _stop(self) -> None:
        nodes = [getattr(self, name) for name in ("alice", "bob", "carol") if hasattr(self, name)]
        await asyncio.gather(*(node.stop() for node in nodes), return_exceptions=True)
        await self.chain.stop()

    async def _wait(self, what: str, look: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                found = await look()
            except LocalError:
                found = None
            if found:
                return found
            await asyncio.sleep(POLL_SECONDS)
        raise DemoFailed(f"waited {seconds} s for {what}")

    async def _mine(self, blocks: int) -> None:
        """And until every node has seen them."""
        await self.chain.mine(blocks)
        height = await self.chain.height()

        async def seen() -> bool:
            infos = [await node.call("getinfo") for node in self._nodes]
            return all(info["block_height"] >= height for info in infos)

        await self._wait(f"all nodes to see block {height}", seen)

    # --- channels

    async def _open(self) -> list[dict[str, Any]]:
        self._step("funding wallets and opening anchor channels alice → bob → carol")
        for node in (self.alice, self.bob):
            address = (await node.call("newaddress"))["address"]
            await self.chain.call("sendtoaddress", address, FUNDING_SAT / 1e8)
        await self._mine(1)
        await self.alice.call("connect", address=self.bob.address)
        await self.bob.call("connect", address=self.carol.address)
        await self.alice.call("open", node_id=self.bob.node_id, amount_sat=CHANNEL_SAT)
        await self.bob.call("open", node_id=self.carol.node_id, amount_sat=CHANNEL_SAT)

        async def funded() -> bool:
            return len(await self.chain.call("getrawmempool")) == 2

        await self._wait("both fundings in the mempool", funded)
        await self._mine(CONFIRMATIONS)

        async def usable() -> list[dict[str, Any]] | None:
            found = [await self._channels(node) for node in self._nodes]
            ready = all(channel["is_usable"] for channels in found for channel in channels)
            return [found[0][0], found[2][0]] if ready and [len(each) for each in found] == [1, 2, 1] else None

        channels: list[dict[str, Any]] = await self._wait("both channels to be usable", usable)
        # Bob's terms have to reach carol, whose invoices name them.
        await asyncio.sleep(POLL_SECONDS)
        return channels

    async def _channels(self, node: DemoNode) -> list[dict[str, Any]]:
        channels: list[dict[str, Any]] = await node.call("list-channels")
        return channels

    async def _balances(self) -> dict[str, int]:
        return {
            node.name: sum(channel["holder_balance_msat"] for channel in await self._channels(node))
            for node in self._nodes
        }

    # --- payments

    async def _pay(self) -> float:
        self._step("paying")
        began = time.monotonic()
        places = asyncio.Semaphore(IN_FLIGHT)
        killer = asyncio.create_task(self._kill_bob())
        await asyncio.gather(*(self._pay_one(index, places) for index in range(self._total)))
        took = time.monotonic() - began
        self._killed.set()
        await killer
        return took

    async def _kill_bob(self) -> None:
        """In the middle, with payments under way; a second later it is back, from its database."""
        await self._killed.wait()
        self.progress.bob_is_down = True
        self._step("bob was killed (SIGKILL); payments go on")
        await self.bob.kill()
        await asyncio.sleep(1)
        await self.bob.start()
        self.progress.bob_is_down = False
        self._step("bob is back from its database")

    async def _pay_one(self, index: int, places: asyncio.Semaphore) -> None:
        amount = self._random.randint(SMALLEST_MSAT, LARGEST_MSAT // max(1, self._total // 200))
        payment_id = hashlib.sha256(f"demo {self._seed} {index}".encode()).hexdigest()
        async with places:
            self.progress.in_flight += 1
            began = time.monotonic()
            fee = await self._until_paid(payment_id, amount, began + PAYMENT_SECONDS)
            self.progress.in_flight -= 1
            if fee is None:
                self._failed += 1
            else:
                self._latencies.append(time.monotonic() - began)
                self._paid_msat += amount
                self._fees_msat += fee
            self.progress.done += 1
            if self.progress.done >= self._total // 2:
                self._killed.set()
            self._show(self.progress)

    async def _until_paid(self, payment_id: str, amount_msat: int, deadline: float) -> int | None:
        """The same PaymentId at every try, so that nothing is paid twice. Returns the fee, or None."""
        invoice = None
        while time.monotonic() < deadline:
            try:
                if invoice is None:
                    made = await self.carol.call("invoice", amount_msat=amount_msat, description="demo")
                    # Without a hint carol could not be reached: bob is away.
                    invoice = made["invoice"] if decode(made["invoice"]).route_hints else None
                if invoice is not None:
                    paid = await self.alice.call("pay", invoice=invoice, payment_id=payment_id)
                    return int(paid["fee_paid_msat"])
            except LocalError:
                pass
            await asyncio.sleep(RETRY_SECONDS)
        return None

    async def _settled(self) -> None:
        """Until no HTLC is left anywhere: what was claimed is then on the balances."""
        self._step("settling")

        async def empty() -> bool:
            channels = [channel for node in self._nodes for channel in await self._channels(node)]
            pending = sum(each["pending_inbound_htlcs"] + each["pending_outbound_htlcs"] for each in channels)
            return pending == 0 and all(each["is_usable"] for each in channels)

        await self._wait("all HTLCs to be settled", empty)

    async def _forwards(self) -> int:
        forwards = await self.bob.call("list-forwards")
        self.fees_earned_msat = sum(each["fee_msat"] for each in forwards)
        return len(forwards)

    async def _once(self) -> bool:
        """Alice's own books: every payment succeeded, and no payment hash was paid twice."""
        payments = await self.alice.call("list-payments")
        hashes = {each["payment_hash"] for each in payments if each["status"] == "fulfilled"}
        return len(payments) == len(hashes) == self._total

    # --- the end

    async def _close(self, channels: list[dict[str, Any]]) -> list[Closed]:
        self._step("closing both channels together")
        await self.alice.call("close", channel_id=channels[0]["channel_id"])
        await self.carol.call("close", channel_id=channels[1]["channel_id"])

        async def negotiated() -> list[str] | None:
            txids: list[str] = await self.chain.call("getrawmempool")
            return txids if len(txids) == 2 else None

        txids = await self._wait("both closing transactions in the mempool", negotiated)
        await self._mine(CONFIRMATIONS)
        closes = []
        for channel in channels:
            found = None
            for txid in txids:
                tx = await self.chain.call("getrawtransaction", txid, True)
                spent = tx["vin"][0]
                if f"{spent['txid']}:{spent['vout']}" == channel["funding_txo"]:
                    found = Closed(
                        channel["channel_id"], "cooperative", txid, tx.get("confirmations", 0) >= CONFIRMATIONS
                    )
            if found is None:
                raise DemoFailed(f"no transaction closes channel {channel['channel_id']}")
            closes.append(found)

        async def gone() -> bool:
            return not any([await self._channels(node) for node in self._nodes])

        await self._wait("the nodes to let go of their closed channels", gone)
        return closes

    def _conserved(self) -> bool:
        """Alice has paid payments and fees, bob has earned the fees, carol has got the payments: to the msat."""
        change = {side.node: side.after_msat - side.before_msat for side in self.sides}
        expected = {
            "alice": -self._paid_msat - self._fees_msat,
            "bob": self._fees_msat,
            "carol": self._paid_msat,
        }
        return change == expected and self.fees_earned_msat == self._fees_msat

    def _result(self, took: float, forwarded: int, closes: list[Closed], conserved: bool, elapsed: float) -> Result:
        latencies = sorted(self._latencies)

        def quantile(part: float) -> float:
            return round(1000 * latencies[min(len(latencies) - 1, int(part * len(latencies)))], 1) if latencies else 0.0

        return Result(
            "payments",
            self._total,
            len(latencies),
            self._failed,
            forwarded,
            round(len(latencies) / took, 1) if took else 0.0,
            {"p50": quantile(0.5), "p99": quantile(0.99)},
            self.bob.restarts,
            closes,
            conserved,
            round(elapsed, 2),
        )
