"""`LightningNode`: a whole node as one object for programs that embed it. Made by `NodeBuilder`."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TypeVar

import msgspec

from pyln_fast.channel.errors import ChannelUnavailable
from pyln_fast.config import ChannelConfigOverrides
from pyln_fast.errors import LightningError, LocalError
from pyln_fast.events import Event, PaymentFailed, PaymentSent
from pyln_fast.node.details import ChannelDetails
from pyln_fast.node.node import Node
from pyln_fast.node.onchain import send_onchain
from pyln_fast.node.state import FINISHED_PAYMENTS, FORWARDED, ForwardedPayment
from pyln_fast.payment.invoice import DEFAULT_EXPIRY_SECS, Invoice, decode
from pyln_fast.payment.outbound import Attempts, OutboundPayment, PaymentStatus, Retry, RetryableSendFailure
from pyln_fast.runtime.background_processor import NodeStopped
from pyln_fast.runtime.event_handler import EventHandler
from pyln_fast.runtime.history import DEFAULT_LIMIT, Page, page_of, sorted_by, walk
from pyln_fast.runtime.payment_results import PaymentNotMade, PaymentResults, result_of
from pyln_fast.runtime.peer_connector import connect, parse_node_address
from pyln_fast.runtime.running import Running, bring_up
from pyln_fast.runtime.settings import NodeSettings
from pyln_fast.types import (
    BlockHeight,
    ChannelId,
    FeeratePerKw,
    Msat,
    NodeId,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    Sat,
    Txid,
)
from pyln_fast.wallet.wallet import Balance

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_WORTH_ANOTHER_TRY = ("RouteNotFound", "RetriesExhausted")

DEFAULT_RETRY = Attempts(3)
"""One failure on the way, or one link that breaks, should not fail a payment."""


class NotRunning(LocalError):
    def __init__(self) -> None:
        super().__init__("the node is not running: start() it first")


class PeerDetails(msgspec.Struct, frozen=True):
    node_id: NodeId
    address: str | None
    """Where we reach it, if we know."""
    is_connected: bool


class LightningNode:
    """Every method that changes something returns when that is durable, and raises a LocalError if nothing changed.

    `start` raises a LightningError of one line that says what is wrong. After `stop` the same object can start again.
    """

    def __init__(self, settings: NodeSettings, make_handler: Callable[[LightningNode], EventHandler]) -> None:
        self.settings = settings
        self._make_handler = make_handler
        self._running: Running | None = None
        self._results = PaymentResults()
        self._event_waiters: list[tuple[Callable[[Event], bool], asyncio.Future[Event]]] = []
        self._background: set[asyncio.Task[None]] = set()
        self.on_event: list[Callable[[Event], None]] = []
        """Called after each event was handled; to be quick."""

    # --- its life

    async def start(self) -> None:
        """Opens the database, follows the chain to its tip, then listens and connects to the peers of its channels."""
        assert self._running is None, "started twice"
        running = await bring_up(self.settings, self._make_handler(self), self._after_event)
        self._running = running
        running.processor.finished.add_done_callback(lambda _: self._ended(running.processor.stopped()))
        try:
            await running.go_online(self.settings)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Finishes what is being written, closes the sockets and the database. Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            for task in self._background:
                task.cancel()
            await running.stop()

    async def wait_stopped(self) -> None:
        """Returns when `stop` was called elsewhere. Raises NodeStopped when the node had to stop, and what ends the
        chain's source for good."""
        await self._up.wait_stopped()

    async def __aenter__(self) -> LightningNode:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    @property
    def _up(self) -> Running:
        if self._running is None:
            raise NotRunning
        return self._running

    @property
    def node(self) -> Node:
        """The core, to look at. It is changed through `submit` alone."""
        return self._up.node

    @property
    def node_id(self) -> NodeId:
        return self.node.core.node_id

    @property
    def listening_addresses(self) -> tuple[str, ...]:
        return self._up.addresses

    @property
    def height(self) -> BlockHeight:
        return self.node.core.height

    @property
    def turns(self) -> int:
        return self._up.processor.turns

    async def submit(self, function: Callable[[Node], T]) -> T:
        """Any command of the core's: its answer comes when all that it did is durable."""
        return await self._up.processor.submit(function)

    def submit_soon(self, function: Callable[[Node], object]) -> None:
        """The same without an answer. What a handler of an event submits becomes durable with, or before, the fact
        that the event was handled."""
        self._up.processor.submit_soon(function)

    # --- peers

    async def connect_peer(self, address: str) -> NodeId:
        """`node_id@host:port`. Returns when both have said `init`. The address is remembered, and called again while
        there are channels with the node. Raises CannotConnect."""
        node_id, host, port = parse_node_address(address)
        await connect(self._up.processor, node_id, host, port)
        await self.submit(lambda node: node.remember_peer_address(node_id, host, port))
        return node_id

    async def disconnect_peer(self, node_id: NodeId) -> None:
        """Once; if there are channels with it, it is soon connected again."""
        await self.submit(lambda node: node.disconnect_peer(node_id))

    async def list_peers(self) -> list[PeerDetails]:
        def look(node: Node) -> list[PeerDetails]:
            known = {node_id: f"{each.host}:{each.port}" for node_id, each in node.peer_addresses().items()}
            connected = [node_id for _, node_id in node.peer_manager.list_peers()]
            every = {**dict.fromkeys(connected), **dict.fromkeys(known)}
            return [PeerDetails(node_id, known.get(node_id), node_id in connected) for node_id in every]

        return await self.submit(look)

    async def send_custom_message(self, node_id: NodeId, message_type: int, data: bytes) -> None:
        """To a connected peer; types from 32768 on. Raises APIMisuse, ChannelUnavailable."""
        await self.submit(lambda node: node.send_custom_message(node_id, message_type, data))

    # --- channels

    async def open_channel(
        self,
        node_id: NodeId,
        channel_value_satoshis: Sat,
        push_msat: Msat = Msat(0),
        user_channel_id: int | None = None,
        override_config: ChannelConfigOverrides | None = None,
    ) -> int:
        """To a connected peer, paid by the wallet. Returns the user_channel_id, a random one if none is given.
        Raises InsufficientFunds, ChannelUnavailable, APIMisuse. `wait_for_channel` tells how it goes."""
        chosen = int.from_bytes(os.urandom(8), "big") if user_channel_id is None else user_channel_id
        await self.submit(
            lambda node: node.open_channel(node_id, channel_value_satoshis, push_msat, chosen, override_config)
        )
        return chosen

    async def close_channel(
        self, channel_id: ChannelId, node_id: NodeId, feerate: FeeratePerKw | None = None, script: bytes | None = None
    ) -> None:
        """Cooperatively."""
        await self.submit(lambda node: node.channel_manager.close_channel(channel_id, node_id, feerate, script))

    async def force_close(self, channel_id: ChannelId, node_id: NodeId, error_message: str = "closed by user") -> None:
        await self.submit(
            lambda node: node.channel_manager.force_close_broadcasting_latest_txn(channel_id, node_id, error_message)
        )

    async def list_channels(self) -> list[ChannelDetails]:
        return await self.submit(lambda node: node.channel_manager.list_channels())

    async def wait_for_channel(self, user_channel_id: int, *, usable: bool = True) -> ChannelDetails:
        """Until the channel carries payments, or with `usable` False until its funding is signed. Raises
        ChannelUnavailable if it is gone before."""

        def look(node: Node) -> ChannelDetails | LocalError | None:
            for details in node.channel_manager.list_channels():
                if details.user_channel_id == user_channel_id:
                    return details if details.is_usable or (not usable and details.funding_txo is not None) else None
            return ChannelUnavailable("it is no more: the peer refused it, or it is closed")

        found: ChannelDetails | LocalError = await self._up.processor.wait_until(look)
        if isinstance(found, LocalError):
            raise found
        return found

    async def wait_until(self, predicate: Callable[[Node], T | None]) -> T:
        """What the predicate finds in the core; it is asked after each turn."""
        return await self._up.processor.wait_until(predicate)

    async def wait_for_height(self, height: int) -> None:
        """Until the node has seen that block."""
        await self.wait_until(lambda node: True if node.core.height >= height else None)

    async def wait_for_event(self, predicate: Callable[[Event], bool]) -> Event:
        """The next such event, after its handler has handled it. Events of before do not count."""
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        waiter = (predicate, future)
        self._event_waiters.append(waiter)
        try:
            return await future
        finally:
            if waiter in self._event_waiters:
                self._event_waiters.remove(waiter)

    # --- payments

    async def create_invoice(
        self,
        amount_msat: Msat | None,
        description: str = "",
        expiry_secs: int = DEFAULT_EXPIRY_SECS,
        payment_hash: PaymentHash | None = None,
    ) -> Invoice:
        """BOLT 11; `text` is what the payer needs. With a payment hash of your own, you claim with its preimage."""
        return await self.submit(
            lambda node: node.payments.create_bolt11_invoice(
                amount_msat, description, expiry_secs=expiry_secs, payment_hash=payment_hash
            )
        )

    async def pay_invoice(
        self,
        invoice: str | Invoice,
        amount_msat: Msat | None = None,
        payment_id: PaymentId | None = None,
        retry: Retry = DEFAULT_RETRY,
        max_total_routing_fee_msat: Msat | None = None,
    ) -> PaymentId:
        """Begins a payment; a PaymentId never pays twice (by default it is the payment hash). Raises
        RetryableSendFailure, APIMisuse, InvalidInvoice: nothing was begun."""
        parsed = decode(invoice) if isinstance(invoice, str) else invoice
        chosen = payment_id if payment_id is not None else PaymentId(parsed.payment_hash)
        before = await self._finished(chosen)
        if before is not None and before.status is PaymentStatus.FULFILLED:
            raise RetryableSendFailure("DuplicatePayment", "a payment with this PaymentId has succeeded before")
        await self.submit(
            lambda node: node.payments.pay_for_bolt11_invoice(
                parsed, chosen, amount_msat, max_total_routing_fee_msat, retry
            )
        )
        return chosen

    async def wait_for_payment(self, payment_id: PaymentId) -> PaymentSent:
        """Until it is over. Raises PaymentNotMade."""
        future = self._results.expect(payment_id)
        payment = self.node.core.state.payments.get(payment_id)
        if payment is None or payment.is_over:
            # Its event may have passed: the answer comes behind whatever made it so.
            payment = await self.submit(lambda node: node.core.state.payments.get(payment_id))
            if payment is None:
                payment = await self._finished(payment_id)
            if (known := result_of(payment_id, payment)) is not None:
                self._results.give(payment_id, known)
        result = await future
        if isinstance(result, PaymentFailed):
            raise PaymentNotMade(payment_id, result.reason)
        return result

    async def _finished(self, payment_id: PaymentId) -> OutboundPayment | None:
        """What the history says of it; the core forgets a payment after some minutes (LDK)."""
        if payment_id in self.node.core.state.payments:
            return None
        value = await self._up.read(FINISHED_PAYMENTS.name, payment_id)
        return None if value is None else FINISHED_PAYMENTS.decode(value)

    async def pay(
        self,
        invoice: str | Invoice,
        amount_msat: Msat | None = None,
        payment_id: PaymentId | None = None,
        retry_for_secs: float = 0,
    ) -> PaymentSent:
        """pay_invoice and wait_for_payment, again for so long while there is no route or the way is broken.

        Asked again with the same PaymentId, after a crash too, it waits for what was begun or returns what was paid:
        a PaymentId never pays twice.
        Raises PaymentNotMade, RetryableSendFailure, APIMisuse, InvalidInvoice.
        """
        parsed = decode(invoice) if isinstance(invoice, str) else invoice
        chosen = payment_id if payment_id is not None else PaymentId(parsed.payment_hash)
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + retry_for_secs, _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self.pay_invoice(parsed, amount_msat, chosen)
            except RetryableSendFailure as error:
                if error.reason == "RouteNotFound" and loop.time() < end:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
                if error.reason != "DuplicatePayment":
                    raise
            try:
                return await self.wait_for_payment(chosen)
            except PaymentNotMade as error:
                if error.reason not in _WORTH_ANOTHER_TRY or loop.time() >= end:
                    raise

    def in_background(self, work: Coroutine[object, object, object]) -> None:
        """Until the node stops. What it raises is logged."""
        task = asyncio.get_running_loop().create_task(_logged(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def claim_funds(self, payment_preimage: PaymentPreimage) -> None:
        await self.submit(lambda node: node.payments.claim_funds(payment_preimage))

    async def fail_htlc_backwards(self, payment_hash: PaymentHash) -> None:
        await self.submit(lambda node: node.payments.fail_htlc_backwards(payment_hash))

    async def abandon_payment(self, payment_id: PaymentId) -> None:
        await self.submit(lambda node: node.payments.abandon_payment(payment_id))

    async def list_payments(self, *, history: bool = True) -> list[OutboundPayment]:
        """Those that we make, and with `history` every one that we ever made; the oldest first. Without it, those that
        are over lack what only the history keeps: hints, custom TLVs, metadata and the attempt. All of a long history
        is much memory: `walk_payments` and `page_of_payments` have a page at a time."""
        if not history:
            recent = await self.submit(lambda node: list(node.core.state.payments.values()))
            return sorted(recent, key=_began_at)
        return await sorted_by(_began_at, self.walk_payments())

    async def walk_payments(self) -> AsyncIterator[OutboundPayment]:
        """The same with the history, in the order of PaymentIds; the history is read on the way. Whatever happens
        meanwhile, a payment that had begun before comes exactly once; one under way comes as it was then."""
        async for payment in walk(self._up, FINISHED_PAYMENTS, await self._under_way()):
            yield payment

    async def page_of_payments(
        self, limit: int = DEFAULT_LIMIT, after: PaymentId | None = None
    ) -> Page[OutboundPayment]:
        """The same, at most `limit` of them with PaymentIds above `after`. Raises LimitRefused."""
        return await page_of(self._up, FINISHED_PAYMENTS, after, limit, await self._under_way())

    async def list_forwards(self) -> list[ForwardedPayment]:
        """Every HTLC that we forwarded and were paid for, the oldest first."""
        return await sorted_by(_at, self.walk_forwards())

    async def walk_forwards(self) -> AsyncIterator[ForwardedPayment]:
        """The same, by the channels they came from and then in their order there; read on the way."""
        async for forwarded in walk(self._up, FORWARDED):
            yield forwarded

    async def page_of_forwards(self, limit: int = DEFAULT_LIMIT, after: bytes | None = None) -> Page[ForwardedPayment]:
        """The same, at most `limit` of them after a page's `next`. Raises LimitRefused."""
        return await page_of(self._up, FORWARDED, after, limit)

    async def _under_way(self) -> dict[PaymentId, OutboundPayment]:
        """A payment that is over has become so in one batch with its record in the history."""

        def look(node: Node) -> dict[PaymentId, OutboundPayment]:
            return {key: payment for key, payment in node.core.state.payments.items() if not payment.is_over}

        return await self.submit(look)

    # --- the wallet

    async def new_onchain_address(self) -> str:
        return await self.submit(lambda node: node.wallet.new_address())

    async def onchain_balance(self) -> Balance:
        return await self.submit(lambda node: node.wallet.balance())

    async def send_onchain(self, address: str, amount_sat: Sat, feerate: FeeratePerKw | None = None) -> Txid:
        """Raises InsufficientFunds, InvalidAddress, DustOutput."""
        return await self.submit(lambda node: send_onchain(node, address, amount_sat, feerate))

    # --- events

    def _ended(self, stopped: NodeStopped) -> None:
        self._results.give_up(stopped)
        for _, future in self._event_waiters:
            if not future.done():
                future.set_exception(stopped)
                future.exception()
        self._event_waiters.clear()

    def _after_event(self, event: Event) -> None:
        if isinstance(event, PaymentSent | PaymentFailed):
            self._results.give(event.payment_id, event)
        for waiter in [waiter for waiter in self._event_waiters if waiter[0](event)]:
            self._event_waiters.remove(waiter)
            if not waiter[1].done():
                waiter[1].set_result(event)
        for listener in self.on_event:
            listener(event)


def _began_at(payment: OutboundPayment) -> int:
    return payment.began_at


def _at(forwarded: ForwardedPayment) -> int:
    return forwarded.at


async def _logged(work: Coroutine[object, object, object]) -> None:
    try:
        await work
    except LightningError as error:
        _LOG.warning("%s", error)
