"""Payments against a dict: each ends once, whatever becomes of links, disks and the one who is paid.

Alice has two channels with bob, so that a payment has where to be tried again. Bob holds what he is paid until the
machine decides, or answers that he has no room (which may be tried again). Between the two are single messages.
"""

from __future__ import annotations

import hashlib
from functools import cache

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pyln_fast.channel.htlc import OutboundPaymentHtlc
from pyln_fast.channel.state import Normal
from pyln_fast.config import IDEMPOTENCY_TIMEOUT_TICKS
from pyln_fast.events import PaymentClaimable, PaymentFailed, PaymentPathFailed, PaymentPathSuccessful, PaymentSent
from pyln_fast.payment.invoice import Invoice
from pyln_fast.payment.outbound import Attempts, PaymentStatus, RetryableSendFailure
from pyln_fast.types import Msat, PaymentHash, PaymentId
from tests.node.snapshot import Snapshot, Wires
from tests.node.world import World

IDS = st.sampled_from([PaymentId(bytes([number]) * 32) for number in range(3)])
REMOVAL_BYTES = 2 + 32 + 8 + 32 + 34
"""update_fulfill_htlc in its frame."""
AMOUNTS_MSAT = st.sampled_from([1_000, 2_000_000, 90_000_000])


@cache
def start() -> Snapshot:
    world = World()
    try:
        alice, bob = world.host("alice"), world.host("bob")
        for _ in range(2):
            world.fund(alice)
        world.connect(alice, bob)
        for _ in range(2):
            world.open(alice, bob, 1_000_000, 100_000_000)
        return Snapshot(world)
    finally:
        world.close_all()


class Expected:
    """One payment, from the answer to the call until its one end."""

    def __init__(self, payment_hash: PaymentHash, amount_msat: int, retries: int) -> None:
        self.payment_hash = payment_hash
        self.amount_msat = amount_msat
        self.retries = retries
        self.abandoned = False
        self.path_failures = 0
        self.end: PaymentSent | PaymentFailed | None = None


class PaymentsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.wires = Wires(start())
        self.alice, self.bob = self.wires.parties["alice"], self.wires.parties["bob"]
        self.bob.hold_claims = True
        self.model: dict[PaymentId, Expected] = {}
        """The newest payment of each id that alice remembers."""
        self.earlier: list[Expected] = []
        """Those whose id was used again after they had failed, or that were forgotten."""
        self.unanswered: dict[int, tuple[PaymentId, Expected]] = {}
        self.abandoning: dict[int, PaymentId] = {}
        """Without an answer yet: a crash may undo it."""
        self.claimed: set[bytes] = set()
        self.seen_alice = self.seen_bob = 0
        self.claimable: list[bytes] = []
        self.preimages: dict[bytes, bytes] = {}
        self.before = self.balance()
        self.wires.connect(self.alice, self.bob)
        self.wires.settle()

    def balance(self) -> int:
        return sum(state.data.commitments.to_holder_msat for state in self.alice.node.core.state.channels.values())

    @property
    def connected(self) -> bool:
        return bool(self.wires.conns)

    # --- what the user does

    @precondition(lambda self: self.alice.node.can_accept_input and not self.unanswered)
    @rule(payment_id=IDS, amount_msat=AMOUNTS_MSAT, retries=st.integers(0, 2))
    def pay(self, payment_id: PaymentId, amount_msat: int, retries: int) -> None:
        invoice = self.bob.ask(lambda node: node.payments.create_bolt11_invoice(Msat(amount_msat), "machine"))
        assert isinstance(invoice, Invoice)
        token = self.alice.command(
            lambda node: node.payments.pay_for_bolt11_invoice(invoice, payment_id, retry=Attempts(retries))
        )
        self.unanswered[token] = payment_id, Expected(invoice.payment_hash, amount_msat, retries)
        self.alice.turn()

    @precondition(lambda self: not self.unanswered)
    @rule(payment_id=IDS, amount_msat=AMOUNTS_MSAT, retries=st.integers(0, 2))
    def pay_as_far_as_bob(self, payment_id: PaymentId, amount_msat: int, retries: int) -> None:
        self.come_to_rest()
        self.pay(payment_id, amount_msat, retries)
        self.come_to_rest()

    @precondition(lambda self: self.alice.node.can_accept_input)
    @rule(payment_id=IDS)
    def abandon(self, payment_id: PaymentId) -> None:
        token = self.alice.command(lambda node: node.payments.abandon_payment(payment_id))
        marked = [expected for name, expected in self.unanswered.values() if name == payment_id]
        if payment_id in self.model and self.model[payment_id].end is None:
            marked.append(self.model[payment_id])
        for expected in marked:
            expected.abandoned = True
            self.abandoning[token] = payment_id
        self.alice.turn()

    @precondition(lambda self: self.alice.node.can_accept_input)
    @rule(minutes=st.integers(1, IDEMPOTENCY_TIMEOUT_TICKS + 2))
    def time_passes(self, minutes: int) -> None:
        for _ in range(minutes):
            if self.alice.node.can_accept_input:
                self.wires.minute()
                self.wires.turn()
                self.each_payment_ends_once()

    # --- what bob does

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        for _ in range(count):
            self.wires.step()

    @rule()
    def deliver_a_removal(self) -> None:
        """Without the `commitment_signed` behind it, if it is what comes next."""
        self.wires.step(REMOVAL_BYTES)

    @rule()
    def come_to_rest(self) -> None:
        self.alices_disk(False)
        if not self.connected:
            self.connect()
        self.wires.settle()
        self.each_payment_ends_once()

    @precondition(lambda self: self.claimable)
    @rule(minutes=st.sampled_from([0, 0, IDEMPOTENCY_TIMEOUT_TICKS + 2]))
    def claimed_and_cut(self, minutes: int) -> None:
        """The preimage comes, and then nothing for a while."""
        self.come_to_rest()
        self.answer(True, 0)
        self.wires.step(REMOVAL_BYTES)
        self.wires.cut(self.alice)
        self.time_passes(minutes)

    @precondition(lambda self: self.claimable)
    @rule(claim=st.booleans(), which=st.integers(0, 5))
    def answer(self, claim: bool, which: int) -> None:
        payment_hash = self.claimable.pop(which % len(self.claimable))
        if claim:
            preimage = self.preimages[payment_hash]
            self.claimed.add(payment_hash)
            self.bob.command(lambda node: node.payments.claim_funds(preimage))  # type: ignore[arg-type]
        else:
            self.bob.command(lambda node: node.payments.fail_htlc_backwards(PaymentHash(payment_hash)))
        self.bob.turn()

    @rule(full=st.sampled_from([True, False, False]))
    def bobs_disk(self, full: bool) -> None:
        """With a full disk he answers every HTLC with temporary_node_failure."""
        self.bob.node.core.low_on_space = full

    # --- what the world does

    @precondition(lambda self: self.connected)
    @rule(comes_back=st.sampled_from([True, True, False]))
    def lose_the_link(self, comes_back: bool) -> None:
        self.wires.cut(self.alice)
        self.wires.turn()
        if comes_back:
            self.connect()

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.wires.connect(self.alice, self.bob)

    @rule(slow=st.sampled_from([True, False, False]))
    def alices_disk(self, slow: bool) -> None:
        self.alice.hold_writes = slow
        if not slow:
            self.alice.finish_writes()
            self.alice.turn()

    @rule(kept=st.integers(0, 2))
    def alice_crashes(self, kept: int) -> None:
        """What was on its way to the disk may be on it, so a call without an answer may have begun a payment."""
        self.wires.cut(self.alice, crashed=True)
        self.alice.hold_writes = False
        self.alice.restart(kept)
        for payment_id, expected in self.unanswered.values():
            found = self.alice.node.core.state.payments.get(payment_id)
            if found is not None and found.payment_hash == expected.payment_hash:
                self.begin(payment_id, expected)
        self.unanswered.clear()
        for payment_id in self.abandoning.values():
            found = self.alice.node.core.state.payments.get(payment_id)
            expected = self.model.get(payment_id)
            if expected is not None and found is not None and expected.end is None:
                expected.abandoned = found.status is not PaymentStatus.PENDING
        self.abandoning.clear()
        self.bob.turn()
        self.each_payment_ends_once()
        self.connect()

    # --- what follows

    def begin(self, payment_id: PaymentId, expected: Expected) -> None:
        before = self.model.pop(payment_id, None)
        if before is not None:
            assert isinstance(before.end, PaymentFailed), "an id was used again for a payment that had not failed"
            self.earlier.append(before)
        self.model[payment_id] = expected

    def answered(self) -> None:
        for token in [token for token in self.abandoning if token in self.alice.answers]:
            del self.abandoning[token]
        for token in [token for token in self.unanswered if token in self.alice.answers]:
            payment_id, expected = self.unanswered.pop(token)
            result = self.alice.answers.pop(token)
            known = self.model.get(payment_id)
            if result is None:
                self.begin(payment_id, expected)
                continue
            assert isinstance(result, RetryableSendFailure)
            is_duplicate = known is not None and not isinstance(known.end, PaymentFailed)
            assert result.reason == ("DuplicatePayment" if is_duplicate else "RouteNotFound")

    def of(self, payment_id: PaymentId, payment_hash: PaymentHash) -> Expected:
        """The payment that an event speaks of. One may come before the call that began it is answered."""
        for expected in (*self.earlier, *self.model.values()):
            if expected.payment_hash == payment_hash:
                return expected
        for name, expected in self.unanswered.values():
            if (name, expected.payment_hash) == (payment_id, payment_hash):
                return expected
        raise AssertionError("an event of a payment that was never begun")

    @invariant()
    def each_payment_ends_once(self) -> None:
        self.answered()
        events, self.seen_alice = self.alice.events[self.seen_alice :], len(self.alice.events)
        for event in events:
            if isinstance(event, PaymentSent):
                expected = self.of(event.payment_id, event.payment_hash)
                assert expected.end is None
                assert event.payment_hash in self.claimed
                assert hashlib.sha256(event.payment_preimage).digest() == event.payment_hash
                assert (event.amount_msat, event.fee_paid_msat) == (expected.amount_msat, 0)
                expected.end = event
            elif isinstance(event, PaymentFailed):
                expected = self.of(event.payment_id, event.payment_hash)
                assert expected.end is None
                assert expected.abandoned == (event.reason == "UserAbandoned")
                assert event.payment_hash not in self.claimed
                if event.reason == "RetriesExhausted":
                    assert expected.path_failures == 1 + expected.retries
                expected.end = event
            elif isinstance(event, PaymentPathFailed):
                expected = self.of(event.payment_id, event.payment_hash)
                expected.path_failures += 1
                assert expected.end is None
                assert expected.path_failures <= 1 + expected.retries
            elif isinstance(event, PaymentPathSuccessful):
                assert isinstance(self.of(event.payment_id, event.payment_hash).end, PaymentSent)
        events, self.seen_bob = self.bob.events[self.seen_bob :], len(self.bob.events)
        for event in events:
            if isinstance(event, PaymentClaimable):
                assert event.purpose.payment_preimage is not None
                self.claimable.append(event.payment_hash)
                self.preimages[event.payment_hash] = event.purpose.payment_preimage

    @invariant()
    def the_records_say_the_same(self) -> None:
        """What is durable; a call without an answer is not known yet."""
        if self.unanswered or self.alice.writes:
            return
        payments = self.alice.node.core.state.payments
        for payment_id, expected in list(self.model.items()):
            found = payments.get(payment_id)
            if found is None:
                assert expected.end is not None, "a payment was forgotten before it ended"
                self.earlier.append(self.model.pop(payment_id))
                continue
            assert found.payment_hash == expected.payment_hash
            if isinstance(expected.end, PaymentSent):
                assert found.status is PaymentStatus.FULFILLED
            elif expected.end is not None:
                assert found.status is PaymentStatus.FAILED
            else:
                assert found.status is (PaymentStatus.ABANDONED if expected.abandoned else PaymentStatus.PENDING)
        assert payments.keys() == self.model.keys()
        # LDK: an id is not free while an HTLC of it may still be fulfilled.
        channels = self.alice.node.core.state.channels.values()
        htlcs = [htlc for state in channels for htlc in state.data.commitments.htlcs.values()]
        under_way = {htlc.source.payment_id for htlc in htlcs if isinstance(htlc.source, OutboundPaymentHtlc)}
        assert under_way <= payments.keys()

    def teardown(self) -> None:
        """Everybody answers: every payment is over, and alice has paid for what was claimed."""
        self.alices_disk(False)
        self.bobs_disk(False)
        if not self.connected:
            self.connect()
        for _ in range(8):
            self.wires.settle()
            self.each_payment_ends_once()
            while self.claimable:
                self.answer(False, 0)
        self.each_payment_ends_once()
        self.the_records_say_the_same()
        assert not self.unanswered
        every = (*self.earlier, *self.model.values())
        assert all(expected.end is not None for expected in every)
        paid = sum(expected.amount_msat for expected in every if isinstance(expected.end, PaymentSent))
        assert self.balance() == self.before - paid
        for state in self.alice.node.core.state.channels.values():
            assert isinstance(state, Normal)
            assert not state.data.commitments.htlcs


TestPayments = PaymentsMachine.TestCase
TestPayments.settings = settings(
    max_examples=60, stateful_step_count=40, derandomize=True, deadline=None, database=None
)
