"""A seeded random life of three nodes: payments at once, slow disks, lost links, deaths between any two writes."""

from __future__ import annotations

import hashlib
import random

from pyln_fast.types import PaymentPreimage
from tests.node.crash_run import CrashRun
from tests.node.world import Host


class RandomRun(CrashRun):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.count = 0

    def random_steps(self, count: int) -> None:
        for _ in range(count):
            name = self.random.choices(
                ("offer", "deliver", "write", "slow", "die", "die_at_write", "cut", "claim", "refuse", "hold", "tick"),
                (10, 40, 10, 4, 2, 2, 3, 8, 2, 2, 2),
            )[0]
            getattr(self, f"do_{name}")()
        for host in self.world.hosts.values():
            host.crash_in = None
            self.set_slow(host, slow=False)
        self.revive()

    def a_host(self) -> Host:
        return self.random.choice(list(self.world.hosts.values()))

    def raise_the_dead(self) -> None:
        for host in self.world.hosts.values():
            if not host.alive:
                self.deaths += 1
                host.crash_in = None
                host.restart()
        for a, b in self.links:
            if a.alive and b.alive and not self.world.are_connected(a, b):
                self.world.connect(a, b, settle=False)

    def do_offer(self) -> None:
        payer, payee = self.random.sample(list(self.world.hosts.values()), 2)
        if not (payer.alive and payee.alive):
            return
        amount = self.random.choice((100_000, 353_000, 1_000_000, 5_000_000, 20_000_000, 90_000_000))
        self.count += 1
        made: list[object] = []

        def make(node: object) -> None:
            made.append(payee.node.payments.create_bolt11_invoice(amount, "random"))  # type: ignore[arg-type]

        # An invoice is no record: whether its maker dies now does not matter.
        payee.command(make)
        if not made:
            return
        name = f"random {self.count}"
        payment_id = hashlib.sha256(name.encode()).digest()

        def pay(node: object) -> None:
            payer.node.payments.pay_for_bolt11_invoice(made[0], payment_id, retry=self.a_retry())  # type: ignore[arg-type]

        token = payer.command(pay)
        self.tokens[payer.name, payer.starts, token] = (payment_id, payer, payee, made[0], amount)
        self.count += 1

    def a_retry(self):
        from pyln_fast.payment.outbound import Attempts

        return Attempts(self.random.randrange(3))

    @property
    def tokens(self) -> dict:
        return self.__dict__.setdefault("_tokens", {})

    def do_deliver(self) -> None:
        for _ in range(self.random.randrange(1, 12)):
            if not self.world.step():
                break

    def do_write(self) -> None:
        host = self.a_host()
        if host.alive and host.writes:
            host.finish_write()

    def do_slow(self) -> None:
        self.set_slow(self.a_host(), slow=self.random.random() < 0.5)

    def set_slow(self, host: Host, *, slow: bool) -> None:
        host.hold_writes = slow
        while not slow and host.alive and host.writes:
            host.finish_write()

    def do_die(self) -> None:
        host = self.a_host()
        if host.alive:
            keep = self.random.randrange(3)
            for batch in list(host.writes)[:keep]:
                host.store.append(batch)
            host.crash()
        if self.random.random() < 0.5:
            self.raise_the_dead()

    def do_die_at_write(self) -> None:
        host = self.a_host()
        host.crash_in = self.random.randrange(4)
        host.crash_after_write = self.random.random() < 0.5

    def do_cut(self) -> None:
        host = self.a_host()
        if host.alive:
            self.world.drop_connections_of(host)
        if self.random.random() < 0.7:
            self.raise_the_dead()

    def do_claim(self) -> None:
        host = self.a_host()
        if host.alive:
            for claimable in list(host.node.core.state.claimable.values()):
                preimage = claimable.purpose.payment_preimage
                assert preimage is not None
                host.command(lambda node, p=preimage: node.payments.claim_funds(PaymentPreimage(p)))
        self.raise_the_dead()

    def do_refuse(self) -> None:
        host = self.a_host()
        if host.alive:
            for payment_hash in list(host.node.core.state.claimable)[:1]:
                host.command(lambda node, h=payment_hash: node.payments.fail_htlc_backwards(h))

    def do_hold(self) -> None:
        self.a_host().hold_claims ^= True

    def do_tick(self) -> None:
        self.world.tick(self.random.randrange(1, 40), settle=False)

    def finish(self) -> None:
        for host in self.world.hosts.values():
            host.hold_claims = False
        self.revive()
        for payment_id, payer, payee, invoice, amount in self.tokens.values():
            self.payments[payment_id] = (payer, payee, invoice, amount)
            # What a crash took before it was durable, or was refused at once, never began.
            if not self.results(payment_id) and payment_id not in payer.node.core.state.payments:
                self.refused[payment_id] = None
        self.finish_payments()
        self.check_channels()
        self.check_balances()

    def run_all(self, steps: int) -> None:
        self.open_all()
        self.random_steps(steps)
        self.finish()
        self.close_all()
