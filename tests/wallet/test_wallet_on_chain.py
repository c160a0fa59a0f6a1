"""The wallet on real consensus and standardness rules: the embedded chain, and the scanner that a node uses."""

from collections.abc import Iterator

import pytest

from pyln_fast.chain.scanner import WatchSet, scan
from pyln_fast.testing.regtest import RegtestNode
from pyln_fast.tx.scripts import p2wsh
from pyln_fast.tx.transaction import Transaction, serialize, weight
from pyln_fast.types import BlockHash, BlockHeight, FeeratePerKw, Network, Sat, Secret, TxOut
from pyln_fast.wallet.coin_selection import fee_sat
from pyln_fast.wallet.keys import WalletKeys
from pyln_fast.wallet.wallet import Wallet

KEYS = WalletKeys(Secret(b"\x05" * 64), Network.REGTEST)


class Follower:
    """A wallet that follows a chain as a node does."""

    def __init__(self, node: RegtestNode, wallet: Wallet) -> None:
        self.node, self.wallet, self.watch_set = node, wallet, WatchSet()
        self.followed: list[BlockHash] = node.chain.active[: wallet.height + 1]
        self.watch()

    def watch(self) -> None:
        scripts, outpoints = self.wallet.take_watches()
        for script in scripts:
            self.watch_set.add_script(script)
        for outpoint in outpoints:
            self.watch_set.add_outpoint(outpoint)

    def follow(self) -> None:
        active = self.node.chain.active
        while self.followed != active[: len(self.followed)]:
            self.wallet.block_disconnected(BlockHeight(len(self.followed) - 1))
            self.followed.pop()
        for block_hash in active[len(self.followed) :]:
            hits = scan(self.watch_set, self.node.block_in_bytes(block_hash)).hits
            self.wallet.block_connected(BlockHeight(len(self.followed)), [(hit.txid, hit.raw) for hit in hits])
            self.followed.append(block_hash)
            self.watch()

    def send(self, outputs: list[TxOut], feerate: int) -> Transaction:
        tx = self.wallet.create_transaction(outputs, FeeratePerKw(feerate), b"send")
        self.wallet.commit_transaction(tx, b"send")
        self.watch()
        entry = self.node.test_accept(serialize(tx))
        self.node.broadcast(serialize(tx))
        assert entry.fee_sat >= fee_sat(FeeratePerKw(feerate), weight(tx))
        return tx


@pytest.fixture
def node() -> Iterator[RegtestNode]:
    with RegtestNode(seed=bytes(32)) as node:
        yield node


@pytest.fixture
def follower(node: RegtestNode) -> Follower:
    """With three coins: 1 BTC, 0.5 BTC and 0.1 BTC."""
    follower = Follower(node, Wallet(KEYS, BlockHeight(node.height), {}))
    for amount in (100_000_000, 50_000_000, 10_000_000):
        node.send_to(follower.wallet.new_address(), amount)
    node.mine(1)
    follower.follow()
    assert follower.wallet.balance().available_sat == 160_000_000
    return follower


def test_sends_of_every_kind_are_relayed_and_confirm(node: RegtestNode, follower: Follower) -> None:
    scripts = [b"\0\x14" + bytes(20), p2wsh(b"\x51"), b"\x51\x20" + b"\x02" * 32, b"\xa9\x14" + bytes(20) + b"\x87"]
    for script in scripts:
        follower.send([TxOut(Sat(20_000_000), script)], 1_000)
    spent = 80_000_000 + sum(entry.fee_sat for entry in node.mempool.entries.values())
    assert follower.wallet.balance().available_sat == 160_000_000 - spent
    node.mine(1)
    follower.follow()
    assert follower.wallet.balance().confirmed_sat == 160_000_000 - spent
    assert follower.wallet.transactions_to_broadcast() == ()


def test_everything_at_once(node: RegtestNode, follower: Follower) -> None:
    tx = follower.wallet.create_sweep(b"\0\x14" + bytes(20), FeeratePerKw(253), b"all")
    follower.wallet.commit_transaction(tx, b"all")
    node.broadcast(serialize(tx))
    node.mine(1)
    follower.follow()
    assert follower.wallet.balance().available_sat == 0


def test_a_reorg(node: RegtestNode, follower: Follower) -> None:
    follower.send([TxOut(Sat(120_000_000), b"\0\x14" + bytes(20))], 500)
    before = follower.wallet.balance()
    node.mine(1)
    follower.follow()
    after = follower.wallet.balance()
    node.reorg(1)
    follower.follow()
    assert follower.wallet.balance() == before
    assert [serialize(tx) for tx in follower.wallet.transactions_to_broadcast()] == [
        entry.raw for entry in node.mempool.entries.values()
    ]
    node.mine(1)
    follower.follow()
    assert follower.wallet.balance() == after


def test_a_wallet_from_the_seed_alone_finds_its_coins(node: RegtestNode, follower: Follower) -> None:
    for _ in range(3):
        follower.send([TxOut(Sat(30_000_000), b"\0\x14" + bytes(20))], 800)
        node.mine(1)
    follower.follow()
    restored = Follower(node, Wallet(KEYS, BlockHeight(0), {}))
    restored.follow()
    assert restored.wallet.balance() == follower.wallet.balance()
    assert restored.wallet.utxos() == follower.wallet.utxos()
    assert restored.wallet.new_address() == follower.wallet.new_address()


def test_mined_coins(node: RegtestNode, follower: Follower) -> None:
    node.mine(1, follower.wallet.new_address())
    node.mine(98)
    follower.follow()
    assert follower.wallet.balance().immature_sat == 50 * 10**8
    node.mine(1)
    follower.follow()
    assert follower.wallet.balance().immature_sat == 0
    follower.send([TxOut(Sat(45 * 10**8), b"\0\x14" + bytes(20))], 1_000)
