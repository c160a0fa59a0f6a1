"""A run of three nodes in which any of them may die at any write, and what must be true of it all the same."""

from __future__ import annotations

import hashlib

from pyln_fast.channel.state import Closing, FundedState, Normal
from pyln_fast.events import ChannelClosed, DisconnectedPeer, PaymentFailed, PaymentSent
from pyln_fast.payment.invoice import Invoice
from pyln_fast.payment.outbound import Attempts, RetryableSendFailure
from pyln_fast.types import ChannelId, Msat, NodeId, PaymentHash, PaymentId, PaymentPreimage, Sat
from tests.node.world import Host, World

NAMES = ("alice", "bob", "carol")
CAPACITY_SAT = 1_000_000
PUSH_MSAT = 400_000_000


def never_was(state: FundedState) -> bool:
    """The fundee's side of a channel whose opener died before it was durable there: its funding was never signed."""
    return isinstance(state, Closing) and not state.data.params.holder_is_opener and state.data.funding.height is None


class CrashRun:
    """alice - bob - carol. Every step can be begun again after a crash."""

    def __init__(self) -> None:
        self.world = World()
        self.alice, self.bob, self.carol = (self.world.host(name) for name in NAMES)
        self.links = ((self.alice, self.bob), (self.bob, self.carol))
        self.deaths = 0
        self.payments: dict[PaymentId, tuple[Host, Host, Invoice, int]] = {}
        self.refused: dict[PaymentId, None] = {}

    # --- keeping everybody alive

    def revive(self) -> None:
        while True:
            for host in self.world.hosts.values():
                if not host.alive:
                    self.deaths += 1
                    host.restart()
            for a, b in self.links:
                if a.alive and b.alive and not self.world.are_connected(a, b):
                    self.world.connect(a, b)
            self.world.settle()
            if all(host.alive for host in self.world.hosts.values()):
                return

    # --- steps

    def fund(self) -> None:
        for host in (self.alice, self.bob):
            for _ in range(10):
                if host.alive and host.node.wallet.balance().available_sat:
                    break
                self.revive()
                address = host.call(lambda node: node.wallet.new_address())
                if isinstance(address, str):
                    self.world.chain.send_to(address, 10_000_000)
                self.world.mine(1)
        self.revive()

    def channels_between(self, a: Host, b: Host) -> list[ChannelId]:
        node_id = b.node.core.node_id
        return [
            channel_id
            for channel_id, state in a.node.core.state.channels.items()
            if state.data.params.counterparty_node_id == node_id and not never_was(state)
        ]

    def open(self, a: Host, b: Host) -> None:
        for _ in range(10):
            self.revive()
            if self.channels_between(a, b):
                break
            node_id = NodeId(b.node.core.node_id)
            a.call(lambda node: node.open_channel(node_id, Sat(CAPACITY_SAT), Msat(PUSH_MSAT)))  # noqa: B023
        for _ in range(6):
            self.world.mine(1)
            self.revive()
        for one, other in ((a, b), (b, a)):
            (channel_id,) = self.channels_between(one, other)
            assert isinstance(one.node.core.state.channels[channel_id], Normal)

    def invoice(self, host: Host, amount_msat: int, own_preimage: bytes | None = None) -> Invoice:
        def make(node: object) -> object:
            payment_hash = PaymentHash(hashlib.sha256(own_preimage).digest()) if own_preimage is not None else None
            return host.node.payments.create_bolt11_invoice(Msat(amount_msat), "crash", payment_hash=payment_hash)

        for _ in range(10):
            self.revive()
            made = host.call(make)
            if isinstance(made, Invoice):
                return made
        raise AssertionError("no invoice")

    def begin(self, payer: Host, payee: Host, invoice: Invoice, amount: int, name: str) -> PaymentId:
        """One call; a node that died in it asks again under the same id."""
        payment_id = PaymentId(hashlib.sha256(name.encode()).digest())
        self.payments[payment_id] = (payer, payee, invoice, amount)

        def pay(node: object) -> None:
            payer.node.payments.pay_for_bolt11_invoice(invoice, payment_id, retry=Attempts(2))

        for _ in range(10):
            self.revive()
            if payment_id in payer.node.core.state.payments:
                break
            try:
                payer.call(pay)
            except RetryableSendFailure:
                self.refused[payment_id] = None
                break
            if payer.alive:
                break
        return payment_id

    def pay(self, payer: Host, payee: Host, amount: int, name: str) -> None:
        self.begin(payer, payee, self.invoice(payee, amount), amount, name)
        self.revive()

    def pay_nobody(self, payer: Host, payee: Host, amount: int, name: str) -> None:
        """An invoice whose preimage the payee does not have: it refuses."""
        invoice = self.invoice(payee, amount, hashlib.sha256(name.encode()).digest())
        payee.hold_claims = True
        self.begin(payer, payee, invoice, amount, name)
        for _ in range(10):
            self.revive()
            if not payee.node.core.state.claimable:
                break
            payee.call(lambda node: node.payments.fail_htlc_backwards(invoice.payment_hash))
        payee.hold_claims = False
        self.revive()

    def close(self, a: Host, b: Host) -> None:
        for _ in range(10):
            self.revive()
            ids = self.channels_between(a, b)
            state = a.node.core.state.channels[ids[0]] if ids else None
            if state is None or isinstance(state, Closing) or state.data.holder_shutdown_script is not None:
                break
            node_id = NodeId(b.node.core.node_id)
            a.call(lambda node: node.channel_manager.close_channel(ids[0], node_id))  # noqa: B023
        for _ in range(8):
            self.world.mine(1)
            self.revive()

    def claim_held(self, host: Host) -> None:
        """What was offered while claims were held, or by a life that died before it claimed."""
        for payment_hash, claimable in list(host.node.core.state.claimable.items()):
            preimage = claimable.purpose.payment_preimage
            if preimage is not None:
                assert hashlib.sha256(preimage).digest() == payment_hash
                host.call(lambda node: node.payments.claim_funds(PaymentPreimage(preimage)))  # noqa: B023

    # --- what must be true

    def results(self, payment_id: PaymentId) -> list[object]:
        payer = self.payments[payment_id][0]
        return [
            event
            for event in payer.offered.values()
            if isinstance(event, PaymentSent | PaymentFailed) and event.payment_id == payment_id
        ]

    def finish_payments(self) -> None:
        for _ in range(5):
            self.revive()
            for host in self.world.hosts.values():
                self.claim_held(host)
        self.revive()
        for payment_id in self.payments:
            assert len(self.results(payment_id)) == (payment_id not in self.refused), self.results(payment_id)

    def check_channels(self) -> None:
        """Nothing is pending, both sides agree, and nothing was made or lost."""
        for host in self.world.hosts.values():
            over = [key for key, state in host.node.core.state.channels.items() if never_was(state)]
            closed = [event for event in host.of(ChannelClosed) if event.reason != DisconnectedPeer()]
            assert [event for event in closed if event.channel_id not in over] == []
            for channel_id, state in host.node.core.state.channels.items():
                if channel_id in over:
                    continue
                assert isinstance(state, Normal)
                assert state.data.commitments.htlcs == {}
        for a, b in self.links:
            (channel_id,) = self.channels_between(a, b)
            mine = a.node.core.state.channels[channel_id].data.commitments
            theirs = b.node.core.state.channels[channel_id].data.commitments
            assert mine.to_holder_msat + mine.to_counterparty_msat == 1000 * CAPACITY_SAT
            assert (mine.to_holder_msat, mine.to_counterparty_msat) == (
                theirs.to_counterparty_msat,
                theirs.to_holder_msat,
            )

    def check_balances(self) -> None:
        """Each side has what its payments say, to the msat."""
        expected = {
            "alice": 1000 * CAPACITY_SAT - PUSH_MSAT,
            "bob": PUSH_MSAT + 1000 * CAPACITY_SAT - PUSH_MSAT,
            "carol": PUSH_MSAT,
        }
        for payment_id, (payer, payee, _, amount) in self.payments.items():
            for event in self.results(payment_id):
                if isinstance(event, PaymentSent):
                    assert event.amount_msat == amount
                    assert event.fee_paid_msat is not None
                    expected[payer.name] -= amount + event.fee_paid_msat
                    expected[payee.name] += amount
                    if self.bob not in (payer, payee):
                        expected["bob"] += event.fee_paid_msat
        assert {host.name: host.balance_msat() for host in self.world.hosts.values()} == expected

    def sent(self, name: str) -> bool:
        payment_id = PaymentId(hashlib.sha256(name.encode()).digest())
        return any(isinstance(event, PaymentSent) for event in self.results(payment_id))

    # --- the script

    def open_all(self) -> None:
        self.revive()
        self.fund()
        self.open(self.alice, self.bob)
        self.open(self.bob, self.carol)

    def pay_all(self) -> None:
        self.pay(self.alice, self.bob, 20_000_000, "there")
        self.pay(self.bob, self.alice, 10_000_000, "and back")
        self.pay(self.alice, self.carol, 5_000_000, "forwarded")
        self.pay_nobody(self.alice, self.carol, 3_000_000, "refused by carol")
        self.pay(self.carol, self.alice, 4_000_000, "forwarded back")
        self.pay(self.alice, self.carol, 100_000, "dust")

    def close_all(self) -> None:
        self.close(self.alice, self.bob)
        self.close(self.carol, self.bob)
        for host in self.world.hosts.values():
            left = host.node.core.state.channels
            assert all(never_was(state) for state in left.values())
            for event in host.of(ChannelClosed):
                unfunded = event.reason == DisconnectedPeer() or event.channel_id in left
                assert unfunded or "Cooperative" in type(event.reason).__name__, event

    def run(self) -> None:
        self.open_all()
        self.pay_all()
        self.finish_payments()
        self.check_channels()
        self.check_balances()
        self.close_all()
