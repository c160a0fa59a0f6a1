"""The rules of the commitment dance (BOLT 2, Normal Operation; LDK's rules for commitments and revocations) over whole
nodes, and what a disconnection takes back (BOLT 2, Message Retransmission)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from pyln_fast.channel.htlc import HtlcStage
from pyln_fast.events import ChannelClosed, ProcessingError
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES
from pyln_fast.tx.transaction import parse, txid
from pyln_fast.types import Secret, Signature
from pyln_fast.wire.channel_msgs import (
    CommitmentSigned,
    RevokeAndAck,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.setup_msgs import Error

HALF = 5_000_000_000


# --- a commitment is taken as a whole or not at all -------------------------------------------------------------------


def flipped(signature: bytes) -> Signature:
    return Signature(signature[:40] + bytes((signature[40] ^ 1,)) + signature[41:])


BAD_COMMITMENTS: dict[str, Callable[[CommitmentSigned], CommitmentSigned]] = {
    "the commitment's signature": lambda msg: replace(msg, signature=flipped(msg.signature)),
    "the first HTLC's": lambda msg: replace(
        msg, htlc_signature=(flipped(msg.htlc_signature[0]), *msg.htlc_signature[1:])
    ),
    "the last HTLC's": lambda msg: replace(
        msg, htlc_signature=(*msg.htlc_signature[:-1], flipped(msg.htlc_signature[-1]))
    ),
    "one too few": lambda msg: replace(msg, htlc_signature=msg.htlc_signature[:-1]),
    "one too many": lambda msg: replace(msg, htlc_signature=(*msg.htlc_signature, msg.htlc_signature[0])),
    "two swapped": lambda msg: replace(msg, htlc_signature=msg.htlc_signature[::-1]),
}


@pytest.mark.parametrize("bad", BAD_COMMITMENTS)
def test_every_signature_is_verified_before_anything_is_revoked(bad: str) -> None:
    sim = Scenario("alice - bob", forges=True)
    sim.node("alice").pays("bob", 20_000_000)
    sim.node("alice").pays("bob", 30_000_000)
    sim.replace("alice", "bob", CommitmentSigned, BAD_COMMITMENTS[bad])
    sim.run()
    assert [type(message) for message in sim.messages("bob", "alice")] == [Error]
    assert sim.channel("alice", "bob").numbers("bob") == (0, 0)
    # What bob broadcasts is the commitment that he had before: two outputs and two anchors, no HTLC.
    (package,) = sim.node("bob").broadcasts
    assert len(parse(package.transactions[0]).outputs) == 4


BAD_REVOCATIONS: dict[str, Callable[[RevokeAndAck], RevokeAndAck]] = {
    "no secret": lambda msg: replace(msg, per_commitment_secret=Secret(bytes(32))),
    "another secret": lambda msg: replace(msg, per_commitment_secret=Secret(b"\x01" * 32)),
}


@pytest.mark.parametrize("bad", BAD_REVOCATIONS)
def test_a_revocation_must_have_the_secret_of_its_point(bad: str) -> None:
    sim = Scenario("alice - bob", forges=True)
    sim.node("alice").pays("bob", 20_000_000)
    sim.replace("bob", "alice", RevokeAndAck, BAD_REVOCATIONS[bad])
    sim.run()
    why = "revocation of commitment 0: the secret is not that of its per-commitment point"
    assert [event.reason for event in sim.node("alice").told_of(ChannelClosed)] == [ProcessingError(why)]
    assert [each.data.decode() for each in sim.messages("alice", "bob", Error)] == [why]


def test_a_revocation_that_nobody_awaits() -> None:
    sim = Scenario("alice - bob", forges=True)
    payment = sim.node("alice").pays("bob", 20_000_000)
    sim.run()
    assert payment.succeeded
    again = sim.messages("bob", "alice", RevokeAndAck)[-1]
    sim.forge("bob", "alice", again)
    sim.run()
    why = "revoke_and_ack has no place in state in which none is owed"
    assert [event.reason for event in sim.node("alice").told_of(ChannelClosed)] == [ProcessingError(why)]


@pytest.mark.parametrize("write", ["waits", "is durable"])
def test_a_commitment_that_was_revoked_is_never_broadcast(write: str) -> None:
    """bob force-closes while his revocation waits for its write, or when it has left: the newer commitment goes out."""
    sim = Scenario("alice - bob", tolerates=CLOSES)
    bob = sim.node("bob")
    sim.hold("bob", "alice")
    sim.hold("alice", "bob", CommitmentSigned)
    sim.node("alice").pays("bob", 20_000_000)
    sim.run()
    if write == "waits":
        bob.slow_disk()
    sim.release("alice", "bob")
    sim.run()
    assert len(sim.messages("bob", "alice", RevokeAndAck)) == (write == "is durable")
    bob.force_closes("alice")
    bob.disk_catches_up()
    sim.run()
    (package,) = bob.broadcasts
    monitor = bob.node.core.state.monitors[sim.channels[0].channel_id]
    assert monitor.holder_commitment.commitment.number == 1
    assert txid(parse(package.transactions[0])) == monitor.holder_commitment.txid
    assert len(parse(package.transactions[0]).outputs) == 5, "with the HTLC"


# --- one commitment at a time -----------------------------------------------------------------------------------------


def test_updates_wait_while_a_revocation_is_awaited_and_then_leave_together() -> None:
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    payments = [alice.pays("bob", 1_000_000)]
    sim.hold("bob", "alice")
    sim.run()
    for _ in range(3):
        payments.append(alice.pays("bob", 1_000_000))
        sim.run()
    talk = sim.listen("alice", "bob")
    assert [type(message) for message in sim.messages("alice", "bob")] == [UpdateAddHtlc, CommitmentSigned]
    sim.release("bob", "alice")
    sim.run()
    said = [line for line in talk.lines if line.startswith("alice")]
    assert said[:4] == ["alice: update_add_htlc"] * 3 + ["alice: commitment_signed"]
    assert all(payment.succeeded for payment in payments)
    sim.settle()


def test_the_revocation_comes_first_and_a_round_costs_one_write() -> None:
    """A commitment_signed that calls for one of ours: both answers are in one batch, the revocation before."""
    sim = Scenario("alice - bob")
    sim.node("bob").holds_payments()
    sim.node("alice").pays("bob", 1_000_000)
    before = sim.node("bob").disk.sequence
    sim.run_until(lambda: bool(sim.messages("bob", "alice")))
    assert [type(message) for message in sim.messages("bob", "alice")] == [RevokeAndAck, CommitmentSigned]
    assert sim.node("bob").disk.sequence == before + 1


def test_commitments_that_cross() -> None:
    sim = Scenario("alice - bob")
    payments = [sim.node("alice").pays("bob", 3_000_000), sim.node("bob").pays("alice", 1_000_000)]
    sim.run()
    assert all(payment.succeeded for payment in payments)
    assert sim.channel("alice", "bob").balances_msat == (HALF - 2_000_000, HALF + 2_000_000)
    sim.settle()


@pytest.mark.parametrize("seed", range(6))
def test_many_that_cross_in_any_order(seed: int) -> None:
    """The seed decides in which order what is under way on different links arrives."""
    sim = Scenario("alice - bob - carol, alice - carol", seed=seed)
    pairs = [("alice", "bob"), ("bob", "carol"), ("carol", "alice"), ("bob", "alice"), ("carol", "bob")]
    payments = [sim.node(payer).pays(payee, 1_000_000 * count) for count in range(1, 4) for payer, payee in pairs]
    sim.run()
    assert all(payment.succeeded for payment in payments)
    sim.settle()


# --- irrevocably committed --------------------------------------------------------------------------------------------

ADDING = [("alice", UpdateAddHtlc), ("alice", CommitmentSigned), ("bob", RevokeAndAck), ("bob", CommitmentSigned)]


@pytest.mark.parametrize("held", [*ADDING, ("alice", RevokeAndAck)], ids=lambda part: f"{part[0]} {part[1].__name__}")
def test_no_forward_before_both_commitments_have_it_irrevocably(held: tuple[str, type]) -> None:
    sim = Scenario("alice - bob - carol")
    payment = sim.node("alice").pays("carol", 50_000_000)
    sim.hold(held[0], "bob" if held[0] == "alice" else "alice", held[1])
    sim.run()
    assert sim.messages("bob", "carol") == []
    sim.release(held[0], "bob" if held[0] == "alice" else "alice")
    sim.run()
    assert payment.succeeded
    sim.settle()


def test_a_fulfil_goes_upstream_before_any_commitment_downstream() -> None:
    """BOLT 2, Forwarding HTLCs: and in the very turn, so in the same batch."""
    sim = Scenario("alice - bob - carol")
    sim.hold("carol", "bob", CommitmentSigned, nth=2)
    payment = sim.node("alice").pays("carol", 50_000_000)
    sim.run()
    assert len(sim.messages("carol", "bob", UpdateFulfillHtlc)) == 1
    assert payment.succeeded
    (htlc,) = sim.channel("bob", "carol").htlcs("bob")
    assert htlc.stage is HtlcStage.REMOVE_PROPOSED
    sim.settle()


FAILING = [
    ("carol", CommitmentSigned, 2),
    ("bob", RevokeAndAck, 2),
    ("bob", CommitmentSigned, 2),
    ("carol", RevokeAndAck, 2),
]


@pytest.mark.parametrize("held", FAILING, ids=lambda part: f"{part[0]} {part[1].__name__}")
def test_no_failure_upstream_before_the_removal_is_irrevocable(held: tuple[str, type, int]) -> None:
    name, kind, nth = held
    sim = Scenario("alice - bob - carol")
    sim.node("carol").refuses_payments()
    sim.hold(name, "carol" if name == "bob" else "bob", kind, nth)
    payment = sim.node("alice").pays("carol", 50_000_000)
    sim.run()
    assert len(sim.messages("carol", "bob", UpdateFailHtlc)) == 1
    assert sim.messages("bob", "alice", UpdateFailHtlc) == []
    sim.release(name, "carol" if name == "bob" else "bob")
    sim.run()
    assert len(sim.messages("bob", "alice", UpdateFailHtlc)) == 1
    assert payment.failed
    sim.settle()


@pytest.mark.parametrize("held", [*ADDING, ("alice", RevokeAndAck)], ids=lambda part: f"{part[0]} {part[1].__name__}")
def test_nothing_is_claimable_before_it_is_irrevocable(held: tuple[str, type]) -> None:
    sim = Scenario("alice - bob")
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.hold(held[0], "bob" if held[0] == "alice" else "alice", held[1])
    sim.run()
    assert not payment.is_claimable
    sim.settle()
    assert payment.succeeded


# --- what a disconnection takes back ----------------------------------------------------------------------------------


def state_of(sim: Scenario, name: str) -> tuple[Any, ...]:
    commitments = sim.channel("alice", "bob").state(name).data.commitments  # type: ignore[union-attr]
    return (
        commitments.fees,
        sorted((htlc.id, htlc.offered, htlc.stage, htlc.removal) for htlc in commitments.htlcs.values()),
        commitments.next_holder_htlc_id,
        commitments.next_counterparty_htlc_id,
    )


UNCOMMITTED: dict[str, tuple[str, type]] = {
    "update_add_htlc": ("alice", UpdateAddHtlc),
    "update_fulfill_htlc": ("bob", UpdateFulfillHtlc),
    "update_fail_htlc": ("bob", UpdateFailHtlc),
    "update_fee": ("alice", UpdateFee),
}


@pytest.mark.parametrize("fault", ["link", "crash"])
@pytest.mark.parametrize("what", UNCOMMITTED)
def test_what_nobody_signed_is_taken_back(what: str, fault: str) -> None:
    """Received but not committed: additions and their ids, removals, and a feerate, which LDK's rules leave out."""
    proposer, kind = UNCOMMITTED[what]
    receiver = "bob" if proposer == "alice" else "alice"
    sim = Scenario("alice - bob")
    sim.node("bob").holds_payments()
    before = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    kept = state_of(sim, receiver)
    sim.hold(proposer, receiver, CommitmentSigned)
    if kind is UpdateAddHtlc:
        sim.node("alice").pays("bob", 20_000_000)
    elif kind is UpdateFulfillHtlc:
        sim.node("bob").claims(before)
    elif kind is UpdateFailHtlc:
        sim.node("bob").refuses(before)
    else:
        sim.node("alice").estimates(2000)
        sim.node("alice").ticks_a_minute()
    sim.run()
    assert len(sim.messages(proposer, receiver, kind)) == 1 + (kind is UpdateAddHtlc)
    if fault == "link":
        sim.cut("alice", "bob")
        sim.run()
    else:
        sim.node(receiver).restarts()
    assert state_of(sim, receiver) == kept
    # A preimage counts all the same.
    assert before.succeeded is (kind is UpdateFulfillHtlc)
    sim.release(proposer, receiver)
    sim.connect("alice", "bob")
    sim.run()
    if not before.ends:
        sim.node("bob").claims(before)
        sim.run()
    assert before.failed is (kind is UpdateFailHtlc)
    assert before.succeeded is not before.failed
