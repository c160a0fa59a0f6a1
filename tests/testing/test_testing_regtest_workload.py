"""Random use of the node: what the mempool lets in can be mined, and its books agree with the chain's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pyln_fast.errors import LocalError
from pyln_fast.testing.regtest import RegtestNode, Rejected
from pyln_fast.testing.regtest.chain import Chain
from pyln_fast.tx.transaction import Transaction, parse, serialize
from pyln_fast.types import OutPoint, Txid
from tests.regtest_bench import P2A, P2WSH_TRUE, TRUE, Spend, output, transaction

STEPS = 200


class Workload:
    def __init__(self, seed: int, data_dir: Path) -> None:
        self.random = random.Random(seed)
        self.data_dir = data_dir
        self.node = RegtestNode(data_dir, seed=bytes(32), premine=110)
        funding = parse(self.node.faucet.create(P2WSH_TRUE, 20_000_000))
        self.node.broadcast(serialize(funding))
        split = transaction([Spend(output(funding))], [(390_000, P2WSH_TRUE)] * 50)
        self.node.broadcast(serialize(split))
        self.node.mine(1)
        self.accepted = 0

    def spendable(self) -> list[OutPoint]:
        """What a witness of one script spends, taken or not."""
        confirmed = sorted(self.node.chain.coins_of_script.get(P2WSH_TRUE, ()))
        waiting = [
            OutPoint(txid, vout)
            for txid, entry in self.node.mempool.entries.items()
            for vout, out in enumerate(entry.tx.outputs)
            if out.script_pubkey == P2WSH_TRUE
        ]
        return confirmed + waiting

    def some_transaction(self, coins: list[OutPoint]) -> Transaction:
        known = [(coin, self.node.mempool.coin(coin)) for coin in coins]
        total = sum(coin.output.value_sat for _, coin in known if coin)
        fee = self.random.choice([0, 100, 500, 2_000, 20_000])
        count = self.random.randint(1, 4)
        outputs = [(max((total - fee) // count, 0), P2WSH_TRUE)] * count
        if self.random.random() < 0.2:
            outputs.append((0, P2A))
        lock_time = self.random.choice([0, 0, 0, self.node.height, self.node.height + 1])
        sequence = self.random.choice([0xFFFFFFFD, 0xFFFFFFFD, 0, 1, 3])
        version = self.random.choice([2, 2, 3])
        spends = [Spend(coin, (TRUE,), b"", sequence) for coin in coins]
        return transaction(spends, outputs, version=version, lock_time=lock_time)

    def offer(self) -> None:
        coins = self.random.sample(self.spendable(), self.random.choice([1, 1, 1, 2]))
        self.node.broadcast(serialize(self.some_transaction(coins)))
        self.accepted += 1

    def offer_package(self) -> None:
        parent = self.some_transaction([self.random.choice(self.spendable())])
        anchors = [Spend(output(parent, i), ()) for i, out in enumerate(parent.outputs) if out.value_sat == 0]
        sat = parent.outputs[0].value_sat
        fee = self.random.choice([500, 5_000])
        outputs = [(max(sat - fee, 0), P2WSH_TRUE)]
        child = transaction([Spend(output(parent)), *anchors], outputs, version=parent.version)
        result = self.node.broadcast_package([serialize(parent), serialize(child)])
        self.accepted += result.message == "success"

    def mine(self) -> None:
        waiting = dict(self.node.mempool.entries)
        self.node.mine(1)
        assert set(self.node.chain.tip.txids[1:]) <= set(waiting)
        assert set(self.node.mempool) <= set(waiting)

    def invalidate(self) -> None:
        depth = self.random.randint(1, 4)
        if self.node.height - depth > 111:  # where the first coins are
            self.node.invalidate(self.node.chain.active[-depth])

    def reconsider(self) -> None:
        self.node.reconsider(self.random.choice(list(self.node.chain.blocks)[110:]))

    def restart(self) -> None:
        before = self.node.chain.active[:], dict(self.node.chain.coins), set(self.node.mempool)
        self.node.close()
        self.node = RegtestNode(self.data_dir, seed=bytes(32))
        assert (self.node.chain.active, self.node.chain.coins) == before[:2]
        assert set(self.node.mempool) == before[2]

    def check(self) -> None:
        node = self.node
        chain, mempool = node.chain, node.mempool
        spent: dict[OutPoint, Txid] = {}
        for txid, entry in mempool.entries.items():
            for tx_input in entry.tx.inputs:
                assert tx_input.outpoint not in spent
                spent[tx_input.outpoint] = txid
                assert mempool.coin(tx_input.outpoint) is not None
            parents = {i.outpoint.txid for i in entry.tx.inputs} & mempool.entries.keys()
            assert set(entry.parents) == parents
            assert all(txid in parent.children for parent in entry.parents.values())
            assert all(txid in child.parents for child in entry.children.values())
        assert mempool.spenders == spent
        assert {o for owned in chain.coins_of_script.values() for o in owned} == chain.coins.keys()


def rebuilt_coins(chain: Chain) -> set[OutPoint]:
    coins: set[OutPoint] = set()
    for block_hash in chain.active:
        for txid, tx in zip(chain.blocks[block_hash].txids, chain.blocks[block_hash].transactions):
            coins -= {tx_input.outpoint for tx_input in tx.inputs}
            coins |= {OutPoint(txid, i) for i, out in enumerate(tx.outputs) if out.script_pubkey[:1] != b"\x6a"}
    # The genesis coinbase is no coin.
    return {coin for coin in coins if coin.txid != chain.blocks[chain.active[0]].txids[0]}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_is_let_in_can_be_mined(seed: int, tmp_path: Path) -> None:
    workload = Workload(seed, tmp_path)
    actions = [workload.offer] * 24 + [workload.offer_package] * 6 + [workload.mine] * 4
    actions += [workload.invalidate] * 2 + [workload.reconsider] * 2 + [workload.restart]
    for _ in range(STEPS):
        action = workload.random.choice(actions)
        try:
            action()
        except Rejected:
            assert action == workload.offer
        except LocalError as error:
            raise AssertionError(f"seed {seed}") from error
        workload.check()
    assert rebuilt_coins(workload.node.chain) == workload.node.chain.coins.keys()
    assert workload.accepted > STEPS // 10
    workload.node.close()
