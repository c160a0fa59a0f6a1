from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pyln_fast.node.journal import MAX_BATCHES_IN_FLIGHT, Journal, JournalStopped
from pyln_fast.records import Batch, Delete, Put, Write

A = Put("channels", b"a", b"1")


def test_effects_wait_until_their_batch_is_durable() -> None:
    journal: Journal[str] = Journal(7)
    assert journal.close_turn([A], ["revoke_and_ack"]) == Batch(7, (A,))
    assert journal.take_released() == []
    journal.batch_durable(7)
    assert journal.take_released() == ["revoke_and_ack"]
    assert journal.take_released() == []


def test_a_turn_without_writes_keeps_its_place() -> None:
    journal: Journal[str] = Journal(1)
    assert journal.close_turn([], ["first"]) is None
    journal.close_turn([A], ["second"])
    assert journal.close_turn([], ["third"]) is None
    assert journal.take_released() == ["first"]
    journal.batch_durable(1)
    assert journal.close_turn([], ["fourth"]) is None
    assert journal.take_released() == ["second", "third", "fourth"]


def test_the_last_write_to_a_key_counts() -> None:
    journal: Journal[str] = Journal(1)
    batch = journal.close_turn([A, Put("payments", b"a", b"x"), Delete("channels", b"a")], [])
    assert batch == Batch(1, (Delete("channels", b"a"), Put("payments", b"a", b"x")))


def test_two_batches_at_most_are_in_flight() -> None:
    journal: Journal[str] = Journal(1)
    journal.close_turn([A], ["one"])
    assert journal.can_accept_turn()
    journal.close_turn([A], ["two"])
    assert not journal.can_accept_turn()
    with pytest.raises(AssertionError):
        journal.close_turn([A], ["three"])
    journal.batch_durable(2)
    assert journal.in_flight == 0
    assert journal.take_released() == ["one", "two"]


def test_after_a_failed_write_nothing_more_is_released() -> None:
    journal: Journal[str] = Journal(1)
    journal.close_turn([A], ["one"])
    journal.close_turn([A], ["two"])
    journal.batch_durable(1)
    journal.write_failed("disk full")
    journal.write_failed("and again")
    assert journal.take_released() == ["one"]
    assert journal.take_released() == []
    assert not journal.can_accept_turn()
    with pytest.raises(JournalStopped) as caught:
        journal.close_turn([A], ["three"])
    assert caught.value.reason == journal.stopped == "disk full"


@pytest.mark.parametrize("sequence", [0, 1, 3])
def test_only_a_batch_in_flight_becomes_durable(sequence: int) -> None:
    journal: Journal[str] = Journal(2)
    journal.close_turn([A], [])
    with pytest.raises(AssertionError):
        journal.batch_durable(sequence)


class JournalMachine(RuleBasedStateMachine):
    """Every effect carries the sequence that it must wait for; what comes out is compared with what went in."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: Journal[tuple[int, int]] = Journal(1)
        self.handed_out = 0
        self.durable = 0
        self.given: list[tuple[int, int]] = []
        self.taken: list[tuple[int, int]] = []
        self.failed = False

    @precondition(lambda self: self.journal.can_accept_turn())
    @rule(keys=st.lists(st.sampled_from([b"a", b"b"]), max_size=3), effects=st.integers(0, 3))
    def turn(self, keys: list[bytes], effects: int) -> None:
        needs = self.handed_out + bool(keys)
        new = [(needs, len(self.given) + index) for index in range(effects)]
        writes: list[Write] = [Put("t", key, bytes([index])) for index, key in enumerate(keys)]
        batch = self.journal.close_turn(writes, new)
        assert (batch is None) == (not keys)
        if batch is not None:
            self.handed_out += 1
            assert batch.sequence == self.handed_out
            assert {w.key: w for w in batch.writes} == {w.key: w for w in writes}
        self.given += new

    @precondition(lambda self: not self.failed and self.handed_out > self.durable)
    @rule(all_of_them=st.booleans())
    def durable_up_to(self, all_of_them: bool) -> None:
        self.durable = self.handed_out if all_of_them else self.durable + 1
        self.journal.batch_durable(self.durable)

    @rule()
    def take(self) -> None:
        self.taken += self.journal.take_released()

    @precondition(lambda self: self.handed_out > self.durable)
    @rule()
    def fail(self) -> None:
        self.failed = True
        self.journal.write_failed("no space")

    @invariant()
    def never_before_its_batch_and_in_order(self) -> None:
        assert all(needs <= self.durable for needs, _ in self.taken)
        assert self.taken == self.given[: len(self.taken)]
        assert self.journal.in_flight == self.handed_out - self.durable <= MAX_BATCHES_IN_FLIGHT

    def teardown(self) -> None:
        self.take()
        assert self.taken == [effect for effect in self.given if effect[0] <= self.durable]


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
