"""Our `channel_update`s: each that says something new is newer than all before it, whatever clocks and restarts do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from pyln_fast.channel.state import Normal, Offline
from pyln_fast.errors import LocalError
from pyln_fast.node.announcements import REFRESH_SECS
from pyln_fast.node.node import Node
from pyln_fast.types import ChannelId, Monotonic, UnixTime
from pyln_fast.wire.codec import encode
from pyln_fast.wire.gossip_msgs import CHANNEL_FLAG_DISABLE, ChannelUpdate
from tests.node.world import Host, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def opened(world: World) -> tuple[Host, Host, ChannelId]:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    return alice, bob, world.open(alice, bob, 1_000_000)


def made(node: Node, channel_id: ChannelId) -> ChannelUpdate:
    state = node.core.state.channels[channel_id]
    return node.announcements.our_update(state, state.data.holder_alias)


def update(host: Host, channel_id: ChannelId) -> ChannelUpdate:
    found = host.call(lambda node: made(node, channel_id))
    assert isinstance(found, ChannelUpdate)
    return found


def set_clock(world: World, host: Host, wall: int) -> None:
    world.clock_ms += 1000
    host.node.timer_tick(Monotonic(world.clock_ms), UnixTime(wall))
    world.settle()


def test_what_says_the_same_is_the_same_update(world: World) -> None:
    """Also in a failure: a flood of them does not drive the timestamps into the future."""
    alice, _, channel_id = opened(world)
    first = update(alice, channel_id)
    before = alice.store.sequence
    assert [update(alice, channel_id) for _ in range(100)] == [first] * 100
    assert alice.node.announcements.update_for_failure(channel_id, None) == encode(first)
    assert alice.store.sequence == before
    set_clock(world, alice, first.timestamp + REFRESH_SECS)
    assert update(alice, channel_id).timestamp == first.timestamp + REFRESH_SECS


def test_timestamps_increase_over_restarts_and_a_clock_set_back(world: World) -> None:
    alice, bob, channel_id = opened(world)
    state = alice.channel()
    seen = [update(alice, channel_id)]
    assert isinstance(state, Normal)
    now = seen[0].timestamp
    for _ in range(2):
        # Not connected: the channel is told to be disabled, within the same second.
        world.drop_connections_of(alice)
        world.settle()
        assert isinstance(alice.channel(), Offline)
        seen.append(update(alice, channel_id))
        world.connect(alice, bob)
        seen.append(update(alice, channel_id))
    assert [each.channel_flags & CHANNEL_FLAG_DISABLE for each in seen] == [0, 2, 0, 2, 0]
    for wall in (now - 1_000_000, 1):
        alice.crash()
        world.chain.now = lambda wall=wall: wall  # type: ignore[method-assign]
        alice.restart()
        set_clock(world, alice, wall)
        seen.append(update(alice, channel_id))
        world.connect(alice, bob)
        seen.append(update(alice, channel_id))
    timestamps = [each.timestamp for each in seen]
    assert all(later > earlier for earlier, later in pairwise(timestamps))
    assert timestamps[-1] < now + 100
    assert alice.node.core.record.last_update_timestamp == timestamps[-1]


def test_an_update_whose_input_is_taken_back_is_not_sent_again(world: World) -> None:
    """Its timestamp is not on record, so that another update could have it."""
    alice, _, channel_id = opened(world)
    before = alice.node.core.record.last_update_timestamp
    set_clock(world, alice, before + REFRESH_SECS)
    lost: list[ChannelUpdate] = []

    def refused(node: Node) -> None:
        lost.append(made(node, channel_id))
        raise LocalError("not now")

    with pytest.raises(LocalError):
        alice.call(refused)
    assert alice.node.core.record.last_update_timestamp == before
    set_clock(world, alice, before + REFRESH_SECS + 5)
    again = update(alice, channel_id)
    assert (lost[0].timestamp, again.timestamp) == (before + REFRESH_SECS, before + REFRESH_SECS + 5)
    assert alice.node.core.record.last_update_timestamp == again.timestamp
