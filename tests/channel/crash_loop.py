"""Two channels under a random workload from a seed: updates from both sides, lost links, crashes, invariants each step.

A crash leaves only what is durable. What the rest of a node keeps (which received HTLCs wait for an answer, and the
answer itself) is durable in the batch of the transition that tells it, as the journal does it.
"""

from __future__ import annotations

import hashlib
import random
from contextlib import suppress

from pyln_fast.channel.actions import (
    Action,
    BroadcastTransaction,
    HtlcCommitted,
    HtlcFulfilled,
    HtlcNotSent,
    HtlcRemoved,
    UpdateMonitor,
)
from pyln_fast.channel.commands import (
    CloseChannel,
    PeerConnected,
    PeerDisconnected,
    RemoveHtlc,
    SignCommitment,
    UpdateFee,
)
from pyln_fast.channel.errors import ChannelUnavailable, HtlcRefused
from pyln_fast.channel.htlc import Failed, FailedMalformed, Fulfilled, Htlc, Removal
from pyln_fast.channel.limits import DustLimit, outbound_limit_msat
from pyln_fast.channel.spec import commitment_spec
from pyln_fast.channel.state import Closing, Negotiating, Normal
from pyln_fast.tx.monitor_update import LatestCounterpartyCommitment, LatestHolderCommitment
from pyln_fast.types import FeeratePerKw
from tests.channel.pair import Pair, Side, balances

AMOUNTS_MSAT = (1, 1_000, 353_999, 354_000, 600_000, 1_100_000, 3_000_000, 20_000_000, 400_000_000)
FEERATES = (253, 500, 1000, 1500, 3000, 5000)


class Broken(AssertionError):
    """An invariant does not hold; the text is what replays it."""


class CrashLoop:
    def __init__(self, seed: int, closing: bool = False) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.closing = closing
        self.step_number = 0
        self.last = "open"
        self.trouble = self.random.choice((0.1, 1, 4))
        self.signing = self.random.choice((5, 25, 60))
        self.adding = self.random.choice((4, 12, 40))
        self.fees = self.random.choice((1, 4, 15))
        anchors = self.random.random() < 0.5
        value = self.random.choice((100_000, 1_000_000, 10_000_000))
        push = self.random.choice((0, value * 300, value * 500, value * 900))
        limits: dict[str, object] = {}
        if self.random.random() < 0.5:
            limits = {
                "dust_msat": self.random.choice((1_000_000, 3_000_000, 50_000_000)),
                "our_max_accepted_htlcs": self.random.choice((2, 5, 483)),
                "unannounced_channel_max_inbound_htlc_value_in_flight_percentage": self.random.choice((2, 20, 100)),
            }
        self.pair = Pair(anchors, value, push, **limits).open()
        self.value_msat = 1000 * value
        self.sides = (self.pair.alice, self.pair.bob)
        self.initial = {side.name: balances(side) for side in self.sides}
        self.txids: dict[tuple[str, int], bytes] = {}
        self.offered: dict[bytes, tuple[str, int]] = {}
        self.ended: dict[bytes, Action] = {}
        self.answers: dict[bytes, Removal] = {}
        self.waiting: dict[str, dict[int, Htlc]] = {side.name: {} for side in self.sides}
        self.closed: dict[str, bytes] = {}
        for side in self.sides:
            side.actions.clear()

    # --- one run

    def run(self, steps: int) -> None:
        try:
            for self.step_number in range(steps):
                self.step()
                self.check()
            self.settle()
        except Exception as error:
            line = f"seed={self.seed} closing={self.closing} step={self.step_number} {self.last}: "
            raise Broken(line + f"{type(error).__name__}: {error}") from error

    def step(self) -> None:
        side = self.random.choice(self.sides)
        connected = side.connected
        choices = (
            (self.deliver, 60 if connected else 0),
            (self.sign, self.signing if connected else 0),
            (self.add, self.adding),
            (self.answer, 14),
            (self.fee, self.fees if connected else 0),
            (self.lose_link, self.trouble if connected else 0),
            (self.crash, self.trouble),
            (self.connect, 0 if connected else 30),
            (self.close, 0.5 if self.closing else 0),
        )
        act = self.random.choices([c for c, _ in choices], [weight for _, weight in choices])[0]
        self.last = f"{act.__name__} {side.name}"
        act(side)
        self.observe()

    def settle(self) -> None:
        """Everything that is pending comes to an end."""
        self.last = "settle"
        for side in self.sides:
            self.connect(side)
        for _ in range(40):
            self.pair.deliver_all()
            self.observe()
            self.check()
            for side in self.sides:
                for htlc in list(self.waiting[side.name].values()):
                    self.remove(side, htlc)
            self.observe()
        self.pair.deliver_all()
        self.observe()
        assert set(self.ended) == set(self.offered), "an HTLC did not end"
        states = [side.state for side in self.sides]
        if all(isinstance(state, Normal) for state in states):
            assert not any(state.data.commitments.htlcs for state in states)
        else:
            assert all(isinstance(state, Negotiating) and state.agreed for state in states), states
            assert len(set(self.closed.values())) == 1
        gained = 0
        for payment_hash, (offerer, amount) in self.offered.items():
            end = self.ended[payment_hash]
            if isinstance(end, HtlcRemoved) and isinstance(end.htlc.removal, Fulfilled):
                gained += -amount if offerer == "alice" else amount
        alice, bob = self.sides
        ours, theirs = self.initial["alice"]
        assert balances(alice) == (ours + gained, theirs - gained)
        assert balances(bob) == (theirs - gained, ours + gained)

    # --- what may happen

    def deliver(self, side: Side) -> None:
        if not side.outbox:
            side = self.pair.bob if side is self.pair.alice else self.pair.alice
        message = self.pair.deliver_one(side)
        self.last += f" {type(message).__name__}"

    def sign(self, side: Side) -> None:
        side.execute(SignCommitment())

    def add(self, side: Side) -> None:
        amount = self.random.choice(AMOUNTS_MSAT)
        data = side.state.data
        if self.random.random() < 0.2:
            dust = DustLimit.of(data.config, side.feerates.maximum_fee_estimate)
            amount = outbound_limit_msat(data.params, data.commitments, dust) or 1
        for _ in range(self.random.choice((1, 1, 1, 2, 5))):
            try:
                payment_hash = self.pair.add(side, amount)
            except (HtlcRefused, ChannelUnavailable):
                return
            self.offered[payment_hash] = (side.name, amount)

    def answer(self, side: Side) -> None:
        waiting = list(self.waiting[side.name].values())
        if waiting:
            self.remove(side, self.random.choice(waiting))

    def remove(self, side: Side, htlc: Htlc) -> None:
        removal = self.random.choice(
            (
                Fulfilled(self.pair.preimages[htlc.payment_hash]),
                Fulfilled(self.pair.preimages[htlc.payment_hash]),
                Failed(bytes(292)),
                FailedMalformed(bytes(32), 0x8000 | 5),
            )
        )
        if isinstance(side.state, Negotiating):
            return
        side.execute(RemoveHtlc(htlc.id, removal))
        assert htlc.payment_hash not in self.answers
        self.answers[htlc.payment_hash] = removal
        del self.waiting[side.name][htlc.id]

    def fee(self, side: Side) -> None:
        with suppress(ChannelUnavailable):
            side.execute(UpdateFee(FeeratePerKw(self.random.choice(FEERATES))))

    def lose_link(self, side: Side) -> None:
        """Either side may notice later than the other, but nothing passes any more."""
        for each in self.sides:
            each.outbox.clear()
            if each.connected:
                each.connected = False
                each.execute(PeerDisconnected())

    def crash(self, side: Side) -> None:
        crashing = self.sides if self.random.random() < 0.3 else (side,)
        for each in crashing:
            each.crash()
            self.last += f" ({each.name} crashes)"
        self.lose_link(side)

    def connect(self, side: Side) -> None:
        if any(each.connected for each in self.sides):
            return
        for each in self.sides:
            each.connected = True
            each.execute(PeerConnected())

    def close(self, side: Side) -> None:
        with suppress(ChannelUnavailable):
            side.execute(CloseChannel())

    # --- what must hold

    def observe(self) -> None:
        """The actions since the last time."""
        for side in self.sides:
            other = self.pair.bob if side is self.pair.alice else self.pair.alice
            for action in side.actions:
                self.observe_one(side, other, action)
            side.actions.clear()

    def observe_one(self, side: Side, other: Side, action: Action) -> None:
        if isinstance(action, HtlcCommitted):
            assert not action.htlc.offered
            assert action.htlc.payment_hash not in self.answers, "committed twice"
            self.waiting[side.name][action.htlc.id] = action.htlc
        elif isinstance(action, HtlcFulfilled):
            assert isinstance(self.answers[action.htlc.payment_hash], Fulfilled)
        elif isinstance(action, HtlcNotSent) or (isinstance(action, HtlcRemoved) and action.htlc.offered):
            payment_hash = action.htlc.payment_hash
            assert payment_hash not in self.ended, "ended twice"
            self.ended[payment_hash] = action
            if isinstance(action, HtlcRemoved):
                assert action.htlc.removal == self.answers[payment_hash]
            else:
                assert payment_hash not in self.answers
        elif isinstance(action, UpdateMonitor):
            for step in action.update.steps:
                if isinstance(step, LatestCounterpartyCommitment):
                    self.same_txid(
                        other, step.counterparty_commitment.commitment.number, step.counterparty_commitment.txid
                    )
                elif isinstance(step, LatestHolderCommitment):
                    self.same_txid(side, step.holder_commitment.commitment.number, step.holder_commitment.txid)
        elif isinstance(action, BroadcastTransaction) and action.kind == "CooperativeClose":
            # The two variants may differ in their witnesses alone: both parties have the same dust limit here.
            self.closed[side.name] = hashlib.sha256(action.raw).digest()

    def same_txid(self, owner: Side, number: int, txid: bytes) -> None:
        assert self.txids.setdefault((owner.name, number), txid) == txid, "two commitments of one number"

    def check(self) -> None:
        for side in self.sides:
            assert not isinstance(side.state, Closing), "an honest pair failed the channel"
            commitments = side.state.data.commitments
            assert commitments.to_holder_msat + commitments.to_counterparty_msat == self.value_msat
            for of_holder in (True, False):
                spec = commitment_spec(commitments, of_holder)
                assert spec.to_broadcaster_msat >= 0
                assert spec.to_countersignatory_msat >= 0
                held = sum(htlc.amount_msat for htlc in spec.htlcs)
                assert spec.to_broadcaster_msat + spec.to_countersignatory_msat + held == self.value_msat
