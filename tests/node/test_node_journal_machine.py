"""The journal against a list: turns in order, batches in flight, a disk that is slow, fails or loses its power."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pyln_fast.node.journal import MAX_BATCHES_IN_FLIGHT, Journal, JournalStopped
from pyln_fast.persist.memory_store import MemoryStore
from pyln_fast.records import Batch, Delete, Put, Write

KEYS = st.sampled_from([b"a", b"b", b"c"])
WRITES = st.lists(
    st.one_of(
        st.builds(Put, st.just("table"), KEYS, st.binary(max_size=2)),
        st.builds(Delete, st.just("table"), KEYS),
    ),
    max_size=4,
)


class JournalMachine(RuleBasedStateMachine):
    """`turns`: each turn's effects and the batch that they wait for. `tables`: the records after each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.tables: list[dict[bytes, bytes]] = [{}]
        self.begin(Journal(1))

    def begin(self, journal: Journal[int]) -> None:
        self.journal = journal
        self.turns: list[tuple[int, list[int]]] = []
        self.in_flight: list[Batch] = []
        self.durable = self.store.sequence
        self.taken: list[int] = []
        self.next_effect = 0
        self.failed: str | None = None

    def expected(self) -> list[int]:
        """Whatever waits for a batch that is on disk, in the order of the turns."""
        return [effect for needs, effects in self.turns if needs <= self.durable for effect in effects]

    @rule(writes=WRITES, effects=st.integers(0, 3))
    def close_turn(self, writes: list[Write], effects: int) -> None:
        if writes and len(self.in_flight) == MAX_BATCHES_IN_FLIGHT and self.failed is None:
            writes = []
        made = list(range(self.next_effect, self.next_effect + effects))
        if self.failed is not None:
            with pytest.raises(JournalStopped) as stopped:
                self.journal.close_turn(writes, made)
            assert stopped.value.reason == self.failed
            return
        self.next_effect += effects
        batch = self.journal.close_turn(writes, made)
        assert (batch is None) == (not writes)
        if batch is not None:
            table = dict(self.tables[-1])
            for write in writes:
                if isinstance(write, Put):
                    table[write.key] = write.value
                else:
                    table.pop(write.key, None)
            self.tables.append(table)
            assert batch.sequence == len(self.tables) - 1
            assert len({(write.table, write.key) for write in batch.writes}) == len(batch.writes)
            self.in_flight.append(batch)
        self.turns.append((len(self.tables) - 1, made))

    @precondition(lambda self: self.in_flight and self.failed is None)
    @rule(count=st.integers(1, MAX_BATCHES_IN_FLIGHT))
    def disk_is_done(self, count: int) -> None:
        """With one or several batches at once."""
        for batch in self.in_flight[:count]:
            self.store.append(batch)
        self.in_flight = self.in_flight[count:]
        self.durable = self.store.sequence
        self.journal.batch_durable(self.durable)

    @rule()
    def take_released(self) -> None:
        self.taken += self.journal.take_released()
        assert self.taken == self.expected()

    @precondition(lambda self: self.in_flight)
    @rule(reason=st.sampled_from(["the disk is full", "the disk is gone"]))
    def write_fails(self, reason: str) -> None:
        self.journal.write_failed(reason)
        self.failed = self.failed or reason

    @rule(kept=st.integers(0, MAX_BATCHES_IN_FLIGHT))
    def crash(self, kept: int) -> None:
        """Of what was in flight a first part may be on disk, reported or not."""
        for batch in self.in_flight[:kept]:
            self.store.append(batch)
        loaded = self.store.load()
        assert loaded.sequence >= self.durable
        del self.tables[loaded.sequence + 1 :]
        assert loaded.tables.get("table", {}) == self.tables[-1]
        self.begin(Journal(loaded.sequence + 1))

    @invariant()
    def nothing_early_nothing_lost(self) -> None:
        journal = self.journal
        assert self.taken == self.expected()[: len(self.taken)]
        assert journal.has_released == (len(self.taken) < len(self.expected()))
        assert journal.durable_sequence == self.durable
        assert journal.in_flight == len(self.in_flight) <= MAX_BATCHES_IN_FLIGHT
        assert journal.stopped == self.failed
        assert journal.can_accept_turn() == (self.failed is None and len(self.in_flight) < MAX_BATCHES_IN_FLIGHT)


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=100, stateful_step_count=40, derandomize=True, deadline=None, database=None
)
