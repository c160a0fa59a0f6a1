from collections.abc import Iterator

import pytest

from pyln_fast.events import (
    ChannelClosed,
    ChannelPending,
    ChannelReady,
    LocallyInitiatedCooperativeClosure,
    PaymentClaimed,
    PaymentForwarded,
    PaymentSent,
)
from tests.node.world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def test_open_pay_and_close(world: World) -> None:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    channel_id = world.open(alice, bob)
    for host in (alice, bob):
        assert [type(e) for e in host.events if isinstance(e, ChannelPending | ChannelReady)] == [
            ChannelPending,
            ChannelReady,
        ]
    world.pay(alice, world.invoice(bob, 1_000_000), "first")
    (sent,) = alice.of(PaymentSent)
    assert (sent.amount_msat, sent.fee_paid_msat) == (1_000_000, 0)
    (claimed,) = bob.of(PaymentClaimed)
    assert claimed.amount_msat == 1_000_000
    assert bob.balance_msat() == 1_000_000
    assert alice.balance_msat() == 9_999_000_000
    alice.call(lambda node: node.channel_manager.close_channel(channel_id, bob.node.core.node_id))
    (closed,) = alice.of(ChannelClosed)
    assert closed.reason == LocallyInitiatedCooperativeClosure()
    world.mine(6)
    assert world.rejected == []
    names = ("channels", "htlcs", "monitors", "forwarding_infos", "missed_blocks")
    assert alice.store.load(names).tables == {name: {} for name in names}


def test_forward_over_two_private_channels(world: World) -> None:
    alice, bob, carol = (world.host(name) for name in ("alice", "bob", "carol"))
    world.fund(alice)
    world.fund(bob)
    world.connect(alice, bob)
    world.connect(bob, carol)
    world.open(alice, bob)
    world.open(bob, carol)
    world.pay(alice, world.invoice(carol, 5_000_000), "forwarded")
    (sent,) = alice.of(PaymentSent)
    assert sent.fee_paid_msat == 1000
    (forwarded,) = bob.of(PaymentForwarded)
    assert forwarded.total_fee_earned_msat == 1000
    assert carol.balance_msat() == 5_000_000
