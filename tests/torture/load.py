"""The users of the torture: they pay each other all the time, ask again when a node died, claim and refuse what they
hold. Every wish is in the ledger before a node hears of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from typing import Any

from pyln_fast.errors import LocalError
from pyln_fast.payment.invoice import decode
from pyln_fast.rpc.client import NodeNotReachable, RpcRefused
from tests.torture.accounts import FAILED, SENT, Ledger, Payment
from tests.torture.node import FLAWS
from tests.torture.world import POLL_SECONDS, TortureFailed, TortureNode

WORKERS = 24
"""Payments under way at once, beside those that are held."""
WAYS = (
    *(("alice", "carol"), ("carol", "alice")) * 3,
    *(("alice", "bob"), ("bob", "alice"), ("bob", "carol"), ("carol", "bob")),
)
AMOUNTS_MSAT = (1_000, 1_001, 353_999, 354_000, 354_001, 545_999, 546_000, 1_500_000, 5_000_000, 20_000_000)
"""Around the dust limit of 354 sat, and above."""
HELD_SECONDS = 1.5
PAUSE_SECONDS = 0.02
"""After a refusal: the peer is probably dead."""
FLAWED, HELD = 0.2, 0.15
"""Parts of the payments."""
AGAIN, AGAIN_SECONDS = 0.1, 1.0
"""The part of them that is asked for again when it was made, and how long after."""


class Load:
    def __init__(self, nodes: dict[str, TortureNode], ledger: Ledger, chance: random.Random, seed: str) -> None:
        self._nodes = nodes
        self._ledger = ledger
        self._chance = chance
        self._seed = seed
        self._count = 0
        self._is_open = False
        self._workers: list[asyncio.Task[None]] = []
        self._deciding: set[asyncio.Task[None]] = set()
        self._over: dict[str, asyncio.Event] = {}
        self._held: dict[str, tuple[Payment, bytes]] = {}
        """What is to be held or was decided, and its preimage, by payment hash."""
        ledger.on_event.append(self._on_event)

    # --- the load as a whole

    def begin(self) -> None:
        self._is_open = True
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def end(self, seconds: float) -> None:
        """No new payments; returns when all have ended. Raises TortureFailed."""
        self._is_open = False
        if self._workers:
            await asyncio.wait(self._workers, timeout=seconds)
        self.check()
        self._workers = [each for each in self._workers if not each.done()]
        deciding = [each for each in self._deciding if not each.done()]
        if deciding:
            await asyncio.wait(deciding, timeout=seconds)
        waiting = self._ledger.waiting()
        if waiting or self._workers:
            ids = ", ".join(each.payment_id[:8] for each in waiting[:5])
            raise TortureFailed(f"{len(waiting)} payments have not ended within {seconds:.0f} s: {ids}")

    def check(self) -> None:
        """Raises what ended a worker."""
        for task in (*self._workers, *self._deciding):
            if task.done() and not task.cancelled():
                task.result()

    async def cancel(self) -> None:
        for task in (*self._workers, *self._deciding):
            task.cancel()
        await asyncio.gather(*self._workers, *self._deciding, return_exceptions=True)

    async def _work(self) -> None:
        while self._is_open:
            await self.pay(*self._chance.choice(WAYS))

    # --- one payment

    async def pay(self, payer: str, payee: str, amount_msat: int | None = None) -> Payment | None:
        """From the invoice to its end; without an amount, one of any kind. None: it was not begun."""
        kind = self._chance.random() if amount_msat is None else 1.0
        flaw = self._chance.choice(FLAWS) if kind < FLAWED else ""
        preimage = None if flaw or kind >= FLAWED + HELD else self._chance.randbytes(32)
        try:
            invoice = await self._invoice(payee, amount_msat or self._amount(), preimage)
        except LocalError:
            await asyncio.sleep(PAUSE_SECONDS)
            return None
        decoded = decode(invoice)
        if flaw in ("low fee", "unknown channel") and (not decoded.route_hints or "bob" in (payer, payee)):
            flaw = "wrong secret"
        assert decoded.amount_msat is not None
        amount = decoded.amount_msat - (flaw == "underpaid")
        self._count += 1
        payment_id = hashlib.sha256(f"torture {self._seed} {self._count}".encode()).hexdigest()
        held = preimage is not None
        payment = Payment(payment_id, decoded.payment_hash.hex(), payer, payee, amount, flaw, held=held)
        if preimage is not None:
            self._held[payment.payment_hash] = (payment, preimage)
        self._ledger.ask(payment)
        over = self._over[payment_id] = asyncio.Event()
        await self._begin(payment, invoice)
        if payment.begun:
            await over.wait()
            if self._chance.random() < AGAIN and self._ledger.ends(payment)[0].sent:
                await self._pay_again(payment, invoice)
        else:
            await asyncio.sleep(PAUSE_SECONDS)
        del self._over[payment_id]
        return payment if payment.begun else None

    def _amount(self) -> int:
        return self._chance.choice((*AMOUNTS_MSAT, self._chance.randint(1_000, 2_000_000)))

    async def _invoice(self, payee: str, amount_msat: int, preimage: bytes | None) -> str:
        payment_hash = None if preimage is None else hashlib.sha256(preimage).hexdigest()
        made = await self._nodes[payee].call("invoice", amount_msat=amount_msat, payment_hash=payment_hash)
        return str(made["invoice"])

    async def _begin(self, payment: Payment, invoice: str) -> None:
        """Until it is known whether it was. A payer that died before it answered is asked whether it knows of it, and
        if not, whether it will make it now; or one leaves it at that."""
        payer = self._nodes[payment.payer]
        attempts = self._chance.choice((0, 1, 3))
        request = {"invoice": invoice, "payment_id": payment.payment_id, "flaw": payment.flaw, "attempts": attempts}
        while payment.begun is None:
            try:
                await payer.call("begin", **request)
                payment.begun = True
            except NodeNotReachable:
                known = await self._answered(lambda: payer.call("statuses", payment_ids=[payment.payment_id]))
                if known != [None]:
                    payment.begun = True
                elif self._chance.random() < 0.5:
                    payment.begun = False
            except RpcRefused as refused:
                # There is no way for it now, because a peer is dead.
                if refused.kind != "RetryableSendFailure" or "RouteNotFound" not in str(refused):
                    raise TortureFailed(f"{payer.name} refuses to begin a payment: {refused}") from None
                payment.begun = False

    async def _pay_again(self, payment: Payment, invoice: str) -> None:
        """A user who has lost his notes asks for a payment that was made: it must be refused, after any restart."""
        await asyncio.sleep(self._chance.uniform(0, AGAIN_SECONDS))
        payer = self._nodes[payment.payer]
        try:
            await self._answered(lambda: payer.call("begin", invoice=invoice, payment_id=payment.payment_id))
        except RpcRefused as refused:
            if "DuplicatePayment" in str(refused):
                return
            raise
        raise TortureFailed(f"{payment.payer} pays payment {payment.payment_id[:8]} again")

    async def _answered(self, ask: Callable[[], Any]) -> Any:
        """However often the node is killed on the way."""
        while True:
            try:
                return await ask()
            except NodeNotReachable:
                await asyncio.sleep(POLL_SECONDS)

    # --- what follows

    def _on_event(self, name: str, record: dict[str, Any]) -> None:
        kind = record["event"]
        if kind in (SENT, FAILED) and record["payment_id"] in self._over:
            self._over[record["payment_id"]].set()
        elif kind == "PaymentClaimable" and record["payment_hash"] in self._held:
            payment, preimage = self._held[record["payment_hash"]]
            if not payment.decision:
                payment.decision = self._chance.choice(("claim", "claim", "fail"))
                task = asyncio.create_task(self._decide(payment, preimage))
                self._deciding.add(task)
                task.add_done_callback(self._decided)

    def _decided(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._deciding.discard(task)

    async def _decide(self, payment: Payment, preimage: bytes) -> None:
        """The payee's user makes up his mind after a while, and says so until his node has answered."""
        await asyncio.sleep(self._chance.uniform(0, HELD_SECONDS))
        payee = self._nodes[payment.payee]
        if payment.decision == "claim":
            await self._answered(lambda: payee.call("claim", preimage=preimage.hex()))
        else:
            await self._answered(lambda: payee.call("fail", payment_hash=payment.payment_hash))
