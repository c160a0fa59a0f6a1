"""What can be asked over the control socket: one function a method, its parameters a Struct."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import Annotated, Any

import msgspec

from pyln_fast import __version__
from pyln_fast.errors import LocalError
from pyln_fast.events import Event
from pyln_fast.node.deadlines import nearest_deadline
from pyln_fast.payment.invoice import DEFAULT_EXPIRY_SECS
from pyln_fast.payment.invoice import decode as decode_invoice
from pyln_fast.payment.outbound import OutboundPayment
from pyln_fast.rpc.json_values import event_json, to_json
from pyln_fast.runtime.history import DEFAULT_LIMIT, MOST_RECORDS, sorted_by
from pyln_fast.runtime.lightning_node import LightningNode
from pyln_fast.runtime.peer_connector import parse_node_id
from pyln_fast.types import (
    ChannelId,
    FeeratePerKw,
    Msat,
    NodeId,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    Sat,
    txid_hex,
)

KEPT_EVENTS = 4096
"""For whoever asks what happened. It is memory only: an application that must not miss one handles events itself."""
FORWARD_KEY_BYTES = 40
"""The channel that it came from, and the HTLC's number there."""


class InvalidParameter(LocalError):
    """One line that names the parameter."""


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class NoParams(Params, frozen=True):
    pass


class ConnectParams(Params, frozen=True):
    address: str


class PeerParams(Params, frozen=True):
    node_id: str


class OpenParams(Params, frozen=True):
    node_id: str
    """May be an address, `node_id@host:port`: then it is connected first."""
    amount_sat: int
    push_msat: int = 0
    wait: bool = False
    """Until the channel can be used."""


class CloseParams(Params, frozen=True):
    channel_id: str
    force: bool = False
    feerate_per_kw: int | None = None


class InvoiceParams(Params, frozen=True):
    amount_msat: int | None = None
    description: str = ""
    expiry_secs: int = DEFAULT_EXPIRY_SECS
    payment_hash: str | None = None


class PayParams(Params, frozen=True):
    invoice: str
    amount_msat: int | None = None
    payment_id: str | None = None
    retry_for_secs: int = 60
    """While there is no route, or attempts fail on the way."""
    wait: bool = True


class PaymentParams(Params, frozen=True):
    payment_id: str


class ListParams(Params, frozen=True):
    """With either of them the answer is a page, in the order of the records' keys, and what to ask on with; else a
    list of all, the oldest first."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_RECORDS)] | None = None
    after: str | None = None
    """The `next` of the last page: what comes behind it."""


class DecodeParams(Params, frozen=True):
    invoice: str


class ClaimParams(Params, frozen=True):
    preimage: str


class FailParams(Params, frozen=True):
    payment_hash: str


class SendParams(Params, frozen=True):
    address: str
    amount_sat: int
    feerate_per_kw: int | None = None


class EventsParams(Params, frozen=True):
    since: int = 0
    """The `next` of the last answer: only what came after."""
    wait_secs: float = 0
    """Until there is one, so long at most."""


class Api:
    """The methods of one node."""

    def __init__(self, node: LightningNode, stop: Callable[[], None]) -> None:
        self._node = node
        self._stop = stop
        self._events: deque[tuple[int, Event]] = deque(maxlen=KEPT_EVENTS)
        self._next_event = 1
        self._event_came = asyncio.Event()
        node.on_event.append(self._on_event)
        self.methods: dict[str, tuple[type[Params], Callable[[Any], Awaitable[Any]]]] = {
            "getinfo": (NoParams, self.getinfo),
            "connect": (ConnectParams, self.connect),
            "disconnect": (PeerParams, self.disconnect),
            "list-peers": (NoParams, self.list_peers),
            "open": (OpenParams, self.open),
            "list-channels": (NoParams, self.list_channels),
            "close": (CloseParams, self.close),
            "invoice": (InvoiceParams, self.invoice),
            "decode": (DecodeParams, self.decode),
            "pay": (PayParams, self.pay),
            "wait-payment": (PaymentParams, self.wait_payment),
            "list-payments": (ListParams, self.list_payments),
            "list-forwards": (ListParams, self.list_forwards),
            "claim": (ClaimParams, self.claim),
            "fail": (FailParams, self.fail),
            "newaddress": (NoParams, self.newaddress),
            "balance": (NoParams, self.balance),
            "send": (SendParams, self.send),
            "events": (EventsParams, self.events),
            "stop": (NoParams, self.stop),
        }

    async def getinfo(self, _: NoParams) -> Any:
        node = self._node.node
        channels = await self._node.list_channels()
        return {
            "node_id": self._node.node_id.hex(),
            "addresses": [f"{self._node.node_id.hex()}@{each}" for each in self._node.listening_addresses],
            "network": self._node.settings.network.value,
            "version": __version__,
            "block_height": node.core.height,
            "peers": len(node.core.peers),
            "channels": len(channels),
            "usable_channels": sum(1 for each in channels if each.is_usable),
            "nearest_deadline": nearest_deadline(node.core.state.channels.values()),
            "low_on_space": node.core.low_on_space,
        }

    async def connect(self, params: ConnectParams) -> Any:
        return {"node_id": (await self._node.connect_peer(params.address)).hex()}

    async def disconnect(self, params: PeerParams) -> Any:
        await self._node.disconnect_peer(parse_node_id(params.node_id))
        return {}

    async def list_peers(self, _: NoParams) -> Any:
        return to_json(await self._node.list_peers())

    async def open(self, params: OpenParams) -> Any:
        node_id = await self._peer(params.node_id)
        opened = await self._node.open_channel(node_id, Sat(params.amount_sat), Msat(params.push_msat))
        return to_json(await self._node.wait_for_channel(opened, usable=params.wait))

    async def _peer(self, text: str) -> NodeId:
        return await self._node.connect_peer(text) if "@" in text else parse_node_id(text)

    async def list_channels(self, _: NoParams) -> Any:
        return to_json(await self._node.list_channels())

    async def close(self, params: CloseParams) -> Any:
        channel_id = ChannelId(_hex("channel_id", params.channel_id, 32))
        found = [each for each in await self._node.list_channels() if each.channel_id == channel_id]
        if not found:
            raise InvalidParameter(f"channel_id: there is no channel {params.channel_id}")
        node_id = found[0].counterparty_node_id
        feerate = None if params.feerate_per_kw is None else FeeratePerKw(params.feerate_per_kw)
        if params.force:
            await self._node.force_close(channel_id, node_id)
        else:
            await self._node.close_channel(channel_id, node_id, feerate)
        return {"channel_id": params.channel_id}

    async def invoice(self, params: InvoiceParams) -> Any:
        amount = None if params.amount_msat is None else Msat(params.amount_msat)
        payment_hash = None
        if params.payment_hash is not None:
            payment_hash = PaymentHash(_hex("payment_hash", params.payment_hash, 32))
        made = await self._node.create_invoice(amount, params.description, params.expiry_secs, payment_hash)
        return {"invoice": made.text, "payment_hash": made.payment_hash.hex(), "expires_at": made.expires_at}

    async def decode(self, params: DecodeParams) -> Any:
        return to_json(decode_invoice(params.invoice))

    async def pay(self, params: PayParams) -> Any:
        amount = None if params.amount_msat is None else Msat(params.amount_msat)
        parsed = decode_invoice(params.invoice)
        payment_id = PaymentId(parsed.payment_hash)
        if params.payment_id is not None:
            payment_id = PaymentId(_hex("payment_id", params.payment_id, 32))
        paying = self._node.pay(parsed, amount, payment_id=payment_id, retry_for_secs=params.retry_for_secs)
        if not params.wait:
            self._node.in_background(paying)
            return {"payment_id": payment_id.hex()}
        return to_json(await paying)

    async def wait_payment(self, params: PaymentParams) -> Any:
        return to_json(await self._node.wait_for_payment(PaymentId(_hex("payment_id", params.payment_id, 32))))

    async def list_payments(self, params: ListParams) -> Any:
        if params.limit is None and params.after is None:
            every = (_payment(each) async for each in self._node.walk_payments())
            return await sorted_by(itemgetter("began_at"), every)
        after = None if params.after is None else PaymentId(_hex("after", params.after, 32))
        page = await self._node.page_of_payments(params.limit or DEFAULT_LIMIT, after)
        payments = [_payment(each) for each in page.records]
        return {"payments": payments, "next": None if page.next is None else page.next.hex()}

    async def list_forwards(self, params: ListParams) -> Any:
        if params.limit is None and params.after is None:
            every = (to_json(each) async for each in self._node.walk_forwards())
            return await sorted_by(itemgetter("at"), every)
        after = None if params.after is None else _hex("after", params.after, FORWARD_KEY_BYTES)
        page = await self._node.page_of_forwards(params.limit or DEFAULT_LIMIT, after)
        return {"forwards": to_json(page.records), "next": None if page.next is None else page.next.hex()}

    async def claim(self, params: ClaimParams) -> Any:
        await self._node.claim_funds(PaymentPreimage(_hex("preimage", params.preimage, 32)))
        return {}

    async def fail(self, params: FailParams) -> Any:
        await self._node.fail_htlc_backwards(PaymentHash(_hex("payment_hash", params.payment_hash, 32)))
        return {}

    async def newaddress(self, _: NoParams) -> Any:
        return {"address": await self._node.new_onchain_address()}

    async def balance(self, _: NoParams) -> Any:
        channels = await self._node.list_channels()
        balance = await self._node.onchain_balance()
        return {
            **to_json(balance),
            "available_sat": balance.available_sat,
            "channels_msat": sum(each.holder_balance_msat for each in channels),
        }

    async def send(self, params: SendParams) -> Any:
        feerate = None if params.feerate_per_kw is None else FeeratePerKw(params.feerate_per_kw)
        return {"txid": txid_hex(await self._node.send_onchain(params.address, Sat(params.amount_sat), feerate))}

    async def events(self, params: EventsParams) -> Any:
        if params.wait_secs > 0 and self._next_event <= max(params.since, 1):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(params.wait_secs):
                    await self._event_came.wait()
        found = [event_json(number, event) for number, event in self._events if number >= params.since]
        return {"events": found, "next": self._next_event}

    async def stop(self, _: NoParams) -> Any:
        asyncio.get_running_loop().call_soon(self._stop)
        return {}

    def _on_event(self, event: Event) -> None:
        self._events.append((self._next_event, event))
        self._next_event += 1
        self._event_came.set()
        self._event_came = asyncio.Event()


def _payment(payment: OutboundPayment) -> dict[str, Any]:
    return {
        "payment_id": payment.payment_id.hex(),
        "payment_hash": payment.payment_hash.hex(),
        "status": payment.status.value,
        "amount_msat": payment.amount_msat,
        "fee_paid_msat": payment.fee_paid_msat,
        "preimage": None if payment.preimage is None else payment.preimage.hex(),
        "payee": payment.payee.hex(),
        "began_at": payment.began_at,
        "attempts": payment.next_attempt,
    }


def _hex(name: str, text: str, length: int) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != length:
        raise InvalidParameter(f"{name}: {length} bytes of hex are wanted")
    return value
