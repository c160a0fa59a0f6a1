import pytest

from pyln_fast.channel.actions import (
    ChannelUsable,
    EmitEvent,
    SaveChannel,
    SendMessage,
    UpdateMonitor,
)
from pyln_fast.channel.channel import EarlyMessage, LateReestablish, execute, loaded, receive
from pyln_fast.channel.commands import CloseChannel, ForceClose, PeerConnected, SignCommitment
from pyln_fast.channel.state import (
    Closing,
    FundedState,
    Negotiating,
    Normal,
    Offline,
    ShuttingDown,
    Syncing,
    WaitForChannelReady,
    WaitForFundingConfirmed,
)
from pyln_fast.events import ChannelClosed
from pyln_fast.records import decode as decode_record
from pyln_fast.tx.monitor_update import ChannelForceClosed
from pyln_fast.types import Secret
from pyln_fast.wire.channel_msgs import ChannelReestablish, RevokeAndAck, Shutdown
from pyln_fast.wire.setup_msgs import Error
from tests.channel.pair import Pair, Side, balances, replace


def names(messages: list) -> list[str]:
    return [type(message).__name__ for message in messages]


def pay(pair: Pair, side: Side, amount_msat: int = 1_000_000) -> None:
    other = pair.bob if side is pair.alice else pair.alice
    pair.add(side, amount_msat)
    pair.deliver_all()
    pair.fulfil_all(other)
    pair.deliver_all()


def reestablished(pair: Pair, side: Side, **changes: object) -> tuple[ChannelReestablish, Side]:
    """Both are connected again; the message of the other side, changed."""
    pair.disconnect()
    pair.reconnect()
    other = pair.bob if side is pair.alice else pair.alice
    (message,) = other.sent()
    assert isinstance(message, ChannelReestablish)
    other.outbox.clear()
    return replace(message, **changes), other


# --- the usual ------------------------------------------------------------------------------------------------------


def test_nothing_was_lost() -> None:
    pair = Pair().open()
    pay(pair, pair.alice)
    message, _ = reestablished(pair, pair.alice)
    assert isinstance(pair.alice.state, Syncing)
    transition = receive(pair.alice.state, message, pair.alice.context)
    assert transition.actions == (SaveChannel(transition.state), ChannelUsable())
    assert isinstance(transition.state, Normal)


def test_the_numbers_of_a_new_channel() -> None:
    pair = Pair().open()
    message, _ = reestablished(pair, pair.alice)
    assert (message.next_commitment_number, message.next_revocation_number) == (1, 0)
    assert message.your_last_per_commitment_secret == bytes(32)


def test_the_numbers_after_a_payment() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    (_, commitment) = (pair.deliver_one(pair.alice), pair.deliver_one(pair.alice))
    assert type(commitment).__name__ == "CommitmentSigned"
    message, _ = reestablished(pair, pair.alice)
    assert (message.next_commitment_number, message.next_revocation_number) == (2, 0)


def resent(pair: Pair, side: Side) -> list[str]:
    other = pair.bob if side is pair.alice else pair.alice
    pair.disconnect()
    pair.reconnect()
    for each in (side, other):
        assert isinstance(pair.deliver_one(each), ChannelReestablish)
    return names(side.sent())


def test_a_lost_commitment_is_sent_again_with_its_updates() -> None:
    pair = Pair().open()
    pay(pair, pair.bob)
    pair.add(pair.alice, 1_000_000)
    pair.add(pair.alice, 2_000_000)
    pair.alice.execute(SignCommitment())
    first = pair.alice.sent()
    assert resent(pair, pair.alice) == ["UpdateAddHtlc", "UpdateAddHtlc", "CommitmentSigned"]
    assert pair.alice.sent() == first


def test_a_lost_revocation_is_sent_again() -> None:
    pair = Pair().open()
    pay(pair, pair.bob)
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.alice)
    (first,) = pair.bob.sent()
    assert resent(pair, pair.bob) == ["RevokeAndAck"]
    assert pair.bob.sent() == [first]


def test_revocation_then_commitment_keep_their_order() -> None:
    pair = Pair().open()
    pay(pair, pair.bob)
    pair.add(pair.alice, 1_000_000)
    pair.add(pair.bob, 2_000_000)
    pair.alice.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.alice)
    pair.bob.execute(SignCommitment())
    first = pair.bob.sent()
    assert names(first) == ["RevokeAndAck", "UpdateAddHtlc", "CommitmentSigned"]
    resent(pair, pair.bob)
    assert pair.bob.sent() == first


def test_commitment_then_revocation_keep_their_order() -> None:
    pair = Pair().open()
    pay(pair, pair.bob)
    pair.add(pair.alice, 1_000_000)
    pair.add(pair.bob, 2_000_000)
    pair.alice.execute(SignCommitment())
    pair.bob.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.alice)
    first = pair.bob.sent()
    assert names(first) == ["UpdateAddHtlc", "CommitmentSigned", "RevokeAndAck"]
    resent(pair, pair.bob)
    assert pair.bob.sent() == first


def test_what_nobody_signed_never_was() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    assert pair.bob.state.data.commitments.next_counterparty_htlc_id == 1
    pair.disconnect()
    assert pair.bob.state.data.commitments.next_counterparty_htlc_id == 0
    assert pair.bob.state.data.commitments.htlcs == {}
    pair.reconnect()
    pair.deliver_all()
    assert pair.bob.state.data.commitments.next_counterparty_htlc_id == 1


# --- opening and closing ----------------------------------------------------------------------------------------------


def test_a_lost_channel_ready_is_sent_again() -> None:
    pair = Pair()
    pair.open_until_confirmed()
    for side in (pair.alice, pair.bob):
        assert names(side.sent()) == ["ChannelReady"]
        assert isinstance(side.state, WaitForChannelReady)
    pair.disconnect()
    pair.reconnect()
    pair.deliver_all()
    assert isinstance(pair.alice.state, Normal)
    assert isinstance(pair.bob.state, Normal)


def test_one_lost_channel_ready_is_sent_again() -> None:
    pair = Pair()
    pair.open_until_confirmed()
    pair.deliver_one(pair.alice)
    assert isinstance(pair.bob.state, Normal)
    pair.disconnect()
    pair.reconnect()
    pair.deliver_all()
    assert isinstance(pair.alice.state, Normal)
    assert isinstance(pair.bob.state, Normal)
    pay(pair, pair.alice)
    assert resent(pair, pair.bob) == []


def test_disconnected_before_the_funding_confirms() -> None:
    pair = Pair()
    pair.open_until_funded()
    pair.disconnect()
    assert isinstance(pair.alice.state, Offline)
    pair.confirm()
    assert isinstance(pair.alice.state.inner, WaitForChannelReady)
    assert pair.alice.sent() == pair.bob.sent() == []
    pair.reconnect()
    pair.deliver_all()
    assert isinstance(pair.alice.state, Normal)
    assert isinstance(pair.bob.state, Normal)


def test_a_restart_before_the_funding_confirms() -> None:
    pair = Pair()
    pair.open_until_funded()
    pair.alice.crash()
    pair.disconnect()
    assert isinstance(pair.alice.state, Offline)
    assert isinstance(pair.alice.state.inner, WaitForFundingConfirmed)
    pair.reconnect()
    pair.deliver_all()
    pair.confirm()
    pair.deliver_all()
    assert isinstance(pair.alice.state, Normal)


def test_a_lost_shutdown_is_sent_again() -> None:
    pair = Pair().open()
    pair.add(pair.bob, 1_000_000)
    pair.deliver_all()
    pair.alice.execute(CloseChannel())
    assert resent(pair, pair.alice) == ["Shutdown"]
    pair.deliver_all()
    assert isinstance(pair.alice.state, ShuttingDown)
    pair.fulfil_all(pair.alice)
    pair.deliver_all()
    assert isinstance(pair.alice.state, Negotiating)
    assert pair.alice.state.agreed is not None
    assert pair.alice.state.agreed == pair.bob.state.agreed


def test_a_lost_channel_ready_comes_before_the_shutdown() -> None:
    """Of a channel that is closed at once (BOLT 2: both next_commitment_number are 1)."""
    pair = Pair()
    pair.open_until_confirmed()
    pair.deliver_one(pair.bob)
    assert isinstance(pair.alice.state, Normal)
    pair.alice.execute(CloseChannel())
    assert isinstance(pair.bob.state, WaitForChannelReady)
    assert resent(pair, pair.alice) == ["ChannelReady", "Shutdown"]
    pair.deliver_all()
    assert pair.alice.state.agreed is not None
    assert pair.alice.state.agreed == pair.bob.state.agreed


def test_a_lost_closing_signed_begins_the_negotiation_again() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel())
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.bob)
    assert names(pair.alice.sent()) == ["ClosingSigned"]
    pair.disconnect()
    pair.reconnect()
    pair.deliver_all()
    assert pair.alice.state.agreed is not None
    assert pair.alice.state.agreed == pair.bob.state.agreed


def test_reconnected_after_only_one_side_agreed() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel())
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.bob)
    pair.deliver_one(pair.alice)
    assert pair.bob.state.agreed is not None
    assert pair.alice.state.agreed is None
    before = pair.bob.state.agreed
    pair.disconnect()
    pair.bob.crash()
    pair.reconnect()
    pair.deliver_all()
    assert pair.alice.state.agreed == pair.bob.state.agreed == before
    assert len([e for e in pair.bob.events() if isinstance(e, ChannelClosed)]) == 1


# --- numbers that do not fit ------------------------------------------------------------------------------------------


def failed(side: Side, message: ChannelReestablish) -> Closing:
    transition = receive(side.state, message, side.context)
    closing = transition.state
    assert isinstance(closing, Closing)
    assert not closing.never_broadcast
    assert [type(action) for action in transition.actions] == [UpdateMonitor, SaveChannel, SendMessage, EmitEvent]
    assert transition.actions[0].update.steps == (ChannelForceClosed(should_broadcast=True),)
    return closing


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("next_commitment_number", 0),
        ("next_commitment_number", 1 << 48),
        ("next_commitment_number", (1 << 48) - 1),
        ("next_commitment_number", 1),
        ("next_commitment_number", 2),
        ("next_commitment_number", 4),
        ("next_revocation_number", 0),
        ("next_revocation_number", 3),
        ("next_revocation_number", 1 << 48),
        ("next_revocation_number", (1 << 64) - 1),
    ],
)
def test_a_number_that_does_not_fit(field: str, value: int) -> None:
    pair = Pair().open()
    pay(pair, pair.alice)
    message, _ = reestablished(pair, pair.alice)
    assert (message.next_commitment_number, message.next_revocation_number) == (3, 2)
    closing = failed(pair.alice, replace(message, **{field: value}))
    assert closing.error.startswith(f"channel_reestablish: {field} is {value}")


def test_the_last_secret_must_be_ours() -> None:
    pair = Pair().open()
    pay(pair, pair.alice)
    message, _ = reestablished(pair, pair.alice)
    failed(pair.alice, replace(message, your_last_per_commitment_secret=Secret(bytes(31) + b"\x01")))
    failed(pair.alice, replace(message, your_last_per_commitment_secret=Secret(bytes(32))))


def test_reestablish_on_a_living_connection_costs_the_connection_alone() -> None:
    """The peer believes in another connection than we, which a race can do to honest ones."""
    pair = Pair().open()
    message, _ = reestablished(pair, pair.alice)
    pair.alice.receive(message)
    before = pair.alice.state
    with pytest.raises(LateReestablish):
        pair.alice.receive(message)
    assert pair.alice.state is before


def test_a_message_before_reestablish_costs_the_connection() -> None:
    pair = Pair().open()
    pair.disconnect()
    pair.reconnect()
    with pytest.raises(EarlyMessage):
        pair.alice.receive(Shutdown(pair.alice.state.data.channel_id, b""))
    assert isinstance(pair.alice.state, Syncing)


# --- data loss --------------------------------------------------------------------------------------------------------


def lost_state(pair: Pair, payments: int = 1) -> None:
    """Bob is restored from a backup."""
    pay(pair, pair.alice)
    backup = pair.bob.durable
    for _ in range(payments):
        pay(pair, pair.alice)
    pair.disconnect()
    pair.bob.durable = backup
    pair.bob.crash()


@pytest.mark.parametrize("payments", [1, 3])
def test_proven_data_loss_never_broadcasts(payments: int) -> None:
    pair = Pair().open()
    lost_state(pair, payments)
    pair.bob.actions.clear()
    pair.reconnect()
    pair.deliver_one(pair.alice)
    closing = pair.bob.state
    assert isinstance(closing, Closing)
    assert closing.never_broadcast
    _, monitor, saved, send, event = pair.bob.actions
    assert monitor.update.steps == (ChannelForceClosed(should_broadcast=False),)
    assert saved == SaveChannel(closing)
    assert isinstance(send.message, Error)
    assert isinstance(event.event, ChannelClosed)
    # Whatever follows: it stays so, over a restart too.
    pair.bob.execute(ForceClose("now"))
    pair.bob.crash()
    pair.mine(1000)
    assert pair.bob.state == closing
    assert not [a for a in pair.bob.actions if isinstance(a, UpdateMonitor) and a is not monitor]
    # The peer that is not behind broadcasts.
    pair.bob.outbox.clear()
    pair.disconnect()
    pair.reconnect()
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.bob)
    assert isinstance(pair.alice.state, Closing)
    assert not pair.alice.state.never_broadcast


def test_proven_data_loss_is_stronger_than_any_other_field() -> None:
    """A number that would make us broadcast comes with a proof that we must not."""
    pair = Pair().open()
    lost_state(pair)
    pair.reconnect()
    (message,) = pair.alice.sent()
    for number in (0, 1, 1 << 48, (1 << 64) - 1):
        transition = receive(pair.bob.state, replace(message, next_commitment_number=number), pair.bob.context)
        assert isinstance(transition.state, Closing)
        assert transition.state.never_broadcast


def test_unproven_data_loss_fails_the_channel() -> None:
    pair = Pair().open()
    pay(pair, pair.alice)
    message, _ = reestablished(pair, pair.alice)
    wrong = Secret(b"\x07" * 32)
    failed(pair.alice, replace(message, next_revocation_number=9, your_last_per_commitment_secret=wrong))


def test_a_peer_that_is_behind_makes_us_fail_the_channel() -> None:
    pair = Pair().open()
    lost_state(pair)
    pair.reconnect()
    (message,) = pair.bob.sent()
    failed(pair.alice, message)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_failed_channel_repeats_its_error() -> None:
    pair = Pair().open()
    pair.alice.execute(ForceClose("enough"))
    pair.disconnect()
    pair.reconnect()
    # A counterparty that asks; before, it may not know that it has lost state.
    assert pair.alice.sent() == []
    pair.deliver_one(pair.bob)
    (message,) = pair.alice.sent()
    assert message == Error(pair.alice.state.data.channel_id, b"enough")
    transition = receive(
        pair.alice.state, RevokeAndAck(pair.alice.state.data.channel_id, Secret(bytes(32)), b""), pair.alice.context
    )
    assert transition.actions == ()


def test_a_failed_channel_proves_to_a_peer_that_it_is_behind() -> None:
    """The error alone would make it broadcast what it has revoked."""
    pair = Pair().open()
    lost_state(pair)
    pair.alice.execute(ForceClose("enough"))
    pair.alice.outbox.clear()
    pair.reconnect()
    pair.deliver_one(pair.bob)
    proof, error = pair.alice.sent()
    assert isinstance(proof, ChannelReestablish)
    assert error == Error(pair.alice.state.data.channel_id, b"enough")
    pair.deliver_one(pair.alice)
    assert isinstance(pair.bob.state, Closing)
    assert pair.bob.state.never_broadcast


def test_a_peer_that_knows_nothing_of_a_failed_channel_gets_the_error_alone() -> None:
    """LDK says 0 of a channel that it does not know, in answer to whatever we say: another answer would be one more."""
    pair = Pair().open()
    pair.alice.execute(ForceClose("enough"))
    pair.disconnect()
    pair.reconnect()
    (message,) = pair.bob.sent()
    transition = receive(pair.alice.state, replace(message, next_commitment_number=0), pair.alice.context)
    assert [type(action.message) for action in transition.actions] == [Error]


def test_who_has_lost_state_says_so_whenever_it_is_asked() -> None:
    """LND closes the channel when it reads that in channel_reestablish, not for the error."""
    pair = Pair().open()
    lost_state(pair)
    pair.reconnect()
    (message,) = pair.alice.sent()
    pair.deliver_one(pair.alice)
    assert isinstance(pair.bob.state, Closing)
    transition = receive(pair.bob.state, message, pair.bob.context)
    stale, error = [action.message for action in transition.actions]
    assert (type(stale), type(error)) == (ChannelReestablish, Error)
    assert stale.next_revocation_number < message.next_commitment_number


def test_a_restart_finds_every_state_offline() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    state = decode_record(FundedState, pair.alice.durable)
    again = loaded(state)
    assert isinstance(again.state, Offline)
    assert [type(action).__name__ for action in again.actions] == ["SaveChannel", "HtlcNotSent"]
    assert execute(again.state, PeerConnected(), pair.alice.context).state == Syncing(again.state.inner)
    assert balances(pair.alice) == (6_000_000_000, 4_000_000_000)
