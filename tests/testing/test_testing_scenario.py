"""What a scenario promises to those who write one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pyln_fast.channel.errors import ChannelUnavailable
from pyln_fast.config import ChannelHandshakeConfig, UserConfig
from pyln_fast.events import PaymentClaimable, PaymentSent
from pyln_fast.node.journal import Journal
from pyln_fast.testing.invariants import InvariantBroken
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES, HONEST_PEERS, NO_FORCE_CLOSE
from pyln_fast.types import Blocks
from pyln_fast.wire.channel_msgs import (
    ChannelReestablish,
    CommitmentSigned,
    RevokeAndAck,
    UpdateAddHtlc,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.setup_msgs import Error

HALF = 5_000_000_000
PAID = [
    "alice: update_add_htlc",
    "alice: commitment_signed",
    "bob: revoke_and_ack",
    "bob: commitment_signed",
    "alice: revoke_and_ack",
    "bob: update_fulfill_htlc",
    "bob: commitment_signed",
    "alice: revoke_and_ack",
    "alice: commitment_signed",
    "bob: revoke_and_ack",
]


def transcript(seed: int | None) -> list[str]:
    sim = Scenario("alice - bob - carol, alice - carol", seed=seed)
    for payer, payee in (("alice", "bob"), ("carol", "bob"), ("carol", "alice"), ("bob", "alice")):
        sim.node(payer).pays(payee, 1_000_000)
    sim.run()
    sim.settle()
    return [f"{each.line} to {each.receiver}" for each in sim.wire.said]


def test_nothing_is_left_to_chance() -> None:
    assert transcript(None) == transcript(None)
    assert transcript(3) == transcript(3)
    assert len({tuple(transcript(seed)) for seed in (None, 1, 2, 3)}) > 1


def test_a_graph_of_channels() -> None:
    sim = Scenario("alice - bob - carol, alice - carol, alice - bob", value_sat=1_000_000, push_msat=0)
    assert list(sim.nodes) == ["alice", "bob", "carol"]
    assert sorted((channel.opener, channel.peer) for channel in sim.channels) == [
        ("alice", "bob"),
        ("alice", "bob"),
        ("alice", "carol"),
        ("bob", "carol"),
    ]
    assert sim.channel("bob", "alice", 1) is not sim.channel("alice", "bob", 0)
    assert sim.channel("alice", "carol").balances_msat == (1_000_000_000, 0)
    assert len(sim.path("alice", "carol")) == 1
    assert sim.is_usable()
    with pytest.raises(AssertionError, match="there is no node dave: alice, bob, carol"):
        sim.node("dave")
    with pytest.raises(AssertionError, match="bob and carol have 1 channels"):
        sim.channel("bob", "carol", 1)


def test_configs_of_single_nodes() -> None:
    patient = UserConfig(channel_handshake_config=ChannelHandshakeConfig(minimum_depth=Blocks(9)))
    sim = Scenario("alice - bob", configs={"bob": patient})
    assert sim.channel("alice", "bob").details("alice").confirmations_required == 9


def test_messages_are_read_decoded() -> None:
    sim = Scenario("alice - bob")
    talk = sim.listen("alice", "bob")
    payment = sim.node("alice").pays("bob", 50_000_000)
    sim.run()
    assert talk.lines == PAID
    (added,) = sim.messages("alice", "bob", UpdateAddHtlc)
    assert (added.amount_msat, added.payment_hash) == (50_000_000, payment.payment_hash)
    assert [type(message) for message in sim.messages("bob", "alice", RevokeAndAck, UpdateFulfillHtlc)] == [
        RevokeAndAck,
        UpdateFulfillHtlc,
        RevokeAndAck,
    ]
    assert payment.succeeded
    assert sim.channel("alice", "bob").balances_msat == (HALF - 50_000_000, HALF + 50_000_000)
    assert isinstance(sim.node("alice").told[0], PaymentSent)


# --- crashes and links ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("write", "written"), [("before", 0), ("during", 0), ("after", 1)])
def test_a_crash_at_the_write_that_follows_a_message(write: str, written: int) -> None:
    sim = Scenario("alice - bob")
    bob = sim.node("bob")
    before = bob.disk.sequence
    bob.crash(after=CommitmentSigned, write=write)  # type: ignore[arg-type]
    sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert not bob.alive
    assert bob.disk.sequence == before + written
    assert sim.messages("bob", "alice") == [], "nothing of it was seen"


def test_a_crash_when_a_message_has_been_sent() -> None:
    """It arrives; what would have followed does not exist."""
    sim = Scenario("alice - bob")
    talk = sim.listen("alice", "bob")
    sim.node("bob").crash(sent=RevokeAndAck)
    sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert talk.lines == PAID[:3]
    assert sim.channel("alice", "bob").state("alice").data.commitments.awaiting_revocation is False  # type: ignore[union-attr]


def test_a_crash_at_a_later_message_of_one_peer() -> None:
    sim = Scenario("alice - bob - carol")
    sim.node("bob").crash(after=CommitmentSigned, peer="carol", nth=2)
    sim.node("alice").pays("carol", 1_000_000)
    sim.run()
    assert not sim.node("bob").alive
    assert len(sim.messages("carol", "bob", CommitmentSigned)) == 2


def test_a_link_cut_after_and_with_a_message() -> None:
    for arrived, number in ((True, 1), (False, 0)):
        sim = Scenario("alice - bob")
        if arrived:
            sim.cut("alice", "bob", after=CommitmentSigned, sender="alice")
        else:
            sim.cut("alice", "bob", sent=CommitmentSigned, sender="alice")
        sim.node("alice").pays("bob", 1_000_000)
        sim.run()
        assert sim.channel("alice", "bob").state_names == ("Offline(Normal)", "Offline(Normal)")
        assert sim.channel("alice", "bob").numbers("bob") == (number, number)
        sim.connect("alice", "bob")
        sim.run()
        assert sim.is_usable()


def test_a_restart_calls_the_peers_and_sees_the_blocks_that_were_missed() -> None:
    sim = Scenario("alice - bob - carol")
    bob = sim.node("bob")
    bob.crash()
    sim.mine(4)
    bob.restarts()
    sim.run()
    assert sim.is_usable()
    assert bob.is_synced


def test_a_backup_is_an_older_disk() -> None:
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    backup = alice.backs_up()
    alice.restarts(backup)
    sim.run()
    assert alice.disk.sequence >= backup.sequence
    assert sim.is_usable()


def test_a_slow_disk_holds_what_depends_on_it() -> None:
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    alice.slow_disk()
    payment = alice.pays("bob", 1_000_000)
    sim.run()
    assert sim.messages("alice", "bob") == []
    assert len(alice.disk.waiting) == 1
    alice.finishes_write()
    assert [type(message) for message in sim.messages("alice", "bob")] == [UpdateAddHtlc, CommitmentSigned]
    alice.disk_catches_up()
    sim.run()
    assert payment.succeeded


# --- single messages --------------------------------------------------------------------------------------------------


def test_held_messages_keep_their_order_and_everything_behind_them() -> None:
    sim = Scenario("alice - bob")
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.hold("bob", "alice", CommitmentSigned, nth=2)
    sim.run()
    assert len(sim.messages("bob", "alice", UpdateFulfillHtlc)) == 1
    assert payment.succeeded, "the preimage came before"
    assert sim.messages("alice", "bob", RevokeAndAck)[1:] == []
    sim.release("bob", "alice")
    sim.run()
    assert len(sim.messages("alice", "bob", RevokeAndAck)) == 2
    sim.settle()


def test_a_hold_finds_what_is_under_way_already() -> None:
    sim = Scenario("alice - bob")
    sim.node("alice").pays("bob", 1_000_000)
    sim.run_until(lambda: bool(sim.messages("alice", "bob")))
    sim.run_until(lambda: bool(sim.wire.letters))
    sim.hold("alice", "bob", UpdateAddHtlc)
    sim.run()
    assert sim.messages("bob", "alice") == []
    sim.settle()


def test_messages_dropped_repeated_replaced_and_made_up() -> None:
    sim = Scenario("alice - bob", forges=True)
    sim.node("bob").holds_payments()
    sim.drop("alice", "bob", RevokeAndAck)
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert not payment.is_claimable
    (lost,) = sim.messages("alice", "bob", RevokeAndAck)
    sim.forge("alice", "bob", lost)
    sim.run()
    assert payment.is_claimable
    sim.repeat("bob", "alice", UpdateFulfillHtlc)
    sim.replace("alice", "bob", Error, lambda message: replace(message, data=b"something else"))
    sim.node("bob").claims(payment)
    sim.run()
    assert [message.data for message in sim.messages("alice", "bob", Error)] == [b"update_fulfill_htlc: HTLC id 0"]
    assert any("something else" in report for report in sim.reports)
    assert {broken.invariant for broken in sim.checkers.broken} == {HONEST_PEERS, NO_FORCE_CLOSE}


def test_a_scenario_that_does_not_say_so_cannot_forge() -> None:
    sim = Scenario("alice - bob")
    message = sim.messages("alice", "bob", ChannelReestablish)
    assert message == []
    with pytest.raises(AssertionError, match="forges=True"):
        sim.drop("alice", "bob", RevokeAndAck)
    with pytest.raises(AssertionError, match="forges=True"):
        sim.forge("alice", "bob", Error(sim.channels[0].channel_id, b""))


# --- time, blocks, users ----------------------------------------------------------------------------------------------


def test_the_clock_moves_only_when_it_is_told() -> None:
    sim = Scenario("alice - bob")
    before = sim.now_ms
    sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert sim.now_ms == before
    sim.time_passes(45)
    assert sim.now_ms == before + 45_000
    assert sim.is_usable(), "pings are answered"


def test_a_node_that_is_behind() -> None:
    sim = Scenario("alice - bob")
    alice = sim.node("alice")
    alice.falls_behind()
    sim.mine(5)
    assert (alice.blocks_behind(), sim.node("bob").blocks_behind()) == (5, 0)
    alice.catches_up(2)
    assert alice.blocks_behind() == 3
    sim.mine(1)
    assert alice.blocks_behind() == 4
    alice.catches_up()
    sim.mine(1)
    assert alice.is_synced


def test_the_users_of_nodes() -> None:
    sim = Scenario("alice - bob")
    bob = sim.node("bob")
    bob.ignores_events()
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert (bob.told, payment.is_claimable) == ([], False)
    bob.handles_events()
    bob.holds_payments()
    sim.run()
    assert [type(event) for event in bob.told] == [PaymentClaimable]
    bob.refuses(payment)
    sim.run()
    assert payment.failed
    bob.refuses_payments()
    again = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    assert again.failed


def test_what_a_node_refuses_is_raised() -> None:
    sim = Scenario("alice - bob")
    sim.node("alice").closes("bob")
    with pytest.raises(ChannelUnavailable, match="is being closed already"):
        sim.node("alice").closes("bob")


def test_a_condition_that_never_comes() -> None:
    sim = Scenario("alice - bob")
    with pytest.raises(AssertionError, match="nothing more happens"):
        sim.run_until(lambda: False)


# --- what must hold ---------------------------------------------------------------------------------------------------


def test_the_invariants_of_the_simulator_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that leave before their batch is durable."""
    honest = Journal.close_turn

    def close_turn(self, writes, effects):  # type: ignore[no-untyped-def]
        batch = honest(self, writes, ())
        self._released.extend(effects)
        return batch

    sim = Scenario("alice - bob")
    monkeypatch.setattr(Journal, "close_turn", close_turn)
    sim.node("bob").slow_disk()
    sim.node("alice").pays("bob", 1_000_000)
    with pytest.raises(InvariantBroken, match="2 durable first"):
        sim.run()


def test_a_force_close_must_be_announced() -> None:
    sim = Scenario("alice - bob")
    with pytest.raises(InvariantBroken, match="1 no force close"):
        sim.node("alice").force_closes("bob")
    sim = Scenario("alice - bob", tolerates=CLOSES)
    sim.node("alice").force_closes("bob")
    sim.run()
    assert sim.channel("alice", "bob").state_names == ("Closing", "Closing")


def test_settling_asks_for_an_end() -> None:
    sim = Scenario("alice - bob")
    sim.node("bob").holds_payments()
    payment = sim.node("alice").pays("bob", 1_000_000)
    sim.run()
    with pytest.raises(InvariantBroken, match="holds HTLCs"):
        sim.settle()
    sim.node("bob").claims(payment)
    sim.settle()
