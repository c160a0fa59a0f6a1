"""Events (LDK's rules): in order, one at a time, again until they are handled; a payment ends once; an id pays once;
a claim before its deadline, or not at all."""

from __future__ import annotations

import pytest

from pyln_fast.config import HTLC_FAIL_BACK_BUFFER, IDEMPOTENCY_TIMEOUT_TICKS, PEER_PATIENCE_MINUTES
from pyln_fast.events import (
    HTLCHandlingFailed,
    PaymentClaimable,
    PaymentClaimed,
    PaymentFailed,
    PaymentPathFailed,
    PaymentPathSuccessful,
    PaymentSent,
    Receive,
)
from pyln_fast.payment.outbound import RetryableSendFailure
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES
from pyln_fast.testing.scenario_views import Payment
from pyln_fast.wire.channel_msgs import UpdateAddHtlc, UpdateFailHtlc, UpdateFulfillHtlc

HALF = 5_000_000_000


def kinds(sim: Scenario, name: str) -> list[type]:
    return [type(event) for event in sim.node(name).told]


def test_each_is_told_in_order() -> None:
    sim = Scenario("alice - bob")
    payments = [sim.node("alice").pays("bob", 1_000_000 * number) for number in range(1, 4)]
    sim.run()
    assert all(payment.succeeded for payment in payments)
    assert kinds(sim, "alice") == [PaymentSent, PaymentPathSuccessful] * 3
    assert [event.amount_msat for event in sim.node("bob").told_of(PaymentClaimable)] == [
        1_000_000,
        2_000_000,
        3_000_000,
    ]


@pytest.mark.parametrize("restarts", range(3))
def test_again_until_they_are_handled_over_restarts(restarts: int) -> None:
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    alice.ignores_events()
    payment = alice.pays("bob", 1_000_000)
    sim.run()
    assert sim.channel("alice", "bob").htlcs("alice") == [], "nothing of it is left in the channel"
    for _ in range(restarts):
        alice.restarts()
        sim.run()
    assert alice.told == []
    alice.handles_events()
    sim.run()
    assert kinds(sim, "alice") == [PaymentSent, PaymentPathSuccessful]
    assert payment.succeeded
    alice.restarts()
    sim.run()
    assert kinds(sim, "alice") == [PaymentSent, PaymentPathSuccessful], "and not again"
    sim.settle()


@pytest.mark.parametrize("write", ["before", "during", "after"])
@pytest.mark.parametrize(("name", "kind"), [("bob", PaymentClaimable), ("bob", PaymentClaimed), ("alice", PaymentSent)])
def test_a_crash_while_an_event_is_handled(name: str, kind: type, write: str) -> None:
    """Told again if that it was handled is not on disk; what the handler did is done once."""
    sim = Scenario("alice - bob")
    node = sim.node(name)
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run_until(lambda: any(isinstance(offered.event, kind) for offered in node.events))
    sim.run_until(lambda: bool(node.told_of(kind)))
    node.slow_disk()
    node.turn()
    node.crash(write=write)  # type: ignore[arg-type]
    node.disk_is_slow = False
    node.restarts()
    sim.run()
    told = node.told_of(kind)
    assert len(told) in (1, 2)
    assert all(event == told[0] for event in told)
    assert payment.succeeded
    assert sim.channel("alice", "bob").balances_msat == (HALF - 50_000_000, HALF + 50_000_000)
    sim.settle()


def test_a_claim_that_a_crash_undid_is_asked_for_again() -> None:
    sim = Scenario("alice - bob")
    bob = sim.node("bob")
    bob.holds_payments()
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    bob.slow_disk()
    bob.claims(payment)
    sim.run()
    bob.crash()
    bob.disk_is_slow = False
    bob.restarts()
    sim.run()
    assert payment.ends == []
    bob.claims(payment)
    sim.run()
    assert payment.succeeded
    assert len(bob.told_of(PaymentClaimed)) == 1
    sim.settle()


# --- a payment ends once ----------------------------------------------------------------------------------------------


def test_a_payment_that_its_recipient_refuses_ends_as_failed() -> None:
    sim = Scenario("alice - bob - carol")
    sim.node("carol").refuses_payments()
    payment = sim.node("alice").pays("carol", 50_000_000)
    sim.run()
    assert kinds(sim, "alice") == [PaymentPathFailed, PaymentFailed]
    assert [end.reason for end in payment.ends] == ["RecipientRejected"]  # type: ignore[union-attr]
    (failed,) = sim.node("carol").told_of(HTLCHandlingFailed)
    assert (failed.failure_type, failed.failure_reason) == (Receive(payment.payment_hash), "IncorrectPaymentDetails")


def test_a_retry_that_succeeds_is_no_failure() -> None:
    """Over the other channel of the same two nodes."""
    sim = Scenario("alice - bob, alice - bob")
    payment = sim.node("alice").pays("bob", 1_000_000, attempts=1)
    sim.hold("alice", "bob")
    sim.run()
    sim.cut("alice", "bob")
    sim.run()
    sim.release("alice", "bob")
    sim.connect("alice", "bob")
    sim.run()
    assert payment.succeeded
    sim.settle()


def test_no_failure_follows_a_preimage_whatever_happens_to_the_channel() -> None:
    """alice has the preimage, and the channel fails before it is in any commitment."""
    sim = Scenario("alice - bob", forges=True)
    sim.repeat("bob", "alice", UpdateFulfillHtlc)
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    sim.node("alice").restarts()
    sim.run()
    sim.mine(300)
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")
    assert payment.succeeded
    assert sim.node("alice").told_of(PaymentFailed) == []


# --- a PaymentId pays once --------------------------------------------------------------------------------------------


def test_a_payment_id_is_taken_while_it_pays_and_seven_ticks_after() -> None:
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    sim.node("bob").holds_payments()
    payment = alice.pays("bob", 1_000_000)
    sim.run()
    alice.sends(payment)
    sim.run()
    assert isinstance(payment.refused, RetryableSendFailure)
    sim.node("bob").claims(payment)
    sim.run()
    assert payment.succeeded
    for _ in range(IDEMPOTENCY_TIMEOUT_TICKS + 1):
        assert payment.payment_id in alice.node.core.state.payments
        alice.sends(payment)
        sim.run()
        assert isinstance(payment.refused, RetryableSendFailure)
        sim.time_passes(60)
    assert payment.payment_id not in alice.node.core.state.payments
    assert len(sim.messages("alice", "bob", UpdateAddHtlc)) == 1


def test_a_payment_id_is_taken_over_a_restart() -> None:
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    payment = alice.pays("bob", 1_000_000)
    sim.run()
    alice.restarts()
    sim.run()
    alice.sends(payment)
    sim.run()
    assert isinstance(payment.refused, RetryableSendFailure)
    assert len(sim.messages("alice", "bob", UpdateAddHtlc)) == 1


def test_an_id_does_not_age_while_its_htlc_is_under_way() -> None:
    """The payment has ended by its preimage, but its HTLC is still in the channel."""
    sim = Scenario("alice - bob")
    sim.cut("alice", "bob", after=UpdateFulfillHtlc)
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert payment.succeeded
    sim.time_passes(60 * 20)
    assert payment.payment_id in sim.node("alice").node.core.state.payments


# --- claims and their deadline ----------------------------------------------------------------------------------------


def claimable(tolerates: tuple[str, ...] = ()) -> tuple[Scenario, Payment, int]:
    sim = Scenario("alice - bob", tolerates=tolerates)
    sim.node("bob").holds_payments()
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    (event,) = sim.node("bob").told_of(PaymentClaimable)
    (htlc,) = sim.channel("alice", "bob").htlcs("bob")
    assert event.claim_deadline == htlc.cltv_expiry - HTLC_FAIL_BACK_BUFFER
    return sim, payment, event.claim_deadline


def test_a_claim_in_the_last_block_before_the_deadline() -> None:
    sim, payment, deadline = claimable()
    sim.mine(deadline - 1 - sim.chain.height)
    sim.node("bob").claims(payment)
    sim.run()
    assert payment.succeeded
    sim.settle()


@pytest.mark.parametrize("restarts", [False, True])
def test_at_the_deadline_it_is_failed_back_and_a_claim_does_nothing(restarts: bool) -> None:
    sim, payment, deadline = claimable()
    bob = sim.node("bob")
    if restarts:
        bob.crash()
    sim.mine(deadline - sim.chain.height)
    if restarts:
        bob.restarts()
        sim.run()
    assert payment.failed
    assert [event.failure_reason for event in bob.told_of(HTLCHandlingFailed)] == ["PaymentClaimBuffer"]
    bob.claims(payment)
    sim.run()
    assert bob.told_of(PaymentClaimed) == []
    assert len(sim.messages("bob", "alice", UpdateFailHtlc)) == 1
    assert sim.messages("bob", "alice", UpdateFulfillHtlc) == []
    assert sim.channel("alice", "bob").balances_msat == (HALF, HALF)
    sim.settle()


def test_a_claim_by_a_node_behind_the_chain_is_its_own_risk_and_goes_on_chain_in_time() -> None:
    """It has not seen the deadline pass; when it has, the preimage is known and the channel is closed to claim."""
    sim, payment, deadline = claimable(CLOSES)
    bob = sim.node("bob")
    sim.time_passes(60 * PEER_PATIENCE_MINUTES)
    bob.falls_behind()
    sim.mine(deadline + 3 - sim.chain.height)
    sim.cut("alice", "bob")
    sim.run()
    bob.claims(payment)
    sim.run()
    assert len(bob.told_of(PaymentClaimed)) == 1
    bob.catches_up()
    sim.run()
    assert [each.kind for each in bob.broadcasts] == ["UnilateralClose"]
