"""All monitors together, over scanned blocks: who is told what, and that neither reorganisations, nor inputs that are
taken back, nor restarts leave a trace."""

from __future__ import annotations

from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pyln_fast import records
from pyln_fast.chain.chain_monitor import ChainMonitor
from pyln_fast.chain.channel_monitor import (
    Broadcast,
    FundingIsConfirmed,
    FundingIsSpent,
    FundingIsUnconfirmed,
    FundingSpend,
    MonitorAction,
    MonitorRefused,
    MonitorState,
    PreimageSeen,
    SpendIsBuried,
    SpendKind,
    StoreCommitment,
    transaction_seen,
)
from pyln_fast.chain.scanner import WatchSet, scan
from pyln_fast.channel.actions import CreateMonitor, UpdateMonitor
from pyln_fast.sign.interfaces import EcdsaChannelSigner, EnforcementState, SignerRefused
from pyln_fast.tx.monitor_update import (
    ChannelForceClosed,
    ChannelMonitorUpdate,
    HolderCommitment,
    LatestHolderCommitment,
)
from pyln_fast.tx.transaction import Transaction, TxInput, serialize, txid
from pyln_fast.types import ChannelId, OutPoint, TxOut
from tests.chain.monitored import Monitored, hit, payment_hash, preimage
from tests.channel.pair import Pair, Side

COINBASE = Transaction(2, (TxInput(OutPoint(bytes(32), 0xFFFFFFFF), b"\x00\x00"),), (TxOut(1, b"\x51"),))
FIRST_HEIGHT = 100


def block(*txs: Transaction) -> bytes:
    return bytes(80) + bytes([1 + len(txs)]) + b"".join(map(serialize, (COINBASE, *txs)))


def two_channels() -> tuple[Monitored, Monitored]:
    """Funded by one transaction."""
    channels = Monitored("first"), Monitored("second")
    inputs = (TxInput(OutPoint(bytes([8]) * 32, 0)),)
    funding = Transaction(2, inputs, (channels[0].output, TxOut(5, b"\x51"), channels[1].output))
    channels[0].fund(funding, 0)
    channels[1].fund(funding, 2)
    return channels


FIRST, SECOND = two_channels()
FUNDING = FIRST.funding_tx
REVOKED, CLAIM = FIRST.counterparty_tx(1), FIRST.htlc_success_tx(1, "a")
CLOSING, COMMITMENT = SECOND.closing_tx(), SECOND.holder_tx(1)
STATES = {channel.channel_id: channel.state(1) for channel in (FIRST, SECOND)}


class Chain:
    """A chain and the monitors over it, whose states are a dict, as they would be after a start."""

    def __init__(self) -> None:
        self.states: dict[ChannelId, MonitorState] = dict(STATES)
        self.blocks: list[tuple[Transaction, ...]] = []
        self.start()

    def start(self) -> None:
        self.states.update(
            {key: records.decode(MonitorState, records.encode(state)) for key, state in self.states.items()}
        )
        self.watch_set = WatchSet()
        self.monitor = ChainMonitor(self.states, self.watch_set)
        assert self.monitor.load() == []

    @property
    def tip(self) -> int:
        return FIRST_HEIGHT + len(self.blocks) - 1

    def connect(self, *txs: Transaction) -> list[MonitorAction]:
        self.blocks.append(txs)
        return self.monitor.block_connected(scan(self.watch_set, block(*txs)), self.tip)

    def disconnect(self, count: int) -> list[MonitorAction]:
        del self.blocks[len(self.blocks) - count :]
        return self.monitor.blocks_disconnected(self.tip + 1)

    def take_back(self, *txs: Transaction) -> None:
        """The block comes, and what came of it is taken back: it is as if nobody had looked at it."""
        before = dict(self.states)
        self.connect(*txs)
        self.blocks.pop()
        self.states.clear()
        self.states.update(before)


def test_a_channel_from_its_creation_to_its_burial() -> None:
    states: dict[ChannelId, MonitorState] = {}
    watch_set = WatchSet()
    monitor = ChainMonitor(states, watch_set)
    channel_id = FIRST.channel_id
    new = FIRST.new()
    assert monitor.watch_channel(new) == [StoreCommitment(channel_id, 0, new.counterparty_commitment)]
    assert watch_set.watches_outpoint(FIRST.outpoint)
    assert watch_set.watches_script(FIRST.funding_script)

    def connect(height: int, *txs: Transaction) -> list[MonitorAction]:
        return monitor.block_connected(scan(watch_set, block(*txs)), height)

    assert connect(99) == []
    assert connect(100, FUNDING) == [FundingIsConfirmed(channel_id, 100, 1)]
    update = ChannelMonitorUpdate(channel_id, 1, (ChannelForceClosed(True),))
    raw = serialize(FIRST.holder_tx(0))
    assert monitor.update_channel(update, FIRST.alice) == [Broadcast(raw, "UnilateralClose")]
    assert monitor.transactions_to_broadcast(lambda keys_id: FIRST.alice) == [(channel_id, (raw,))]
    spend = FIRST.holder_tx(0)
    assert connect(101, spend) == [FundingIsSpent(channel_id, txid(spend), True)]
    assert monitor.transactions_to_broadcast(lambda keys_id: FIRST.alice) == []
    assert [connect(height) for height in range(102, 108)] == [[], [], [], [], [SpendIsBuried(channel_id)], []]


def test_funding_spend_and_claim_in_one_block() -> None:
    chain = Chain()
    assert chain.connect(FUNDING, REVOKED, CLAIM) == [
        FundingIsConfirmed(FIRST.channel_id, 100, 1),
        FundingIsSpent(FIRST.channel_id, txid(REVOKED), True),
        PreimageSeen(FIRST.channel_id, payment_hash("a"), preimage("a")),
        FundingIsConfirmed(SECOND.channel_id, 100, 1),
    ]
    assert chain.disconnect(1) == [FundingIsUnconfirmed(FIRST.channel_id), FundingIsUnconfirmed(SECOND.channel_id)]


def test_after_a_start_the_outputs_of_a_spend_are_watched_again() -> None:
    chain = Chain()
    chain.connect(FUNDING)
    chain.connect(REVOKED)
    chain.start()
    assert chain.connect(CLAIM) == [PreimageSeen(FIRST.channel_id, payment_hash("a"), preimage("a"))]
    assert [chain.connect() for _ in range(4)] == [[], [], [], [SpendIsBuried(FIRST.channel_id)]]


def test_a_block_touches_only_the_monitors_that_it_concerns() -> None:
    touched: list[ChannelId] = []

    class Watched(dict):
        def __setitem__(self, key: ChannelId, value: MonitorState) -> None:
            touched.append(key)
            super().__setitem__(key, value)

    watch_set = WatchSet()
    states = Watched(STATES)
    monitor = ChainMonitor(states, watch_set)
    monitor.load()
    other = Transaction(2, (TxInput(OutPoint(b"\x33" * 32, 1)),), (TxOut(7, SECOND.funding_script),))
    for height, txs in enumerate([(other,), (FUNDING,), (CLOSING,), (), (), (), (), (), ()], 100):
        monitor.block_connected(scan(watch_set, block(*txs)), height)
    assert touched == [FIRST.channel_id, SECOND.channel_id, SECOND.channel_id, SECOND.channel_id]


def test_watching_is_done_once_however_often_a_block_comes() -> None:
    chain = Chain()
    chain.connect(FUNDING)
    for _ in range(3):
        chain.connect(REVOKED)
        chain.disconnect(1)
        chain.take_back(REVOKED)
    for vout in range(len(REVOKED.outputs)):
        outpoint = OutPoint(txid(REVOKED), vout)
        assert chain.watch_set.watches_outpoint(outpoint)
        chain.watch_set.remove_outpoint(outpoint)
        assert not chain.watch_set.watches_outpoint(outpoint)


def test_a_new_channel_that_was_taken_back() -> None:
    states: dict[ChannelId, MonitorState] = {}
    watch_set = WatchSet()
    monitor = ChainMonitor(states, watch_set)
    monitor.watch_channel(FIRST.new())
    states.clear()
    assert monitor.block_connected(scan(watch_set, block(FUNDING)), 100) == []
    assert states == {}
    monitor.watch_channel(FIRST.new())
    assert monitor.block_connected(scan(watch_set, block(FUNDING)), 100) == [
        FundingIsConfirmed(FIRST.channel_id, 100, 1)
    ]


def test_a_burial_that_was_taken_back_comes_again() -> None:
    chain = Chain()
    chain.connect(FUNDING)
    chain.connect(CLOSING)
    for _ in range(4):
        chain.connect()
    chain.take_back()
    assert chain.connect() == [SpendIsBuried(SECOND.channel_id)]


def test_a_burial_that_was_missed_is_said_later() -> None:
    """Whatever the reason: the height is passed, and it is still true."""
    chain = Chain()
    chain.connect(FUNDING)
    chain.connect(CLOSING)
    for _ in range(20):
        chain.blocks.append(())
    chain.start()
    chain.take_back()
    chain.take_back()
    assert chain.connect() == [SpendIsBuried(SECOND.channel_id)]
    assert chain.connect() == []
    assert chain.monitor._due == {}


def test_a_refused_update_changes_nothing() -> None:
    chain = Chain()
    chain.connect(FUNDING, REVOKED)
    before = dict(chain.states)
    state = before[FIRST.channel_id]
    step = LatestHolderCommitment(FIRST.holder_commitment(2))
    with pytest.raises(MonitorRefused):
        chain.monitor.update_channel(ChannelMonitorUpdate(FIRST.channel_id, state.update_id + 1, (step,)), FIRST.alice)
    assert chain.states == before


def test_a_signer_that_refuses_stops_no_other_channel() -> None:
    class Absent:
        def sign_holder_commitment(self, *_: object) -> NoReturn:
            raise SignerRefused("sign", "it is away")

    chain = Chain()
    signers = iter([Absent(), SECOND.alice])
    for channel in (FIRST, SECOND):
        update = ChannelMonitorUpdate(
            channel.channel_id, STATES[channel.channel_id].update_id + 1, (ChannelForceClosed(True),)
        )
        chain.monitor.update_channel(update, channel.alice)
    assert chain.monitor.transactions_to_broadcast(lambda keys_id: next(signers)) == [
        (SECOND.channel_id, (serialize(COMMITMENT),))
    ]


def test_two_monitors_over_the_dance_of_two_channels() -> None:
    """Bob's monitor knows every commitment that Alice ever held, and which of them he could punish."""
    pair = Pair().open()
    for round_ in range(6):
        pair.add(pair.alice, 5_000_000)
        pair.add(pair.bob, 7_000_000)
        pair.deliver_all()
        if round_ % 2:
            pair.fulfil_all(pair.alice)
            pair.fulfil_all(pair.bob)
            pair.deliver_all()
    held: list[HolderCommitment] = []
    states: dict[str, MonitorState] = {}
    for side in (pair.alice, pair.bob):
        monitor = ChainMonitor(monitors := {}, WatchSet())
        for action in side.actions:
            if isinstance(action, CreateMonitor):
                monitor.watch_channel(action.monitor)
                held += [action.monitor.holder_commitment] if side is pair.alice else []
            elif isinstance(action, UpdateMonitor):
                monitor.update_channel(action.update, signer_of(side))
                steps = action.update.steps if side is pair.alice else ()
                held += [step.holder_commitment for step in steps if isinstance(step, LatestHolderCommitment)]
        (states[side.name],) = monitors.values()
        assert states[side.name].preimages == ()
    alice, bob = states["alice"], states["bob"]
    assert alice.holder_commitment == held[-1]
    assert alice.holder_commitment.txid == bob.counterparty_commitment.txid
    assert bob.holder_commitment.txid == alice.counterparty_commitment.txid
    assert len(held) > 10
    for mine in held:
        number = mine.commitment.number
        tx = signer_of(pair.alice).sign_holder_commitment(
            EnforcementState(number + 1, number), alice.parameters, mine.commitment, mine.signature
        )
        kind = SpendKind.COUNTERPARTY_CURRENT if mine is held[-1] else SpendKind.REVOKED
        after, _ = transaction_seen(bob, hit(tx), 600)
        assert after.funding_spend == FundingSpend(mine.txid, 600, kind, serialize(tx))


def signer_of(side: Side) -> EcdsaChannelSigner:
    return side.keys.derive_channel_signer(side.state.data.params.channel_keys_id)


PARENTS = {
    txid(FUNDING): (),
    txid(REVOKED): (FUNDING,),
    txid(CLAIM): (REVOKED,),
    txid(CLOSING): (FUNDING,),
    txid(COMMITMENT): (FUNDING,),
}
TXS = (FUNDING, REVOKED, CLAIM, CLOSING, COMMITMENT)


def confirmable(chain: Chain, wanted: list[int]) -> list[Transaction]:
    """Those of the wanted that can be in the next block, parents first; CLOSING and COMMITMENT exclude each other."""
    confirmed = [tx for txs in chain.blocks for tx in txs]
    found: list[Transaction] = []
    for i in sorted(wanted):
        tx = TXS[i]
        there = confirmed + found
        conflict = tx in (CLOSING, COMMITMENT) and (CLOSING in there or COMMITMENT in there)
        if tx not in there and not conflict and all(parent in there for parent in PARENTS[txid(tx)]):
            found.append(tx)
    return found


wanted = st.lists(st.integers(0, len(TXS) - 1), max_size=3, unique=True)
steps = st.one_of(
    st.tuples(st.just("connect"), wanted),
    st.tuples(st.just("connect"), wanted),
    st.tuples(st.just("take back"), wanted),
    st.tuples(st.just("empty"), st.integers(1, 7)),
    st.tuples(st.just("disconnect"), st.integers(1, 8)),
    st.tuples(st.just("start"), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=20))
def test_only_the_chain_that_is_left_counts(history: list) -> None:
    chain = Chain()
    spent: set[ChannelId] = set()
    for what, argument in history:
        if what == "connect":
            for action in chain.connect(*confirmable(chain, argument)):
                if isinstance(action, FundingIsSpent):
                    spent.add(action.channel_id)
        elif what == "take back":
            chain.take_back(*confirmable(chain, argument))
        elif what == "empty":
            for _ in range(argument):
                chain.connect()
        elif what == "disconnect":
            chain.disconnect(min(argument, len(chain.blocks)))
        else:
            chain.start()
    straight = Chain()
    for txs in chain.blocks:
        straight.connect(*txs)
    expected = {key: replace(state, funding_spend_seen=key in spent) for key, state in straight.states.items()}
    assert chain.states == expected
    for key, state in straight.states.items():
        assert not state.funding_spend_seen or key in spent
