"""One node of a scenario, its machine and its user."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from pyln_fast.channel.errors import ChannelUnavailable
from pyln_fast.config import UserConfig
from pyln_fast.errors import LightningError
from pyln_fast.events import Event, OpenChannelRequest, PaymentClaimable
from pyln_fast.node.effects import BroadcastPackage
from pyln_fast.node.node import FRESHNESS_TIMER_MS, Node
from pyln_fast.payment.invoice import Invoice
from pyln_fast.payment.invoice_fields import RouteHint, RouteHintHop
from pyln_fast.payment.outbound import Attempts
from pyln_fast.peer.handlers import PeerEvent
from pyln_fast.testing.scenario_views import Payment, ScenarioChannel
from pyln_fast.testing.scenario_wire import Kind, Pattern, TappedNode, Trigger, Wire
from pyln_fast.testing.sim_node import SimNode
from pyln_fast.types import ChannelId, FeeratePerKw, Msat, PaymentId, Sat

if TYPE_CHECKING:
    from pyln_fast.testing.scenario import Scenario

E = TypeVar("E", bound=Event)
AtWrite = Literal["before", "during", "after"]
"""A crash before a write reaches the disk, with half of it there, or with all of it there and nobody told."""


class Backup(msgspec.Struct, frozen=True):
    """A copy of a node's disk."""

    tables: dict[str, dict[bytes, bytes]]
    sequence: int


class ScenarioNode(SimNode):
    """`scenario.node(name)`. Its user accepts every channel and claims every payment at once, unless told otherwise."""

    def __init__(self, scenario: Scenario, name: str, config: UserConfig, feerate: FeeratePerKw) -> None:
        super().__init__(scenario, name, config, feerate)
        self.scenario = scenario
        self.node_type = partial(TappedNode, self)
        self.wire: Wire = scenario.wire
        self.told: list[Event] = []
        """Every event that its user was told, again after a restart if it was not handled."""
        self.broadcasts: list[BroadcastPackage] = []
        self.disk_is_slow = False
        self.is_behind = False
        """It does not hear of new blocks."""
        self.power_is_lost = False
        self._dies: AtWrite | None = None
        self._dies_silently = False
        self._user: Literal["claims", "holds", "refuses"] = "claims"
        self._handles = True
        self._payments = 0

    # --- what it sees

    def told_of(self, kind: type[E]) -> list[E]:
        return [event for event in self.told if isinstance(event, kind)]

    def channel(self, peer: str, number: int = 0) -> ScenarioChannel:
        return self.scenario.channel(self.name, peer, number)

    def balance_msat(self, peer: str) -> Msat:
        """Settled, in the channel with `peer`."""
        return self.channel(peer).balance_msat(self.name)

    # --- payments

    def pays(
        self,
        payee: str,
        amount_msat: int,
        attempts: int = 0,
        change: Callable[[Invoice], Invoice] = lambda invoice: invoice,
    ) -> Payment:
        """With the next run, over the shortest path of channels; `change` may write another invoice first."""
        recipient = self.scenario.node(payee)
        made = recipient.node.payments.create_bolt11_invoice(Msat(amount_msat), "scenario")
        assert isinstance(made, Invoice)
        path = self.scenario.path(self.name, payee)
        invoice = change(replace(made, route_hints=self._hints(path)))
        self._payments += 1
        payment_id = PaymentId(hashlib.sha256(f"{self.name} {self._payments}".encode()).digest())
        payment = Payment(self, recipient, invoice, payment_id)
        self.sends(payment, attempts)
        return payment

    def sends(self, payment: Payment, attempts: int = 0) -> None:
        """A payment that was tried before, once more under its PaymentId."""

        def begun(result: object) -> None:
            payment.refused = result if isinstance(result, Exception) else None

        pay = partial(_pay, invoice=payment.invoice, payment_id=payment.payment_id, attempts=Attempts(attempts))
        self.command(pay, begun)

    def _hints(self, path: list[ScenarioChannel]) -> tuple[RouteHint, ...]:
        """The nodes between, each with what it asks for; without a path the payment is refused."""
        hops, name = [], self.name
        for position, channel in enumerate(path):
            if position:
                hops.append(_hint_hop(self.scenario.node(name), channel.channel_id))
            name = channel.other(name)
        return (tuple(hops),) if hops else ()

    def holds_payments(self) -> None:
        """What comes from now on waits for `claims` or `refuses`."""
        self._user = "holds"

    def refuses_payments(self) -> None:
        """What comes from now on is failed back at once."""
        self._user = "refuses"

    def claims(self, payment: Payment) -> None:
        preimages = [
            event.purpose.payment_preimage
            for event in self.told_of(PaymentClaimable)
            if event.payment_hash == payment.payment_hash
        ]
        assert preimages, f"{self.name} was not told of that payment"
        preimage = preimages[0]
        assert preimage is not None
        self.command(lambda node: node.payments.claim_funds(preimage))

    def refuses(self, payment: Payment) -> None:
        """Fails it back."""
        self.command(lambda node: node.payments.fail_htlc_backwards(payment.payment_hash))

    # --- channels

    def opens(self, peer: str, value_sat: int = 10_000_000, push_msat: int = 0) -> None:
        node_id = self.scenario.node(peer).node_id
        self._commands(lambda node: node.open_channel(node_id, Sat(value_sat), Msat(push_msat)))

    def closes(self, peer: str) -> None:
        """Cooperatively."""
        channel_id, node_id = self.channel(peer).channel_id, self.scenario.node(peer).node_id
        self._commands(lambda node: node.channel_manager.close_channel(channel_id, node_id))

    def force_closes(self, peer: str, message: str = "the user wants it") -> None:
        channel_id, node_id = self.channel(peer).channel_id, self.scenario.node(peer).node_id
        self._commands(
            lambda node: node.channel_manager.force_close_broadcasting_latest_txn(channel_id, node_id, message)
        )

    def _commands(self, function: Callable[[Node], object]) -> None:
        """Raises what the node answers, at once: such a command cannot wait for a slow disk."""
        answers: list[object] = []
        self.command(function, answers.append)
        self.turn()
        if answers and isinstance(answers[0], LightningError):
            raise answers[0]

    # --- its user

    def ignores_events(self) -> None:
        """Its user neither looks at events nor says that they are handled."""
        self._handles = False

    def handles_events(self) -> None:
        self._handles = True

    def handle_next(self) -> bool:
        """The user takes the oldest event; whether there was one."""
        if not self._handles or not self.events or not self.is_ready:
            return False
        offered = self.events.popleft()
        event = offered.event
        self.told.append(event)
        if isinstance(event, OpenChannelRequest):
            self.command(
                lambda node: node.channel_manager.accept_inbound_channel(
                    event.temporary_channel_id, event.counterparty_node_id
                )
            )
        elif isinstance(event, PaymentClaimable):
            self._on_claimable(event)
        self.scenario.checkers.event_handled(self, offered)
        self.node.event_handled(offered.sequence)
        self.has_inputs = True
        return True

    def _on_claimable(self, event: PaymentClaimable) -> None:
        preimage, payment_hash = event.purpose.payment_preimage, event.payment_hash
        if self._user == "claims" and preimage is not None:
            self.command(lambda node: node.payments.claim_funds(preimage))
        elif self._user == "refuses":
            self.command(lambda node: node.payments.fail_htlc_backwards(payment_hash))

    # --- its machine

    def crash(  # type: ignore[override]
        self,
        after: Kind | None = None,
        sent: Kind | None = None,
        peer: str | None = None,
        nth: int = 1,
        write: AtWrite = "before",
        silently: bool = False,
    ) -> None:
        """Dies: now, when it has received a message of that kind (`after`), or when it has sent one.

        `write` is about what it was writing: the batch of the turn in which it received the message, or what else its
        disk had not finished. `silently`: its machine is gone too, and no peer is told.
        """
        self._dies_silently = silently
        if after is None and sent is None:
            self._die(write)
            return
        peers = [peer] if peer is not None else list(self.scenario.nodes)
        if after is not None:
            assert sent is None, "after or sent"
            pattern = Pattern(after, frozenset((name, self.name) for name in peers), nth)
            self.wire.triggers.append(Trigger(pattern, False, lambda link: self._will_die(write)))
        else:
            pattern = Pattern(sent, frozenset((self.name, name) for name in peers), nth)
            self.wire.triggers.append(Trigger(pattern, True, lambda link: self._loses_power(write)))

    def _will_die(self, write: AtWrite) -> None:
        self._dies = write

    def _loses_power(self, write: AtWrite) -> None:
        self._dies, self.power_is_lost = write, True

    def _die(self, write: AtWrite) -> None:
        self._dies, self.power_is_lost = None, False
        super().crash(len(self.disk.waiting) if write == "after" else 0, write == "during")
        self.scenario.network.drop_node(self, self._dies_silently)
        self.wire.drop_letters_to(self)

    def restarts(self, backup: Backup | None = None) -> None:
        """With what is on its disk, or an earlier copy of that; it catches up with the chain and calls its peers."""
        if self.alive:
            self._die("before")
        if backup is not None:
            self.disk.put_back(backup.tables, backup.sequence)
        self.scenario.checkers.started(self)
        self.start()
        if not self.is_behind:
            self.catches_up()
        self.scenario.connect_all(self)

    def backs_up(self) -> Backup:
        return Backup({name: dict(rows) for name, rows in self.disk.tables.items()}, self.disk.sequence)

    def slow_disk(self) -> None:
        """Writes wait for `disk_catches_up` or `finishes_write`."""
        self.disk_is_slow = True

    def disk_catches_up(self) -> None:
        self.disk_is_slow = False
        self.turn()

    def finishes_write(self) -> None:
        """The oldest that waits."""
        assert self.disk.waiting, f"{self.name} writes nothing"
        self.finish_write()

    def falls_behind(self) -> None:
        """It hears of no block until `catches_up`."""
        self.is_behind = True

    def catches_up(self, blocks: int | None = None) -> None:
        """With so many blocks, or with the chain and from now on."""
        if blocks is None:
            self.is_behind = False
        while self.alive and not self.is_synced and blocks != 0:
            self.follow_chain()
            self.turn()
            blocks = blocks - 1 if blocks is not None else None

    def estimates(self, feerate_per_kw: int) -> None:
        """From its next minute on, which is when a node looks."""
        self.fees.feerate = FeeratePerKw(feerate_per_kw)

    def ticks_a_minute(self) -> None:
        """Its clock alone."""
        self.clock_ahead_ms += FRESHNESS_TIMER_MS
        self.tick()

    # --- the turn

    def takes(self, event: PeerEvent) -> None:
        node = self.node
        assert isinstance(node, TappedNode)
        node.take(event)
        self.turn()

    def turn(self) -> None:
        if not self.alive:
            return
        super().turn()
        if self._dies is not None:
            self._die(self._dies)
        while self.alive and not self.disk_is_slow and self.disk.waiting:
            self.finish_write()


def _pay(node: Node, invoice: Invoice, payment_id: PaymentId, attempts: Attempts) -> None:
    node.payments.pay_for_bolt11_invoice(invoice, payment_id, retry=attempts)


def _hint_hop(node: ScenarioNode, channel_id: ChannelId) -> RouteHintHop:
    state = node.node.core.state.channels.get(channel_id)
    if state is None:
        raise ChannelUnavailable(f"{node.name} has no channel {channel_id.hex()}")
    data = state.data
    scid = data.funding.short_channel_id
    return RouteHintHop(
        node.node_id,
        scid if scid is not None else data.holder_alias,
        data.config.forwarding_fee_base_msat,
        data.config.forwarding_fee_proportional_millionths,
        data.config.cltv_expiry_delta,
    )
