"""A peer names channels as it likes: with the id of somebody else's channel, of one to come, and with zeros."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pyln_fast.channel.state import Normal
from pyln_fast.peer.handlers import MessageReceived
from pyln_fast.testing.scenario import Scenario
from pyln_fast.types import ChannelId, FeeratePerKw, OutPoint, channel_id_v1
from pyln_fast.wire.channel_msgs import FundingCreated, OpenChannel, UpdateFee
from pyln_fast.wire.setup_msgs import Error, Warning

ZEROS = ChannelId(bytes(32))


def bob_s_channels(sim: Scenario) -> tuple[list[ChannelId], ...]:
    """In memory, and their monitors; on disk, and their monitors."""
    bob = sim.node("bob")
    state, tables = bob.node.core.state, bob.disk.tables
    return (
        list(state.channels),
        list(state.monitors),
        [*map(ChannelId, tables["channels"])],
        [*map(ChannelId, tables["monitors"])],
    )


@pytest.mark.parametrize("then", ["cut", "error", "again"])
def test_an_opening_under_the_id_of_another_peer_s_channel(then: str) -> None:
    """Refused; and whatever becomes of such an opening, the channel and its monitor stay."""
    sim = Scenario("alice - bob, mallory - bob", forges=True, opened=False)
    sim.node("alice").opens("bob", 10_000_000, 5_000_000_000)
    sim.run()
    sim.mine(3)
    sim.find_channels()
    target = sim.channels[0].channel_id
    sim.node("bob").ignores_events()
    sim.replace("mallory", "bob", OpenChannel, lambda msg: replace(msg, temporary_channel_id=target))
    sim.node("mallory").opens("bob", 1_000_000, 0)
    sim.run()
    assert sim.messages("bob", "mallory")[-1] == Error(target, b"temporary_channel_id is used already")
    assert list(sim.node("bob").node.core.unfunded) == []
    if then == "cut":
        sim.cut("mallory", "bob")
    elif then == "error":
        sim.forge("mallory", "bob", Error(target, b"never mind"))
    else:
        sim.node("mallory").opens("bob", 1_000_000, 0)
    sim.run()
    assert bob_s_channels(sim) == ([target],) * 4
    assert isinstance(sim.node("bob").node.core.state.channels[target], Normal)


def test_an_opening_under_the_id_of_a_channel_to_come() -> None:
    """It is there before the channel whose id it has: there is nothing to refuse it for."""
    sim = Scenario("mallory - bob", forges=True, opened=False)
    bob, mallory = sim.node("bob"), sim.node("mallory")
    sim.hold("mallory", "bob", FundingCreated)
    mallory.opens("bob", 10_000_000, 5_000_000_000)
    sim.run()
    (opening,) = sim.messages("mallory", "bob", OpenChannel)
    (funding,) = sim.messages("mallory", "bob", FundingCreated)
    target = channel_id_v1(OutPoint(funding.funding_txid, funding.funding_output_index))
    conn = bob.node.peer_manager.connection_of(mallory.node_id)
    assert conn is not None
    bob.ignores_events()
    bob.node.take(MessageReceived(conn, mallory.node_id, replace(opening, temporary_channel_id=target)))
    bob.turn()
    assert (mallory.node_id, target) in bob.node.core.unfunded
    sim.release("mallory", "bob")
    sim.run()
    sim.mine(3)
    sim.cut("mallory", "bob")
    sim.run()
    assert list(bob.node.core.unfunded) == []
    assert bob_s_channels(sim) == ([target],) * 4
    assert bob.node.core.state.channels[target].data.commitments.to_holder_msat == 5_000_000_000


@pytest.mark.parametrize("kind", [UpdateFee, OpenChannel])
def test_a_channel_id_of_zeros_fails_nothing(kind: type) -> None:
    """An `error` with it would fail every channel of both, and only the peer would know (BOLT 1)."""
    sim = Scenario("alice - bob, alice - bob", forges=True)
    if kind is UpdateFee:
        sim.forge("alice", "bob", UpdateFee(ZEROS, FeeratePerKw(1000)))
    else:
        sim.replace("alice", "bob", OpenChannel, lambda msg: replace(msg, temporary_channel_id=ZEROS))
        sim.node("alice").opens("bob", 1_000_000, 0)
    sim.run()
    answers = [msg for msg in sim.messages("bob", "alice") if isinstance(msg, Error | Warning)]
    assert answers == [Warning(ZEROS, f"{kind.__name__} with a channel id of zeros".encode())]
    sim.connect_all(sim.node("alice"))
    sim.run()
    for name in ("alice", "bob"):
        states = sim.node(name).node.core.state.channels.values()
        assert [type(state) for state in states] == [Normal, Normal]
