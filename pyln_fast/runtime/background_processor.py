"""The turn loop: gives the node whatever is ready, then does what the node says, in order.

A turn is scheduled when something arrives and never waits for more: an idle node's latency is one fsync. While a turn
computes and its batch is written, sockets fill; the next turn takes all of that at once, so load makes turns large by
itself.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from pyln_fast.chain.header_chain import ChainSourceError
from pyln_fast.chain.interfaces import BroadcasterInterface
from pyln_fast.errors import LocalError
from pyln_fast.events import Event
from pyln_fast.node.deadlines import nearest_deadline
from pyln_fast.node.effects import (
    Answer,
    BroadcastPackage,
    CloseSocket,
    OfferCustomMessage,
    OfferEvent,
    SendBytes,
    ShellEffect,
    WriteBatch,
)
from pyln_fast.node.node import Node
from pyln_fast.persist.kv_store import StoreError
from pyln_fast.records import Batch
from pyln_fast.runtime.broadcasts import transaction_types
from pyln_fast.runtime.chain_poller import BlockConnected, ChainUpdate
from pyln_fast.runtime.clock import Clock
from pyln_fast.runtime.event_handler import EventHandler, EventQueue
from pyln_fast.runtime.tcp import TcpConnections
from pyln_fast.types import BlockHeight, NodeId

_LOG = logging.getLogger(__name__)

TURN_MILLISECONDS = 50
"""After this the rest of the inputs waits for the next turn, so that what the first ones caused is written and sent:
a few hundred messages, and far below every timeout of a peer."""
TICK_SECONDS = 1.0

T = TypeVar("T")


class Writer(Protocol):
    """StoreWriter's part that a turn needs."""

    @property
    def low_space(self) -> bool: ...

    def submit(self, batch: Batch, on_done: Callable[[int, StoreError | None], None]) -> None: ...


class NodeStopped(LocalError):
    """The node is not running any more. If a write failed: why, and until when it may stay so."""

    def __init__(self, why: str, deadline: BlockHeight | None = None) -> None:
        until = "no HTLC is pending" if deadline is None else f"the nearest HTLC deadline is block {deadline}"
        super().__init__(f"the node has stopped: {why} ({until})")
        self.why = why
        self.deadline = deadline


class BlockNotTaken(ChainSourceError):
    """The node could not digest a block: it is given again."""


class BackgroundProcessor:
    """One for one node. Everything but the writer's callbacks runs on the loop."""

    def __init__(
        self, node: Node, writer: Writer, broadcaster: BroadcasterInterface, handler: EventHandler, clock: Clock
    ) -> None:
        self.node = self._node = node
        self._writer = writer
        self._broadcaster = broadcaster
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.tcp = TcpConnections(self, lambda conn: any(c == conn for c, _ in node.peer_manager.list_peers()))
        self.events = EventQueue(handler, self._event_handled)
        self.after_event: list[Callable[[Event], None]] = []
        self.on_custom_message: Callable[[NodeId, int, bytes], None] | None = None
        self.after_tick: list[Callable[[], None]] = []
        self._inputs: deque[tuple[Callable[..., Any], tuple[Any, ...], int, int]] = deque()
        """(what to call, its arguments, connection, bytes): commands and what sockets say, in the order of arrival."""
        self._blocks: deque[tuple[ChainUpdate, asyncio.Future[None]]] = deque()
        self._durable: list[tuple[int, StoreError | None]] = []
        self._tick_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._tokens = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._watches: list[tuple[Callable[[Node], Any], asyncio.Future[Any]]] = []
        self._slow: set[int] = set()
        self._stopping = False
        self.finished: asyncio.Future[None] = self._loop.create_future()
        """Done when the node runs no more; with NodeStopped if it had to stop."""
        self.turns = 0

    # --- the user's side

    def start(self) -> None:
        self.events.start()
        self._tick()
        self._schedule()

    async def submit(self, function: Callable[[Node], T]) -> T:
        """Runs a command in a turn; its answer comes when all that it did is durable.

        Raises what the command raises (a LocalError has changed nothing), and NodeStopped.
        """
        answer: asyncio.Future[T] = self._loop.create_future()
        token = next(self._tokens)
        self._answers[token] = answer
        self._put(self._command, token, function)
        if self._stopping:
            self._answers.pop(token, None)
            raise self.stopped()
        return await answer

    def submit_soon(self, function: Callable[[Node], object]) -> None:
        """The same for whoever does not wait for the answer: an event handled after it is durable not before it."""
        self._put(self._command, next(self._tokens), function)

    async def wait_until(self, predicate: Callable[[Node], T | None]) -> T:
        """What the predicate returns first that is not None; it is asked after each turn. Raises NodeStopped."""
        found = predicate(self._node)
        if found is not None:
            return found
        if self._stopping:
            raise self.stopped()
        future: asyncio.Future[T] = self._loop.create_future()
        watch = (predicate, future)
        self._watches.append(watch)
        try:
            return await future
        finally:
            self._watches.remove(watch)

    async def deliver(self, update: ChainUpdate) -> None:
        """A block, or the way back to one; returns when the node has taken it. Raises BlockNotTaken, NodeStopped."""
        if self._stopping:
            raise self.stopped()
        taken: asyncio.Future[None] = self._loop.create_future()
        self._blocks.append((update, taken))
        self._schedule()
        await taken

    async def stop(self) -> None:
        """What was taken in becomes durable and is done, then the sockets are closed. Idempotent."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        await self.events.stop()
        self._schedule()
        if not self.finished.done():
            await asyncio.wait([self.finished])
        await self.tcp.close()

    # --- inputs (PeerInputs among them)

    def connection_opened(self, conn: int, node_id: NodeId | None) -> None:
        if node_id is None:
            self._put(self._node.new_inbound_connection, conn, conn=conn)
        else:
            self._put(self._node.new_outbound_connection, conn, node_id, conn=conn)

    def bytes_received(self, conn: int, data: bytes) -> None:
        self._put(self._node.read_event, conn, data, conn=conn, size=len(data))

    def connection_closed(self, conn: int) -> None:
        self._slow.discard(conn)
        self._put(self._node.socket_disconnected, conn, conn=conn)

    def write_paused(self, conn: int, paused: bool) -> None:
        self._node.peer_manager.set_write_paused(conn, paused)
        if not paused:
            self._schedule()

    def _event_handled(self, sequence: int, event: Event) -> None:
        self._put(self._node.event_handled, sequence)
        for listener in self.after_event:
            listener(event)

    def _command(self, token: int, function: Callable[[Node], object]) -> None:
        try:
            self._node.submit(token, function)
        except Exception as error:  # a fault of ours: it has been taken back, and costs that command alone
            _LOG.exception("a command was discarded")
            self._answer(Answer(token, error))

    def _put(self, function: Callable[..., Any], *arguments: Any, conn: int = 0, size: int = 0) -> None:
        if not self._stopping:
            self._inputs.append((function, arguments, conn, size))
            self._schedule()

    def _tick(self) -> None:
        self._tick_due = True
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        self._schedule()

    def _batch_done(self, sequence: int, error: StoreError | None) -> None:
        """On the writer's thread."""
        self._loop.call_soon_threadsafe(self._on_batch_done, sequence, error)

    def _on_batch_done(self, sequence: int, error: StoreError | None) -> None:
        self._durable.append((sequence, error))
        self._schedule()

    # --- the turn

    def _schedule(self) -> None:
        if not self._scheduled and not self.finished.done():
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self.finished.done():
            return
        self.turns += 1
        node = self._node
        for sequence, error in self._durable:
            if error is not None:
                self.fail(str(error))
                return
            node.batch_durable(sequence)
        self._durable.clear()
        touched: set[int] = set()
        if node.can_accept_input:
            self._give_inputs(touched)
        try:
            for effect in node.process_events():
                self._execute(effect, touched)
        except Exception as error:  # an effect that is lost is a promise that is broken: better none at all
            _LOG.exception("the end of a turn failed")
            self.fail(f"a fault of its own: {error!r}")
            return
        self._after_turn(touched)

    def _give_inputs(self, touched: set[int]) -> None:
        """Blocks first, one a turn; then what has arrived, until the turn has lasted long enough."""
        node = self._node
        end = self._clock.monotonic() + TURN_MILLISECONDS
        node.core.low_on_space = self._writer.low_space
        if self._blocks:
            self._give_block(*self._blocks.popleft())
        if self._tick_due:
            self._tick_due = False
            self._guarded(node.timer_tick, self._clock.monotonic(), self._clock.wall())
            for listener in self.after_tick:
                listener()
        while self._inputs:
            function, arguments, conn, size = self._inputs.popleft()
            self._guarded(function, *arguments)
            if conn:
                touched.add(conn)
                connection = self.tcp.get(conn)
                if connection is not None and size:
                    connection.taken(size)
            if self._clock.monotonic() >= end:
                return

    def _give_block(self, update: ChainUpdate, taken: asyncio.Future[None]) -> None:
        try:
            if isinstance(update, BlockConnected):
                self._node.block_connected(update.block, update.height, update.locator)
            else:
                self._node.blocks_disconnected(update.fork_point)
        except Exception as error:
            _LOG.exception("a block was not taken")
            if not taken.done():
                taken.set_exception(BlockNotTaken(f"a block was not taken: {error!r}"))
            return
        if not taken.done():
            taken.set_result(None)

    def _guarded(self, function: Callable[..., object], *arguments: object) -> None:
        """An input that nobody foresaw costs itself: the node has taken it back."""
        try:
            function(*arguments)
        except Exception:
            _LOG.exception("an input was discarded")

    def _execute(self, effect: ShellEffect, touched: set[int]) -> None:
        if isinstance(effect, SendBytes):
            connection = self.tcp.get(effect.conn)
            if connection is not None:
                connection.send(effect.data)
                touched.add(effect.conn)
        elif isinstance(effect, WriteBatch):
            self._writer.submit(effect.batch, self._batch_done)
        elif isinstance(effect, Answer):
            self._answer(effect)
        elif isinstance(effect, OfferEvent):
            self.events.offer(effect)
        elif isinstance(effect, BroadcastPackage):
            self._broadcaster.broadcast_transactions(transaction_types(effect))
        elif isinstance(effect, OfferCustomMessage):
            if self.on_custom_message is not None:
                self._guarded(self.on_custom_message, effect.node_id, effect.type, effect.data)
        else:
            assert isinstance(effect, CloseSocket)
            connection = self.tcp.get(effect.conn)
            if connection is not None:
                connection.close()

    def _answer(self, answer: Answer) -> None:
        future = self._answers.pop(answer.token, None)
        if future is None:
            if isinstance(answer.result, Exception):
                _LOG.warning("a command failed: %s", answer.result)
        elif not future.done():
            if isinstance(answer.result, Exception):
                future.set_exception(answer.result)
            else:
                future.set_result(answer.result)

    def _after_turn(self, touched: set[int]) -> None:
        node = self._node
        for conn in touched | self._slow:
            connection = self.tcp.get(conn)
            if connection is not None:
                slow = node.peer_manager.should_pause_reading(conn)
                connection.set_peer_is_slow(slow)
                (self._slow.add if slow else self._slow.discard)(conn)
        for report in node.reports:
            _LOG.log(logging.getLevelName(report.level.upper()), "%s", report.text, exc_info=report.error)
        node.reports.clear()
        for predicate, future in self._watches:
            if not future.done():
                _look(predicate, node, future)
        more = bool(self._inputs or self._blocks or self._tick_due or node.has_work)
        if (more and node.can_accept_input) or node.peer_manager.has_output():
            self._schedule()
        elif self._stopping and not more and node.journal.in_flight == 0:
            self._finish(self.stopped())

    # --- the end

    def fail(self, why: str) -> None:
        """Nothing more becomes durable, so nothing more is sent."""
        if self.finished.done():
            return
        self._stopping = True
        self._node.write_failed(why)
        stopped = NodeStopped(why, nearest_deadline(self._node.core.state.channels.values()))
        _LOG.critical("%s", stopped)
        self.tcp.abort()
        self._finish(stopped, failed=True)

    def stopped(self) -> NodeStopped:
        if self.finished.done() and (error := self.finished.exception()) is not None:
            assert isinstance(error, NodeStopped)
            return error
        return NodeStopped("it was told to stop", nearest_deadline(self._node.core.state.channels.values()))

    def _finish(self, stopped: NodeStopped, failed: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if failed:
            self.finished.set_exception(stopped)
            self.finished.exception()  # whoever waits hears of it; nobody need
        else:
            self.finished.set_result(None)
        waiting = [*self._answers.values(), *(future for _, future in self._watches)]
        waiting += [taken for _, taken in self._blocks]
        for future in waiting:
            if not future.done():
                future.set_exception(stopped)
                future.exception()
        self._answers.clear()
        self._blocks.clear()
        self._inputs.clear()


def _look(predicate: Callable[[Node], Any], node: Node, future: asyncio.Future[Any]) -> None:
    try:
        found = predicate(node)
    except Exception as error:
        future.set_exception(error)
    else:
        if found is not None:
            future.set_result(found)
