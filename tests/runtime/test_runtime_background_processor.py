"""The turn loop: durable before visible, events until they are handled, and the end after a failed write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from pyln_fast.events import ChannelPending, ChannelReady, Event, PaymentClaimable, PaymentSent
from pyln_fast.persist.kv_store import DatabaseUnwritable
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.records import Batch
from pyln_fast.runtime.background_processor import NodeStopped
from pyln_fast.runtime.builder import DefaultEventHandler
from pyln_fast.runtime.event_handler import ReplayEvent
from pyln_fast.runtime.tcp import CannotConnect
from pyln_fast.types import Msat, NodeId
from tests.runtime.network import World, play, settled


def test_a_failed_write_stops_the_node_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fails = False
    real = SqliteStore.append

    def append(store: SqliteStore, batch: Batch) -> None:
        if fails and store.path.parent.name == "alice":
            raise DatabaseUnwritable(store.path, "the disk is gone")
        real(store, batch)

    async def scene(world: World) -> None:
        nonlocal fails
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice)
        channel = await world.channel(alice, bob)
        await alice.pay(await bob.create_invoice(Msat(1_000_000)))
        await settled(alice, bob)
        number = bob.node.core.state.channels[channel.channel_id].data.commitments
        invoice = await bob.create_invoice(Msat(1_000_000))
        # The next write is to be the payment's, not that an event was handled.
        await alice.wait_until(lambda node: None if node.core.state.events or node.journal.in_flight else True)
        fails = True
        with pytest.raises(NodeStopped) as stopped:
            await alice.pay(invoice)
        line = f"the node has stopped: {tmp_path}/alice/node.db: the disk is gone"
        assert str(stopped.value).startswith(line)
        expiry = world.chain.height + 1 + invoice.min_final_cltv_expiry_delta + 3
        assert str(stopped.value) == f"{line} (the nearest HTLC deadline is block {expiry})"
        with pytest.raises(NodeStopped):
            await alice.wait_stopped()
        with pytest.raises(NodeStopped):
            await alice.list_channels()
        assert [record.message for record in caplog.records if record.levelname == "CRITICAL"] == [str(stopped.value)]
        # Nothing of the payment reached bob, who only lost the connection.
        await bob.wait_until(lambda core: None if alice_is_there(bob) else True)
        assert bob.node.core.state.channels[channel.channel_id].data.commitments == number
        fails = False
        await alice.stop()
        again = await world.start("alice")
        await again.pay(invoice, retry_for_secs=10)

    def alice_is_there(bob: object) -> bool:
        return bool(bob.node.core.peers)  # type: ignore[attr-defined]

    monkeypatch.setattr(SqliteStore, "append", append)
    play(tmp_path, scene)


class Stubborn(DefaultEventHandler):
    """Handles no payment before it is told to."""

    seen: list[str]
    willing = False

    def handle_event(self, event: Event) -> Awaitable[None] | None:
        type(self).seen.append(type(event).__name__)
        if isinstance(event, PaymentClaimable) and not type(self).willing:
            raise ReplayEvent
        return super().handle_event(event)


def test_events_come_again_until_they_are_handled_and_over_restarts(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        Stubborn.seen, Stubborn.willing = [], False
        alice = await world.start("alice")
        bob = await world.start("bob", lambda builder: builder.set_event_handler(Stubborn))
        await world.fund(alice)
        await world.channel(alice, bob)
        payment_id = await alice.pay_invoice(await bob.create_invoice(Msat(1_000_000)))
        while Stubborn.seen.count("PaymentClaimable") < 2:
            await asyncio.sleep(0.01)
        before = ["OpenChannelRequest", "ChannelPending", "ChannelReady"]
        assert Stubborn.seen[: len(before)] == before
        assert set(Stubborn.seen[len(before) :]) == {"PaymentClaimable"}
        await bob.stop()
        Stubborn.seen = []
        bob = await world.start("bob", lambda builder: builder.set_event_handler(Stubborn))
        while not Stubborn.seen:
            await asyncio.sleep(0.01)
        assert Stubborn.seen[0] == "PaymentClaimable"
        Stubborn.willing = True
        await bob.connect_peer(f"{alice.node_id.hex()}@{alice.listening_addresses[0]}")
        await alice.wait_for_payment(payment_id)
        while Stubborn.seen[-1] != "PaymentClaimed":
            await asyncio.sleep(0.01)
        await settled(alice, bob)
        await bob.stop()
        Stubborn.seen = []
        bob = await world.start("bob", lambda builder: builder.set_event_handler(Stubborn))
        await bob.list_channels()
        assert Stubborn.seen == []

    play(tmp_path, scene)


class Asynchronous(DefaultEventHandler):
    """Waits in the middle, and fails once with each event."""

    done: list[type[Event]]
    failed: set[type[Event]]

    async def _handle(self, event: Event) -> None:
        await asyncio.sleep(0)
        if type(event) not in self.failed:
            self.failed.add(type(event))
            raise RuntimeError("the user's database is away")
        super().handle_event(event)
        self.done.append(type(event))

    def handle_event(self, event: Event) -> Awaitable[None]:
        return self._handle(event)


def test_a_handler_that_waits_and_fails(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        Asynchronous.done, Asynchronous.failed = [], set()
        alice = await world.start("alice", lambda builder: builder.set_event_handler(Asynchronous))
        bob = await world.start("bob")
        await world.fund(alice)
        await world.channel(alice, bob)
        await alice.pay(await bob.create_invoice(Msat(1_000_000)))
        assert Asynchronous.done == [ChannelPending, ChannelReady, PaymentSent]

    play(tmp_path, scene)


def test_a_stop_keeps_what_was_answered(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice = await world.start("alice")
        addresses = {await alice.new_onchain_address() for _ in range(5)}
        late = [asyncio.ensure_future(alice.new_onchain_address()) for _ in range(5)]
        await asyncio.sleep(0)
        await alice.stop()
        results = await asyncio.gather(*late, return_exceptions=True)
        addresses |= {result for result in results if isinstance(result, str)}
        again = await world.start("alice")
        assert await again.new_onchain_address() not in addresses

    play(tmp_path, scene)


def test_a_command_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice = await world.start("alice")

        def half(core: object) -> None:
            core.wallet.new_address()  # type: ignore[attr-defined]
            raise ZeroDivisionError

        first = await alice.new_onchain_address()
        with pytest.raises(ZeroDivisionError):
            await alice.submit(half)
        second = await alice.new_onchain_address()
        keys = alice.node.wallet.keys
        assert [first, second] == [keys.address(branch, index) for branch, index in ((0, 0), (0, 1))]

    play(tmp_path, scene)


def test_a_stop_while_peers_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that fails at the very moment of the stop is not made again."""

    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice)
        await world.channel(alice, bob)
        await bob.stop()
        called = asyncio.Event()

        async def connect(node_id: NodeId, host: str, port: int) -> int:
            called.set()
            try:
                return await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                raise CannotConnect(host, "Connection refused") from None

        assert alice._running is not None
        monkeypatch.setattr(alice._running.processor.tcp, "connect", connect)
        await called.wait()
        await asyncio.wait_for(alice.stop(), 10)

    play(tmp_path, scene)


def test_a_question_that_fails_hurts_only_who_asked(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice = await world.start("alice")
        first = True

        def question(core: object) -> None:
            nonlocal first
            if not first:
                raise ZeroDivisionError
            first = False

        with pytest.raises(ZeroDivisionError):
            await alice.wait_until(question)
        assert await alice.list_channels() == []

    play(tmp_path, scene)


def test_who_waits_for_a_payment_hears_of_the_end(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        Stubborn.seen, Stubborn.willing = [], False
        alice = await world.start("alice")
        bob = await world.start("bob", lambda builder: builder.set_event_handler(Stubborn))
        await world.fund(alice)
        await world.channel(alice, bob)
        payment_id = await alice.pay_invoice(await bob.create_invoice(Msat(1_000_000)))
        payment = asyncio.ensure_future(alice.wait_for_payment(payment_id))
        event = asyncio.ensure_future(alice.wait_for_event(lambda event: False))
        await asyncio.sleep(0.05)
        await alice.stop()
        for waiting in (payment, event):
            with pytest.raises(NodeStopped):
                await waiting

    play(tmp_path, scene)
