"""What a peer sends that it must not: the BOLT's answer, and nobody else is disturbed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from pyln_fast.channel.state import Closing, Normal
from pyln_fast.events import ChannelClosed, PaymentSent
from pyln_fast.types import ChannelId, Sat
from pyln_fast.wire import channel_msgs
from pyln_fast.wire.codec import UnknownMessage, encode
from pyln_fast.wire.layout import Message
from tests.node.world import Host, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def star(world: World) -> tuple[Host, Host, Host, ChannelId]:
    """bob - alice - carol; bob is the one who misbehaves."""
    alice, bob, carol = (world.host(name) for name in ("alice", "bob", "carol"))
    world.fund(alice)
    world.fund(alice)
    world.connect(alice, bob)
    world.connect(alice, carol)
    first = world.open(alice, bob, 1_000_000, 300_000_000)
    world.open(alice, carol, 1_000_000, 300_000_000)
    return alice, bob, carol, first


def say(world: World, bob: Host, alice: Host, message: Message | UnknownMessage) -> None:
    """Past bob's own state machine."""
    conn = bob.node.core.peers[alice.node.core.node_id].conn
    bob.node.peer_manager.send_message(conn, message)
    world.settle()


def tables(host: Host) -> dict[str, dict[bytes, bytes]]:
    """Without the record that counts time and events."""
    loaded = host.store.load().tables
    return {name: records for name, records in loaded.items() if name != "node"}


def check_the_others(world: World, alice: Host, carol: Host) -> None:
    before = len(alice.of(PaymentSent))
    world.pay(alice, world.invoice(carol, 1_000_000), f"still works {random.random()}")
    assert len(alice.of(PaymentSent)) == before + 1


POINT = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


def add(channel_id: ChannelId, id: int = 0, amount: int = 1_000_000, cltv: int = 500) -> Message:
    return channel_msgs.UpdateAddHtlc(channel_id, id, amount, bytes(32), cltv, bytes(1366))  # type: ignore[arg-type]


BAD = [
    ("id that is not the next", lambda c: add(c, id=5)),
    ("amount of nothing", lambda c: add(c, amount=0)),
    ("more than the peer has", lambda c: add(c, amount=299_000_000)),
    ("more than there is", lambda c: add(c, amount=2**63)),
    ("a date for a block height", lambda c: add(c, cltv=500_000_000)),
    ("fulfil of nothing", lambda c: channel_msgs.UpdateFulfillHtlc(c, 0, bytes(32))),
    ("fail of nothing", lambda c: channel_msgs.UpdateFailHtlc(c, 7, b"x")),
    (
        "malformed nothing",
        lambda c: channel_msgs.UpdateFailMalformedHtlc(c, 0, bytes(32), 0x8005),
    ),
    ("feerate of the fundee", lambda c: channel_msgs.UpdateFee(c, 5000)),
    ("bad signature", lambda c: channel_msgs.CommitmentSigned(c, b"\x01" * 64, ())),
    (
        "many signatures",
        lambda c: channel_msgs.CommitmentSigned(c, b"\x01" * 64, (b"\x01" * 64,)),
    ),
    ("revocation of nothing", lambda c: channel_msgs.RevokeAndAck(c, bytes(32), POINT)),
    ("closing before shutdown", lambda c: channel_msgs.ClosingSigned(c, 1000, b"\x01" * 64)),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in BAD])
def test_what_breaks_a_rule_fails_that_channel_alone(world: World, make) -> None:  # type: ignore[no-untyped-def]
    alice, bob, carol, channel_id = star(world)
    before = tables(alice)
    say(world, bob, alice, make(channel_id))
    after = tables(alice)
    assert isinstance(alice.node.core.state.channels[channel_id], Closing)
    assert [event.channel_id for event in alice.of(ChannelClosed)] == [channel_id]
    changed = {
        (table, key[:32])
        for table in {*before, *after}
        for key in {*before.get(table, {}), *after.get(table, {})}
        if before.get(table, {}).get(key) != after.get(table, {}).get(key)
    }
    assert {key for table, key in changed if table in ("channels", "monitors", "htlcs", "commitments")} == {channel_id}
    assert {table for table, _ in changed} <= {"channels", "monitors", "events", "wallet_addresses"}
    check_the_others(world, alice, carol)


@pytest.mark.parametrize(
    ("what", "stays_connected"),
    [
        (UnknownMessage(32769, b"odd: not for us"), True),
        (UnknownMessage(32768, b"even: it must be understood"), False),
        (UnknownMessage(channel_msgs.UpdateAddHtlc.TYPE, b"short"), False),
        (UnknownMessage(channel_msgs.CommitmentSigned.TYPE, bytes(40)), False),
        (UnknownMessage(channel_msgs.OpenChannel.TYPE, bytes(10)), False),
        (channel_msgs.Shutdown(ChannelId(b"\x07" * 32), b"\x00\x14" + bytes(20)), True),
    ],
)
def test_what_cannot_be_read_changes_nothing(
    world: World, what: Message | UnknownMessage, stays_connected: bool
) -> None:
    alice, bob, carol, channel_id = star(world)
    before = tables(alice)
    say(world, bob, alice, what)
    assert (bob.node.core.node_id in alice.node.core.peers) == stays_connected
    now = tables(alice)
    now["channels"] = {k: v for k, v in now["channels"].items() if stays_connected or k != channel_id}
    before["channels"] = {k: v for k, v in before["channels"].items() if stays_connected or k != channel_id}
    assert now == before
    if not stays_connected:
        world.connect(alice, bob)
    assert isinstance(alice.node.core.state.channels[channel_id], Normal)
    check_the_others(world, alice, carol)


def valid_messages(channel_id: ChannelId) -> list[Message]:
    return [
        *(make(channel_id) for _, make in BAD),
        channel_msgs.ChannelReady(channel_id, POINT),  # type: ignore[arg-type]
        channel_msgs.Shutdown(channel_id, b"\x00\x14" + bytes(20)),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_mutated_messages(world: World, seed: int) -> None:
    """Whatever comes, no input is refused by an exception that nobody foresaw (the world asserts it), and the channel
    with the other peer works on."""
    rng = random.Random(seed)
    alice, bob, carol, channel_id = star(world)
    for _ in range(60):
        message = rng.choice(valid_messages(channel_id))
        raw = bytearray(encode(message))
        body = raw[2:]
        for _ in range(rng.randrange(4)):
            if len(body) > 32:
                body[rng.randrange(32, len(body))] = rng.randrange(256)
        if rng.random() < 0.3:
            del body[rng.randrange(len(body)) :]
        if rng.random() < 0.2:
            body += rng.randbytes(rng.randrange(1, 40))
        if not world.are_connected(alice, bob):
            world.connect(alice, bob)
        if alice.node.core.node_id in bob.node.core.peers:
            say(world, bob, alice, UnknownMessage(int.from_bytes(raw[:2], "big"), bytes(body)))
        bob.errors.clear()
        if channel_id not in alice.node.core.state.channels or isinstance(
            alice.node.core.state.channels[channel_id], Closing
        ):
            world.mine(1)
            if not world.are_connected(alice, bob):
                world.connect(alice, bob)
            bob_id = bob.node.core.node_id
            known = set(alice.node.core.state.channels)
            if alice.node.wallet.balance().available_sat < 2_000_000:
                break
            alice.call(lambda node: node.open_channel(bob_id, Sat(500_000)))  # noqa: B023
            world.mine(6)
            (channel_id,) = set(alice.node.core.state.channels) - known
    check_the_others(world, alice, carol)
