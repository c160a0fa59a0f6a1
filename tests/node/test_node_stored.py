"""What is stored: a database of an earlier day is read and worked on, and records do not grow with history."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.channel.htlc import HtlcStage
from pyln_fast.channel.state import Closing, Normal, Offline
from pyln_fast.config import UserConfig
from pyln_fast.events import PaymentClaimable
from pyln_fast.node import state as tables
from pyln_fast.node.effects import OfferEvent, WriteBatch
from pyln_fast.node.node import Node
from pyln_fast.node.state import CHANNELS, HTLCS, LOADED_TABLES, MONITORS, NODE
from pyln_fast.payment.outbound import PaymentStatus
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.stores import open_store
from pyln_fast.records import Table
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.types import ChannelId, Network, PaymentId, Secret, UnixTime
from pyln_fast.wallet import utxos
from pyln_fast.wallet.keys import WalletKeys, seed_from_words, words_from_entropy
from tests.node.make_store_vector import DIRECTORIES, LOG_TAIL
from tests.node.world import FixedFees, World

IDS = {
    StoreKind.SQLITE: (
        "b9d9a7e4adb2b9f40e74aeaf1c747acce6495a2c567b4e98272b7f07f297bb6d",
        "84741e31c33076c633e36b7f7d91bbad67a920e0b0f6b5b6ba78dcef4f482699",
        "1d32730356507f2176bfe2272df8053f248fb448e4fb17ce39da0e92442cda13",
    ),
    StoreKind.FILESYSTEM: (
        "a995606ea564bdd8d328585c5b6cd66c840bc74d85d1d9e65aabcb6c17e0c49c",
        "0d391e42170eb2b669c04ed3c3833abe54ed3688605cfecc573a2dc13a841682",
        "17c6dd380127b32651aa99f9c6d5633ee5f409e3a0c59720ddd978f22386c59a",
    ),
}
"""Bob's channels with Alice and with Carol, and the one that is closing."""
GROWTH = 4 * 36 + 16
"""BOLT 3, Efficient Per-commitment Secret Storage: for ten times the commitments four secrets more; longer numbers."""
ROWS = {
    "channels": 3,
    "claimable_payments": 1,
    "commitments": 16,
    "events": 1,
    "finished_payments": 1,
    "forwarded_payments": 1,
    "forwarding_infos": 3,
    "htlcs": 5,
    "monitors": 3,
    "node": 1,
    "payments": 3,
    "wallet_key_indexes": 2,
    "wallet_transactions": 4,
    "wallet_utxos": 4,
}


@pytest.fixture(params=list(StoreKind), ids=lambda kind: kind.value)
def stored(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[JournalStore]:
    directory = tmp_path / "store"
    shutil.copytree(DIRECTORIES[request.param], directory)
    store = open_store(directory, request.param, reserve_bytes=0, low_space_bytes=0)
    yield store
    store.close()


def bob(store: JournalStore) -> Node:
    seed = Secret(hashlib.sha256(b"bob").digest())
    wallet_keys = WalletKeys(seed_from_words(words_from_entropy(Secret(seed[:16]))), Network.REGTEST)
    loaded = store.load([*LOADED_TABLES, *(table.name for table in utxos.TABLES)])
    return Node(
        Network.REGTEST,
        KeysManager(seed, 1_900_000_000, 0),
        wallet_keys,
        UserConfig(accept_forwards_to_priv_channels=True),
        FixedFees(),
        loaded.tables,
        loaded.sequence,
        BlockLocator.from_network(Network.REGTEST),
        UnixTime(1_900_000_000),
    )


def test_every_record_of_version_1_is_read(stored: JournalStore) -> None:
    """Whole values: what was encoded is what today's types encode, field for field."""
    assert (stored.sequence, stored.tail_rows) == (184, LOG_TAIL)
    known = {table.name: table for table in [*vars(tables).values(), *utxos.TABLES] if isinstance(table, Table)}
    loaded = stored.load().tables
    assert {name: len(rows) for name, rows in loaded.items()} == ROWS
    for name, rows in loaded.items():
        for key, value in rows.items():
            record = known[name].decode(value)
            assert known[name].decode(known[name].put(key, record).value) == record


def test_a_node_of_version_1_is_what_it_was(stored: JournalStore) -> None:
    node = bob(stored)
    with_alice, with_carol, closed = (ChannelId(bytes.fromhex(each)) for each in IDS[stored.kind])
    channels = node.core.state.channels
    assert {channel_id: type(state) for channel_id, state in channels.items()} == {
        with_alice: Offline,
        with_carol: Offline,
        closed: Closing,
    }
    assert {
        channel_id: (
            state.data.commitments.to_holder_msat,
            state.data.commitments.to_counterparty_msat,
            {key: (htlc.amount_msat, htlc.stage) for key, htlc in state.data.commitments.htlcs.items()},
        )
        for channel_id, state in channels.items()
    } == {
        with_alice: (
            405_001_000,
            594_999_000,
            {(False, 1): (9_001_000, HtlcStage.COMMITTED), (True, 0): (8_000_000, HtlcStage.COMMITTED)},
        ),
        with_carol: (
            1_490_000_000,
            510_000_000,
            {
                (False, 1): (11_000_000, HtlcStage.COMMITTED),
                (True, 2): (6_000_000, HtlcStage.COMMITTED),
                (True, 3): (9_000_000, HtlcStage.COMMITTED),
            },
        ),
        closed: (300_000_000, 0, {}),
    }
    assert {payment_id: (each.status, each.amount_msat) for payment_id, each in node.core.state.payments.items()} == {
        named("bob paid"): (PaymentStatus.FULFILLED, 7_000_000),
        named("bob pays"): (PaymentStatus.PENDING, 6_000_000),
        named("bob pays alice"): (PaymentStatus.PENDING, 8_000_000),
    }
    assert [each.amount_msat for each in node.core.state.claimable.values()] == [11_000_000]
    assert set(node.core.state.monitors) == set(channels)
    assert node.locator.height == 141


def named(name: str) -> PaymentId:
    return PaymentId(hashlib.sha256(name.encode()).digest())


def test_a_node_of_version_1_goes_on(stored: JournalStore) -> None:
    """It offers the event again, the claim is taken, and what it writes is read again."""
    node = bob(stored)
    offered = [effect for effect in run(node, stored) if isinstance(effect, OfferEvent)]
    (claimable,) = [effect for effect in offered if isinstance(effect.event, PaymentClaimable)]
    preimage = claimable.event.purpose.payment_preimage  # type: ignore[attr-defined]
    node.submit(1, lambda node: node.payments.claim_funds(preimage))
    node.event_handled(claimable.sequence)
    run(node, stored)
    again = bob(stored)
    assert claimable.sequence not in again.core.state.events
    assert stored.sequence > 184
    while stored.checkpoint():
        pass
    assert bob(stored).core.state.channels == again.core.state.channels


def run(node: Node, store: JournalStore) -> list[object]:
    seen: list[object] = []
    while True:
        effects = node.process_events()
        seen += effects
        for effect in effects:
            if isinstance(effect, WriteBatch):
                store.append(effect.batch)
                node.batch_durable(effect.batch.sequence)
        if not effects and not node.has_work:
            assert [report for report in node.reports if report.level == "error"] == []
            return seen


def test_records_do_not_grow_with_history() -> None:
    """A busy channel's records are as large after a hundred payments as after ten, but for a logarithm."""
    world = World()
    try:
        alice, bob = world.host("alice"), world.host("bob")
        world.fund(alice)
        world.connect(alice, bob)
        world.open(alice, bob, 1_000_000)

        def sizes() -> list[int]:
            return [
                len(value)
                for host in (alice, bob)
                for table in (CHANNELS, MONITORS, NODE)
                for value in host.store.load().tables[table.name].values()
            ]

        def pay(first: int, last: int) -> None:
            for number in range(first, last):
                world.pay(alice, world.invoice(bob, 1_000_000 + number), f"payment {number}")

        pay(0, 10)
        before = sizes()
        pay(10, 100)
        assert isinstance(alice.channel(), Normal)
        assert bob.balance_msat() == 100 * 1_000_000 + sum(range(100))
        after = sizes()
        assert len(after) == len(before) == 6
        assert all(later - earlier <= GROWTH for earlier, later in zip(before, after, strict=True))
        for host in (alice, bob):
            assert host.store.load().tables[HTLCS.name] == {}
    finally:
        world.close_all()
