"""The user's side of events: who handles them, and how they are offered, in order and again until they are handled."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from pyln_fast.events import Event
from pyln_fast.node.effects import OfferEvent

_LOG = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 30.0
"""Between two offers of an event that its handler could not handle, doubled from the first pause."""


class ReplayEvent(Exception):
    """A handler raises it to be asked again later: its database is away, say."""


class EventHandler(Protocol):
    """Gets one event at a time, in order, until it returns. An event may come twice: before and after a crash."""

    def handle_event(self, event: Event) -> Awaitable[None] | None:
        """Raises ReplayEvent to be asked again. Any other exception is logged and does the same."""


class EventQueue:
    """`on_handled(sequence, event)` is called on the loop after each event."""

    def __init__(self, handler: EventHandler, on_handled: Callable[[int, Event], None]) -> None:
        self._handler = handler
        self._on_handled = on_handled
        self._events: deque[OfferEvent] = deque()
        self._newest = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="events")

    def offer(self, offered: OfferEvent) -> None:
        assert offered.sequence > self._newest, "events are offered once, in order"
        self._newest = offered.sequence
        self._events.append(offered)
        self._wake.set()

    @property
    def waiting(self) -> int:
        return len(self._events)

    async def stop(self) -> None:
        """What was not handled is offered again by the next run of the node."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._events:
                offered = self._events[0]
                await self._handle(offered.event)
                self._events.popleft()
                self._on_handled(offered.sequence, offered.event)

    async def _handle(self, event: Event) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = self._handler.handle_event(event)
                if inspect.isawaitable(answer):
                    await answer
            except ReplayEvent:
                _LOG.debug("the handler wants %s again", type(event).__name__)
            except Exception:
                _LOG.exception("the handler of %s failed: it is asked again", type(event).__name__)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
