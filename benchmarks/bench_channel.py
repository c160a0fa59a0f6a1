"""Two channels back to back, without I/O: add, commit, fulfil, commit. Every message is encoded and decoded.

A payment is an HTLC added, irrevocably committed on both sides, fulfilled and irrevocably removed: four commitments
signed and verified, shared by all HTLCs that go together. The reference is that many bare signatures and verifications.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable

import pytest

from pyln_fast._ext import _tx
from pyln_fast.channel import channel
from pyln_fast.channel.actions import HtlcCommitted, HtlcRemoved, SendMessage
from pyln_fast.channel.commands import AddHtlc, Command, RemoveHtlc, SignCommitment
from pyln_fast.channel.htlc import Fulfilled, OutboundPaymentHtlc
from pyln_fast.channel.state import AnyState
from pyln_fast.channel.transition import Transition
from pyln_fast.tx.keys import public_key
from pyln_fast.types import BlockHeight, Msat, PaymentHash, PaymentId, PaymentPreimage, PrivateKey
from pyln_fast.wire.codec import decode, encode
from tests.channel.pair import Pair, Side, balances

AMOUNT_MSAT = Msat(5_000_000)
ONION = bytes(1366)


class Party:
    """One channel, without the checks of the tests' own: what a node adds is not measured here."""

    def __init__(self, side: Side) -> None:
        assert side.state is not None
        self.state: AnyState = side.state
        self.context = side.context
        self.outbox: deque[bytes] = deque()
        self.committed: list[int] = []
        self.removed = 0

    def take(self, transition: Transition[AnyState]) -> None:
        self.state = transition.state
        for action in transition.actions:
            if isinstance(action, SendMessage):
                self.outbox.append(encode(action.message))
            elif isinstance(action, HtlcCommitted):
                self.committed.append(action.htlc.id)
            elif isinstance(action, HtlcRemoved):
                self.removed += action.htlc.offered

    def execute(self, command: Command) -> None:
        self.take(channel.execute(self.state, command, self.context))

    def receive(self, data: bytes) -> None:
        self.take(channel.receive(self.state, decode(data), self.context))


class Payments:
    """Alice pays Bob, `at_once` HTLCs in each commitment."""

    def __init__(self, anchors: bool, at_once: int) -> None:
        pair = Pair(anchors, value_sat=100_000_000, push_msat=10_000_000_000).open()
        self.alice, self.bob = Party(pair.alice), Party(pair.bob)
        self.at_once = at_once
        self.before = balances(pair.alice)
        self.paid = 0
        preimages = [PaymentPreimage(hashlib.sha256(b"%d" % i).digest()) for i in range(at_once)]
        hashes = [PaymentHash(hashlib.sha256(preimage).digest()) for preimage in preimages]
        self.removals = [Fulfilled(preimage) for preimage in preimages]
        self.additions = [
            AddHtlc(AMOUNT_MSAT, payment_hash, BlockHeight(700), ONION, OutboundPaymentHtlc(PaymentId(payment_hash), 0))
            for payment_hash in hashes
        ]

    def settle(self) -> None:
        """Until both are silent; each turn ends with a signature if one is due, as a node's does."""
        alice, bob = self.alice, self.bob
        while True:
            for one, other in ((alice, bob), (bob, alice)):
                while one.outbox:
                    other.receive(one.outbox.popleft())
            for party in (alice, bob):
                commitments = party.state.data.commitments  # type: ignore[union-attr]
                if not commitments.awaiting_revocation and commitments.has_changes_to_sign:
                    party.execute(SignCommitment())
            if not alice.outbox and not bob.outbox:
                return

    def pay(self) -> None:
        for addition in self.additions:
            self.alice.execute(addition)
        self.settle()
        first = self.paid
        assert self.bob.committed == list(range(first, first + self.at_once))
        for htlc_id in self.bob.committed:
            self.bob.execute(RemoveHtlc(htlc_id, self.removals[htlc_id - first]))
        self.bob.committed.clear()
        self.settle()
        self.paid += self.at_once

    def check(self) -> None:
        commitments = self.alice.state.data.commitments  # type: ignore[union-attr]
        moved = self.paid * AMOUNT_MSAT
        assert self.alice.removed == self.paid
        assert commitments.htlcs == {}
        assert (commitments.to_holder_msat, commitments.to_counterparty_msat) == (
            self.before[0] - moved,
            self.before[1] + moved,
        )


def bare_signatures(at_once: int) -> Callable[[], float]:
    """Seconds that the signatures of one round take: with HTLCs two commitments, without them two more."""
    signatures = 2 * (at_once + 1) + 2
    key = PrivateKey(hashlib.sha256(b"key").digest())
    messages = b"".join(hashlib.sha256(b"message %d" % i).digest() for i in range(signatures))
    made = _tx.raw_sign_loop(messages, key)
    assert made is not None
    point = public_key(key)

    def run() -> float:
        start = time.perf_counter()
        assert _tx.raw_sign_loop(messages, key) == made
        assert _tx.raw_verify_loop(made, messages, point)
        return time.perf_counter() - start

    return run


@pytest.mark.parametrize(("at_once", "target"), [(1, 400), (100, 1200)])
@pytest.mark.parametrize("anchors", [False, True], ids=["static_remotekey", "anchors"])
def test_payments(anchors: bool, at_once: int, target: int, report: Callable[..., None]) -> None:
    payments = Payments(anchors, at_once)
    payments.pay()
    payments.check()
    bare = bare_signatures(at_once)
    # Short enough to fall between the interruptions of a busy machine.
    rounds = max(1, 5 // at_once)
    best, floor = float("inf"), float("inf")
    end = time.perf_counter() + 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(rounds):
            payments.pay()
        best = min(best, (time.perf_counter() - start) / rounds)
        floor = min(floor, bare())
    payments.check()
    figure = at_once / best
    report(
        name=f"two channels, {at_once} HTLCs at once ({'anchors' if anchors else 'static_remotekey'})",
        figure=figure,
        unit="payments/s",
        reference="its bare signatures and verifications",
        reference_figure=at_once / floor,
        ratio=figure / (at_once / floor),
        target=f">= {target} payments/s",
        reached=figure >= target,
    )
