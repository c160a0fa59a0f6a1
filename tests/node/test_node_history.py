"""What is over costs nothing: neither memory nor writes grow with what a node has done."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from pyln_fast.events import PaymentSent
from pyln_fast.node.node import Node
from pyln_fast.node.state import FINISHED_PAYMENTS, NODE, PAYMENTS
from pyln_fast.payment.outbound import PaymentStatus, RetryableSendFailure
from pyln_fast.records import Delete
from pyln_fast.types import Monotonic, PaymentId, UnixTime
from tests.node.world import Host, World

AMOUNT = 1_000_000


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close_all()


def line(world: World) -> tuple[Host, Host, Host]:
    alice, bob, carol = hosts = world.host("alice"), world.host("bob"), world.host("carol")
    for payer, payee in ((alice, bob), (bob, carol)):
        world.fund(payer)
        world.connect(payer, payee)
        world.open(payer, payee)
    minutes(world, 1)
    return hosts


def minutes(world: World, count: int) -> None:
    for _ in range(count):
        world.clock_ms += 60_000
        for host in world.hosts.values():
            host.node.timer_tick(Monotonic(world.clock_ms), UnixTime(world.chain.now() + world.clock_ms // 1000))
        world.settle()


def written(host: Host, first: int) -> list[tuple[str, bool]]:
    """The table of each write from that batch on, and whether it deletes."""
    return [(write.table, isinstance(write, Delete)) for batch in host.store.batches[first:] for write in batch.writes]


def objects_of(node: Node) -> int:
    """How many objects the node holds that can hold others."""
    passed_over = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
    seen: set[int] = set()
    waiting: list[object] = [node]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, passed_over):
            continue
        seen.add(id(found))
        waiting += gc.get_referents(found)
    return len(seen)


def pay_around(world: World, hosts: tuple[Host, Host, Host], name: str) -> list[PaymentId]:
    """One payment to the neighbour and one that is forwarded."""
    alice, bob, carol = hosts
    return [
        world.pay(alice, world.invoice(bob, AMOUNT), f"{name} direct"),
        world.pay(alice, world.invoice(carol, AMOUNT), f"{name} forwarded"),
    ]


def test_memory_does_not_grow_with_payments_that_are_over(world: World) -> None:
    """A record a payment would be some objects each."""
    hosts = line(world)
    counts = []
    for number in range(3):
        for index in range(16):
            pay_around(world, hosts, f"{number} {index}")
        minutes(world, 8)
        counts.append([objects_of(host.node) for host in hosts])
    assert len(hosts[0].of(PaymentSent)) == 96
    more = [last - first for first, last in zip(counts[0], counts[2])]
    assert max(more) < 64, (counts, "of 64 payments something is kept")


def test_a_payment_that_is_over_is_written_once_and_deleted_once(world: World) -> None:
    hosts = alice, _, _ = line(world)
    pay_around(world, hosts, "once")
    minutes(world, 1)
    first = len(alice.store.batches)
    minutes(world, 6)
    assert written(alice, first) == [(NODE.name, False)] * 6
    first = len(alice.store.batches)
    minutes(world, 1)
    assert written(alice, first) == [(PAYMENTS.name, True), (PAYMENTS.name, True), (NODE.name, False)]


def test_what_only_an_attempt_needs_is_in_the_history_alone(world: World) -> None:
    alice, _, _ = hosts = line(world)
    _, forwarded = pay_around(world, hosts, "apart")
    value = alice.store.read(FINISHED_PAYMENTS.name, forwarded)
    assert value is not None
    finished = FINISHED_PAYMENTS.decode(value)
    assert finished.status is PaymentStatus.FULFILLED
    assert finished.attempt is not None
    assert len(finished.attempt.path.hops) == 2
    assert len(finished.hints) == 1
    remembered = replace(finished, hints=(), attempt=None)
    assert alice.node.core.state.payments[forwarded] == remembered
    assert alice.store.read(PAYMENTS.name, forwarded) == PAYMENTS.put(forwarded, remembered).value


def test_a_restart_remembers_payment_ids_for_longer(world: World) -> None:
    alice, bob, _ = hosts = line(world)
    pay_around(world, hosts, "again")
    minutes(world, 7)
    alice.crash()
    alice.restart()
    world.connect(alice, bob)
    minutes(world, 1)  # a run's first tick begins its first minute
    for _ in range(8):
        with pytest.raises(RetryableSendFailure, match="DuplicatePayment"):
            world.pay(alice, world.invoice(bob, AMOUNT), "again direct")
        minutes(world, 1)
    assert dict(alice.node.core.state.payments) == {}
