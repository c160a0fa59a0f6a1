"""One monitor: every step, what it refuses, and which transaction spent the funding."""

from __future__ import annotations

from typing import NoReturn

import pytest
from msgspec.structs import replace

from pyln_fast import records
from pyln_fast.chain.channel_monitor import (
    Broadcast,
    FundingConfirmation,
    FundingIsConfirmed,
    FundingIsSpent,
    FundingIsUnconfirmed,
    FundingSpend,
    MonitorRefused,
    MonitorState,
    PreimageSeen,
    SpendIsBuried,
    SpendKind,
    StoreCommitment,
    WatchOutpoint,
    WatchScript,
    best_block,
    block_disconnected,
    new_monitor,
    transaction_seen,
    transactions_to_broadcast,
    update_monitor,
    watches,
)
from pyln_fast.sign.interfaces import SignerRefused
from pyln_fast.tx.keys import CommitmentSecrets, commitment_index
from pyln_fast.tx.monitor_update import (
    ChannelForceClosed,
    ChannelMonitorUpdate,
    CommitmentSecret,
    LatestCounterpartyCommitment,
    LatestHolderCommitment,
    PaymentPreimageKnown,
    ShutdownScript,
)
from pyln_fast.tx.transaction import Transaction, serialize, txid
from pyln_fast.types import OutPoint, TxOut
from tests.chain.monitored import Monitored, hit, monitored, payment_hash, preimage

A, B = payment_hash("a"), payment_hash("b")


@pytest.fixture
def channel() -> Monitored:
    return monitored()


def spent(channel: Monitored, state: MonitorState, tx: Transaction, height: int = 110) -> MonitorState:
    return transaction_seen(state, hit(tx), height)[0]


# --- updates ----------------------------------------------------------------------------------------------------------


def test_a_new_monitor_stores_the_first_commitment_and_watches_the_funding(channel: Monitored) -> None:
    new = channel.new()
    state, actions = new_monitor(new)
    assert actions == (
        StoreCommitment(channel.channel_id, 0, new.counterparty_commitment),
        WatchScript(channel.funding_script),
        WatchOutpoint(channel.outpoint),
    )
    assert state == MonitorState(
        new.channel_id,
        new.counterparty_node_id,
        new.channel_keys_id,
        new.parameters,
        new.funding_script,
        None,
        new.holder_commitment,
        new.counterparty_commitment,
    )


def test_a_round_of_the_dance(channel: Monitored) -> None:
    start = channel.state(1)
    mine, theirs = channel.holder_commitment(2), channel.counterparty_commitment(2)
    signed, actions = channel.update(start, LatestCounterpartyCommitment(theirs))
    assert actions == (StoreCommitment(channel.channel_id, 2, theirs),)
    assert signed == replace(
        start,
        counterparty_commitment=theirs,
        previous_counterparty_commitment=channel.counterparty_commitment(1),
        update_id=4,
    )
    both = (CommitmentSecret(1, channel.secret(1)), LatestHolderCommitment(mine))
    revoked, actions = channel.update(signed, *both)
    assert actions == ()
    secrets = CommitmentSecrets()
    for number in range(2):
        secrets = secrets.insert(commitment_index(number), channel.secret(number))
    assert revoked == replace(
        signed,
        holder_commitment=mine,
        previous_counterparty_commitment=None,
        counterparty_secrets=secrets,
        update_id=5,
    )


def test_the_shutdown_script_is_kept(channel: Monitored) -> None:
    state, actions = channel.update(channel.state(), ShutdownScript(b"\x00\x14" + bytes(20)))
    assert actions == ()
    assert state == replace(channel.state(), shutdown_script=b"\x00\x14" + bytes(20), update_id=1)


@pytest.mark.parametrize("update_id", [0, 3, 5, 1000])
def test_ids_have_no_gap(channel: Monitored, update_id: int) -> None:
    state = channel.state(1)
    assert state.update_id == 3
    with pytest.raises(AssertionError):
        update_monitor(state, ChannelMonitorUpdate(channel.channel_id, update_id, ()), channel.alice)


def test_an_update_of_another_channel_is_our_fault(channel: Monitored) -> None:
    with pytest.raises(AssertionError):
        update_monitor(channel.state(), ChannelMonitorUpdate(bytes(32), 1, ()), channel.alice)


@pytest.mark.parametrize(
    "steps",
    [
        lambda c: [LatestCounterpartyCommitment(c.counterparty_commitment(3))],
        lambda c: [LatestCounterpartyCommitment(c.counterparty_commitment(1))],
        lambda c: [LatestHolderCommitment(c.holder_commitment(1))],
        lambda c: [LatestHolderCommitment(c.holder_commitment(3))],
        lambda c: [CommitmentSecret(1, c.secret(1))],
        lambda c: [LatestCounterpartyCommitment(c.counterparty_commitment(n)) for n in (2, 3)],
        lambda c: [LatestCounterpartyCommitment(c.counterparty_commitment(2)), CommitmentSecret(0, c.secret(0))],
        lambda c: [PaymentPreimageKnown(A, preimage("b"))],
    ],
)
def test_what_the_channel_cannot_mean(channel: Monitored, steps) -> None:
    with pytest.raises(AssertionError):
        channel.update(channel.state(1), *steps(channel))


# --- preimages --------------------------------------------------------------------------------------------------------


def test_preimages_of_received_htlcs_are_kept_while_a_commitment_has_them(channel: Monitored) -> None:
    state, _ = channel.update(channel.state(), PaymentPreimageKnown(B, preimage("b")))
    assert state == replace(channel.state(), preimages=((B, preimage("b")),), update_id=1)
    again, _ = channel.update(state, PaymentPreimageKnown(B, preimage("b")))
    assert again == replace(state, update_id=2)
    for name in ("a", "unknown"):
        other, _ = channel.update(state, PaymentPreimageKnown(payment_hash(name), preimage(name)))
        assert other.preimages == ((B, preimage("b")),), "not an HTLC that we can claim"

    without = Monitored(received=())
    counterparty = LatestCounterpartyCommitment(without.counterparty_commitment(1))
    state, _ = channel.update(state, counterparty)
    assert state.preimages
    state, _ = channel.update(state, LatestHolderCommitment(without.holder_commitment(1)))
    assert state.preimages, "the previous commitment of the counterparty has it"
    state, _ = channel.update(state, CommitmentSecret(0, channel.secret(0)))
    assert state.preimages == ()


# --- refusal ----------------------------------------------------------------------------------------------------------

ENDS = {
    "force-closed": lambda c, s: c.update(s, ChannelForceClosed(True))[0],
    "data loss": lambda c, s: c.update(s, ChannelForceClosed(False))[0],
    "commitment seen": lambda c, s: spent(c, s, c.counterparty_tx(1)),
    "closing seen": lambda c, s: spent(c, s, c.closing_tx()),
    "spend reorganised away": lambda c, s: block_disconnected(spent(c, s, c.counterparty_tx(1)), 110)[0],
    "never broadcast after all": lambda c, s: c.update(
        c.update(s, ChannelForceClosed(True))[0], ChannelForceClosed(False)
    )[0],
}


@pytest.mark.parametrize("end", ENDS)
def test_no_commitment_follows_the_end(channel: Monitored, end: str) -> None:
    state, _ = channel.update(channel.state(), LatestCounterpartyCommitment(channel.counterparty_commitment(1)))
    state = ENDS[end](channel, state)
    holder = LatestHolderCommitment(channel.holder_commitment(1))
    counterparty = LatestCounterpartyCommitment(channel.counterparty_commitment(2))
    secret = CommitmentSecret(0, channel.secret(0))
    for steps in ((holder,), (secret, counterparty), (ShutdownScript(b""), holder)):
        with pytest.raises(MonitorRefused):
            channel.update(state, *steps)
    known = PaymentPreimageKnown(B, preimage("b"))
    after, _ = channel.update(state, known, secret, ShutdownScript(b"\x51"), ChannelForceClosed(True))
    assert after.preimages == ((B, preimage("b")),)
    assert after.previous_counterparty_commitment is None
    assert after.shutdown_script == b"\x51"
    assert after.force_closed


# --- broadcast --------------------------------------------------------------------------------------------------------


def test_the_newest_holder_commitment_is_broadcast_until_it_confirms(channel: Monitored) -> None:
    state, _ = channel.update(channel.state(3), ShutdownScript(b"\x51"))
    assert transactions_to_broadcast(state, channel.alice) == ()
    raw = serialize(channel.holder_tx(3))
    closed, actions = channel.update(state, ChannelForceClosed(True))
    assert actions == (Broadcast(raw, "UnilateralClose"),)
    assert closed == replace(state, force_closed=True, signed_for_broadcast=True, update_id=state.update_id + 1)
    assert transactions_to_broadcast(closed, channel.alice) == (raw,)
    confirmed = spent(channel, closed, channel.holder_tx(3))
    assert transactions_to_broadcast(confirmed, channel.alice) == ()
    gone, _ = block_disconnected(confirmed, 110)
    assert transactions_to_broadcast(gone, channel.alice) == (raw,)


def test_nothing_is_broadcast_beside_a_confirmed_spend(channel: Monitored) -> None:
    state = spent(channel, channel.state(1), channel.counterparty_tx(1))
    _, actions = channel.update(state, ChannelForceClosed(True))
    assert actions == ()


@pytest.mark.parametrize("orders", [(False,), (False, True), (True, False), (True, False, True)])
def test_after_data_loss_nothing_is_ever_broadcast(channel: Monitored, orders: tuple[bool, ...]) -> None:
    state, lost = channel.state(2), False
    for should_broadcast in orders:
        lost = lost or not should_broadcast
        state, actions = channel.update(state, ChannelForceClosed(should_broadcast))
        assert bool(actions) != lost
    assert state.never_broadcast
    assert state.signed_for_broadcast == orders[0]
    state = records.decode(MonitorState, records.encode(state))
    assert transactions_to_broadcast(state, channel.alice) == ()
    state, _ = block_disconnected(spent(channel, state, channel.counterparty_tx(5)), 100)
    assert transactions_to_broadcast(state, channel.alice) == ()


def test_a_signer_that_refuses_is_asked_again(channel: Monitored) -> None:
    class Absent:
        def sign_holder_commitment(self, *_: object) -> NoReturn:
            raise SignerRefused("sign", "it is away")

    state = channel.state(1)
    update = ChannelMonitorUpdate(channel.channel_id, 4, (ChannelForceClosed(True),))
    closed, actions = update_monitor(state, update, Absent())
    assert actions == ()
    assert closed == replace(state, force_closed=True, signed_for_broadcast=True, update_id=4)
    with pytest.raises(SignerRefused):
        transactions_to_broadcast(closed, Absent())
    assert transactions_to_broadcast(closed, channel.alice) == (serialize(channel.holder_tx(1)),)


# --- the funding ------------------------------------------------------------------------------------------------------


def test_the_funding_confirms_and_goes(channel: Monitored) -> None:
    state = channel.state()
    confirmed, actions = transaction_seen(state, hit(channel.funding_tx, 7), 100)
    assert actions == (FundingIsConfirmed(channel.channel_id, 100, 7),)
    assert confirmed == replace(state, funding_confirmation=FundingConfirmation(100, 7))
    assert transaction_seen(confirmed, hit(channel.funding_tx, 7), 100) == (confirmed, ())
    assert block_disconnected(confirmed, 101) == (confirmed, ())
    assert block_disconnected(confirmed, 100) == (state, (FundingIsUnconfirmed(channel.channel_id),))
    assert block_disconnected(confirmed, 1) == (state, (FundingIsUnconfirmed(channel.channel_id),))
    assert block_disconnected(state, 1) == (state, ())


@pytest.mark.parametrize(
    "outputs",
    [
        lambda c: (TxOut(5, b"\x51"),),
        lambda c: (c.output, TxOut(5, b"\x51")),
        lambda c: (TxOut(5, b"\x51"), TxOut(c.output.value_sat - 1, c.funding_script)),
        lambda c: (TxOut(5, b"\x51"), TxOut(c.output.value_sat + 1, c.funding_script)),
        lambda c: (TxOut(5, b"\x51"), TxOut(c.output.value_sat, b"\x51")),
    ],
)
def test_a_transaction_without_the_agreed_output_is_not_the_funding(outputs) -> None:
    channel = Monitored()
    tx = Transaction(2, channel.funding_tx.inputs, outputs(channel))
    channel.fund(tx, 1)
    state = channel.state()
    assert transaction_seen(state, hit(tx), 100) == (state, ())


def test_what_pays_the_script_in_another_transaction_is_not_the_funding(channel: Monitored) -> None:
    tx = replace(channel.funding_tx, lock_time=1)
    assert transaction_seen(channel.state(), hit(tx), 100) == (channel.state(), ())


# --- its spend --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spend", "kind"),
    [
        (lambda c: c.holder_tx(3), SpendKind.HOLDER),
        (lambda c: c.counterparty_tx(4), SpendKind.COUNTERPARTY_CURRENT),
        (lambda c: c.counterparty_tx(3), SpendKind.COUNTERPARTY_PREVIOUS),
        (lambda c: c.counterparty_tx(2), SpendKind.REVOKED),
        (lambda c: c.counterparty_tx(0), SpendKind.REVOKED),
        (lambda c: c.counterparty_tx(5), SpendKind.UNKNOWN_COMMITMENT),
        (lambda c: c.counterparty_tx((1 << 48) - 1), SpendKind.UNKNOWN_COMMITMENT),
        (lambda c: Monitored(received=()).counterparty_tx(4), SpendKind.UNKNOWN_COMMITMENT),
        (lambda c: Monitored(received=()).counterparty_tx(3), SpendKind.UNKNOWN_COMMITMENT),
        (lambda c: c.closing_tx(), SpendKind.COOPERATIVE),
    ],
)
def test_which_transaction_spent_the_funding(channel: Monitored, spend, kind: SpendKind) -> None:
    state = channel.state(3)
    state, _ = channel.update(state, LatestCounterpartyCommitment(channel.counterparty_commitment(4)))
    tx = spend(channel)
    after, actions = transaction_seen(state, hit(tx), 110)
    found = FundingSpend(txid(tx), 110, kind, serialize(tx))
    assert after == replace(state, funding_spend=found, funding_spend_seen=True)
    is_commitment = kind is not SpendKind.COOPERATIVE
    outputs = tuple(WatchOutpoint(OutPoint(txid(tx), i)) for i in range(len(tx.outputs))) if is_commitment else ()
    assert actions == (*outputs, FundingIsSpent(channel.channel_id, txid(tx), is_commitment))
    assert watches(after)[2:] == outputs
    assert transaction_seen(after, hit(tx), 110) == (after, ())
    assert records.decode(MonitorState, records.encode(after)) == after


def test_a_commitment_that_is_revoked_after_it_confirmed_can_be_punished(channel: Monitored) -> None:
    state, _ = channel.update(channel.state(1), LatestCounterpartyCommitment(channel.counterparty_commitment(2)))
    state = spent(channel, state, channel.counterparty_tx(1))
    revoked, _ = channel.update(state, CommitmentSecret(1, channel.secret(1)))
    assert state.funding_spend is not None
    assert revoked.funding_spend == replace(state.funding_spend, kind=SpendKind.REVOKED)


def test_a_spend_is_buried_at_its_sixth_confirmation(channel: Monitored) -> None:
    state = spent(channel, channel.state(), channel.closing_tx(), 110)
    for height in range(110, 115):
        assert best_block(state, height) == (state, ())
    buried, actions = best_block(state, 115)
    assert actions == (SpendIsBuried(channel.channel_id),)
    assert buried == replace(state, funding_spend=replace(state.funding_spend, buried=True))
    assert best_block(buried, 116) == (buried, ())
    assert block_disconnected(buried, 116) == (buried, ())
    assert block_disconnected(buried, 115) == (state, ()), "no longer six deep"
    gone, actions = block_disconnected(buried, 110)
    assert (gone, actions) == (replace(channel.state(), funding_spend_seen=True), ())
    assert best_block(gone, 200) == (gone, ())


def test_the_preimage_in_a_claim_of_the_counterparty() -> None:
    channel = Monitored(offered=("a", "c"), received=("b", "d"))
    state = spent(channel, channel.state(1), channel.counterparty_tx(1))
    claim = hit(channel.htlc_success_tx(1, "c", "a"))
    seen = tuple(PreimageSeen(channel.channel_id, payment_hash(name), preimage(name)) for name in ("c", "a"))
    assert transaction_seen(state, claim, 112) == (state, seen)
    assert transaction_seen(channel.state(1), claim, 112) == (channel.state(1), ())
    assert "PaymentPreimage of 32 bytes" in repr(seen)


def test_a_claim_of_ours_teaches_nothing(channel: Monitored) -> None:
    other = Monitored(offered=("b",), received=("a",))
    tx = other.htlc_success_tx(0, "b")
    inputs = [replace(tx_in, outpoint=OutPoint(txid(channel.holder_tx(0)), 0)) for tx_in in tx.inputs]
    state = spent(channel, channel.state(), channel.holder_tx(0))
    assert transaction_seen(state, hit(replace(tx, inputs=tuple(inputs))), 112) == (state, ())


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_record_does_not_grow_with_the_number_of_commitments(channel: Monitored) -> None:
    state = channel.state(1)
    first = len(records.encode(state))
    stored = 0
    for number in range(1, 1001):
        steps = (
            LatestCounterpartyCommitment(channel.counterparty_commitment(number + 1)),
            LatestHolderCommitment(channel.holder_commitment(number + 1)),
            CommitmentSecret(number, channel.secret(number)),
        )
        state, actions = channel.update(state, *steps)
        stored += sum(isinstance(action, StoreCommitment) for action in actions)
    assert stored == 1000
    # At most 49 secrets with their indexes, whatever the number; so early, ten of them.
    assert len(records.encode(state)) <= first + 10 * 45 + 20
    assert records.decode(MonitorState, records.encode(state)) == state
    for number in range(1001):
        assert state.counterparty_secrets.lookup(commitment_index(number)) == channel.secret(number)
