"""Updates and commitments in both directions: what passes, and every limit at its edge."""

import pytest

from pyln_fast.channel import channel
from pyln_fast.channel.actions import (
    ChannelUsable,
    EmitEvent,
    HtlcCommitted,
    HtlcFulfilled,
    HtlcNotSent,
    HtlcRemoved,
    SaveChannel,
    SendMessage,
    UpdateMonitor,
)
from pyln_fast.channel.commands import RemoveHtlc, SignCommitment, TakeNoteOfOnion, UpdateFee
from pyln_fast.channel.errors import ChannelUnavailable, HtlcRefused
from pyln_fast.channel.htlc import Failed, FailedMalformed, Fulfilled, HtlcStage
from pyln_fast.channel.limits import DustLimit, dust_exposure_msat, outbound_limit_msat, reason_to_fail_back
from pyln_fast.channel.state import Closing, Normal
from pyln_fast.config import FixedLimitMsat
from pyln_fast.events import ChannelClosed, HTLCsTimedOut, PeerFeerateTooLow, ProcessingError
from pyln_fast.tx.monitor_update import (
    ChannelForceClosed,
    CommitmentSecret,
    LatestCounterpartyCommitment,
    LatestHolderCommitment,
    PaymentPreimageKnown,
)
from pyln_fast.types import BlockHeight, FeeratePerKw, Msat, PaymentPreimage, Secret, Signature
from pyln_fast.wire.channel_msgs import (
    CommitmentSigned,
    RevokeAndAck,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.channel_msgs import UpdateFee as UpdateFeeMessage
from tests.channel.pair import Pair, Side, balances, replace

RESERVE_MSAT = 100_000_000
"""1 % of the 10,000,000 sat of the usual channel."""


def committed(pair: Pair, side: Side, amount_msat: int = 1_000_000) -> None:
    pair.add(side, amount_msat)
    pair.deliver_all()


def failed(side: Side, *words: str) -> Closing:
    """The channel failed, with these words in the error."""
    state = side.state
    assert isinstance(state, Closing)
    for word in words:
        assert word in state.error
    assert not state.never_broadcast
    assert [type(a) for a in side.actions[-4:]] == [UpdateMonitor, SaveChannel, SendMessage, EmitEvent]
    assert side.actions[-4].update.steps == (ChannelForceClosed(should_broadcast=True),)
    closed = side.actions[-1].event
    assert isinstance(closed, ChannelClosed)
    assert isinstance(closed.reason, ProcessingError | PeerFeerateTooLow)
    return state


def add_message(pair: Pair, **changes: object) -> UpdateAddHtlc:
    """What Alice could send to Bob as her first HTLC, with some fields changed."""
    channel_id = pair.alice.state.data.channel_id
    message = UpdateAddHtlc(channel_id, 0, Msat(1_000_000), bytes(32), 700, bytes(1366))
    return replace(message, **changes)


# --- the order of a transition's actions ------------------------------------------------------------------------------


def test_signing_tells_the_monitor_then_saves_then_speaks() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    transition = channel.execute(pair.alice.state, SignCommitment(), pair.alice.context)
    update, saved, add, commitment = transition.actions
    assert isinstance(update, UpdateMonitor)
    (step,) = update.update.steps
    assert isinstance(step, LatestCounterpartyCommitment)
    assert step.counterparty_commitment.commitment.number == 1
    assert update.update.update_id == pair.alice.state.data.monitor_update_id + 1
    assert saved == SaveChannel(transition.state)
    assert isinstance(add.message, UpdateAddHtlc)
    assert isinstance(commitment.message, CommitmentSigned)


def test_a_commitment_is_held_and_saved_before_the_revocation_leaves() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    pair.bob.actions.clear()
    pair.deliver_one(pair.alice)
    update, saved, revocation = pair.bob.actions
    (step,) = update.update.steps
    assert isinstance(step, LatestHolderCommitment)
    assert step.holder_commitment.commitment.number == 1
    assert saved == SaveChannel(pair.bob.state)
    assert isinstance(revocation.message, RevokeAndAck)


def test_a_revocation_is_stored_before_its_consequences() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.alice)
    pair.bob.execute(SignCommitment())
    pair.alice.actions.clear()
    pair.deliver_one(pair.bob)
    update, saved = pair.alice.actions
    (step,) = update.update.steps
    assert isinstance(step, CommitmentSecret)
    assert step.number == 0
    assert saved == SaveChannel(pair.alice.state)
    pair.deliver_one(pair.bob)
    pair.bob.actions.clear()
    pair.deliver_one(pair.alice)
    update, saved, htlc = pair.bob.actions
    assert saved == SaveChannel(pair.bob.state)
    assert htlc == HtlcCommitted(pair.bob.state.data.commitments.received(0))


def test_proposals_are_saved_and_say_nothing() -> None:
    pair = Pair().open()
    pair.alice.actions.clear()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(UpdateFee(FeeratePerKw(1100)))
    assert [type(action) for action in pair.alice.actions] == [SaveChannel, SaveChannel]
    pair.alice.execute(SignCommitment())
    pair.bob.actions.clear()
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.alice)
    assert pair.bob.actions == []


def test_a_fulfil_gives_the_monitor_its_preimage_first() -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    htlc = pair.bob.state.data.commitments.received(0)
    preimage = pair.preimages[htlc.payment_hash]
    pair.bob.actions.clear()
    pair.bob.execute(RemoveHtlc(0, Fulfilled(preimage)))
    update, saved = pair.bob.actions
    assert update.update.steps == (PaymentPreimageKnown(htlc.payment_hash, preimage),)
    assert saved == SaveChannel(pair.bob.state)


def test_a_received_fulfil_goes_upstream_before_any_commitment() -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    pair.fulfil_all(pair.bob)
    pair.bob.execute(SignCommitment())
    before = pair.alice.state.data.commitments.offered(0)
    pair.alice.actions.clear()
    pair.deliver_one(pair.bob)
    assert pair.alice.actions == [HtlcFulfilled(before, pair.preimages[before.payment_hash])]


def test_channel_ready_makes_the_channel_usable() -> None:
    pair = Pair()
    pair.open_until_confirmed()
    pair.alice.actions.clear()
    pair.deliver_one(pair.bob)
    saved, event, usable = pair.alice.actions
    assert saved == SaveChannel(pair.alice.state)
    assert isinstance(event, EmitEvent)
    assert usable == ChannelUsable()


# --- the dance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchors", [True, False], ids=["anchors", "static_remotekey"])
def test_crossing_commitments(anchors: bool) -> None:
    pair = Pair(anchors).open()
    for round_number in range(3):
        for amount in (1_000_000, 400_000, 20_000_000):
            pair.add(pair.alice, amount)
            pair.add(pair.bob, 2 * amount)
        pair.alice.execute(UpdateFee(FeeratePerKw(800 + 100 * round_number)))
        pair.alice.execute(SignCommitment())
        pair.bob.execute(SignCommitment())
        pair.deliver_all()
        assert len(pair.alice.of(HtlcCommitted)) == len(pair.bob.of(HtlcCommitted)) == 3
        pair.fulfil_all(pair.alice)
        pair.fulfil_all(pair.bob)
        pair.alice.execute(SignCommitment())
        pair.bob.execute(SignCommitment())
        pair.deliver_all()
    gained = 3 * 21_400_000
    assert balances(pair.alice) == (6_000_000_000 + gained, 4_000_000_000 - gained)
    assert balances(pair.bob) == (4_000_000_000 - gained, 6_000_000_000 + gained)
    assert pair.bob.state.data.commitments.fees.newest.feerate_per_kw == 1000


@pytest.mark.parametrize(
    "removal", [Failed(b"why" * 97), FailedMalformed(b"\x01" * 32, 0xC005)], ids=["fail", "fail_malformed"]
)
def test_a_failed_htlc_gives_its_amount_back(removal: Failed | FailedMalformed) -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    pair.bob.execute(RemoveHtlc(0, removal))
    pair.deliver_all()
    (removed,) = (action for action in pair.alice.of(HtlcRemoved) if action.htlc.offered)
    assert removed.htlc.removal == removal
    assert balances(pair.alice) == (6_000_000_000, 4_000_000_000)
    assert pair.alice.state.data.commitments.htlcs == pair.bob.state.data.commitments.htlcs == {}


def test_ids_go_on_after_removal() -> None:
    pair = Pair().open()
    for number in range(3):
        committed(pair, pair.alice)
        assert pair.bob.state.data.commitments.received(number) is not None
        pair.fulfil_all(pair.bob)
        pair.deliver_all()


def test_no_commitment_without_updates() -> None:
    pair = Pair().open()
    pair.alice.actions.clear()
    pair.alice.execute(SignCommitment())
    assert pair.alice.actions == []


def test_no_second_commitment_before_the_revocation() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    pair.add(pair.alice, 1_000_000)
    pair.alice.outbox.clear()
    pair.alice.execute(SignCommitment())
    assert pair.alice.sent() == []


def test_removing_twice_is_no_error_and_the_first_counts() -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    htlc = pair.bob.state.data.commitments.received(0)
    pair.bob.execute(RemoveHtlc(0, Failed(b"first")))
    pair.bob.actions.clear()
    pair.bob.execute(RemoveHtlc(0, Fulfilled(pair.preimages[htlc.payment_hash])))
    assert isinstance(pair.bob.actions[0], UpdateMonitor)
    pair.bob.execute(RemoveHtlc(77, Failed(b"nobody")))
    pair.deliver_all()
    assert balances(pair.alice) == (6_000_000_000, 4_000_000_000)


def test_an_onion_is_dropped_once_it_is_peeled() -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    assert pair.alice.state.data.commitments.offered(0).onion_routing_packet == b""
    pair.bob.execute(TakeNoteOfOnion({0: Secret(b"\x05" * 32), 8: Secret(bytes(32))}))
    htlc = pair.bob.state.data.commitments.received(0)
    assert (htlc.onion_routing_packet, htlc.shared_secret) == (b"", b"\x05" * 32)


# --- additions: limits ------------------------------------------------------------------------------------------------


def offered(pair: Pair, side: Side, amount_msat: int, reason: str) -> HtlcRefused:
    before = side.state
    with pytest.raises(HtlcRefused) as error:
        pair.add(side, amount_msat)
    assert error.value.reason == reason
    assert side.state is before
    return error.value


def test_the_smallest_amount() -> None:
    pair = Pair(our_htlc_minimum_msat=5000).open()
    offered(pair, pair.alice, 0, "ZeroAmount")
    error = offered(pair, pair.alice, 4999, "HTLCMinimum")
    assert (error.value, error.limit) == (4999, 5000)
    committed(pair, pair.alice, 5000)
    pair.bob.receive(add_message(pair, id=1, amount_msat=Msat(4999)))
    failed(pair.bob, "amount_msat: 4999, limit 5000")


def test_no_zero_amount() -> None:
    pair = Pair().open()
    pair.bob.receive(add_message(pair, amount_msat=Msat(0)))
    failed(pair.bob, "amount_msat: 0, limit 1")


def test_the_latest_expiry() -> None:
    pair = Pair().open()
    with pytest.raises(HtlcRefused) as error:
        pair.add(pair.alice, 1_000_000, 500_000_000)
    assert error.value.reason == "CLTVExpiryTooFar"
    pair.add(pair.alice, 1_000_000, 499_999_999)
    pair.deliver_all()
    pair.bob.receive(add_message(pair, id=1, cltv_expiry=500_000_000))
    failed(pair.bob, "cltv_expiry: 500000000, limit 499999999")


@pytest.mark.parametrize("sender", ["alice", "bob"])
def test_the_most_htlcs(sender: str) -> None:
    pair = Pair(our_max_accepted_htlcs=3).open()
    side, other = (pair.alice, pair.bob) if sender == "alice" else (pair.bob, pair.alice)
    for _ in range(3):
        pair.add(side, 1_000_000)
    error = offered(pair, side, 1_000_000, "TemporaryChannelFailure")
    assert (error.what, error.value, error.limit) == ("max_accepted_htlcs", 4, 3)
    pair.deliver_all()
    assert len(other.of(HtlcCommitted)) == 3
    other.receive(add_message(pair, id=3))
    failed(other, "max_accepted_htlcs: 4, limit 3")


@pytest.mark.parametrize("sender", ["alice", "bob"])
def test_the_most_in_flight(sender: str) -> None:
    pair = Pair(unannounced_channel_max_inbound_htlc_value_in_flight_percentage=1).open()
    side, other = (pair.alice, pair.bob) if sender == "alice" else (pair.bob, pair.alice)
    pair.add(side, 60_000_000)
    error = offered(pair, side, 40_000_001, "HTLCMaximum")
    assert (error.value, error.limit) == (100_000_001, 100_000_000)
    pair.add(side, 40_000_000)
    pair.deliver_all()
    assert len(other.of(HtlcCommitted)) == 2
    other.receive(add_message(pair, id=2, amount_msat=Msat(1)))
    failed(other, "max_htlc_value_in_flight_msat: 100000001, limit 100000000")


def fee_msat(htlcs: int, anchors: bool, feerate: int = 1000) -> int:
    weight = (1124 if anchors else 724) + 172 * htlcs
    return 1000 * (feerate * weight // 1000) + (660_000 if anchors else 0)


@pytest.mark.parametrize("anchors", [True, False], ids=["anchors", "static_remotekey"])
def test_the_openers_reserve_and_buffer(anchors: bool) -> None:
    """Above the reserve: the fee with one HTLC more, and twice the feerate without anchors (BOLT 2)."""
    pair = Pair(anchors).open()
    buffer = fee_msat(2, anchors, 1000 if anchors else 2000)
    most = 6_000_000_000 - RESERVE_MSAT - buffer
    data = pair.alice.state.data
    dust = DustLimit.of(data.config, pair.alice.feerates.maximum_fee_estimate)
    assert outbound_limit_msat(data.params, data.commitments, dust) == most
    error = offered(pair, pair.alice, most + 1, "ChannelBalanceOverdrawn")
    assert (error.value, error.limit) == (RESERVE_MSAT + buffer - 1, RESERVE_MSAT + buffer)
    committed(pair, pair.alice, most)
    assert isinstance(pair.bob.state, Normal)


@pytest.mark.parametrize("anchors", [True, False], ids=["anchors", "static_remotekey"])
def test_what_the_acceptor_takes_from_the_opener(anchors: bool) -> None:
    """The buffer is the sender's wish; the receiver insists on the reserve and the fee (BOLT 2)."""
    most = 6_000_000_000 - RESERVE_MSAT - fee_msat(1, anchors)
    pair = Pair(anchors).open()
    pair.bob.receive(add_message(pair, amount_msat=Msat(most)))
    assert isinstance(pair.bob.state, Normal)
    pair = Pair(anchors).open()
    pair.bob.receive(add_message(pair, amount_msat=Msat(most + 1)))
    required = RESERVE_MSAT + fee_msat(1, anchors)
    failed(pair.bob, f"balance_msat: {required - 1}, limit {required}")


def test_the_acceptors_reserve() -> None:
    pair = Pair().open()
    most = 4_000_000_000 - RESERVE_MSAT
    error = offered(pair, pair.bob, most + 1, "ChannelBalanceOverdrawn")
    assert (error.value, error.limit) == (RESERVE_MSAT - 1, RESERVE_MSAT)
    committed(pair, pair.bob, most)
    assert isinstance(pair.alice.state, Normal)
    pair = Pair().open()
    pair.alice.receive(add_message(pair, amount_msat=Msat(most + 1)))
    failed(pair.alice, f"balance_msat: {RESERVE_MSAT - 1}, limit {RESERVE_MSAT}")


def test_an_acceptor_without_anything() -> None:
    pair = Pair(push_msat=0).open()
    offered(pair, pair.bob, 1, "ChannelBalanceOverdrawn")
    pair.alice.receive(add_message(pair, amount_msat=Msat(1)))
    failed(pair.alice, f"limit {RESERVE_MSAT}")


def test_the_acceptor_does_not_offer_what_the_opener_cannot_pay_for() -> None:
    pair = Pair(value_sat=1_000_000, push_msat=980_000_000, dust_msat=50_000_000).open()
    reserve = 10_000_000
    opener = 20_000_000
    affordable = 0
    while opener >= reserve + fee_msat(affordable + 1, True):
        affordable += 1
    for _ in range(affordable):
        pair.add(pair.bob, 1_000_000)
    error = offered(pair, pair.bob, 1_000_000, "ChannelBalanceOverdrawn")
    assert error.what == "opener's balance_msat"
    # What needs no output costs the opener nothing.
    pair.add(pair.bob, 100_000)
    pair.deliver_all()
    assert isinstance(pair.alice.state, Normal)
    assert len(pair.alice.of(HtlcCommitted)) == affordable + 1


def test_dust_exposure_when_offering() -> None:
    pair = Pair(dust_msat=1_000_000).open()
    for _ in range(4):
        pair.add(pair.alice, 250_000)
    error = offered(pair, pair.alice, 250_000, "DustLimitCounterparty")
    assert (error.what, error.value, error.limit) == ("max_dust_htlc_exposure", 1_250_000, 1_000_000)
    pair.add(pair.alice, 354_000)
    pair.deliver_all()
    data = pair.bob.state.data
    assert dust_exposure_msat(data.params, data.commitments, FeeratePerKw(5000)) == 1_000_000


def test_dust_exposure_when_receiving_fails_the_htlc_back() -> None:
    """The sender's limit is higher than ours: legal, and not for us to take."""
    pair = Pair(dust_msat=1_000_000).open()
    alice = pair.alice.state
    config = replace(alice.data.config, max_dust_htlc_exposure=FixedLimitMsat(Msat(10_000_000)))
    pair.alice.state = replace(alice, data=replace(alice.data, config=config))
    for _ in range(5):
        pair.add(pair.alice, 250_000)
    pair.deliver_all()
    data = pair.bob.state.data
    dust = DustLimit.of(data.config, FeeratePerKw(5000))
    htlc = pair.bob.of(HtlcCommitted)[-1].htlc
    assert reason_to_fail_back(data.params, data.commitments, htlc, dust) == "DustLimitCounterparty"
    large = replace(htlc, amount_msat=Msat(354_000))
    assert reason_to_fail_back(data.params, data.commitments, large, dust) is None


def test_the_fee_spike_buffer_of_the_acceptor() -> None:
    """An opener without anchors that could not pay for one more HTLC at twice the feerate."""
    pair = Pair(anchors=False).open()
    data = pair.bob.state.data
    dust = DustLimit.of(data.config, FeeratePerKw(5000))
    most = 6_000_000_000 - RESERVE_MSAT - fee_msat(2, False, 2000)
    committed(pair, pair.alice, most)
    state = pair.bob.state.data
    htlc = state.commitments.received(0)
    assert reason_to_fail_back(state.params, state.commitments, htlc, dust) is None
    poorer = replace(state.commitments, to_counterparty_msat=Msat(state.commitments.to_counterparty_msat - 1))
    assert reason_to_fail_back(state.params, poorer, htlc, dust) == "FeeSpikeBuffer"


def test_what_no_longer_fits_is_not_signed() -> None:
    """Queued behind a revocation while the counterparty's HTLCs make the commitment dearer."""
    pair = Pair(value_sat=1_000_000, push_msat=500_000_000).open()
    data = pair.alice.state.data
    dust = DustLimit.of(data.config, FeeratePerKw(5000))
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    for _ in range(3):
        pair.add(pair.bob, 1_000_000)
    pair.bob.execute(SignCommitment())
    data = pair.alice.state.data
    pair.add(pair.alice, outbound_limit_msat(data.params, data.commitments, dust))
    pair.alice.actions.clear()
    pair.deliver_all()
    (not_sent,) = pair.alice.of(HtlcNotSent)
    assert not_sent.reason == "ChannelBalanceOverdrawn"
    assert isinstance(pair.bob.state, Normal)
    assert pair.alice.state.data.commitments.next_holder_htlc_id == 1


def test_a_queued_addition_expires() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    pair.add(pair.alice, 2_000_000, 511)
    pair.add(pair.alice, 3_000_000, 700)
    height = pair.alice.height
    assert height == 507
    pair.mine(1)
    (not_sent,) = pair.alice.of(HtlcNotSent)
    assert (not_sent.htlc.id, not_sent.reason) == (1, "CLTVExpiryTooSoon")
    assert pair.alice.state.data.commitments.offered(1).amount_msat == 3_000_000
    pair.deliver_all()
    assert [action.htlc.amount_msat for action in pair.bob.of(HtlcCommitted)] == [1_000_000, 3_000_000]


# --- additions and removals that are wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("htlc_id", [0, 2, (1 << 64) - 1])
def test_a_wrong_id(htlc_id: int) -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    pair.bob.receive(add_message(pair, id=htlc_id))
    failed(pair.bob, f"HTLC id {htlc_id}, expected 1")


def test_one_payment_hash_twice() -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    payment_hash = pair.alice.state.data.commitments.offered(0).payment_hash
    pair.bob.receive(add_message(pair, id=1, payment_hash=payment_hash))
    assert isinstance(pair.bob.state, Normal)


def removals(pair: Pair, htlc_id: int, preimage: bytes) -> list:
    channel_id = pair.alice.state.data.channel_id
    return [
        UpdateFulfillHtlc(channel_id, htlc_id, PaymentPreimage(preimage)),
        UpdateFailHtlc(channel_id, htlc_id, b"why"),
        UpdateFailMalformedHtlc(channel_id, htlc_id, bytes(32), 0xC005),
    ]


@pytest.mark.parametrize("kind", range(3))
def test_removal_of_what_is_not_there(kind: int) -> None:
    pair = Pair().open()
    committed(pair, pair.bob)
    for htlc_id in (0, 1):
        # Alice's HTLC 0 does not exist; Bob's own does, and is not his to remove.
        transition = channel.receive(pair.alice.state, removals(pair, htlc_id, bytes(32))[kind], pair.alice.context)
        assert isinstance(transition.state, Closing)


@pytest.mark.parametrize("kind", range(3))
def test_removal_twice(kind: int) -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    preimage = next(iter(pair.preimages.values()))
    first = removals(pair, 0, preimage)[(kind + 1) % 3]
    pair.alice.receive(first)
    assert isinstance(pair.alice.state, Normal)
    pair.alice.receive(removals(pair, 0, preimage)[kind])
    failed(pair.alice, "HTLC id 0")


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("delivered", range(4))
def test_removal_before_the_htlc_is_committed(kind: int, delivered: int) -> None:
    """In none of the four steps before: add and commitment_signed, revoke_and_ack, commitment_signed."""
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    if delivered:
        pair.alice.execute(SignCommitment())
    if delivered > 1:
        pair.deliver_one(pair.alice)
        pair.deliver_one(pair.alice)
        if delivered > 2:
            pair.deliver_one(pair.bob)
    preimage = next(iter(pair.preimages.values()))
    stage = pair.alice.state.data.commitments.offered(0).stage
    assert stage == (HtlcStage.ADD_PROPOSED, HtlcStage.ADD_SIGNED, HtlcStage.ADD_SIGNED, HtlcStage.ADD_ACKED)[delivered]
    pair.alice.receive(removals(pair, 0, preimage)[kind])
    state = pair.alice.state
    assert isinstance(state, Closing)
    assert "HTLC id 0" in state.error


def test_a_wrong_preimage() -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    pair.alice.receive(removals(pair, 0, bytes(32))[0])
    failed(pair.alice, "HTLC 0 does not hash")
    assert pair.alice.of(HtlcFulfilled) == []


@pytest.mark.parametrize("code", [0x4005, 0, 0x7FFF])
def test_fail_malformed_without_badonion(code: int) -> None:
    pair = Pair().open()
    committed(pair, pair.alice)
    channel_id = pair.alice.state.data.channel_id
    pair.alice.receive(UpdateFailMalformedHtlc(channel_id, 0, bytes(32), code))
    failed(pair.alice, "BADONION")


# --- signatures and secrets that are wrong ----------------------------------------------------------------------------


def signed(pair: Pair, htlcs: int) -> CommitmentSigned:
    """Alice's commitment_signed; its updates have arrived."""
    for number in range(htlcs):
        pair.add(pair.alice, 1_000_000 + number)
    pair.add(pair.alice, 100_000)
    pair.alice.execute(SignCommitment())
    for _ in range(htlcs + 1):
        pair.deliver_one(pair.alice)
    (message,) = pair.alice.sent()
    assert isinstance(message, CommitmentSigned)
    assert len(message.htlc_signature) == htlcs
    return message


def test_a_wrong_commitment_signature() -> None:
    pair = Pair().open()
    message = signed(pair, 2)
    pair.bob.receive(replace(message, signature=message.htlc_signature[0]))
    failed(pair.bob)


@pytest.mark.parametrize("index", range(4))
def test_a_wrong_htlc_signature(index: int) -> None:
    pair = Pair().open()
    message = signed(pair, 4)
    signatures = list(message.htlc_signature)
    signatures[index] = signatures[index - 1]
    pair.bob.receive(replace(message, htlc_signature=tuple(signatures)))
    failed(pair.bob, f"HTLC signature {index} ")


def test_a_signature_with_a_high_s() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    pair = Pair().open()
    message = signed(pair, 1)
    s = int.from_bytes(message.signature[32:], "big")
    high = Signature(message.signature[:32] + (order - s).to_bytes(32, "big"))
    pair.bob.receive(replace(message, signature=high))
    failed(pair.bob)


@pytest.mark.parametrize("count", [0, 1, 3, 483])
def test_a_wrong_number_of_htlc_signatures(count: int) -> None:
    pair = Pair().open()
    message = signed(pair, 2)
    pair.bob.receive(replace(message, htlc_signature=message.htlc_signature[:1] * count))
    failed(pair.bob, f"{count} HTLC signatures for 2 HTLC outputs")


def revocation(pair: Pair) -> RevokeAndAck:
    """Bob's first, on its way."""
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    pair.deliver_one(pair.alice)
    (message,) = pair.bob.sent()
    assert isinstance(message, RevokeAndAck)
    return message


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\x01" * 32])
def test_a_wrong_secret(secret: bytes) -> None:
    pair = Pair().open()
    pair.alice.receive(replace(revocation(pair), per_commitment_secret=Secret(secret)))
    failed(pair.alice, "revocation of commitment 0")


def test_a_revocation_that_nobody_owes() -> None:
    pair = Pair().open()
    message = revocation(pair)
    pair.alice.receive(message)
    pair.alice.receive(message)
    failed(pair.alice, "revoke_and_ack")


# --- feerates ---------------------------------------------------------------------------------------------------------


def fee_message(pair: Pair, feerate: int) -> UpdateFeeMessage:
    return UpdateFeeMessage(pair.alice.state.data.channel_id, FeeratePerKw(feerate))


def test_only_the_opener_sets_the_feerate() -> None:
    pair = Pair().open()
    with pytest.raises(ChannelUnavailable):
        pair.bob.execute(UpdateFee(FeeratePerKw(2000)))
    pair.alice.receive(fee_message(pair, 2000))
    failed(pair.alice, "update_fee")


def test_a_feerate_that_is_too_low() -> None:
    pair = Pair().open()
    pair.bob.feerates = replace(pair.bob.feerates, min_allowed_anchor_channel_remote_fee=FeeratePerKw(900))
    pair.bob.receive(fee_message(pair, 900))
    assert isinstance(pair.bob.state, Normal)
    pair.bob.receive(fee_message(pair, 899))
    failed(pair.bob, "899", "900")
    assert pair.bob.actions[-1].event.reason == PeerFeerateTooLow(899, 900)


def test_a_low_feerate_that_is_an_increase() -> None:
    pair = Pair().open()
    pair.bob.feerates = replace(pair.bob.feerates, min_allowed_anchor_channel_remote_fee=FeeratePerKw(3000))
    pair.bob.receive(fee_message(pair, 1001))
    assert isinstance(pair.bob.state, Normal)


@pytest.mark.parametrize("anchors", [True, False], ids=["anchors", "static_remotekey"])
def test_a_feerate_that_the_opener_cannot_pay(anchors: bool) -> None:
    pair = Pair(anchors, value_sat=100_000, push_msat=90_000_000).open()
    highest = 1000
    while fee_msat(2, anchors, highest + 1) <= 10_000_000 - 1_000_000:
        highest += 1
    with pytest.raises(ChannelUnavailable):
        pair.alice.execute(UpdateFee(FeeratePerKw(highest + 1)))
    pair.alice.execute(UpdateFee(FeeratePerKw(highest)))
    pair.deliver_all()
    assert pair.bob.state.data.commitments.fees.newest.feerate_per_kw == highest


def test_a_feerate_beyond_the_openers_balance_fails_when_it_is_committed() -> None:
    pair = Pair(value_sat=100_000, push_msat=90_000_000).open()
    pair.bob.receive(fee_message(pair, 100_000))
    assert isinstance(pair.bob.state, Normal)
    pair.bob.receive(CommitmentSigned(pair.bob.state.data.channel_id, Signature(bytes(64)), ()))
    failed(pair.bob, "update_fee: the sender's balance_msat")


def test_a_feerate_that_makes_too_much_dust() -> None:
    """BOLT 2: without anchors a rise in feerate trims what had an output."""
    pair = Pair(anchors=False, dust_msat=8_000_000).open()
    for _ in range(3):
        pair.add(pair.alice, 3_000_000)
    pair.deliver_all()
    with pytest.raises(ChannelUnavailable):
        pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.bob.receive(fee_message(pair, 2000))
    pair.bob.receive(CommitmentSigned(pair.bob.state.data.channel_id, Signature(bytes(64)), ()))
    failed(pair.bob, "max_dust_htlc_exposure: 9000000, limit 8000000")


def test_a_feerate_crossed_by_our_dust_is_not_the_senders_fault() -> None:
    pair = Pair(anchors=False, dust_msat=8_000_000).open()
    for _ in range(3):
        pair.add(pair.bob, 3_000_000)
    pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.bob.execute(SignCommitment())
    pair.alice.execute(SignCommitment())
    pair.deliver_all()
    assert isinstance(pair.alice.state, Normal)
    assert isinstance(pair.bob.state, Normal)
    assert pair.bob.state.data.commitments.fees.newest.feerate_per_kw == 2000


def test_a_feerate_above_our_estimate_is_exposure() -> None:
    pair = Pair(dust_msat=1_000_000).open()
    pair.bob.feerates = replace(pair.bob.feerates, maximum_fee_estimate=FeeratePerKw(1000))
    pair.bob.receive(fee_message(pair, 1889))
    pair.bob.receive(CommitmentSigned(pair.bob.state.data.channel_id, Signature(bytes(64)), ()))
    assert "max_dust" not in pair.bob.state.error
    pair = Pair(dust_msat=1_000_000).open()
    pair.bob.feerates = replace(pair.bob.feerates, maximum_fee_estimate=FeeratePerKw(1000))
    pair.bob.receive(fee_message(pair, 1891))
    pair.bob.receive(CommitmentSigned(pair.bob.state.data.channel_id, Signature(bytes(64)), ()))
    failed(pair.bob, "max_dust_htlc_exposure: 1001000, limit 1000000")


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_an_offered_htlc_past_its_expiry_closes_the_channel() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000, 700)
    pair.deliver_all()
    payment_hash = pair.alice.state.data.commitments.offered(0).payment_hash
    pair.mine(702 - pair.alice.height)
    assert isinstance(pair.alice.state, Normal)
    pair.mine(1)
    assert isinstance(pair.alice.state, Closing)
    assert pair.alice.actions[-1].event.reason == HTLCsTimedOut(payment_hash)
    assert isinstance(pair.bob.state, Normal)


def test_a_known_preimage_closes_the_channel_in_time() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000, 700)
    pair.deliver_all()
    pair.fulfil_all(pair.bob)
    pair.mine(700 - 37 - pair.bob.height)
    assert isinstance(pair.bob.state, Normal)
    pair.mine(1)
    assert isinstance(pair.bob.state, Closing)


@pytest.mark.parametrize("connected", [True, False])
def test_deadlines_hold_while_the_peer_is_away(connected: bool) -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000, 700)
    pair.deliver_all()
    pair.disconnect()
    if connected:
        pair.reconnect()
    pair.alice.height = BlockHeight(700)
    pair.mine(3)
    assert isinstance(pair.alice.state, Closing)
