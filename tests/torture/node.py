"""One node of the torture: `pyln-fast run`, which also writes down every event that it offers, and can be told to die
inside of a write of its store, when it sends a message, or before it broadcasts."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partialmethod, wraps
from typing import Any

import msgspec

from pyln_fast.cli import run as run_command
from pyln_fast.cli.main import app
from pyln_fast.node import channel_manager, node, payments
from pyln_fast.node.effects import OfferEvent, SendToPeer
from pyln_fast.payment.invoice import Invoice, decode
from pyln_fast.payment.outbound import Attempts, OutboundPayment
from pyln_fast.persist import filesystem_store, overlay
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.rpc.json_values import event_json
from pyln_fast.rpc.methods import Api, NoParams, Params
from pyln_fast.runtime import background_processor, peer_connector
from pyln_fast.runtime.bitcoind import BitcoindClient
from pyln_fast.runtime.builder import DefaultEventHandler
from pyln_fast.runtime.event_handler import EventHandler, EventQueue
from pyln_fast.runtime.lightning_node import LightningNode
from pyln_fast.runtime.peer_connector import parse_node_id
from pyln_fast.types import Msat, PaymentHash, PaymentId, PaymentSecret, Sat, ShortChannelId

EVENT_FILE = "events.jsonl"
CHECKPOINT_ROWS, SLICE_KEYS, SLICE_BYTES = 48, 12, 8 << 10
"""Instead of the defaults: so that checkpoints run all the time, and in many slices."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.5
"""Between two calls to a peer: what is dead is soon back here."""
FEE_POLL_SECONDS = 0.25
MINUTE_MS = 1000
"""A minute to the node's timers, which follow the feerates: with patience counted in them that is as long as ever."""
FLAWS = ("unknown hash", "wrong secret", "low fee", "unknown channel", "underpaid")
"""How a payment is crafted so that some hop must refuse it."""


class EventRecorder(EventQueue):
    """Each event goes to a file, with its durable number, before the handler sees it. What was handed to the kernel
    survives SIGKILL, all but the end of a line that was being written."""

    def __init__(self, handler: EventHandler, on_handled: Callable[..., None]) -> None:
        super().__init__(handler, on_handled)
        assert isinstance(handler, DefaultEventHandler)
        path = handler.node.settings.data_dir / EVENT_FILE
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._write({"started": os.getpid()})

    def offer(self, offered: OfferEvent) -> None:
        self._write(event_json(offered.sequence, offered.event))
        super().offer(offered)

    def _write(self, record: dict[str, Any]) -> None:
        # A newline before the record too: the line before it may have been torn by a kill.
        os.write(self._file, b"\n" + json.dumps(record, separators=(",", ":")).encode() + b"\n")


class BeginParams(Params, frozen=True):
    invoice: str
    payment_id: str
    flaw: str = ""
    attempts: int = 0


class OpenParams(Params, frozen=True):
    node_id: str
    amount_sat: int
    push_msat: int
    user_channel_id: int


class StatusParams(Params, frozen=True):
    payment_ids: list[str]


class DieParams(Params, frozen=True):
    inside: str
    after_us: int


class TortureApi(Api):
    """What users have as methods of `LightningNode`, and a way to die at a bad moment."""

    def __init__(self, node: LightningNode, stop: Callable[[], None]) -> None:
        super().__init__(node, stop)
        self.methods["begin"] = (BeginParams, self.begin)
        self.methods["begin-open"] = (OpenParams, self.begin_open)
        self.methods["statuses"] = (StatusParams, self.statuses)
        self.methods["feerate"] = (NoParams, self.feerate)
        self.methods["totals"] = (NoParams, self.totals)
        self.methods["die"] = (DieParams, self.die)

    async def begin(self, params: BeginParams) -> Any:
        """Answers when the payment is durable, not when it is over."""
        invoice = crafted(decode(params.invoice), params.flaw)
        payment_id = PaymentId(bytes.fromhex(params.payment_id))
        await self._node.pay_invoice(invoice, payment_id=payment_id, retry=Attempts(params.attempts))
        return {}

    async def begin_open(self, params: OpenParams) -> Any:
        """Answers when `open_channel` has left, not when the channel is funded."""
        node_id = parse_node_id(params.node_id)
        await self._node.open_channel(
            node_id, Sat(params.amount_sat), Msat(params.push_msat), user_channel_id=params.user_channel_id
        )
        return {}

    async def statuses(self, params: StatusParams) -> Any:
        """For each its status, fee and preimage; None where there is no such payment."""
        under_way = self._node.node.core.state.payments
        found = []
        for text in params.payment_ids:
            payment_id = PaymentId(bytes.fromhex(text))
            payment = under_way.get(payment_id) or await self._node._finished(payment_id)
            found.append(None if payment is None else _status(payment))
        return found

    async def feerate(self, _: NoParams) -> Any:
        """What the node wants of its channels' commitments now, per kw."""
        return self._node.node.core.feerates.commitment(anchors=True)

    async def totals(self, _: NoParams) -> Any:
        """Of everything that the database has on record."""
        every, forwards = await self._node.list_payments(), await self._node.list_forwards()
        paid = [each for each in every if each.status.value == "fulfilled"]
        return {
            "payments": len(every),
            "payments_sent": len(paid),
            "paid_msat": sum(each.amount_msat for each in paid),
            "fees_paid_msat": sum(each.fee_paid_msat or 0 for each in paid),
            "forwards": len(forwards),
            "fees_earned_msat": sum(each.fee_msat for each in forwards),
        }

    async def die(self, params: DieParams) -> Any:
        DEATHS[params.inside] = params.after_us
        return {}


def _status(payment: OutboundPayment) -> list[Any]:
    preimage = None if payment.preimage is None else payment.preimage.hex()
    return [payment.status.value, payment.fee_paid_msat, preimage]


def crafted(invoice: Invoice, flaw: str) -> Invoice:
    replace = msgspec.structs.replace
    if flaw == "unknown hash":
        return replace(invoice, payment_hash=PaymentHash(os.urandom(32)))
    if flaw == "wrong secret":
        return replace(invoice, payment_secret=PaymentSecret(os.urandom(32)))
    if flaw == "underpaid":
        assert invoice.amount_msat is not None
        return replace(invoice, amount_msat=Msat(invoice.amount_msat - 1))
    if flaw:
        hints = tuple(tuple(replace(hop, **_wrong(hop, flaw)) for hop in hint) for hint in invoice.route_hints)
        return replace(invoice, route_hints=hints)
    return invoice


def _wrong(hop: Any, flaw: str) -> dict[str, Any]:
    if flaw == "low fee":
        return {"fee_base_msat": Msat(hop.fee_base_msat - 1)}
    assert flaw == "unknown channel", flaw
    return {"short_channel_id": ShortChannelId(12345)}


DEATHS: dict[str, int] = {}
"""Inside of what the process is to die next, or at a message of which kind, and how many microseconds after its
beginning."""


def deadly(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method, which SIGKILL interrupts once when that is wished."""

    @wraps(method)
    def run(*arguments: Any) -> Any:
        _die_if_wished(name)
        return method(*arguments)

    return run


def deadly_messages(send: Callable[..., None]) -> Callable[..., None]:
    """`Node._send`, which SIGKILL interrupts once at a message of the kind that is wished."""

    @wraps(send)
    def run(sender: node.Node, effect: SendToPeer) -> None:
        _die_if_wished(type(effect.message).__name__)
        send(sender, effect)

    return run


def _die_if_wished(name: str) -> None:
    after_us = DEATHS.pop(name, None)
    if after_us is not None:
        threading.Thread(target=_die, args=(after_us,), daemon=True).start()


def _die(after_us: int) -> None:
    time.sleep(after_us / 1e6)
    os.kill(os.getpid(), signal.SIGKILL)


def quicken_minutes() -> None:
    """What happens once a minute comes once a second; what is waited for so many minutes is waited for as long."""
    factor = node.FRESHNESS_TIMER_MS // MINUTE_MS
    node.FRESHNESS_TIMER_MS = MINUTE_MS
    channel_manager.DISCONNECT_PEER_AWAITING_RESPONSE_TICKS *= factor  # type: ignore[attr-defined]
    channel_manager.UNACCEPTED_INBOUND_CHANNEL_AGE_LIMIT_TICKS *= factor  # type: ignore[attr-defined]
    channel_manager.UNFUNDED_CHANNEL_AGE_LIMIT_TICKS *= factor  # type: ignore[attr-defined]
    payments.IDEMPOTENCY_TIMEOUT_TICKS *= factor  # type: ignore[attr-defined]


def main(arguments: list[str]) -> None:
    """As the command line does, in this process. Raises SystemExit."""
    background_processor.EventQueue = EventRecorder  # type: ignore[attr-defined]
    run_command.Api = TortureApi  # type: ignore[attr-defined]
    peer_connector.FIRST_PAUSE_SECONDS = FIRST_PAUSE_SECONDS
    peer_connector.LONGEST_PAUSE_SECONDS = LONGEST_PAUSE_SECONDS
    node.Node._send = deadly_messages(node.Node._send)  # type: ignore[method-assign]
    BitcoindClient.broadcast_transactions = deadly(  # type: ignore[method-assign]
        "broadcast", BitcoindClient.broadcast_transactions
    )
    BitcoindClient.follow_fees = partialmethod(BitcoindClient.follow_fees, FEE_POLL_SECONDS)  # type: ignore[assignment]
    quicken_minutes()
    overlay.TAIL_ROWS_DUE = CHECKPOINT_ROWS
    overlay.SLICE_KEYS = SLICE_KEYS
    filesystem_store.SLICE_BYTES = SLICE_BYTES
    JournalStore.append = deadly("append", JournalStore.append)  # type: ignore[method-assign]
    JournalStore.checkpoint = deadly("checkpoint", JournalStore.checkpoint)  # type: ignore[method-assign]
    app(arguments, prog_name="pyln-fast")
