"""What the users of simulated nodes do: pay each other in every way that can go right or wrong, open and close
channels, answer events, watch fees."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pyln_fast.channel.state import FundedState, Normal
from pyln_fast.errors import LightningError
from pyln_fast.events import OpenChannelRequest, PaymentClaimable
from pyln_fast.node.effects import OfferEvent
from pyln_fast.node.node import FRESHNESS_TIMER_MS, Node
from pyln_fast.payment.invoice import Invoice
from pyln_fast.payment.invoice_fields import RouteHint, RouteHintHop
from pyln_fast.payment.outbound import Attempts, PaymentStatus
from pyln_fast.testing.sim_adversary import Adversary
from pyln_fast.types import (
    BlockHeight,
    Blocks,
    ChannelId,
    FeeratePerKw,
    Msat,
    NodeId,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    PaymentSecret,
    Sat,
    ShortChannelId,
)

if TYPE_CHECKING:
    from pyln_fast.testing.sim_node import SimNode
    from pyln_fast.testing.simulator import Simulator

AMOUNTS_MSAT = (1, 999, 1_000, 353_999, 354_000, 545_999, 546_000, 1_500_000, 5_000_000, 20_000_000, 250_000_000)
FEERATES = (253, 300, 500, 1000, 1000, 1500, 2500, 4000)
"""Estimates of honest nodes differ by no more than this: what one offers the other takes."""
FLAWS = (
    "unknown hash",
    "wrong secret",
    "low fee",
    "low expiry",
    "unknown channel",
    "low final expiry",
    "underpaid",
    "far expiry",
    "negative fee",
    "negative delta",
    "wrong node",
    "strange record",
)
"""How a payment is crafted so that some hop of it must refuse."""
MAX_HOPS = 4
REMEMBERED_INVOICES = 20
STRANGE_RECORDS = ((65_537, b"odd"), (65_540, b"even"))
"""The second must be understood by the payee's application, and is not."""
TARGET_FEERATES = (None, None, FeeratePerKw(253), FeeratePerKw(2000))
"""Of a close, where its user has a wish."""


class Workload:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._random = simulator.random
        self._paid = 0
        self.payments = 0
        self._tried: dict[tuple[PaymentId, PaymentHash], None] = {}
        self._preimages: dict[PaymentHash, PaymentPreimage] = {}
        """Of payees who chose their payment hashes."""
        self._invoices: deque[tuple[SimNode, Invoice]] = deque(maxlen=REMEMBERED_INVOICES)
        """With their payers, who may pay them once more."""

    # --- payments

    def pay(self, count: int = 1, flawed: bool = False) -> str | None:
        """Some payments at once over one path, or None if there is no path now."""
        path = self._path()
        if path is None:
            return None
        if self._invoices and self._random.random() < 0.03:
            return self._pay_again()
        payer, payee, channels = path
        flaw = self._random.choice(FLAWS) if flawed else ""
        for _ in range(count):
            amount = self._amount(payer, channels[0][1])
            self._request(payer, payee, channels, amount, flaw)
        return f"{payer.name} pays {payee.name} over {len(channels)} hops {count} times {flaw}".rstrip()

    def _path(self) -> tuple[SimNode, SimNode, list[tuple[SimNode, FundedState]]] | None:
        """A random walk over usable channels: (node, its channel to the next one), and where it ends."""
        ready = [node for node in self._simulator.nodes.values() if node.is_ready]
        if not ready:
            return None
        payer = here = self._random.choice(ready)
        seen = {payer.name}
        walk: list[tuple[SimNode, FundedState]] = []
        for _ in range(self._random.choice((1, 1, 2, 2, 3, MAX_HOPS))):
            steps = [
                (state, self._simulator.nodes[name])
                for state in here.node.core.state.channels.values()
                if isinstance(state, Normal)
                if (name := self._simulator.name_of(state.data.params.counterparty_node_id)) not in seen
            ]
            if not steps:
                break
            state, following = self._random.choice(steps)
            walk.append((here, state))
            here = following
            seen.add(here.name)
        return (payer, here, walk) if walk and here.is_ready else None

    def _amount(self, payer: SimNode, first: FundedState) -> Msat:
        """Around a limit: of dust, of the channel, of its balance."""
        kind = self._random.random()
        if kind < 0.7:
            return Msat(self._random.choice(AMOUNTS_MSAT))
        limits = {each.channel_id: each.outbound_limit_msat for each in payer.node.payments.usable_channels()}
        limit = limits.get(first.data.channel_id, 0)
        if kind < 0.85:
            return Msat(max(1, limit + self._random.choice((-1000, -1, 0, 1, 1000))))
        return Msat(max(1, limit // self._random.choice((2, 3, 10))))

    def _request(
        self, payer: SimNode, payee: SimNode, channels: list[tuple[SimNode, FundedState]], amount: Msat, flaw: str
    ) -> None:
        def made(result: object) -> None:
            assert isinstance(result, Invoice), result
            if payee.is_honest:
                self._simulator.checkers.payable_to_honest[result.payment_hash] = amount
                self._simulator.checkers.invoices_of[result.payment_hash] = payee.name
            if payer.alive:
                invoice = self._crafted(result, channels, flaw)
                self._invoices.append((payer, invoice))
                self._send(payer, invoice, STRANGE_RECORDS if flaw == "strange record" else ())

        payment_hash = self._own_hash() if self._random.random() < 0.1 else None
        payee.command(
            lambda node: node.payments.create_bolt11_invoice(amount, "simulated", payment_hash=payment_hash), made
        )

    def _own_hash(self) -> PaymentHash:
        """Of a preimage that only the user knows."""
        preimage = PaymentPreimage(self._bytes())
        payment_hash = PaymentHash(hashlib.sha256(preimage).digest())
        self._preimages[payment_hash] = preimage
        return payment_hash

    def _pay_again(self) -> str | None:
        """An invoice that was paid, or is being paid, under another PaymentId."""
        payer, invoice = self._random.choice(self._invoices)
        if not payer.is_ready:
            return None
        self._send(payer, invoice)
        return f"{payer.name} pays an invoice once more"

    def abandon(self) -> str | None:
        """The user gives up a payment; what is under way may still arrive."""
        pending = [
            (node, payment_id)
            for node in self._simulator.nodes.values()
            if node.is_ready
            for payment_id, payment in node.node.core.state.payments.items()
            if payment.status is PaymentStatus.PENDING
        ]
        if not pending:
            return None
        node, payment_id = self._random.choice(pending)
        node.command(lambda it: it.payments.abandon_payment(payment_id))
        return f"{node.name} abandons a payment"

    def _crafted(self, invoice: Invoice, channels: list[tuple[SimNode, FundedState]], flaw: str) -> Invoice:
        """The invoice with the path as its only hint, and with a flaw in it."""
        hint = self._hint(channels, flaw)
        invoice = replace(invoice, route_hints=(hint,) if hint else ())
        if flaw == "unknown hash":
            return replace(invoice, payment_hash=PaymentHash(self._bytes()))
        if flaw == "wrong secret":
            return replace(invoice, payment_secret=PaymentSecret(self._bytes()))
        if flaw == "low final expiry":
            return replace(invoice, min_final_cltv_expiry_delta=Blocks(self._random.choice((18, 40))))
        if flaw == "wrong node" and len(channels) > 1:
            return replace(invoice, payee=channels[0][0].node_id)
        if flaw == "far expiry":
            return replace(invoice, min_final_cltv_expiry_delta=Blocks(900))
        if flaw == "underpaid":
            assert invoice.amount_msat is not None
            return replace(invoice, amount_msat=Msat(max(1, invoice.amount_msat - 1)))
        return invoice

    def _hint(self, channels: list[tuple[SimNode, FundedState]], flaw: str) -> RouteHint:
        hops = []
        flawed = self._random.randrange(1, len(channels)) if len(channels) > 1 else 0
        for position, (node, state) in enumerate(channels[1:], 1):
            data = state.data
            config = data.config
            scid = data.funding.short_channel_id if self._random.random() < 0.5 else data.holder_alias
            base, delta = config.forwarding_fee_base_msat, config.cltv_expiry_delta
            if position == flawed and flaw == "low fee" and base:
                base = Msat(base - 1)
            elif position == flawed and flaw == "negative fee":
                base = Msat(-self._random.choice((1, 1000, 1_000_000)))
            elif position == flawed and flaw == "negative delta":
                delta = Blocks(-self._random.choice((1, 30)))
            elif position == flawed and flaw == "low expiry":
                delta = Blocks(delta - 1)
            elif position == flawed and flaw == "unknown channel":
                scid = ShortChannelId(12345)
            proportional = config.forwarding_fee_proportional_millionths
            hops.append(RouteHintHop(node.node_id, scid or data.holder_alias, base, proportional, delta))
        return tuple(hops)

    def _bytes(self) -> bytes:
        return self._random.randbytes(32)

    def _send(self, payer: SimNode, invoice: Invoice, records: tuple[tuple[int, bytes], ...] = ()) -> None:
        self._paid += 1
        number = self._paid if self._random.random() < 0.95 else self._random.randint(1, self._paid)
        payment_id = _payment_id(number)
        if (payment_id, invoice.payment_hash) in self._tried:
            # Its two ends could not be told apart.
            self._paid += 1
            payment_id = _payment_id(self._paid)
        self._tried[payment_id, invoice.payment_hash] = None
        retry = Attempts(self._random.choice((0, 0, 1, 3)))

        def send(node: Node) -> None:
            node.payments.pay_for_bolt11_invoice(invoice, payment_id, retry=retry, custom_tlvs=records)

        def begun(result: object) -> None:
            if result is None:
                self.payments += 1
            else:
                assert isinstance(result, LightningError), result

        payer.command(send, begun)

    # --- channels

    def open(self, opener: SimNode, peer: NodeId, value_sat: Sat, push_msat: Msat) -> None:
        def opened(result: object) -> None:
            assert isinstance(result, bytes | LightningError), result

        opener.command(lambda node: node.open_channel(peer, value_sat, push_msat), opened)

    def close(self, node: SimNode) -> str | None:
        states = [state for state in node.node.core.state.channels.values() if isinstance(state, Normal)]
        if not states:
            return None
        state = self._random.choice(states)
        channel_id, peer = state.data.channel_id, state.data.params.counterparty_node_id
        target = self._random.choice(TARGET_FEERATES)
        node.command(lambda it: it.channel_manager.close_channel(ChannelId(channel_id), peer, target))
        return f"{node.name} closes {channel_id.hex()[:8]}"

    def force_close(self, node: SimNode) -> str | None:
        """By a user who has his reasons."""
        states = [state for state in node.node.core.state.channels.values() if isinstance(state, Normal)]
        if not states or not node.is_honest:
            return None
        data = self._random.choice(states).data

        def force_close(it: Node) -> None:
            it.channel_manager.force_close_broadcasting_latest_txn(
                data.channel_id, data.params.counterparty_node_id, "enough"
            )
            self._simulator.checkers.force_closed[data.channel_id] = node.name

        node.command(force_close)
        return f"{node.name} force-closes {data.channel_id.hex()[:8]}"

    def change_fees(self, node: SimNode) -> str:
        node.fees.feerate = FeeratePerKw(self._random.choice(FEERATES))
        # A minute later, for that is when a node looks at its estimates.
        node.clock_ahead_ms += FRESHNESS_TIMER_MS
        node.tick()
        return f"{node.name} estimates {node.fees.feerate}"

    # --- events

    def handle(self, node: SimNode) -> str:
        """The user's handler takes the next event, now and then without finishing: a crash may come before it does."""
        offered = node.events.popleft()
        event = offered.event
        if isinstance(event, OpenChannelRequest):
            node.command(
                lambda it: it.channel_manager.accept_inbound_channel(
                    event.temporary_channel_id, event.counterparty_node_id
                )
            )
        elif isinstance(event, PaymentClaimable):
            self._claimable(node, event)
        self._simulator.checkers.event_handled(node, offered)
        node.node.event_handled(offered.sequence)
        node.has_inputs = True
        return f"{node.name} handles {_name(offered)}"

    def _claimable(self, node: SimNode, event: PaymentClaimable) -> None:
        """Claimed, refused, or left for later (`decide`); an adversary may hold it for good."""
        choice = self._random.random()
        if isinstance(node, Adversary) and self._random.random() < node.habits.holds:
            return
        payment_hash = event.payment_hash
        preimage = event.purpose.payment_preimage or self._preimages[payment_hash]
        if choice < 0.75 and self._is_in_time(event.claim_deadline):
            node.command(lambda it: it.payments.claim_funds(preimage))
        elif choice < 0.85:
            node.command(lambda it: it.payments.fail_htlc_backwards(payment_hash))

    def _is_in_time(self, claim_deadline: BlockHeight | None) -> bool:
        """A node that lags behind the chain would claim what it then has to fetch on chain."""
        return claim_deadline is None or self._simulator.chain.height < claim_deadline

    def decide(self) -> str | None:
        """A recipient claims a payment that it held back, or whose claim a crash undid."""
        undecided: list[tuple[SimNode, PaymentPreimage]] = []
        for node in self._simulator.nodes.values():
            if isinstance(node, Adversary) and node.habits.holds:
                continue
            if node.is_ready and node.node.core.state.claimable:
                offered = {each.event.payment_hash for each in node.events if isinstance(each.event, PaymentClaimable)}
                for payment_hash, claimable in node.node.core.state.claimable.items():
                    if payment_hash in offered or not self._is_in_time(claimable.claim_deadline):
                        continue
                    preimage = claimable.purpose.payment_preimage or self._preimages[payment_hash]
                    undecided.append((node, preimage))
        if not undecided:
            return None
        node, preimage = self._random.choice(undecided)
        node.command(lambda it: it.payments.claim_funds(preimage))
        return f"{node.name} claims what it held"


def _payment_id(number: int) -> PaymentId:
    return PaymentId(hashlib.sha256(f"payment {number}".encode()).digest())


def _name(offered: OfferEvent) -> str:
    return f"{offered.sequence} {type(offered.event).__name__}"
