"""An exception that nobody foresaw costs one input of one channel: nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyln_fast.chain import channel_monitor
from pyln_fast.channel import channel
from pyln_fast.channel.channel import HANDLERS
from pyln_fast.channel.commands import (
    ClosingConfirmed,
    FundingConfirmed,
    FundingSpentOnChain,
    FundingUnconfirmed,
    NewBlock,
    PeerConnected,
    PeerDisconnected,
    RemoveHtlc,
)
from pyln_fast.channel.state import Closing, Negotiating, Normal, Offline
from pyln_fast.events import PaymentSent
from pyln_fast.types import ChannelId
from tests.node.world import Host, World


class Broken(Exception):
    pass


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def star(world: World) -> tuple[Host, Host, Host, ChannelId, ChannelId]:
    """alice - bob and alice - carol."""
    alice, bob, carol = (world.host(name) for name in ("alice", "bob", "carol"))
    world.fund(alice)
    world.fund(alice)
    for other in (bob, carol):
        world.connect(alice, other)
    return alice, bob, carol, world.open(alice, bob, 1_000_000), world.open(alice, carol, 1_000_000)


def test_a_block_reaches_the_other_monitors(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob, carol, first, second = star(world)
    alice.may_err = True
    true = channel_monitor.transaction_seen

    def broken(state: channel_monitor.MonitorState, *arguments: object) -> channel_monitor.Result:
        if state.channel_id == first and alice.node.core.state.monitors.get(first) is state:
            raise Broken
        return true(state, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(channel_monitor, "transaction_seen", broken)
    for peer, channel_id in ((bob, first), (carol, second)):
        peer.call(
            lambda node, channel_id=channel_id: node.channel_manager.force_close_broadcasting_latest_txn(
                channel_id, alice.node.core.node_id, "test"
            )
        )
    # They told alice with an error; what the chain says is what is tested here.
    world.mine(1)
    monitors = alice.node.core.state.monitors
    assert monitors[first].funding_spend is None
    assert monitors[second].funding_spend is not None
    assert [block.height for block in alice.node.core.state.missed_blocks[first].blocks] == [world.chain.height]
    assert alice.errors

    # A restart does not forget what was missed, and a reorganisation comes in its order.
    alice.crash()
    alice.restart()
    assert list(alice.node.core.state.missed_blocks) == [first]
    world.mine(1)
    monkeypatch.undo()
    world.mine(1)
    monitors = alice.node.core.state.monitors
    assert monitors[first].funding_spend is not None
    assert monitors[first].funding_spend.height == world.chain.height - 2
    assert dict(alice.node.core.state.missed_blocks) == {}


def test_a_channel_that_cannot_take_a_block(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, _, carol, first, second = star(world)
    alice.may_err = True
    true = channel.execute
    told = []

    def broken(state, command, ctx):  # type: ignore[no-untyped-def]
        if isinstance(command, NewBlock) and ctx.signers is alice.node.core.signers:
            told.append(state.data.channel_id)
            if state.data.channel_id == first:
                raise Broken
        return true(state, command, ctx)

    monkeypatch.setattr(channel, "execute", broken)
    world.mine(1)
    assert told == [first, second]
    world.pay(alice, world.invoice(carol, 1_000_000), "all the same")
    assert len(alice.of(PaymentSent)) == 1


@pytest.mark.parametrize("command", [PeerConnected, PeerDisconnected])
def test_a_channel_that_cannot_take_a_connection(world: World, monkeypatch: pytest.MonkeyPatch, command: type) -> None:
    """Two channels with one peer: the other one comes back, and with the next connection so does the first."""
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.fund(alice)
    world.connect(alice, bob)
    first, second = world.open(alice, bob, 1_000_000), world.open(alice, bob, 2_000_000)
    alice.may_err = bob.may_err = True
    true = channel.execute

    def broken(state, given, ctx):  # type: ignore[no-untyped-def]
        if isinstance(given, command) and ctx.signers is alice.node.core.signers and state.data.channel_id == first:
            raise Broken
        return true(state, given, ctx)

    monkeypatch.setattr(channel, "execute", broken)
    world.drop_connections_of(alice)
    world.settle()
    states = alice.node.core.state.channels
    assert type(states[second]) is Offline
    world.connect(alice, bob)
    assert type(states[second]) is Normal
    monkeypatch.undo()
    world.drop_connections_of(alice)
    world.connect(alice, bob)
    assert (type(states[first]), type(states[second])) == (Normal, Normal)


@pytest.mark.parametrize("kind", [kind for kind in HANDLERS if "data" in kind.__struct_fields__ or kind is Offline])
def test_what_the_chain_says_has_a_place_in_every_state(kind: type) -> None:
    """A block must never be refused because some channel is in the wrong state."""
    missing = [
        command.__name__
        for command in (FundingConfirmed, FundingUnconfirmed, FundingSpentOnChain, NewBlock, PeerDisconnected)
        if command not in HANDLERS[kind]
    ]
    assert missing == []
    assert ClosingConfirmed in HANDLERS[Closing]
    if kind is not Negotiating and "WaitFor" not in kind.__name__:
        # A preimage must reach the monitor whatever became of the channel.
        assert RemoveHtlc in HANDLERS[kind]
