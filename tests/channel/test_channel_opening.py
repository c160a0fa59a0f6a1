"""Opening as funder and fundee: every limit at its edge, wrong signatures, fundings that come, go, or never come."""

import pytest

from pyln_fast.channel import channel
from pyln_fast.channel.actions import (
    BroadcastTransaction,
    ChangeChannelId,
    CreateMonitor,
    EmitEvent,
    ForgetChannel,
    SaveChannel,
    SendMessage,
)
from pyln_fast.channel.commands import (
    AcceptChannelCommand,
    FundingConfirmed,
    FundingTransactionGenerated,
    FundingUnconfirmed,
    NewBlock,
)
from pyln_fast.channel.errors import (
    APIMisuse,
    ChannelUnavailable,
    InvalidField,
    LimitExceeded,
    PeerFeerateBelowMinimum,
)
from pyln_fast.channel.opening import ANCHORS, STATIC_REMOTEKEY
from pyln_fast.channel.state import Normal, WaitForChannelReady, WaitForFundingConfirmed, WaitForFundingTransaction
from pyln_fast.channel.states.wait_for_accept_channel import open_channel
from pyln_fast.channel.states.wait_for_open_channel import on_open_channel
from pyln_fast.events import ChannelClosed, ChannelPending, FundingTimedOut, FundingTxBroadcastSafe
from pyln_fast.features import Feature, Features
from pyln_fast.tx.transaction import Transaction, TxInput, parse, serialize, txid
from pyln_fast.types import BlockHeight, Msat, OutPoint, Sat, ShortChannelId, Signature, TxOut, channel_id_v1
from pyln_fast.wire.channel_msgs import AcceptChannel, FundingCreated, FundingSigned, OpenChannel
from pyln_fast.wire.setup_msgs import Error
from tests.channel.pair import Pair, funding_transaction, replace


def proposal(**arguments: object) -> tuple[Pair, OpenChannel]:
    pair = Pair(**arguments)
    (message,) = pair.alice.sent()
    assert isinstance(message, OpenChannel)
    return pair, message


# --- open_channel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("anchors", "kind"), [(True, ANCHORS), (False, STATIC_REMOTEKEY)])
def test_what_we_propose(anchors: bool, kind: bytes) -> None:
    pair, message = proposal(anchors=anchors)
    assert message.channel_type == kind
    assert message.funding_satoshis == 10_000_000
    assert message.push_msat == 4_000_000_000
    assert message.channel_reserve_satoshis == 100_000
    assert message.dust_limit_satoshis == 354
    assert message.feerate_per_kw == 1000
    assert message.upfront_shutdown_script == pair.alice.keys.get_shutdown_scriptpubkey()


# field, the last value that passes, the first that does not
EDGES = [
    ("push_msat", 9_896_800_000, 10_000_000_001),
    ("funding_satoshis", 21_000_000 * 100_000_000, 21_000_000 * 100_000_000 + 1),
    ("dust_limit_satoshis", 354, 353),
    ("dust_limit_satoshis", 10_000, 10_001),
    ("to_self_delay", 2016, 2017),
    ("max_accepted_htlcs", 483, 484),
    ("max_accepted_htlcs", 1, 0),
    ("channel_reserve_satoshis", 354, 353),
    ("htlc_minimum_msat", 9_900_000_000, 9_900_000_001),
    ("feerate_per_kw", 50_000, 50_001),
]


@pytest.mark.parametrize(("field", "passes", "fails"), EDGES)
def test_open_channel_at_its_limits(field: str, passes: int, fails: int) -> None:
    pair, message = proposal()
    on_open_channel(replace(message, **{field: passes}), pair.alice.node_id, pair.bob.context)
    with pytest.raises(LimitExceeded) as error:
        on_open_channel(replace(message, **{field: fails}), pair.alice.node_id, pair.bob.context)
    assert field in error.value.what
    assert error.value.value == fails or field == "channel_reserve_satoshis"


def test_dust_limit_above_the_reserve() -> None:
    pair, message = proposal()
    with pytest.raises(LimitExceeded):
        on_open_channel(
            replace(message, dust_limit_satoshis=Sat(5001), channel_reserve_satoshis=Sat(5000)),
            pair.alice.node_id,
            pair.bob.context,
        )


def test_a_legacy_dust_limit() -> None:
    pair, message = proposal(anchors=False)
    on_open_channel(replace(message, dust_limit_satoshis=Sat(546)), pair.alice.node_id, pair.bob.context)
    with pytest.raises(LimitExceeded):
        on_open_channel(replace(message, dust_limit_satoshis=Sat(547)), pair.alice.node_id, pair.bob.context)


def test_a_feerate_that_would_not_confirm() -> None:
    pair, message = proposal()
    on_open_channel(replace(message, feerate_per_kw=253), pair.alice.node_id, pair.bob.context)
    with pytest.raises(PeerFeerateBelowMinimum):
        on_open_channel(replace(message, feerate_per_kw=252), pair.alice.node_id, pair.bob.context)


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_hash": bytes(32)},
        {"channel_type": None},
        {"channel_type": b""},
        {"channel_type": b"\x41\x10\x00"},
        {"channel_flags": 1},
        {"funding_pubkey": b"\x02" + b"\xff" * 32},
        {"first_per_commitment_point": b"\x04" + bytes(32)},
        {"upfront_shutdown_script": b"\x51"},
    ],
)
def test_a_field_that_is_not_acceptable(changes: dict[str, object]) -> None:
    pair, message = proposal()
    with pytest.raises(InvalidField) as error:
        on_open_channel(replace(message, **changes), pair.alice.node_id, pair.bob.context)
    assert error.value.field in changes


def test_undefined_channel_flags_are_ignored() -> None:
    pair, message = proposal()
    on_open_channel(replace(message, channel_flags=0xFE), pair.alice.node_id, pair.bob.context)


@pytest.mark.parametrize("changes", [{"push_msat": 9_999_000_000}, {"push_msat": 9_998_000_000}])
def test_an_opener_that_cannot_pay_the_fee(changes: dict[str, int]) -> None:
    pair, message = proposal()
    pair.bob.take(on_open_channel(replace(message, **changes), pair.alice.node_id, pair.bob.context))
    pair.bob.execute(AcceptChannelCommand(2, pair.bob.keys.generate_channel_keys_id(True, 2)))
    assert [type(message) for message in pair.bob.sent()] == [Error]
    assert pair.bob.actions[-1] == ForgetChannel()


def test_wumbo_needs_the_feature() -> None:
    Pair(value_sat=1 << 24)
    pair = Pair()
    context = replace(
        pair.alice.context, counterparty_features=Features.of(optional=(Feature.OPTION_ANCHORS,)).encode()
    )
    arguments = (Msat(0), 1, pair.alice.keys.generate_channel_keys_id(False, 9), pair.alice.config, context)
    open_channel(pair.bob.node_id, Sat((1 << 24) - 1), *arguments)
    with pytest.raises(APIMisuse):
        open_channel(pair.bob.node_id, Sat(1 << 24), *arguments)


@pytest.mark.parametrize(("value_sat", "push_msat"), [(999, 0), (10_000, 10_000_001), (1000, 0)])
def test_a_channel_that_makes_no_sense(value_sat: int, push_msat: int) -> None:
    with pytest.raises(APIMisuse):
        Pair(value_sat=value_sat, push_msat=push_msat)


# --- accept_channel ---------------------------------------------------------------------------------------------------


def answer() -> tuple[Pair, AcceptChannel]:
    pair = Pair()
    pair.deliver_all(sign=False)
    pair.bob.execute(AcceptChannelCommand(2, pair.bob.keys.generate_channel_keys_id(True, 2)))
    (message,) = pair.bob.sent()
    assert isinstance(message, AcceptChannel)
    return pair, message


@pytest.mark.parametrize(
    ("field", "passes", "fails"),
    [
        ("minimum_depth", 144, 145),
        ("dust_limit_satoshis", 354, 353),
        ("dust_limit_satoshis", 10_000, 10_001),
        ("to_self_delay", 2016, 2017),
        ("max_accepted_htlcs", 483, 484),
        ("max_accepted_htlcs", 1, 0),
        ("channel_reserve_satoshis", 354, 353),
        ("channel_reserve_satoshis", 5_990_000, 9_900_000),
        ("htlc_minimum_msat", 9_900_000_000, 9_900_000_001),
    ],
)
def test_accept_channel_at_its_limits(field: str, passes: int, fails: int) -> None:
    pair, message = answer()
    taken = channel.receive(pair.alice.state, replace(message, **{field: passes}), pair.alice.context)
    assert isinstance(taken.state, WaitForFundingTransaction)
    refused = channel.receive(pair.alice.state, replace(message, **{field: fails}), pair.alice.context)
    assert [type(action) for action in refused.actions] == [SendMessage, EmitEvent, ForgetChannel]
    assert isinstance(refused.actions[0].message, Error)


@pytest.mark.parametrize("kind", [None, STATIC_REMOTEKEY, b""])
def test_another_channel_type_in_the_answer(kind: bytes | None) -> None:
    pair, message = answer()
    refused = channel.receive(pair.alice.state, replace(message, channel_type=kind), pair.alice.context)
    assert refused.actions[-1] == ForgetChannel()


# --- the funding ------------------------------------------------------------------------------------------------------


def funding(pair: Pair) -> Transaction:
    pair.deliver_all(sign=False)
    ready = pair.alice.events()[0]
    return parse(funding_transaction(ready))


@pytest.mark.parametrize("wrong", ["value", "script", "twice", "no witness", "none", "garbage"])
def test_a_funding_transaction_that_does_not_pay(wrong: str) -> None:
    pair, _ = answer()
    tx = funding(pair)
    output = tx.outputs[0]
    made = {
        "value": lambda: replace(tx, outputs=(TxOut(Sat(output.value_sat + 1), output.script_pubkey),)),
        "script": lambda: replace(tx, outputs=(TxOut(output.value_sat, bytes(34)),)),
        "twice": lambda: replace(tx, outputs=(output, output)),
        "no witness": lambda: replace(tx, inputs=(TxInput(tx.inputs[0].outpoint),)),
        "none": lambda: replace(tx, outputs=(TxOut(Sat(1), b"\x51"),)),
    }
    raw = b"\x01\x02" if wrong == "garbage" else serialize(made[wrong]())
    before = pair.alice.state
    with pytest.raises(APIMisuse):
        pair.alice.execute(FundingTransactionGenerated(raw))
    assert pair.alice.state is before


def test_the_funding_output_is_found_among_others() -> None:
    pair, _ = answer()
    tx = funding(pair)
    tx = replace(tx, outputs=(TxOut(Sat(5000), b"\x00\x14" + bytes(20)), *tx.outputs))
    pair.alice.execute(FundingTransactionGenerated(serialize(tx)))
    (message,) = pair.alice.sent()
    assert (message.funding_txid, message.funding_output_index) == (txid(tx), 1)


def test_the_order_of_actions_of_the_fundee() -> None:
    pair = Pair()
    pair.open_until_created()
    pair.bob.actions.clear()
    (created,) = pair.alice.sent()
    assert isinstance(created, FundingCreated)
    pair.deliver_one(pair.alice)
    changed, monitor, saved, send, pending = pair.bob.actions
    channel_id = channel_id_v1(OutPoint(created.funding_txid, 0))
    assert changed == ChangeChannelId(created.temporary_channel_id, channel_id)
    assert isinstance(monitor, CreateMonitor)
    assert saved == SaveChannel(pair.bob.state)
    assert isinstance(send.message, FundingSigned)
    assert isinstance(pending.event, ChannelPending)


@pytest.mark.parametrize("manual", [False, True])
def test_the_order_of_actions_of_the_funder(manual: bool) -> None:
    """The funding is broadcast only behind the monitor and the channel."""
    pair, _ = answer()
    tx = funding(pair)
    pair.alice.execute(FundingTransactionGenerated(serialize(tx), manual))
    pair.deliver_one(pair.alice)
    pair.alice.actions.clear()
    pair.deliver_one(pair.bob)
    changed, monitor, saved, seen, pending = pair.alice.actions
    assert isinstance(changed, ChangeChannelId)
    assert isinstance(monitor, CreateMonitor)
    assert saved == SaveChannel(pair.alice.state)
    if manual:
        assert isinstance(seen.event, FundingTxBroadcastSafe)
    else:
        assert seen == BroadcastTransaction(serialize(tx), "Funding")
    assert isinstance(pending.event, ChannelPending)


def test_a_wrong_signature_in_funding_created() -> None:
    pair = Pair()
    pair.open_until_created()
    (message,) = pair.alice.sent()
    pair.bob.receive(replace(message, signature=Signature(bytes(63) + b"\x01")))
    assert pair.bob.actions[-1] == ForgetChannel()
    assert pair.bob.of(CreateMonitor) == []


def test_a_wrong_signature_or_channel_id_in_funding_signed() -> None:
    pair = Pair()
    pair.open_until_created()
    pair.deliver_one(pair.alice)
    (message,) = pair.bob.sent()
    for changes in ({"signature": Signature(bytes(63) + b"\x01")}, {"channel_id": bytes(32)}):
        transition = channel.receive(pair.alice.state, replace(message, **changes), pair.alice.context)
        kinds = [type(action).__name__ for action in transition.actions]
        assert kinds == ["SendMessage", "DiscardFunding", "EmitEvent", "ForgetChannel"]
        # The fundee knows the channel by the id that its funding gives it.
        assert transition.actions[0].message.channel_id == pair.bob.state.data.channel_id


# --- the chain --------------------------------------------------------------------------------------------------------


def test_channel_ready_at_the_depth_and_not_before() -> None:
    pair = Pair()
    pair.open_until_funded()
    depth = pair.alice.state.data.params.minimum_depth
    assert depth == 6
    pair.mine(1)
    pair.alice.execute(FundingConfirmed(BlockHeight(pair.alice.height), 3))
    pair.mine(depth - 2)
    assert isinstance(pair.alice.state, WaitForFundingConfirmed)
    pair.mine(1)
    assert isinstance(pair.alice.state, WaitForChannelReady)
    (message,) = pair.alice.sent()
    assert message.short_channel_id == pair.alice.state.data.holder_alias


def test_the_alias_and_a_redundant_channel_ready() -> None:
    pair = Pair()
    pair.open_until_confirmed()
    (message,) = pair.bob.sent()
    pair.deliver_all()
    data = pair.alice.state.data
    assert data.counterparty_alias == message.short_channel_id == pair.bob.state.data.holder_alias
    pair.alice.actions.clear()
    pair.alice.receive(message)
    assert pair.alice.actions == []
    other = data.commitments.counterparty_current_point
    pair.alice.receive(replace(message, short_channel_id=ShortChannelId(77), second_per_commitment_point=other))
    assert pair.alice.state.data == replace(data, counterparty_alias=77)


def test_a_reorganisation_before_channel_ready() -> None:
    pair = Pair()
    pair.open_until_funded()
    for side in (pair.alice, pair.bob):
        side.execute(FundingConfirmed(BlockHeight(501), 3))
        side.execute(FundingUnconfirmed())
    pair.mine(20)
    assert isinstance(pair.alice.state, WaitForFundingConfirmed)
    pair.confirm()
    pair.deliver_all()
    assert isinstance(pair.alice.state, Normal)


def test_a_reorganisation_suspends_a_channel() -> None:
    pair = Pair().open()
    pair.alice.execute(FundingUnconfirmed())
    assert isinstance(pair.alice.state, Normal)
    with pytest.raises(ChannelUnavailable):
        pair.add(pair.alice, 1_000_000)
    pair.add(pair.bob, 1_000_000)
    pair.deliver_all()
    pair.fulfil_all(pair.alice)
    pair.deliver_all()
    pair.alice.execute(FundingConfirmed(BlockHeight(502), 1))
    pair.add(pair.alice, 1_000_000)


def test_the_fundee_forgets_what_never_confirms() -> None:
    pair = Pair()
    pair.open_until_funded()
    pair.mine(2016)
    assert not pair.bob.of(ForgetChannel)
    pair.bob.actions.clear()
    pair.mine(1)
    assert not pair.alice.of(ForgetChannel)
    event, forget = pair.bob.actions
    assert isinstance(event.event, ChannelClosed)
    assert event.event.reason == FundingTimedOut()
    assert forget == ForgetChannel()


def test_the_fundee_forgets_while_the_peer_is_away() -> None:
    pair = Pair()
    pair.open_until_funded()
    pair.disconnect()
    pair.bob.height = BlockHeight(pair.bob.height + 2017)
    pair.bob.execute(NewBlock())
    assert pair.bob.actions[-1] == ForgetChannel()
