import pytest

from pyln_fast.channel.actions import (
    BroadcastTransaction,
    EmitEvent,
    ForgetChannel,
    HtlcNotSent,
    SaveChannel,
    SendMessage,
    UpdateMonitor,
)
from pyln_fast.channel.commands import (
    AnswerOverdue,
    CloseChannel,
    ClosingConfirmed,
    ForceClose,
    FundingSpentOnChain,
    SignCommitment,
    UpdateFee,
)
from pyln_fast.channel.errors import ChannelUnavailable, InvalidShutdownScript, NoCommonClosingFee
from pyln_fast.channel.state import Closing, ClosingProposal, Negotiating, Normal, ShuttingDown
from pyln_fast.channel.states.negotiating import _proposal_message
from pyln_fast.errors import Consequence, LocalError
from pyln_fast.events import (
    ChannelClosed,
    CounterpartyForceClosed,
    CounterpartyInitiatedCooperativeClosure,
    HolderForceClosed,
    LocallyInitiatedCooperativeClosure,
)
from pyln_fast.tx.monitor_update import ChannelForceClosed
from pyln_fast.tx.transaction import parse
from pyln_fast.types import FeeratePerKw, Sat, Txid
from pyln_fast.wire.channel_msgs import ClosingSigned, FeeRange, Shutdown
from pyln_fast.wire.setup_msgs import Error
from tests.channel.pair import Pair, Side, balances, replace


def agreed(pair: Pair) -> None:
    for side in (pair.alice, pair.bob):
        assert isinstance(side.state, Negotiating)
        assert side.state.agreed is not None


def test_no_feerate_after_our_shutdown() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel())
    with pytest.raises(ChannelUnavailable):
        pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.deliver_all()
    agreed(pair)


def test_a_queued_feerate_dies_with_our_shutdown() -> None:
    pair = Pair().open()
    pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.alice.execute(CloseChannel())
    pair.alice.execute(SignCommitment())
    assert [type(message).__name__ for message in pair.alice.sent()] == ["Shutdown"]
    pair.deliver_all()
    agreed(pair)


def test_a_queued_feerate_dies_with_the_counterpartys_shutdown() -> None:
    pair = Pair().open()
    pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.bob.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)


def test_a_queued_addition_dies_with_our_shutdown() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(CloseChannel())
    assert [action.reason for action in pair.alice.of(HtlcNotSent)] == ["ChannelClosed"]
    with pytest.raises(ChannelUnavailable):
        pair.add(pair.alice, 1_000_000)
    pair.deliver_all()
    agreed(pair)
    assert balances(pair.alice) == (6_000_000_000, 4_000_000_000)


def test_the_counterpartys_feerate_survives_our_shutdown() -> None:
    pair = Pair().open()
    pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.alice.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    pair.bob.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)
    assert pair.bob.state.data.commitments.fees.feerate(of_holder=True) == 2000


# --- before channel_ready ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closer", ["alice", "bob"])
def test_closed_before_the_funding_confirms(closer: str) -> None:
    pair = Pair()
    pair.open_until_funded()
    side = pair.alice if closer == "alice" else pair.bob
    side.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)
    pair.confirm()
    assert pair.alice.sent() == pair.bob.sent() == []


@pytest.mark.parametrize("closer", ["alice", "bob"])
def test_closed_before_one_channel_ready(closer: str) -> None:
    pair = Pair()
    pair.open_until_confirmed()
    side = pair.alice if closer == "alice" else pair.bob
    pair.deliver_one(side)
    side.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)


# --- who closes, and with what pending --------------------------------------------------------------------------------


@pytest.mark.parametrize("anchors", [True, False], ids=["anchors", "static_remotekey"])
@pytest.mark.parametrize("closers", ["alice", "bob", "alice bob"])
def test_both_broadcast_one_transaction(closers: str, anchors: bool) -> None:
    pair = Pair(anchors).open()
    for side in (pair.alice, pair.bob):
        if side.name in closers:
            side.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)
    assert pair.alice.state.agreed == pair.bob.state.agreed
    tx = parse(pair.alice.state.agreed)
    fee = pair.alice.state.agreed_fee_satoshis
    outputs = {output.script_pubkey: output.value_sat for output in tx.outputs}
    assert outputs == {
        pair.alice.keys.get_shutdown_scriptpubkey(): 6_000_000 - fee,
        pair.bob.keys.get_shutdown_scriptpubkey(): 4_000_000,
    }
    for side in (pair.alice, pair.bob):
        assert side.of(BroadcastTransaction)[-1] == BroadcastTransaction(side.state.agreed, "CooperativeClose")
        (closed,) = (event for event in side.events() if isinstance(event, ChannelClosed))
        if closers == side.name:
            assert closed.reason == LocallyInitiatedCooperativeClosure()
        elif side.name not in closers:
            assert closed.reason == CounterpartyInitiatedCooperativeClosure()


def test_htlcs_are_settled_before_the_fee_is_negotiated() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.add(pair.bob, 2_000_000)
    pair.deliver_all()
    pair.bob.execute(CloseChannel())
    pair.deliver_all()
    assert isinstance(pair.alice.state, ShuttingDown)
    assert isinstance(pair.bob.state, ShuttingDown)
    pair.fulfil_all(pair.alice)
    pair.deliver_all()
    assert isinstance(pair.alice.state, ShuttingDown)
    pair.fulfil_all(pair.bob)
    pair.deliver_all()
    agreed(pair)
    assert balances(pair.alice) == (6_001_000_000, 3_999_000_000)


def test_an_addition_behind_shutdown_fails_the_channel() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    late, *_ = pair.alice.sent()
    pair.deliver_all()
    pair.alice.execute(CloseChannel())
    pair.deliver_one(pair.alice)
    assert isinstance(pair.bob.state, ShuttingDown)
    pair.bob.receive(replace(late, id=2))
    assert isinstance(pair.bob.state, Closing)


# --- scripts ----------------------------------------------------------------------------------------------------------

P2WSH = b"\x00\x20" + bytes(32)
TAPROOT = b"\x51\x20" + bytes(32)
P2PKH = bytes.fromhex("76a914") + bytes(20) + bytes.fromhex("88ac")


def test_the_upfront_script_binds_us() -> None:
    pair = Pair().open()
    upfront = pair.alice.state.data.params.holder.upfront_shutdown_script
    assert upfront == pair.alice.keys.get_shutdown_scriptpubkey()
    with pytest.raises(LocalError):
        pair.alice.execute(CloseChannel(P2WSH))
    pair.alice.execute(CloseChannel(upfront))
    assert pair.alice.sent() == [Shutdown(pair.alice.state.data.channel_id, upfront)]


def test_the_upfront_script_binds_the_counterparty() -> None:
    pair = Pair().open()
    with pytest.raises(InvalidShutdownScript) as error:
        pair.alice.receive(Shutdown(pair.alice.state.data.channel_id, P2WSH))
    assert error.value.consequence is Consequence.DISCONNECT
    assert isinstance(pair.alice.state, Normal)


@pytest.mark.parametrize("script", [P2WSH, TAPROOT], ids=["p2wsh", "taproot"])
def test_another_script_of_a_channel_that_committed_to_none(script: bytes) -> None:
    pair = Pair(commit_upfront_shutdown_pubkey=False).open()
    pair.alice.execute(CloseChannel(script))
    pair.deliver_all()
    agreed(pair)
    assert script in {output.script_pubkey for output in parse(pair.bob.state.agreed).outputs}


@pytest.mark.parametrize("script", [b"", P2PKH, b"\x00\x13" + bytes(19), b"\x6a\x06" + bytes(6)])
def test_a_script_of_another_form(script: bytes) -> None:
    pair = Pair(commit_upfront_shutdown_pubkey=False).open()
    with pytest.raises(LocalError):
        pair.alice.execute(CloseChannel(script))
    with pytest.raises(InvalidShutdownScript):
        pair.bob.receive(Shutdown(pair.bob.state.data.channel_id, script))


def test_another_script_in_a_repeated_shutdown() -> None:
    pair = Pair(commit_upfront_shutdown_pubkey=False).open()
    pair.add(pair.alice, 1_000_000)
    pair.deliver_all()
    pair.alice.execute(CloseChannel(P2WSH))
    pair.deliver_all()
    with pytest.raises(InvalidShutdownScript):
        pair.bob.receive(Shutdown(pair.bob.state.data.channel_id, TAPROOT))


def test_closed_twice_by_the_user() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel())
    with pytest.raises(ChannelUnavailable):
        pair.alice.execute(CloseChannel())


# --- the fee ----------------------------------------------------------------------------------------------------------

WEIGHT = 676
"""Of a closing transaction with two P2WPKH outputs (BOLT 3, Appendix A's numbers)."""


def negotiating(closing_feerate: int = 253, feerate: int = 1000) -> Pair:
    """Alice's closing_signed is on its way."""
    pair = Pair().open()
    pair.alice.feerates = replace(
        pair.alice.feerates,
        channel_close_minimum=FeeratePerKw(closing_feerate),
        non_anchor_channel_fee=FeeratePerKw(feerate),
    )
    pair.alice.execute(CloseChannel())
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.bob)
    return pair


def signed_by(side: Side, fee_sat: int, fee_range: tuple[int, int] | None) -> ClosingSigned:
    """A closing_signed of this side, right in all but what it asks for."""
    low, high = fee_range or (0, 0)
    proposal = ClosingProposal(Sat(fee_sat), Sat(low), Sat(high))
    message = _proposal_message(side.state.data, proposal, side.context)
    return message if fee_range else replace(message, fee_range=None)


def test_the_openers_first_proposal() -> None:
    pair = negotiating()
    (message,) = pair.alice.sent()
    assert message.fee_satoshis == 1000 * WEIGHT // 1000
    assert message.fee_range == FeeRange(253 * WEIGHT // 1000, 1000 * WEIGHT // 1000 + 1000)


def test_a_target_feerate() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel(None, FeeratePerKw(2000)))
    pair.deliver_all()
    agreed(pair)
    assert pair.bob.state.agreed_fee_satoshis == 2000 * WEIGHT // 1000


def test_the_acceptor_takes_what_confirms() -> None:
    pair = negotiating()
    (proposal,) = pair.alice.sent()
    pair.bob.actions.clear()
    pair.deliver_one(pair.alice)
    (answer,) = pair.bob.sent()
    assert answer.fee_satoshis == proposal.fee_satoshis
    state = pair.bob.state
    assert pair.bob.actions[:3] == [
        SaveChannel(state),
        SendMessage(answer),
        BroadcastTransaction(state.agreed, "CooperativeClose"),
    ]
    assert isinstance(pair.bob.actions[3], EmitEvent)


def test_the_acceptor_takes_the_least_feerate_of_shorter_signatures() -> None:
    """LDK counts 72 bytes a signature, one less than BOLT 3."""
    pair = negotiating()
    pair.alice.outbox.clear()
    pair.bob.receive(signed_by(pair.alice, 253 * (WEIGHT - 2) // 1000, (253 * (WEIGHT - 2) // 1000, 1674)))
    assert pair.bob.state.agreed_fee_satoshis == 253 * (WEIGHT - 2) // 1000


def test_the_acceptor_asks_for_more_and_gets_it() -> None:
    """Three messages: the opener repeats what the acceptor chose from both ranges."""
    pair = negotiating(feerate=300)
    pair.bob.feerates = replace(pair.bob.feerates, channel_close_minimum=FeeratePerKw(500))
    pair.deliver_one(pair.alice)
    (asked,) = pair.bob.sent()
    assert asked.fee_satoshis == 500 * (WEIGHT - 2) // 1000
    assert pair.bob.state.agreed is None
    pair.deliver_one(pair.bob)
    assert pair.alice.state.agreed is not None
    pair.deliver_all()
    agreed(pair)
    assert pair.alice.state.agreed == pair.bob.state.agreed


def test_no_common_fee_is_a_warning_until_the_answer_is_overdue() -> None:
    pair = negotiating(feerate=300)
    pair.bob.feerates = replace(pair.bob.feerates, channel_close_minimum=FeeratePerKw(5000))
    with pytest.raises(NoCommonClosingFee) as error:
        pair.deliver_one(pair.alice)
    assert error.value.consequence is Consequence.WARN
    assert error.value.our_min_sat == 5000 * (WEIGHT - 2) // 1000
    assert error.value.their_max_sat == 300 * WEIGHT // 1000 + 1000
    pair.bob.execute(AnswerOverdue())
    pair.alice.execute(AnswerOverdue())
    assert isinstance(pair.bob.state, Closing)
    assert isinstance(pair.alice.state, Closing)


def test_an_overdue_answer_after_agreement_is_nothing() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel())
    pair.deliver_all()
    pair.alice.execute(AnswerOverdue())
    agreed(pair)


def test_the_openers_range_does_not_meet_the_acceptors() -> None:
    pair = negotiating()
    with pytest.raises(NoCommonClosingFee):
        pair.alice.receive(signed_by(pair.bob, 9000, (8000, 10_000)))


def test_a_fee_outside_of_both_ranges_fails_the_channel() -> None:
    pair = negotiating()
    pair.alice.receive(signed_by(pair.bob, 9000, (1000, 10_000)))
    assert isinstance(pair.alice.state, Closing)


def test_the_opener_may_not_change_its_mind() -> None:
    pair = negotiating(feerate=300)
    pair.bob.feerates = replace(pair.bob.feerates, channel_close_minimum=FeeratePerKw(500))
    pair.deliver_one(pair.alice)
    pair.bob.receive(signed_by(pair.alice, 400, (100, 5000)))
    assert isinstance(pair.bob.state, Closing)


def test_a_closing_signed_of_the_acceptor_before_ours() -> None:
    pair = negotiating()
    pair.disconnect()
    pair.reconnect()
    message = signed_by(pair.bob, 676, None)
    pair.deliver_one(pair.bob)
    pair.alice.receive(message)
    assert isinstance(pair.alice.state, Closing)


def test_meeting_halfway_without_fee_range() -> None:
    """The peer is of the old kind: strictly between the last two, until they meet."""
    pair = negotiating()
    pair.alice.receive(signed_by(pair.bob, 5000, None))
    first = pair.alice.sent()[-1]
    assert first.fee_satoshis == 1676
    pair.alice.receive(signed_by(pair.bob, 1600, None))
    assert pair.alice.state.agreed_fee_satoshis == 1600


def test_halfway_must_be_between() -> None:
    pair = negotiating()
    pair.alice.receive(signed_by(pair.bob, 5000, None))
    pair.alice.receive(signed_by(pair.bob, 5000, None))
    assert isinstance(pair.alice.state, Closing)


def test_nothing_is_left_between() -> None:
    """Our highest fee has been said, and the peer wants more."""
    pair = negotiating()
    pair.alice.receive(signed_by(pair.bob, 5000, None))
    pair.alice.receive(signed_by(pair.bob, 3000, None))
    assert isinstance(pair.alice.state, Closing)
    assert "3000, limit 1676" in pair.alice.state.error


def test_the_acceptor_meets_an_old_opener_halfway() -> None:
    pair = negotiating()
    pair.alice.outbox.clear()
    pair.bob.feerates = replace(pair.bob.feerates, channel_close_minimum=FeeratePerKw(500))
    pair.bob.receive(signed_by(pair.alice, 100, None))
    assert pair.bob.sent()[-1].fee_satoshis == 337
    pair.bob.receive(signed_by(pair.alice, 200, None))
    assert isinstance(pair.bob.state, Closing)


def test_the_last_fee_of_ours_is_agreement() -> None:
    pair = negotiating()
    pair.alice.receive(signed_by(pair.bob, 676, None))
    assert pair.alice.state.agreed_fee_satoshis == 676


def test_a_fee_beyond_the_balance() -> None:
    pair = negotiating()
    message = signed_by(pair.bob, 6_000_000, None)
    pair.alice.receive(replace(message, fee_satoshis=Sat(6_000_001)))
    assert isinstance(pair.alice.state, Closing)
    assert "6000001, limit 6000000" in pair.alice.state.error


def test_a_wrong_closing_signature() -> None:
    pair = negotiating()
    (message,) = pair.alice.sent()
    pair.bob.receive(replace(message, fee_satoshis=Sat(message.fee_satoshis + 1)))
    assert isinstance(pair.bob.state, Closing)


# --- outputs that are dust --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closer", ["alice", "bob"])
@pytest.mark.parametrize("push_msat", [0, 353_999, 354_000])
def test_an_output_of_dust_is_left_out(push_msat: int, closer: str) -> None:
    pair = Pair(value_sat=100_000, push_msat=push_msat).open()
    side = pair.alice if closer == "alice" else pair.bob
    side.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)
    assert pair.alice.state.agreed == pair.bob.state.agreed
    assert len(parse(pair.alice.state.agreed).outputs) == (2 if push_msat == 354_000 else 1)


# --- failing ----------------------------------------------------------------------------------------------------------


def test_force_close() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.actions.clear()
    pair.alice.execute(ForceClose("enough"))
    state = pair.alice.state
    update, saved, send, not_sent, event = pair.alice.actions
    assert update.update.steps == (ChannelForceClosed(should_broadcast=True),)
    assert saved == SaveChannel(state)
    assert send == SendMessage(Error(state.data.channel_id, b"enough"))
    assert (type(not_sent), not_sent.reason) == (HtlcNotSent, "ChannelClosed")
    assert event.event.reason == HolderForceClosed(True, "enough")
    pair.alice.actions.clear()
    pair.alice.execute(ForceClose("again"))
    assert pair.alice.actions == []


def test_an_error_is_not_answered_by_an_error() -> None:
    pair = Pair().open()
    pair.add(pair.bob, 1_000_000)
    pair.alice.execute(ForceClose("enough \x00\xff"))
    pair.bob.actions.clear()
    pair.deliver_one(pair.alice)
    assert [type(action) for action in pair.bob.actions] == [UpdateMonitor, SaveChannel, HtlcNotSent, EmitEvent]
    assert pair.bob.actions[-1].event.reason == CounterpartyForceClosed("enough ??")
    assert pair.bob.sent() == []
    pair.bob.receive(Error(pair.bob.state.data.channel_id, b"more"))
    assert pair.bob.sent() == []


def test_an_error_after_agreement_leaves_the_closing_transaction() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel())
    pair.deliver_all()
    pair.bob.receive(Error(pair.bob.state.data.channel_id, b"unknown channel"))
    agreed(pair)


def test_a_close_that_confirms_before_its_last_message_keeps_its_reason() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel())
    pair.bob.receive(pair.alice.sent()[0])
    pair.alice.receive(pair.bob.sent()[0])
    for side, reason in (
        (pair.alice, LocallyInitiatedCooperativeClosure()),
        (pair.bob, CounterpartyInitiatedCooperativeClosure()),
    ):
        side.actions.clear()
        side.execute(FundingSpentOnChain(Txid(bytes(32)), False))
        (event,) = [action.event for action in side.actions if isinstance(action, EmitEvent)]
        assert isinstance(event, ChannelClosed)
        assert event.reason == reason


@pytest.mark.parametrize("is_commitment", [True, False])
def test_a_spend_of_the_funding_closes_the_channel(is_commitment: bool) -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.actions.clear()
    pair.alice.execute(FundingSpentOnChain(Txid(bytes(32)), is_commitment))
    assert [type(action) for action in pair.alice.actions] == [SaveChannel, HtlcNotSent, EmitEvent]
    assert isinstance(pair.alice.state, Closing)
    assert pair.alice.state.spent_by_commitment is is_commitment
    pair.alice.actions.clear()
    pair.alice.execute(ClosingConfirmed())
    assert [type(action) for action in pair.alice.actions] == ([] if is_commitment else [ForgetChannel])
