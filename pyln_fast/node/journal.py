"""The one order of everything durable and everything visible.

At the end of a turn its writes become one batch, and what the outside may see of the turn (its effects) waits until
that batch is durable. Effects leave in the order in which they were given, whatever they are: the journal never looks
inside.

What waits for nothing (ping, pong, relayed gossip) does not come here: the node sends it directly. An effect for a
connection that has died meanwhile is not the journal's business either: effects name their connection, connections'
names are never used twice, and whoever performs an effect drops one whose connection is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from pyln_fast.errors import LocalError
from pyln_fast.records import Batch, Write

MAX_BATCHES_IN_FLIGHT = 2
"""One is being written while the next turn computes; with more, what a crash can lose of unseen work only grows."""

Effect = TypeVar("Effect")


class JournalStopped(LocalError):
    """A batch could not be written: nothing will be durable any more, so nothing may be done any more."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the node has stopped because a write failed: {reason}")
        self.reason = reason


class Journal(Generic[Effect]):
    """Turns into batches, effects held back until they are durable. No I/O: the shell writes and reports.

    `next_sequence` is the number of the next batch: one more than the highest durable sequence of the store.
    """

    def __init__(self, next_sequence: int) -> None:
        assert next_sequence >= 1
        self._next = next_sequence
        self._durable = next_sequence - 1
        self._waiting: deque[tuple[int, tuple[Effect, ...]]] = deque()
        self._released: list[Effect] = []
        self._failure: str | None = None

    @property
    def in_flight(self) -> int:
        """Batches that were handed out and are not durable yet."""
        return self._next - 1 - self._durable

    @property
    def durable_sequence(self) -> int:
        return self._durable

    @property
    def stopped(self) -> str | None:
        """Why nothing is written or released any more, if that is so."""
        return self._failure

    def can_accept_turn(self) -> bool:
        """Whether inputs may be taken; while not, they wait."""
        return self._failure is None and self.in_flight < MAX_BATCHES_IN_FLIGHT

    def close_turn(self, writes: Iterable[Write], effects: Iterable[Effect]) -> Batch | None:
        """The batch to be written now, or None for a turn without writes (its effects wait behind what is in flight).

        Of several writes to one key the last counts. Raises JournalStopped.
        """
        if self._failure is not None:
            raise JournalStopped(self._failure)
        last = {(write.table, write.key): write for write in writes}
        batch = None
        if last:
            assert self.in_flight < MAX_BATCHES_IN_FLIGHT, "a turn was begun while can_accept_turn() said no"
            batch = Batch(self._next, tuple(last.values()))
            self._next += 1
        held = tuple(effects)
        if self.in_flight == 0:
            self._released.extend(held)
        elif held:
            self._waiting.append((self._next - 1, held))
        return batch

    def batch_durable(self, sequence: int) -> None:
        """Every batch up to `sequence` is on disk, its fsync included."""
        assert self._failure is None, "a batch became durable after an earlier one failed"
        assert self._durable < sequence < self._next, f"batch {sequence} is not in flight"
        self._durable = sequence
        while self._waiting and self._waiting[0][0] <= sequence:
            self._released.extend(self._waiting.popleft()[1])

    def write_failed(self, reason: str) -> None:
        """A batch was not written, and so none after it: their effects never leave. The first reason is kept."""
        if self._failure is None:
            self._failure = reason
        self._waiting.clear()

    @property
    def has_released(self) -> bool:
        return bool(self._released)

    def take_released(self) -> list[Effect]:
        """The effects that may be performed now, in order; each is given once.

        After `write_failed` this is what had become durable before it, then nothing.
        """
        released, self._released = self._released, []
        return released
