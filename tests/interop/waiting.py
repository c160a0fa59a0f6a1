"""Waiting for something to become true, with a limit and a name for what did not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECS = 15.0
_POLL_SECS = 0.004


class Failure(Exception):
    """A scenario did not go as the BOLTs promise."""


class Cannot(Exception):
    """The peer does not offer what the scenario needs."""


async def until(look: Callable[[], T], what: str, patience: float = PATIENCE_SECS) -> T:
    """The first true result. Raises Failure."""
    end = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise Failure(f"waited {patience:.0f} s in vain for {what}")
        await asyncio.sleep(_POLL_SECS)


async def until_async(look: Callable[[], Awaitable[T]], what: str, patience: float = PATIENCE_SECS) -> T:
    end = time.monotonic() + patience
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > end:
            raise Failure(f"waited {patience:.0f} s in vain for {what}")
        await asyncio.sleep(_POLL_SECS)


def check(condition: object, what: str) -> None:
    if not condition:
        raise Failure(what)
