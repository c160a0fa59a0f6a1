"""BOLT 2, Message Retransmission: the dance around one update, interrupted at each of its messages, in each direction.

Of two lists the first is what is said without a fault; the second says, for each message, what is said after a
reconnection if that message was the last that took effect. With all six faults: a crash before the write that follows
from a message is as if the message before had been the last. What is lost with a message is also what its sender said
in the same breath: with the commitment_signed of the other side goes its revoke_and_ack, and both come again in order.
"""

from __future__ import annotations

import pytest

from pyln_fast.testing.scenario import Scenario
from pyln_fast.wire.channel_msgs import ChannelReestablish
from tests.sim.scenarios.faults import AT_A_MESSAGE, fault_at, resume

AMOUNT = 50_000_000
HALF = 5_000_000_000


class Dance:
    """An update that `proposer` proposes. A new channel has numbers 1 0, so `channel_ready` is repeated there."""

    def __init__(self, proposer: str) -> None:
        self.proposer = proposer
        self.other = "bob" if proposer == "alice" else "alice"

    def prepare(self, sim: Scenario) -> None:
        """Before anything goes wrong."""

    def begin(self, sim: Scenario) -> None:
        raise NotImplementedError

    def check(self, sim: Scenario) -> None:
        raise NotImplementedError

    update = ""

    def messages(self) -> list[str]:
        a, b = self.proposer, self.other
        return [
            f"{a}: {self.update}",
            f"{a}: commitment_signed",
            f"{b}: revoke_and_ack",
            f"{b}: commitment_signed",
            f"{a}: revoke_and_ack",
        ]

    def owed(self, before: tuple[int, int] = (1, 0)) -> list[list[str]]:
        """After so many messages. `before`: the numbers of both sides before the dance."""
        a, b = self.proposer, self.other
        number, revoked = before
        dance = self.messages()
        ready = number == 1

        def numbers(a_next: int, a_revoked: int, b_next: int, b_revoked: int) -> list[str]:
            return [
                f"{a}: channel_reestablish {a_next} {a_revoked}",
                f"{b}: channel_reestablish {b_next} {b_revoked}",
            ]

        all_again = [f"{a}: channel_ready", f"{b}: channel_ready", *dance] if ready else dance
        return [
            numbers(number, revoked, number, revoked) + all_again,
            numbers(number, revoked, number, revoked) + all_again,
            numbers(number, revoked, number + 1, revoked) + dance[2:],
            numbers(number, revoked + 1, number + 1, revoked) + dance[3:],
            numbers(number + 1, revoked + 1, number + 1, revoked) + dance[4:],
            numbers(number + 1, revoked + 1, number + 1, revoked + 1),
        ]


class Add(Dance):
    update = "update_add_htlc"

    def prepare(self, sim: Scenario) -> None:
        sim.node(self.other).holds_payments()

    def begin(self, sim: Scenario) -> None:
        self.payment = sim.node(self.proposer).pays(self.other, AMOUNT)

    def check(self, sim: Scenario) -> None:
        assert self.payment.is_claimable
        assert self.payment.ends == []
        assert sim.channel("alice", "bob").balances_msat == (HALF, HALF)
        sim.node(self.other).claims(self.payment)
        sim.settle()
        assert self.payment.succeeded
        assert sim.node(self.proposer).balance_msat(self.other) == HALF - AMOUNT


class Removal(Dance):
    """Of an HTLC that the other side has offered and both are committed to."""

    def prepare(self, sim: Scenario) -> None:
        sim.node(self.proposer).holds_payments()
        self.payment = sim.node(self.other).pays(self.proposer, AMOUNT)
        sim.run()
        assert sim.channel("alice", "bob").numbers("alice") == (1, 1)

    def owed(self, before: tuple[int, int] = (2, 1)) -> list[list[str]]:
        return super().owed(before)


class Fulfill(Removal):
    update = "update_fulfill_htlc"

    def begin(self, sim: Scenario) -> None:
        sim.node(self.proposer).claims(self.payment)

    def check(self, sim: Scenario) -> None:
        assert self.payment.succeeded
        assert sim.node(self.other).balance_msat(self.proposer) == HALF - AMOUNT
        assert sim.node(self.proposer).balance_msat(self.other) == HALF + AMOUNT
        sim.settle()


class Fail(Removal):
    update = "update_fail_htlc"

    def begin(self, sim: Scenario) -> None:
        sim.node(self.proposer).refuses(self.payment)

    def check(self, sim: Scenario) -> None:
        assert [end.reason for end in self.payment.ends] == ["RecipientRejected"]  # type: ignore[union-attr]
        assert sim.channel("alice", "bob").balances_msat == (HALF, HALF)
        sim.settle()


class Fee(Dance):
    update = "update_fee"

    def begin(self, sim: Scenario) -> None:
        sim.node("alice").estimates(2000)
        sim.node("alice").ticks_a_minute()

    def check(self, sim: Scenario) -> None:
        feerates = [sim.channel("alice", "bob").details(name).feerate_sat_per_1000_weight for name in ("alice", "bob")]
        assert feerates == [2000, 2000]
        sim.settle()


DANCES = [kind(name) for kind in (Add, Fulfill, Fail) for name in ("alice", "bob")] + [Fee("alice")]
IDS = [f"{type(dance).__name__.lower()} by {dance.proposer}" for dance in DANCES]


def arrived(fault: str, index: int) -> int:
    """How many messages took effect."""
    if fault == "link lost with it":
        return (0, 0, 2, 2, 4)[index]
    return index + (fault in ("link lost after it", "receiver crashes after the write", "sender crashes"))


@pytest.mark.parametrize("dance", DANCES, ids=IDS)
def test_without_a_fault(dance: Dance) -> None:
    sim = Scenario("alice - bob")
    dance.prepare(sim)
    talk = sim.listen("alice", "bob")
    dance.begin(sim)
    sim.run()
    assert talk.lines == dance.messages()
    dance.check(sim)


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("dance", DANCES, ids=IDS)
def test_interrupted(dance: Dance, index: int) -> None:
    for fault in AT_A_MESSAGE:
        sim = Scenario("alice - bob")
        dance.prepare(sim)
        fault_at(sim, fault, dance.messages(), index)
        before = sim.listen("alice", "bob")
        dance.begin(sim)
        sim.run()
        assert before.lines[: index + 1] == dance.messages()[: index + 1]
        took_effect = arrived(fault, index)
        talk = sim.listen("alice", "bob")
        resume(sim)
        sim.run()
        check_order(talk.lines, dance.owed()[took_effect], fault)
        check_same(before.messages(), talk.messages())
        dance.check(sim)


def check_order(lines: list[str], owed: list[str], what: str) -> None:
    """All of it, and each side in its order: how the two interleave is the network's business."""
    for name in ("alice", "bob"):
        assert [line for line in lines if line.startswith(name)] == [line for line in owed if line.startswith(name)], (
            what
        )


def check_same(first: list[object], again: list[object]) -> None:
    """What is sent again is what was sent, to the byte: no second signature of other contents."""
    kept = {type(message): message for message in first}
    for message in again:
        if not isinstance(message, ChannelReestablish) and type(message) in kept:
            assert message in first, message
