"""Whole nodes through all that they do, for the sake of the batches that they write."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

import pytest

from pyln_fast.chain import channel_monitor
from pyln_fast.chain.interfaces import ConfirmationTarget
from pyln_fast.channel.state import Normal
from pyln_fast.events import PaymentClaimable
from pyln_fast.node.onchain import send_onchain
from pyln_fast.records import Batch, Put
from pyln_fast.types import ChannelId, FeeratePerKw, Sat
from tests.node.crash_run import CrashRun
from tests.node.world import Host, World

Kind = tuple[str, ...]
"""What a batch does: `table+` for records that it puts, `table-` for those that it deletes, sorted."""


def kind_of(batch: Batch) -> Kind:
    return tuple(sorted({f"{write.table}{'+' if isinstance(write, Put) else '-'}" for write in batch.writes}))


@cache
def lives() -> tuple[tuple[Batch, ...], ...]:
    """Of every node of both runs, all batches from its first start on."""
    quiet = CrashRun()
    try:
        quiet.run()
        told = [tuple(host.store.batches) for host in quiet.world.hosts.values()]
    finally:
        quiet.world.close_all()
    world = World()
    try:
        Troubled(world).run()
        return (*told, *(tuple(host.store.batches) for host in world.hosts.values()))
    finally:
        world.close_all()


class Troubled:
    """alice - bob - carol: what goes wrong, beside what a quiet run does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alice, self.bob, self.carol = (world.host(name) for name in ("alice", "bob", "carol"))
        for host in world.hosts.values():
            host.may_err = True

    def run(self) -> None:
        self.open_all()
        self.change_the_fee()
        self.refuse_and_abandon()
        self.restart_with_htlcs_pending()
        self.send_from_the_wallet()
        self.lose_a_coinbase()
        self.close_and_reorganise()
        self.force_close_and_miss_a_block()
        self.grow_old()

    def link(self) -> None:
        for a, b in ((self.alice, self.bob), (self.bob, self.carol)):
            if not self.world.are_connected(a, b):
                self.world.connect(a, b)

    def open_all(self) -> None:
        for host in (self.alice, self.bob):
            self.world.fund(host)
            self.world.fund(host)
        self.link()
        bob_id = self.bob.node.core.node_id
        self.alice.call(lambda node: node.remember_peer_address(bob_id, "127.0.0.1", 9735))
        self.first = self.world.open(self.alice, self.bob, 2_000_000, 500_000_000)
        self.second = self.world.open(self.bob, self.carol, 2_000_000, 500_000_000)
        self.third = self.world.open(self.alice, self.bob, 500_000)

    def change_the_fee(self) -> None:
        for feerate in (2500, 600):
            for target in (ConfirmationTarget.ANCHOR_CHANNEL_FEE, ConfirmationTarget.NON_ANCHOR_CHANNEL_FEE):
                self.alice.fees.rates[target] = FeeratePerKw(feerate)
            self.world.tick(61)

    def refuse_and_abandon(self) -> None:
        self.carol.hold_claims = True
        invoice = self.world.invoice(self.carol, 5_000_000)
        self.world.pay(self.alice, invoice, "refused")
        self.carol.call(lambda node: node.payments.fail_htlc_backwards(invoice.payment_hash))
        payment_id = self.world.pay(self.alice, self.world.invoice(self.carol, 6_000_000), "abandoned")
        self.alice.call(lambda node: node.payments.abandon_payment(payment_id))
        self.claim_all(self.carol)
        # Events that nobody takes before the next start.
        self.bob.ignore_events = True
        self.world.pay(self.alice, self.world.invoice(self.bob, 3_000_000), "unheard")
        self.bob.ignore_events = False
        self.restart(self.bob)
        self.claim_all(self.bob)

    def claim_all(self, host: Host) -> None:
        for event in host.of(PaymentClaimable):
            if event.payment_hash in host.node.core.state.claimable:
                preimage = event.purpose.payment_preimage
                host.call(lambda node: node.payments.claim_funds(preimage))  # noqa: B023

    def restart(self, host: Host) -> None:
        host.crash()
        host.restart()
        self.link()
        self.world.settle()

    def restart_with_htlcs_pending(self) -> None:
        for number in range(3):
            self.world.pay(self.alice, self.world.invoice(self.carol, 1_000_000 + number), f"pending {number}")
            self.world.pay(self.carol, self.world.invoice(self.alice, 2_000_000 + number), f"back {number}")
        for host in self.world.hosts.values():
            self.restart(host)
        self.claim_all(self.carol)

    def send_from_the_wallet(self) -> None:
        address = self.bob.call(lambda node: node.wallet.new_address())
        assert isinstance(address, str)
        self.alice.call(lambda node: send_onchain(node, address, Sat(300_000)))
        self.world.mine(1)

    def lose_a_coinbase(self) -> None:
        """A block that pays us leaves the chain, and what it paid with it."""
        address = self.alice.call(lambda node: node.wallet.new_address())
        assert isinstance(address, str)
        self.world.chain.mine(1, address)
        self.catch_up()
        self.world.chain.reorg(1)
        self.catch_up()

    def catch_up(self) -> None:
        for host in self.world.hosts.values():
            host.catch_up()
        self.world.settle()

    def close_and_reorganise(self) -> None:
        bob_id = self.bob.node.core.node_id
        self.alice.call(lambda node: node.channel_manager.close_channel(self.third, bob_id))
        self.world.mine(2)
        self.world.chain.reorg(3)
        self.catch_up()
        self.world.mine(2)

    def force_close_and_miss_a_block(self) -> None:
        for channel in self.bob.node.core.state.channels.values():
            assert not isinstance(channel, Normal) or channel.data.commitments.holder_number > 0
        invoice = self.world.invoice(self.carol, 7_000_000)
        self.world.pay(self.alice, invoice, "cut off")
        with self.deaf_monitor(self.second):
            bob_id = self.bob.node.core.node_id
            self.carol.call(
                lambda node: node.channel_manager.force_close_broadcasting_latest_txn(self.second, bob_id, "enough")
            )
            self.world.mine(1)
            assert self.second in self.bob.node.core.state.missed_blocks
        self.world.mine(2)
        assert self.bob.node.core.state.missed_blocks == {}

    @contextmanager
    def deaf_monitor(self, channel_id: ChannelId):  # type: ignore[no-untyped-def]
        """Bob's monitor of that channel can take no transaction."""
        true = channel_monitor.transaction_seen

        def broken(state, *arguments):  # type: ignore[no-untyped-def]
            if state.channel_id == channel_id and self.bob.node.core.state.monitors.get(channel_id) is state:
                raise RuntimeError("deaf")
            return true(state, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(channel_monitor, "transaction_seen", broken)
            yield

    def grow_old(self) -> None:
        """Until what is over is forgotten."""
        for _ in range(10):
            self.world.tick(61)
        self.world.mine(150)
        self.world.tick(61)
