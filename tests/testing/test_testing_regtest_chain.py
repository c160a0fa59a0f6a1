from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyln_fast.testing.regtest import BlockRejected, RegtestNode
from pyln_fast.testing.regtest.block_store import DataDirectoryInUse
from pyln_fast.testing.regtest.chain import UnknownBlock
from pyln_fast.testing.regtest.miner import build_block, subsidy_sat
from pyln_fast.tx.transaction import parse
from pyln_fast.types import BlockHash, Network

P2WPKH_ZERO = b"\x00\x14" + bytes(20)


@pytest.fixture
def node() -> Iterator[RegtestNode]:
    with RegtestNode(seed=bytes(32)) as node:
        yield node


def snapshot(node: RegtestNode) -> tuple[object, ...]:
    chain = node.chain
    return chain.active[:], dict(chain.coins), dict(chain.blocks_of_transactions), list(node.mempool)


def test_a_new_chain_has_twenty_mature_coinbases(node: RegtestNode) -> None:
    assert node.height == 120
    assert node.chain.active[0] == Network.REGTEST.chain_hash
    assert node.faucet.balance_sat() == (21 * 50 * 10**8, 0, 99 * 50 * 10**8)


def test_mining_confirms_the_mempool_and_pays_its_fees_to_the_miner(node: RegtestNode) -> None:
    txid = node.send_to(node.faucet.new_address(), 100_000)
    fee = node.mempool[txid].fee_sat
    address = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"
    (block_hash,) = node.mine(1, address)
    block = node.chain.tip
    assert (block.hash, block.txids[1:], len(node.mempool)) == (block_hash, (txid,), 0)
    assert block.transactions[0].outputs[0].value_sat == subsidy_sat(121) + fee
    assert node.confirmations(txid) == 1


def test_the_faucet_spends_the_oldest_of_equal_coins(node: RegtestNode) -> None:
    """A young coinbase is immature again after a reorganisation, and its payment would be lost."""
    heights = []
    for _ in range(21):
        (spent,) = parse(node.faucet.create(P2WPKH_ZERO, 49 * 10**8)).inputs
        heights.append(node.chain.coins[spent.outpoint].height)
        node.send_to_script(P2WPKH_ZERO, 49 * 10**8)
    assert heights == list(range(1, 22))


def test_the_coins_follow_the_chain_through_a_reorg(node: RegtestNode) -> None:
    before = snapshot(node)
    txids = [node.send_to(node.faucet.new_address(), 100_000) for _ in range(30)]
    hashes = node.mine(3)
    after = snapshot(node)
    mined = [txid for block_hash in hashes for txid in node.chain.block(block_hash).txids[1:]]
    assert sorted(mined) == sorted(txids)
    move = node.invalidate(hashes[0])
    assert [block.hash for block in move.disconnected] == hashes[::-1]
    assert move.connected == ()
    assert snapshot(node)[:3] == before[:3]
    assert list(node.mempool) == mined, "what was confirmed waits again, parents first"
    move = node.reconsider(hashes[0])
    assert [block.hash for block in move.connected] == hashes
    assert snapshot(node) == after


def test_a_longer_branch_wins_without_any_command(node: RegtestNode) -> None:
    fork = RegtestNode(premine=0, seed=bytes(32))
    for block_hash in node.chain.active[1:119]:
        fork.process_block(node.block_in_bytes(block_hash))
    fork.mine(3, "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202")
    moves = [node.process_block(fork.chain.blocks[h].raw) for h in fork.chain.active[-3:]]
    assert [(len(m.disconnected), len(m.connected)) for m in moves] == [(0, 0), (0, 0), (2, 3)]
    assert (node.height, node.best_block_hash) == (121, fork.best_block_hash)
    assert sorted(node.chain.coins) == sorted(fork.chain.coins)
    fork.close()


def test_an_equally_long_branch_that_came_first_is_taken_up_again(node: RegtestNode) -> None:
    first = node.best_block_hash
    node.invalidate(first)
    (second,) = node.mine(1)
    assert node.best_block_hash == second
    node.reconsider(first)
    assert node.best_block_hash == first
    assert sorted(node.chain.leaves()) == sorted([first, second])


def test_reconsidering_a_descendant_clears_its_ancestors(node: RegtestNode) -> None:
    old, tip = node.chain.active[110], node.best_block_hash
    node.invalidate(old)
    assert node.height == 109
    node.reconsider(tip)
    assert (node.height, node.best_block_hash) == (120, tip)


def test_reorg_replaces_blocks_by_empty_ones(node: RegtestNode) -> None:
    txid = node.send_to(node.faucet.new_address(), 100_000)
    node.mine(2)
    assert len(node.reorg(2)) == 3
    assert (node.height, node.confirmations(txid), list(node.mempool)) == (123, 0, [txid])
    node.mine()
    assert node.confirmations(txid) == 1


def test_coinbases_that_are_young_again_take_their_spenders_along(node: RegtestNode) -> None:
    spender = node.send_to(node.faucet.new_address(), 21 * 50 * 10**8 - 100_000)
    node.invalidate(node.best_block_hash)
    assert spender not in node.mempool


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda node: build_block(node.chain, b"\x51", [], [], 1, node.now()), "bad-cb-amount"),
        (lambda node: build_block(node.chain, b"\x51", [], [], 0, node.now() + 7_300), "time-too-new"),
        (lambda node: build_block(node.chain, b"\x51", [], [], 0, 0)[:36] + bytes(100), "high-hash"),
        (lambda node: build_block(node.chain, b"\x51", [], [], 0, 0)[:-1], "Block decode failed"),
    ],
)
def test_a_bad_block_is_refused_in_the_words_of_core(node: RegtestNode, change: object, reason: str) -> None:
    before = snapshot(node)
    with pytest.raises(BlockRejected) as refused:
        node.process_block(change(node))  # type: ignore[operator]
    assert refused.value.reason == reason
    assert snapshot(node) == before


def test_mock_time_moves_blocks_far_ahead_and_survives_a_rebuild(node: RegtestNode) -> None:
    later = node.now() + 30 * 24 * 3600
    node.set_time(later)
    hashes = node.mine(12)
    assert node.chain.tip.header.time >= later
    assert node.chain.median_time_past(node.best_block_hash) >= later
    node.set_time(0)
    node.invalidate(hashes[11])
    assert node.best_block_hash == hashes[10]


def test_unknown_and_genesis_blocks_cannot_be_invalidated(node: RegtestNode) -> None:
    with pytest.raises(UnknownBlock):
        node.invalidate(BlockHash(bytes(32)))
    with pytest.raises(ValueError, match="genesis"):
        node.invalidate(node.chain.active[0])


def test_a_data_directory_brings_everything_back(tmp_path: Path) -> None:
    with RegtestNode(tmp_path) as node:
        node.send_to(node.faucet.new_address(), 100_000)
        hashes = node.mine(5)
        node.invalidate(hashes[3])
        waiting = node.send_to(node.faucet.new_address(), 50_000)
        before, balance = snapshot(node), node.faucet.balance_sat()
        with pytest.raises(DataDirectoryInUse):
            RegtestNode(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocks.log", "faucet.seed", "mempool.dat"]
    with RegtestNode(tmp_path) as node:
        assert snapshot(node) == before
        assert node.faucet.balance_sat() == balance
        assert waiting in node.mempool
        assert node.chain.is_invalid(hashes[4])


def test_a_killed_node_comes_back_with_every_block(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pyln_fast.testing.regtest import RegtestNode
        from pyln_fast.types import txid_hex
        node = RegtestNode(sys.argv[1])
        while True:
            node.send_to(node.faucet.new_address(), 100_000)
            node.mine(1)
            print(txid_hex(node.best_block_hash), flush=True)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    seen = [child.stdout.readline().strip() for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    seen += [line.strip() for line in child.stdout.read().splitlines() if len(line) == 64]
    child.wait()
    child.stdout.close()
    with RegtestNode(tmp_path) as node:
        active = [block_hash[::-1].hex() for block_hash in node.chain.active]
        assert active[121 : 121 + len(seen)] == seen
        assert len(active) <= 121 + len(seen) + 1
        node.mine(1)


@pytest.mark.parametrize("lost", [1, 7, 100])
def test_a_torn_record_is_cut_off(tmp_path: Path, lost: int) -> None:
    with RegtestNode(tmp_path) as node:
        hashes = node.chain.active[:]
    log = tmp_path / "blocks.log"
    os.truncate(log, log.stat().st_size - lost)
    with RegtestNode(tmp_path) as node:
        assert node.chain.active == hashes[:-1]
        node.mine(1)
    with RegtestNode(tmp_path) as node:
        assert node.height == 120
