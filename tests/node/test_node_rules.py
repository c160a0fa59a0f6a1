"""Rules that hold for all channels of a node: limits on strangers, time, feerates, funding and reorganisations."""

from collections.abc import Iterator

import pytest

from pyln_fast.chain.interfaces import ConfirmationTarget
from pyln_fast.channel.state import Closing, Normal, Offline, WaitForFundingConfirmed
from pyln_fast.config import ChannelHandshakeConfig, UserConfig
from pyln_fast.errors import LocalError
from pyln_fast.events import (
    ChannelClosed,
    ChannelPending,
    CounterpartyForceClosed,
    FundingGenerationReady,
    FundingTxBroadcastSafe,
    OpenChannelRequest,
    PaymentSent,
)
from pyln_fast.node import channel_manager
from pyln_fast.node.channel_manager import UnknownChannel
from pyln_fast.tx.transaction import serialize
from pyln_fast.types import ChannelId, FeeratePerKw, Monotonic, Msat, Sat, Secret, TxOut, UnixTime
from pyln_fast.wallet.coin_selection import InsufficientFunds
from pyln_fast.wire.channel_msgs import ChannelReestablish, Shutdown, UpdateFee
from pyln_fast.wire.setup_msgs import Error, Warning
from tests.node.world import Host, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def minute(world: World, host: Host, count: int = 1) -> None:
    """One tick of LDK's freshness timer at one node alone."""
    for _ in range(count):
        world.clock_ms += 60_000
        host.node.timer_tick(Monotonic(world.clock_ms), UnixTime(world.chain.now() + world.clock_ms // 1000))
        world.settle()


def connected(world: World) -> tuple[Host, Host]:
    alice, bob = world.host("alice"), world.host("bob")
    world.fund(alice)
    world.connect(alice, bob)
    world.tick(1)
    return alice, bob


def give_up_openings(world: World, count: int) -> None:
    """Alice dies in each before she knows of bob's signature."""
    alice, bob = world.hosts["alice"], world.hosts["bob"]
    for number in range(1, count + 1):
        alice.command(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
        while len(bob.node.core.state.channels) < number:
            assert world.step()
        alice.crash()
        alice.restart()
        world.connect(alice, bob)


def spy(host: Host) -> list[object]:
    """Every message that the host's node sends from now on."""
    sent: list[object] = []
    real = host.node.peer_manager.send_message

    def send(conn: int, message: object) -> None:
        sent.append(message)
        real(conn, message)  # type: ignore[arg-type]

    host.node.peer_manager.send_message = send  # type: ignore[method-assign, assignment]
    return sent


# --- strangers --------------------------------------------------------------------------------------------------------


def test_a_peer_may_have_four_channels_without_a_funding(world: World) -> None:
    alice, bob = connected(world)
    bob_id = bob.node.core.node_id
    for _ in range(5):
        alice.call(lambda node: node.channel_manager.create_channel(bob_id, Sat(100_000)))
    assert len(bob.of(OpenChannelRequest)) == 4
    assert len(bob.node.core.unfunded) == 4
    (closed,) = alice.of(ChannelClosed)
    assert "more than 4 channels without a confirmed funding" in closed.reason.peer_msg


def test_an_opener_that_dies_in_every_opening_is_not_locked_out(world: World) -> None:
    """What it has given up counts for itself, and is kept: its funding may yet come."""
    alice, bob = connected(world)
    give_up_openings(world, 6)
    assert [type(state) for state in bob.node.core.state.channels.values()] == 6 * [Closing]
    reasons = [closed.reason for closed in bob.of(ChannelClosed)]
    assert reasons == [CounterpartyForceClosed("unknown channel in ChannelReestablish")] * 6
    assert bob.broadcasts == []
    assert alice.node.wallet.balance().reserved_sat == 0
    world.open(alice, bob)
    assert isinstance(list(bob.node.core.state.channels.values())[-1], Normal)


def test_openings_that_were_given_up_have_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_manager, "MAX_GIVEN_UP_CHANS_PER_PEER", 2)
    alice, bob = connected(world)
    give_up_openings(world, 2)
    alice.call(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
    (closed,) = alice.of(ChannelClosed)
    assert isinstance(closed.reason, CounterpartyForceClosed)
    assert closed.reason.peer_msg == "more than 2 openings were given up, and may yet be funded"


def test_an_unanswered_request_is_refused_after_two_ticks(world: World) -> None:
    alice, bob = connected(world)
    bob.handle = lambda offered: bob.node.event_handled(offered.sequence)  # type: ignore[method-assign]
    alice.call(lambda node: node.channel_manager.create_channel(bob.node.core.node_id, Sat(100_000)))
    minute(world, bob, 2)
    assert len(bob.node.core.unfunded) == 1
    minute(world, bob)
    assert bob.node.core.unfunded == {}
    (closed,) = alice.of(ChannelClosed)
    assert closed.reason.peer_msg == "the channel was not funded in time"


def test_a_channel_that_is_never_funded_is_given_up_after_sixty_ticks(world: World) -> None:
    alice, bob = connected(world)
    alice.call(lambda node: node.channel_manager.create_channel(bob.node.core.node_id, Sat(100_000)))
    assert len(alice.of(FundingGenerationReady)) == 1
    minute(world, bob, 60)
    assert len(bob.node.core.unfunded) == 1
    minute(world, bob)
    assert bob.node.core.unfunded == {}
    assert alice.node.core.unfunded == {}


def test_unknown_channels_get_an_error_and_nothing_changes(world: World) -> None:
    alice, bob = connected(world)
    world.open(alice, bob)
    before = dict(bob.store.load().tables)
    sent = spy(bob)
    unknown = ChannelId(b"\x42" * 32)
    point = alice.channel().data.commitments.counterparty_next_point
    conn = alice.node.core.peers[bob.node.core.node_id].conn
    reestablish = ChannelReestablish(unknown, 1, 0, Secret(bytes(32)), point)
    shutdown = Shutdown(unknown, b"\x00\x14" + bytes(20))
    for message in (reestablish, UpdateFee(unknown, FeeratePerKw(1000)), shutdown):
        alice.node.peer_manager.send_message(conn, message)
    world.settle()
    assert sent == [
        Error(unknown, b"unknown channel in ChannelReestablish"),
        Error(unknown, b"unknown channel in UpdateFee"),
        Warning(unknown, b"unknown channel in Shutdown"),
    ]
    assert isinstance(bob.channel(), Normal)
    assert bob.store.load().tables == before
    bob.node.reports.clear()
    alice.node.reports.clear()


def test_another_peers_channel_is_out_of_reach(world: World) -> None:
    alice, bob = connected(world)
    mallory = world.host("mallory")
    world.connect(mallory, bob)
    channel_id = world.open(alice, bob)
    sent = spy(bob)
    conn = mallory.node.core.peers[bob.node.core.node_id].conn
    mallory.node.peer_manager.send_message(conn, Error(channel_id, b"die"))
    mallory.node.peer_manager.send_message(conn, UpdateFee(channel_id, FeeratePerKw(1000)))
    world.settle()
    assert sent == [Error(channel_id, b"unknown channel in UpdateFee")]
    assert isinstance(bob.channel(), Normal)
    with pytest.raises(UnknownChannel):
        bob.call(lambda node: node.channel_manager.close_channel(channel_id, mallory.node.core.node_id))


# --- feerates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("estimate", "expected"), [(1001, 1001), (999, 1000), (501, 1000), (500, 500)])
def test_the_feerate_goes_up_at_once_and_down_at_half(world: World, estimate: int, expected: int) -> None:
    alice, bob = connected(world)
    world.open(alice, bob)
    for target in (ConfirmationTarget.ANCHOR_CHANNEL_FEE, ConfirmationTarget.NON_ANCHOR_CHANNEL_FEE):
        alice.fees.rates[target] = FeeratePerKw(estimate)
    minute(world, alice)
    for host in (alice, bob):
        assert host.channel().data.commitments.fees.feerate(of_holder=True) == expected
        assert host.channel().data.commitments.fees.feerate(of_holder=False) == expected


# --- funding ----------------------------------------------------------------------------------------------------------


def test_a_channel_that_the_wallet_cannot_pay_for_is_refused_at_once(world: World) -> None:
    alice, bob = connected(world)
    with pytest.raises(InsufficientFunds):
        alice.call(lambda node: node.open_channel(bob.node.core.node_id, Sat(200_000_000)))
    assert bob.of(OpenChannelRequest) == []
    assert alice.node.wallet.reservations() == {}


def test_a_funding_that_fails_on_the_way_frees_its_coins(world: World) -> None:
    alice, bob = connected(world)
    alice.command(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
    alice.turn()
    while not alice.node.wallet.reservations():
        assert world.step()
    world.drop_connections_of(alice)
    world.settle()
    assert alice.node.wallet.reservations() == {}
    assert alice.node.core.unfunded == {}
    assert len(alice.of(ChannelClosed)) == 1
    assert alice.node.wallet.balance().confirmed_sat == 100_000_000


def test_coins_kept_for_a_channel_that_a_crash_forgot_are_free_again(world: World) -> None:
    alice, bob = connected(world)
    alice.command(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
    alice.turn()
    while not alice.node.wallet.reservations():
        assert world.step()
    alice.crash()
    world.settle()
    alice.start()
    assert alice.node.wallet.reservations() == {}
    assert alice.node.wallet.balance().confirmed_sat == 100_000_000
    world.connect(alice, bob)
    world.open(alice, bob)


def funding_of(host: Host, event: FundingGenerationReady) -> bytes:
    output = TxOut(event.channel_value_satoshis, event.output_script)
    made = host.node.wallet.create_transaction((output,), FeeratePerKw(1000))
    return serialize(made)


@pytest.mark.parametrize("manual_broadcast", [False, True])
def test_a_user_may_bring_his_own_funding(world: World, manual_broadcast: bool) -> None:
    alice, bob = connected(world)
    temporary = alice.call(
        lambda node: node.channel_manager.create_channel(bob.node.core.node_id, Sat(1_000_000), Msat(5_000), 77)
    )
    (event,) = alice.of(FundingGenerationReady)
    assert (event.temporary_channel_id, event.user_channel_id) == (temporary, 77)
    raw = alice.call(lambda node: funding_of(alice, event))
    alice.call(
        lambda node: node.channel_manager.funding_transaction_generated(
            event.temporary_channel_id, event.counterparty_node_id, raw, manual_broadcast
        )
    )
    assert len(alice.of(FundingTxBroadcastSafe)) == manual_broadcast
    if manual_broadcast:
        assert alice.of(FundingTxBroadcastSafe)[0].funding_txo == alice.of(ChannelPending)[0].funding_txo
        world.broadcast((raw,))
    world.mine(6)
    assert isinstance(alice.channel(), Normal)
    assert alice.channel().data.params.user_channel_id == 77
    assert bob.balance_msat() == 5_000


def test_a_funding_of_the_wrong_value_is_refused(world: World) -> None:
    alice, bob = connected(world)
    alice.call(lambda node: node.channel_manager.create_channel(bob.node.core.node_id, Sat(1_000_000)))
    (event,) = alice.of(FundingGenerationReady)
    output = TxOut(Sat(999_999), event.output_script)
    raw = serialize(alice.node.wallet.create_transaction((output,), FeeratePerKw(1000)))
    with pytest.raises(LocalError, match="0 outputs of the funding transaction pay 1000000 sat"):
        alice.call(
            lambda node: node.channel_manager.funding_transaction_generated(
                event.temporary_channel_id, event.counterparty_node_id, raw
            )
        )


# --- reorganisations --------------------------------------------------------------------------------------------------


def reorg(world: World, depth: int, blocks: int) -> None:
    world.chain.reorg(depth, blocks)
    for host in world.hosts.values():
        host.catch_up()
    world.settle()


@pytest.mark.parametrize("depth", [1, 3, 6, 7, 8])
def test_a_reorganised_funding_suspends_the_channel_and_brings_it_back(world: World, depth: int) -> None:
    alice, bob = connected(world)
    world.mine(2)
    world.open(alice, bob)
    place = alice.channel().data.funding.height
    reorg(world, depth, depth + 1)
    # Mempools drop a funding whose lock time is in the future again: what we want confirmed is broadcast every 30 s.
    world.tick(31)
    world.mine(6)
    for host in (alice, bob):
        state = host.channel()
        assert isinstance(state, Normal)
        assert state.data.funding.height is not None
        assert host.of(ChannelClosed) == []
    if depth >= 6:
        assert alice.channel().data.funding.height >= place
    world.pay(alice, world.invoice(bob, 1_000_000), f"after {depth}")
    assert len(alice.of(PaymentSent)) == 1


def test_a_forward_names_the_channel_by_its_new_place_after_a_reorganisation(world: World) -> None:
    alice, bob = connected(world)
    channel_id = world.open(alice, bob)
    first = alice.channel().data.funding.short_channel_id
    reorg(world, 8, 9)
    assert alice.channel().data.funding.short_channel_id is None
    world.tick(31)
    world.mine(6)
    second = alice.channel().data.funding.short_channel_id
    assert second is not None
    assert second != first
    for host in (alice, bob):
        assert host.node.announcements.channel_of(second) == channel_id
        assert host.node.announcements.channel_of(first) is None


def test_a_node_that_is_offline_waits_for_the_funding_all_the_same(world: World) -> None:
    alice, bob = connected(world)
    alice.call(lambda node: node.open_channel(bob.node.core.node_id, Sat(1_000_000)))
    world.drop_connections_of(alice)
    world.mine(6)
    for host in (alice, bob):
        assert isinstance(host.channel(), Offline)
        assert not isinstance(host.channel().inner, WaitForFundingConfirmed)
    world.connect(alice, bob)
    for host in (alice, bob):
        assert isinstance(host.channel(), Normal)


# --- configuration ----------------------------------------------------------------------------------------------------


def test_closes_pay_into_the_wallet(world: World) -> None:
    config = UserConfig(channel_handshake_config=ChannelHandshakeConfig(commit_upfront_shutdown_pubkey=True))
    alice, bob = world.host("alice", config), world.host("bob", config)
    world.fund(alice)
    world.connect(alice, bob)
    channel_id = world.open(alice, bob, 1_000_000, push_msat=400_000_000)
    script = bob.channel().data.params.holder.upfront_shutdown_script
    assert script is not None
    assert bob.node.wallet.is_mine(script)
    alice.call(lambda node: node.channel_manager.close_channel(channel_id, bob.node.core.node_id))
    world.mine(6)
    assert bob.node.wallet.balance().confirmed_sat == 400_000
