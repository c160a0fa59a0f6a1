"""The link is lost after each message of a scenario, in several orders of delivery, with and without crashes."""

import pytest

from pyln_fast.channel.actions import BroadcastTransaction, HtlcCommitted, HtlcNotSent, UpdateMonitor
from pyln_fast.channel.commands import AddHtlc, CloseChannel, RemoveHtlc, SignCommitment, UpdateFee
from pyln_fast.channel.errors import ChannelUnavailable
from pyln_fast.channel.htlc import Failed, FailedMalformed, Fulfilled
from pyln_fast.channel.state import Negotiating
from pyln_fast.tx.monitor_update import LatestCounterpartyCommitment, LatestHolderCommitment
from pyln_fast.types import FeeratePerKw
from tests.channel.pair import Pair, Side, balances

# Who speaks, message by message, as long as it has something to say.
ORDERS = ("ab", "aab", "aaaabbbb", "abbbbbbbbb")


class Scenario:
    """Additions, removals of all kinds and feerates from both sides, crossing each other, then a close."""

    def __init__(self, anchors: bool, order: str) -> None:
        self.pair = Pair(anchors).open()
        self.alice, self.bob = self.pair.alice, self.pair.bob
        self.order = order
        self.turn = 0
        self.delivered = 0
        self.kinds: list[str] = []
        self.commands = [
            (0, self.alice, ("add", 1_000_000)),
            (0, self.bob, ("add", 2_000_000)),
            (2, self.alice, ("add", 100_000)),
            (4, self.bob, ("add", 150_000)),
            (6, self.alice, ("fee", 1500)),
            (9, self.bob, ("add", 30_000_000)),
            (14, self.alice, ("fee", 700)),
            (15, self.bob, ("add", 40_000_000)),
            (16, self.alice, ("add", 50_000_000)),
            (24, self.bob, ("close", 0)),
        ]
        for side in (self.alice, self.bob):
            side.actions.clear()

    def run(self, lost_after: int | None, crash: str) -> int:
        """Returns how many messages were delivered in all."""
        while True:
            self.command()
            self.answer()
            for side in (self.alice, self.bob):
                side.execute(SignCommitment())
            if not self.deliver():
                if not self.commands:
                    break
                self.delivered = max(self.delivered + 1, self.commands[0][0])
                continue
            self.delivered += 1
            if self.delivered == lost_after:
                self.lose(crash)
        return self.delivered

    def command(self) -> None:
        while self.commands and self.commands[0][0] <= self.delivered:
            _, side, (what, value) = self.commands.pop(0)
            if what == "add":
                self.pair.add(side, value)
            elif what == "fee":
                side.execute(UpdateFee(FeeratePerKw(value)))
            else:
                side.execute(CloseChannel())

    def answer(self) -> None:
        for side in (self.alice, self.bob):
            for action in side.of(HtlcCommitted):
                htlc = action.htlc
                removal = (
                    Fulfilled(self.pair.preimages[htlc.payment_hash]),
                    Failed(bytes(292)),
                    FailedMalformed(bytes(32), 0x8000 | 4),
                )[htlc.amount_msat // 10_000 % 3]
                side.execute(RemoveHtlc(htlc.id, removal))
            side.actions = [action for action in side.actions if not isinstance(action, HtlcCommitted)]

    def deliver(self) -> bool:
        for _ in self.order:
            speaker = self.alice if self.order[self.turn % len(self.order)] == "a" else self.bob
            self.turn += 1
            message = self.pair.deliver_one(speaker)
            if message is not None:
                self.kinds.append(f"{speaker.name} {type(message).__name__}")
                return True
        return False

    def lose(self, crash: str) -> None:
        for side in (self.alice, self.bob):
            if side.name in crash:
                side.crash()
        self.pair.disconnect()
        again = []
        for side in (self.alice, self.bob):
            for action in side.of(HtlcNotSent):
                assert action.reason == "PeerOffline"
                again.append((side, action.htlc))
            side.actions = [action for action in side.actions if not isinstance(action, HtlcNotSent)]
        self.pair.reconnect()
        for side in (self.alice, self.bob):
            assert type(self.pair.deliver_one(side)).__name__ == "ChannelReestablish"
        for side, htlc in again:
            command = AddHtlc(
                htlc.amount_msat, htlc.payment_hash, htlc.cltv_expiry, htlc.onion_routing_packet, htlc.source
            )
            try:
                side.execute(command)
            except ChannelUnavailable:
                assert any(command[2][0] == "close" for command in self.commands) is False


def txids(owner: Side, other: Side) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """A party's commitments as it and as its counterparty built them."""
    held, signed = {}, {}
    for side, kind, found in ((owner, LatestHolderCommitment, held), (other, LatestCounterpartyCommitment, signed)):
        for action in side.of(UpdateMonitor):
            for step in action.update.steps:
                if isinstance(step, kind):
                    made = step.holder_commitment if found is held else step.counterparty_commitment
                    assert found.setdefault(made.commitment.number, made.txid) == made.txid
    return held, signed


def finish(scenario: Scenario) -> None:
    alice, bob = scenario.alice, scenario.bob
    for owner, other in ((alice, bob), (bob, alice)):
        held, signed = txids(owner, other)
        assert held == signed
        assert len(held) > 3
        assert isinstance(owner.state, Negotiating)
        assert owner.state.agreed is not None
        assert balances(owner) == balances(other)[::-1]
    closings = [side.of(BroadcastTransaction)[-1].raw for side in (alice, bob)]
    assert closings[0] == closings[1]


def expected(anchors: bool, order: str) -> tuple[int, tuple[int, int]]:
    scenario = Scenario(anchors, order)
    delivered = scenario.run(None, "")
    finish(scenario)
    return delivered, balances(scenario.alice)


@pytest.mark.parametrize("crash", ["", "alice", "bob", "alice bob"], ids=["lost", "alice", "bob", "both"])
@pytest.mark.parametrize("order", ORDERS)
def test_lost_after_each_message(order: str, crash: str) -> None:
    anchors = len(order) % 2 == 0
    messages, balance = expected(anchors, order)
    assert messages > 40
    for lost_after in range(1, messages + 1):
        scenario = Scenario(anchors, order)
        try:
            scenario.run(lost_after, crash)
            finish(scenario)
            assert balances(scenario.alice) == balance
        except AssertionError as error:
            raise AssertionError(f"lost after message {lost_after}: {scenario.kinds[-3:]}") from error
