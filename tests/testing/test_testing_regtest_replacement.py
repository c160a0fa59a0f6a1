"""Replacement, restricted topologies, packages, chains in the mempool: what passes, what does not, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from pyln_fast.testing.regtest import RegtestNode, Rejected
from pyln_fast.testing.regtest.package import PackageResult
from pyln_fast.tx.transaction import Transaction, serialize, txid, wtxid
from pyln_fast.types import OutPoint, txid_hex
from tests.regtest_bench import COIN_SAT, P2A, P2WPKH, P2WSH_TRUE, Bench, Spend, output, transaction, vsize


@pytest.fixture
def bench() -> Iterator[Bench]:
    with RegtestNode(seed=bytes(32), premine=110) as node:
        yield Bench(node)


def chain_of(bench: Bench, first: OutPoint, length: int, fee: int = 200, version: int = 2) -> list[Transaction]:
    transactions = []
    sat = COIN_SAT
    for _ in range(length):
        sat -= fee
        tx = transaction([Spend(first)], [(sat, P2WSH_TRUE)], version=version)
        transactions.append(bench.accept(tx))
        first = output(tx)
    return transactions


def split(coin: OutPoint, outputs: int, fee: int = 500, sat: int = COIN_SAT, **changes: int) -> Transaction:
    each = (sat - fee) // outputs
    return transaction([Spend(coin)], [(each, P2WSH_TRUE)] * outputs, **changes)


def submit(bench: Bench, *package: Transaction) -> PackageResult:
    return bench.node.broadcast_package([serialize(tx) for tx in package])


def errors_of(result: PackageResult) -> list[str | None]:
    return [str(member.error) if member.error else None for member in result.members.values()]


def name(tx: Transaction) -> str:
    return f"tx {txid_hex(txid(tx))} (wtxid={txid_hex(wtxid(tx))})"


# Replacement


def test_a_replacement_pays_more_whether_it_was_announced_or_not(bench: Bench) -> None:
    coin = bench.coin()
    first = bench.accept(transaction([Spend(coin, sequence=0xFFFFFFFF)], [(COIN_SAT - 1_000, P2WSH_TRUE)]))
    bench.refuse(bench.pay(coin, 1_000, version=1), "insufficient fee")
    size = vsize(first)
    refused = bench.refuse(bench.pay(coin, 1_000 + size - 1), "insufficient fee")
    assert refused.details.endswith(f"not enough additional fees to relay; 0.{size - 1:08d} < 0.{size:08d}")
    second = bench.accept(bench.pay(coin, 1_000 + size))
    assert list(bench.node.mempool) == [txid(second)]
    bench.mine_mempool()


def test_a_replacement_has_the_higher_feerate(bench: Bench) -> None:
    coin = bench.coin()
    bench.accept(bench.pay(coin, 1_000))
    bulky = transaction([Spend(coin)], [(9_700, P2WSH_TRUE)] * 10)
    refused = bench.refuse(bulky, "insufficient fee")
    assert "; new feerate " in refused.details
    bench.accept(bench.pay(coin, 3_000))
    bench.mine_mempool()


def test_the_same_feerate_replaces_nothing(bench: Bench) -> None:
    coin = bench.coin()
    old = bench.pay(coin, 0)
    bench.accept(bench.pay(coin, 10 * vsize(old)))
    shape = transaction([Spend(coin)], [(40_000, P2WSH_TRUE)] * 2)
    left = 60_000 - 10 * vsize(shape)
    same = transaction([Spend(coin)], [(40_000, P2WSH_TRUE), (left, P2WSH_TRUE)])
    assert "; new feerate 0.00010000 BTC/kvB <= old" in bench.refuse(same, "insufficient fee").details
    bench.accept(transaction([Spend(coin)], [(40_000, P2WSH_TRUE), (left - vsize(shape), P2WSH_TRUE)]))


def test_a_replacement_pays_for_all_that_goes(bench: Bench) -> None:
    coin = bench.coin()
    chain = chain_of(bench, coin, 3, 1_000)
    refused = bench.refuse(bench.pay(coin, 2_999), "insufficient fee")
    assert "less fees than conflicting txs; 0.00002999 < 0.00003000" in refused.details
    size = vsize(chain[0])
    bench.accept(bench.pay(coin, 3_000 + size))
    assert len(bench.node.mempool) == 1
    bench.mine_mempool()


def test_a_replacement_evicts_at_most_a_hundred(bench: Bench) -> None:
    *coins, extra = bench.coins([P2WSH_TRUE] * 6)
    spends = [Spend(coin) for coin in coins]
    for coin in coins:
        chain_of(bench, coin, 20)
    last = bench.accept(bench.pay(extra))
    everything = transaction([*spends, Spend(extra)], [(100_000, P2WSH_TRUE)])
    refused = bench.refuse(everything, "too many potential replacements")
    assert refused.details.endswith("too many potential replacements (101 > 100)")
    bench.accept(transaction(spends, [(100_000, P2WSH_TRUE)]))
    assert len(bench.node.mempool) == 2
    assert txid(last) in bench.node.mempool
    bench.mine_mempool()


def test_a_replacement_adds_no_unconfirmed_input(bench: Bench) -> None:
    coin, other = bench.coins([P2WSH_TRUE, P2WSH_TRUE])
    bench.accept(bench.pay(coin, 1_000))
    young = bench.accept(bench.pay(other, 1_000))
    both = transaction([Spend(coin), Spend(output(young))], [(COIN_SAT, P2WSH_TRUE)])
    refused = bench.refuse(both, "replacement-adds-unconfirmed")
    assert refused.details.endswith("adds unconfirmed input, idx 1")
    bench.mine_mempool()


def test_a_replacement_does_not_spend_what_it_replaces(bench: Bench) -> None:
    coin = bench.coin()
    parent = bench.accept(bench.pay(coin, 1_000))
    refused = bench.refuse(
        transaction([Spend(coin), Spend(output(parent))], [(COIN_SAT, P2WSH_TRUE)]), "bad-txns-spends-conflicting-tx"
    )
    assert refused.details.endswith(f"spends conflicting transaction {txid_hex(txid(parent))}")


# Chains in the mempool


def test_twenty_five_in_a_row(bench: Bench) -> None:
    chain = chain_of(bench, bench.coin(), 25)
    refused = bench.refuse(bench.pay(output(chain[-1]), 200, COIN_SAT - 5_000), "too-long-mempool-chain")
    assert refused.details == f"too many descendants for tx {txid_hex(txid(chain[0]))} [limit: 25]"
    bench.mine_mempool()
    assert len(bench.node.chain.tip.txids) == 26


def test_the_last_of_a_full_chain_can_be_replaced(bench: Bench) -> None:
    chain = chain_of(bench, bench.coin(), 25)
    bench.accept(bench.pay(output(chain[23]), 2_000, COIN_SAT - 24 * 200))
    assert len(bench.node.mempool) == 25
    bench.mine_mempool()


def test_too_many_ancestors(bench: Bench) -> None:
    coins = bench.coins([P2WSH_TRUE] * 25)
    parents = [bench.accept(bench.pay(coin)) for coin in coins]
    spends = [Spend(output(parent)) for parent in parents]
    refused = bench.refuse(transaction(spends, [(COIN_SAT, P2WSH_TRUE)]), "too-long-mempool-chain")
    assert refused.details == "too many unconfirmed ancestors [limit: 25]"
    bench.accept(transaction(spends[:24], [(COIN_SAT, P2WSH_TRUE)]))
    bench.mine_mempool()


def test_the_carve_out_for_one_more_small_child(bench: Bench) -> None:
    parent = bench.accept(split(bench.coin(), 30, 2_000))
    sat = parent.outputs[0].value_sat
    for vout in range(24):
        bench.accept(bench.pay(output(parent, vout), 200, sat))
    bench.accept(bench.pay(output(parent, 24), 200, sat))
    bench.refuse(bench.pay(output(parent, 25), 200, sat), "too-long-mempool-chain")
    bench.mine_mempool()


def test_a_chain_has_a_limited_size(bench: Bench) -> None:
    coin = bench.coin(sat=3_000_000)
    many = [(600, P2WPKH)] * 1_700
    fee = 60_000
    parent = transaction([Spend(coin)], [(3_000_000 - 1_700 * 600 - fee, P2WSH_TRUE), *many])
    bench.accept(parent)
    left = parent.outputs[0].value_sat
    child = transaction([Spend(output(parent))], [(left - 1_700 * 600 - fee, P2WSH_TRUE), *many])
    assert 101_000 - vsize(parent) < vsize(child)
    refused = bench.refuse(child, "too-long-mempool-chain")
    assert refused.details == f"exceeds descendant size limit for tx {txid_hex(txid(parent))} [limit: 101000]"
    bench.accept(transaction([Spend(output(parent))], [(left - 1_400 * 600 - fee, P2WSH_TRUE), *many[:1_400]]))
    bench.mine_mempool()


# Version 3


def test_version_3_is_small(bench: Bench) -> None:
    first, second = bench.coins([P2WSH_TRUE] * 2, 1_000_000)
    size = vsize(transaction([Spend(first)], [(2_000, P2WPKH)] * 318, version=3))
    big = next(n for n in range(300, 330) if vsize(transaction([Spend(first)], [(2_000, P2WPKH)] * n)) > 10_000)
    assert size <= 10_000 + 31
    bench.accept(transaction([Spend(first)], [(2_000, P2WPKH)] * (big - 1), version=3))
    too_big = transaction([Spend(second)], [(2_000, P2WPKH)] * big, version=3)
    refused = bench.refuse(too_big, "TRUC-violation")
    assert refused.details == f"version=3 {name(too_big)} is too big: {vsize(too_big)} > 10000 virtual bytes"
    bench.mine_mempool()


def test_a_child_of_version_3_is_smaller(bench: Bench) -> None:
    parent = bench.accept(bench.pay(bench.coin(), version=3))
    big = transaction([Spend(output(parent))], [(1_000, P2WPKH)] * 31, version=3)
    refused = bench.refuse(big, "TRUC-violation")
    assert refused.details == f"version=3 child {name(big)} is too big: {vsize(big)} > 1000 virtual bytes"
    bench.accept(transaction([Spend(output(parent))], [(1_000, P2WPKH)] * 29, version=3))
    bench.mine_mempool()


@pytest.mark.parametrize(("older", "younger"), [(3, 2), (2, 3)])
def test_version_3_keeps_to_itself(bench: Bench, older: int, younger: int) -> None:
    parent = bench.accept(bench.pay(bench.coin(), version=older))
    child = bench.pay(output(parent), 1_000, COIN_SAT - 1_000, version=younger)
    refused = bench.refuse(child, "TRUC-violation")
    words = {3: "version=3", 2: "non-version=3"}
    assert refused.details == f"{words[younger]} {name(child)} cannot spend from {words[older]} {name(parent)}"
    heir = bench.accept(bench.pay(output(parent), 1_000, COIN_SAT - 1_000, version=older))
    bench.mine_mempool()
    bench.accept(bench.pay(output(heir), 1_000, COIN_SAT - 2_000, version=younger))


def test_version_3_has_one_ancestor_and_one_descendant(bench: Bench) -> None:
    parent, child = chain_of(bench, bench.coin(), 2, 300, version=3)
    grandchild = bench.pay(output(child), 300, COIN_SAT - 600, version=3)
    refused = bench.refuse(grandchild, "TRUC-violation")
    assert refused.details == f"{name(grandchild)} would have too many ancestors"
    other = bench.accept(bench.pay(bench.coin(), version=3))
    two = transaction([Spend(output(child)), Spend(output(other))], [(COIN_SAT, P2WSH_TRUE)], version=3)
    assert bench.refuse(two, "TRUC-violation").details == f"{name(two)} would have too many ancestors"
    assert txid(parent) in bench.node.mempool
    bench.mine_mempool()


def test_a_sibling_is_evicted_for_a_better_one(bench: Bench) -> None:
    parent = bench.accept(split(bench.coin(), 2, version=3))
    sat = parent.outputs[0].value_sat
    first = bench.accept(bench.pay(output(parent, 0), 500, sat, version=3))
    poor = bench.pay(output(parent, 1), 500, sat, version=3)
    bench.refuse(poor, "insufficient fee (including sibling eviction)")
    better = bench.accept(bench.pay(output(parent, 1), 1_500, sat, version=3))
    assert list(bench.node.mempool) == [txid(parent), txid(better)]
    assert txid(first) not in bench.node.mempool
    bench.mine_mempool()


# Dust that its child spends


def test_dust_without_a_fee_waits_for_its_child(bench: Bench) -> None:
    coin = bench.coin()
    paying = transaction([Spend(coin)], [(COIN_SAT - 1_000, P2WSH_TRUE), (0, P2A)], version=3)
    assert bench.refuse(paying, "dust").details == "tx with dust output must be 0-fee"
    parent = transaction([Spend(coin)], [(COIN_SAT, P2WSH_TRUE), (0, P2A)], version=3)
    bench.refuse(parent, "min relay fee not met")
    lazy = transaction([Spend(output(parent))], [(COIN_SAT - 1_000, P2WSH_TRUE)], version=3)
    result = submit(bench, parent, lazy)
    assert result.message == "unspent-dust"
    missing = f"missing-ephemeral-spends, {name(lazy)} did not spend parent's ephemeral dust"
    assert errors_of(result)[1] == missing
    assert len(bench.node.mempool) == 0
    spends = [Spend(output(parent)), Spend(output(parent, 1), ())]
    child = transaction(spends, [(COIN_SAT - 1_000, P2WSH_TRUE)], version=3)
    assert submit(bench, parent, child).message == "success"
    bench.mine_mempool()


def test_a_replaced_child_does_not_leave_dust_behind(bench: Bench) -> None:
    parent = transaction([Spend(bench.coin())], [(COIN_SAT, P2WSH_TRUE), (0, P2A)], version=3)
    spends = [Spend(output(parent)), Spend(output(parent, 1), ())]
    child = transaction(spends, [(COIN_SAT - 1_000, P2WSH_TRUE)], version=3)
    assert submit(bench, parent, child).message == "success"
    careless = transaction(spends[:1], [(COIN_SAT - 5_000, P2WSH_TRUE)], version=3)
    bench.refuse(careless, "missing-ephemeral-spends")
    bench.accept(transaction(spends, [(COIN_SAT - 5_000, P2WSH_TRUE)], version=3))
    bench.mine_mempool()


# Packages


def test_a_child_pays_for_its_parent(bench: Bench) -> None:
    parent = bench.pay(bench.coin(), 0)
    size = vsize(parent)
    poor = bench.pay(output(parent), 2 * size - 1)
    result = submit(bench, parent, poor)
    assert result.message == "transaction failed"
    assert errors_of(result) == [
        f"min relay fee not met, 0 < {size}",
        f"min relay fee not met, {2 * size - 1} < {2 * size}",
    ]
    child = bench.pay(output(parent), 2 * size)
    result = submit(bench, parent, child)
    everyone = (wtxid(parent), wtxid(child))
    assert result.message == "success"
    assert [(m.fee_sat, m.effective_feerate_sat_per_kvb, m.effective_includes) for m in result.members.values()] == [
        (0, 1_000, everyone),
        (2 * size, 1_000, everyone),
    ]
    again = submit(bench, parent, child)
    assert [m.effective_feerate_sat_per_kvb for m in again.members.values()] == [None, None]
    bench.mine_mempool()


def test_who_pays_for_itself_is_taken_by_itself(bench: Bench) -> None:
    parent = bench.pay(bench.coin(), 1_000)
    child = bench.pay(output(parent), 1, COIN_SAT - 1_000)
    result = submit(bench, parent, child)
    assert result.message == "transaction failed"
    assert errors_of(result) == [None, f"min relay fee not met, 1 < {vsize(child)}"]
    assert list(bench.node.mempool) == [txid(parent)]


@pytest.mark.parametrize("case", ["unrelated", "unsorted", "twice", "conflict", "many"])
def test_a_package_is_a_child_with_its_parents(bench: Bench, case: str) -> None:
    first, second = bench.coins([P2WSH_TRUE, P2WSH_TRUE])
    parent = bench.pay(first)
    child = bench.pay(output(parent), 1_000, COIN_SAT - 1_000)
    packages: dict[str, tuple[Sequence[Transaction], str]] = {
        "unrelated": ([parent, bench.pay(second)], "package-not-child-with-parents"),
        "unsorted": ([child, parent], "package-not-sorted"),
        "twice": ([parent, parent], "package-contains-duplicates"),
        "conflict": ([parent, bench.pay(first, 2_000)], "conflict-in-package"),
        "many": ([bench.pay(first, 1_000 + n) for n in range(26)], "package-too-many-transactions"),
    }
    package, message = packages[case]
    assert submit(bench, *package) == PackageResult(message, {}, ())
    assert len(bench.node.mempool) == 0


def test_a_package_replaces_another(bench: Bench) -> None:
    coin = bench.coin()
    old = bench.pay(coin, 300, version=3)
    old_child = bench.pay(output(old), 700, COIN_SAT - 300, version=3)
    assert submit(bench, old, old_child).message == "success"
    parent = transaction([Spend(coin)], [(COIN_SAT, P2WSH_TRUE), (0, P2A)], version=3)
    both = [Spend(output(parent)), Spend(output(parent, 1), ())]

    def child(fee: int) -> Transaction:
        return transaction(both, [(COIN_SAT - fee, P2WSH_TRUE)], version=3)

    poor = submit(bench, parent, child(1_000))
    assert poor.message.startswith("package RBF failed: insufficient anti-DoS fees, rejecting replacement ")
    assert sorted(bench.node.mempool) == sorted([txid(old), txid(old_child)])
    result = submit(bench, parent, child(2_000))
    assert result.message == "success"
    assert sorted(result.replaced) == sorted([txid(old), txid(old_child)])
    assert list(bench.node.mempool) == [txid(parent), txid(child(2_000))]
    bench.mine_mempool()


def test_a_package_that_replaces_improves_the_diagram(bench: Bench) -> None:
    coin = bench.coin()
    bench.accept(bench.pay(coin, 2_000))
    parent = bench.pay(coin, 100)
    child = transaction([Spend(output(parent))], [(4_000, P2WSH_TRUE)] * 24)
    result = submit(bench, parent, child)
    assert result.message == "package RBF failed: insufficient feerate: does not improve feerate diagram"
    better = transaction([Spend(output(parent))], [(30_000, P2WSH_TRUE)])
    assert submit(bench, parent, better).message == "success"
    bench.mine_mempool()


def test_only_pairs_replace_as_packages(bench: Bench) -> None:
    coin, second = bench.coins([P2WSH_TRUE, P2WSH_TRUE])
    bench.accept(bench.pay(coin, 1_000))
    one, two = bench.pay(coin, 0), bench.pay(second, 0)
    child = transaction([Spend(output(one)), Spend(output(two))], [(COIN_SAT, P2WSH_TRUE)])
    assert submit(bench, one, two, child).message == "package RBF failed: package must be 1-parent-1-child"
    young = bench.accept(bench.pay(second, 1_000))
    child = transaction([Spend(output(one)), Spend(output(young))], [(COIN_SAT, P2WSH_TRUE)])
    result = submit(bench, one, child)
    assert result.message == "package RBF failed: new transaction cannot have mempool ancestors"


def test_restricted_topology_within_a_package(bench: Bench) -> None:
    parent = bench.pay(bench.coin(), 0, version=3)
    plain = bench.pay(output(parent), 1_000, version=2)
    result = submit(bench, parent, plain)
    assert result.message == f"TRUC-violation, non-version=3 {name(plain)} cannot spend from version=3 {name(parent)}"
    other = bench.pay(bench.coin(), 0, version=3)
    child = transaction([Spend(output(parent)), Spend(output(other))], [(COIN_SAT, P2WSH_TRUE)], version=3)
    result = submit(bench, parent, other, child)
    assert result.message == f"TRUC-violation, {name(child)} would have too many ancestors"


def test_testing_a_package_keeps_nothing(bench: Bench) -> None:
    parent = bench.pay(bench.coin())
    child = bench.pay(output(parent), 1_000, COIN_SAT - 1_000)
    raws = [serialize(parent), serialize(child)]
    result = bench.node.test_accept_package(raws)
    assert (result.message, errors_of(result)) == ("success", [None, None])
    assert len(bench.node.mempool) == 0
    free = [serialize(bench.pay(bench.coin(), 0)), serialize(child)]
    assert bench.node.test_accept_package(free).message == "transaction failed"


# After a reorg


def test_what_a_reorg_brings_back_need_not_pay(bench: Bench) -> None:
    node = bench.node
    free = bench.pay(bench.coin(), 0)
    node.mine_transactions("bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202", [serialize(free)])
    child = bench.accept(bench.pay(output(free)))
    node.invalidate(node.best_block_hash)
    assert sorted(node.mempool) == sorted([txid(free), txid(child)])
    assert list(node.mempool[txid(free)].children) == [txid(child)]
    assert list(node.mempool[txid(child)].parents) == [txid(free)]
    bench.mine_mempool()


def test_nobody_mines_below_the_floor(bench: Bench) -> None:
    node = bench.node
    free = bench.pay(bench.coin(), 0)
    node.mine_transactions("bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202", [serialize(free)])
    node.invalidate(node.best_block_hash)
    node.mine(1)
    assert list(node.mempool) == [txid(free)]
    bench.accept(bench.pay(output(free), 1_000))
    bench.mine_mempool()


def test_a_conflict_in_a_block_takes_the_descendants_along(bench: Bench) -> None:
    node = bench.node
    coin = bench.coin()
    chain_of(bench, coin, 5)
    rival = bench.pay(coin, 77)
    node.mine_transactions("bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202", [serialize(rival)])
    assert len(node.mempool) == 0


def test_a_transaction_that_is_early_again_leaves_with_its_child(bench: Bench) -> None:
    node = bench.node
    coin = bench.coin()
    node.mine(5)
    early = transaction([Spend(coin, sequence=6)], [(COIN_SAT - 500, P2WSH_TRUE)])
    bench.accept(early)
    bench.accept(bench.pay(output(early), 500, COIN_SAT - 500))
    node.invalidate(node.best_block_hash)
    assert list(node.mempool) == []
    with pytest.raises(Rejected, match="non-BIP68-final"):
        node.broadcast(serialize(early))
