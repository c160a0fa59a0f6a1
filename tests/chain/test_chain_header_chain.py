from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.chain import header_chain
from pyln_fast.chain.block_locator import BlockLocator, KnownBlock
from pyln_fast.chain.header_chain import (
    ChainBehind,
    Connect,
    Disconnect,
    FetchHeader,
    ForkTooDeep,
    HeaderChain,
    InvalidHeader,
    WrongNetwork,
)
from pyln_fast.types import BlockHash, BlockHeight, Network
from tests.oracle.block import sha256d
from tests.oracle.mine import REGTEST_BITS, REGTEST_GENESIS, mine_header

HARD_BITS = 0x203FFFFF
"""Twice the work of a regtest block."""


class Tree:
    """Every block that anybody ever mined, and the walk of a listener over it."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.heights = {REGTEST_GENESIS: 0}
        self.log: list[str] = []
        self.fetched = 0

    def mine(self, on: bytes, count: int = 1, bits: int = REGTEST_BITS, time: int = 0) -> list[bytes]:
        chain = []
        for _ in range(count):
            header = mine_header(on, bits=bits, time=len(self.headers) + time)
            on_height, on = self.heights[on], sha256d(header)
            self.headers[on], self.heights[on] = header, on_height + 1
            chain.append(on)
        return chain

    def path(self, tip: bytes) -> list[bytes]:
        path = []
        while tip != REGTEST_GENESIS:
            path.append(tip)
            tip = self.headers[tip][4:36]
        return path[::-1]

    def work(self, tip: bytes) -> int:
        return sum(2 if self.headers[h][72:76] == HARD_BITS.to_bytes(4, "little") else 1 for h in self.path(tip))

    def set_best(self, chain: HeaderChain, tip: bytes) -> None:
        chain.set_best(BlockHash(tip), BlockHeight(self.heights[tip]))

    def follow(self, chain: HeaderChain, tip: bytes, limit: int = 10**9) -> None:
        """Does all that the chain asks for, or so many steps of it."""
        self.set_best(chain, tip)
        for _ in range(limit):
            step = chain.next_step()
            if step is None:
                return
            if isinstance(step, FetchHeader):
                self.fetched += 1
                chain.add_header(self.headers[step.block_hash])
            elif isinstance(step, Disconnect):
                self.log.append(f"back to {step.fork_point.height}")
                chain.disconnected()
            else:
                assert step.header == self.headers[step.block_hash]
                assert step.height == self.heights[step.block_hash] == chain.tip.height + 1
                assert step.header[4:36] == chain.tip.block_hash
                self.log.append(f"block {step.height}")
                chain.connected()
                assert chain.tip.block_hash == step.block_hash


def fresh() -> HeaderChain:
    return HeaderChain(Network.REGTEST, BlockLocator.from_network(Network.REGTEST))


def test_listen_order_through_a_reorg() -> None:
    tree, chain = Tree(), fresh()
    old = tree.mine(REGTEST_GENESIS, 3)
    new = tree.mine(old[0], 3)
    tree.follow(chain, old[-1])
    tree.follow(chain, new[-1])
    assert tree.log == ["block 1", "block 2", "block 3", "back to 1", "block 2", "block 3", "block 4"]
    assert chain.next_step() is None
    assert [chain.tip.block_hash, *(b.block_hash for b in chain.locator().previous_blocks)] == [
        *reversed([REGTEST_GENESIS, old[0], *new])
    ]


def test_steps_are_values() -> None:
    tree, chain = Tree(), fresh()
    [first] = tree.mine(REGTEST_GENESIS)
    tree.set_best(chain, first)
    assert chain.next_step() == FetchHeader(BlockHash(first))
    chain.add_header(tree.headers[first])
    assert chain.next_step() == Connect(BlockHash(first), BlockHeight(1), tree.headers[first])
    assert chain.next_step() == chain.next_step(), "asking is not doing"
    chain.connected()
    [other, _] = tree.mine(REGTEST_GENESIS, 2, time=9)
    tree.follow(chain, tree.mine(other)[0], limit=2)
    assert chain.next_step() == Disconnect(BlockLocator.from_network(Network.REGTEST))


def test_equal_work_stays_and_more_work_wins() -> None:
    tree, chain = Tree(), fresh()
    old = tree.mine(REGTEST_GENESIS, 4)
    rival = tree.mine(REGTEST_GENESIS, 4, time=50)
    hard = tree.mine(REGTEST_GENESIS, 2, HARD_BITS)
    tree.follow(chain, old[-1])
    for equal in (rival[-1], hard[-1]):
        tree.follow(chain, equal)
        assert chain.tip.block_hash == old[-1]
        assert chain.behind is not None
    best = tree.mine(hard[-1])[0]
    tree.follow(chain, best)
    assert (chain.tip.block_hash, chain.behind) == (best, None)
    assert tree.log[4:] == ["back to 0", "block 1", "block 2", "block 3"], "three blocks with more work than four"


def test_lagging_source() -> None:
    tree, chain = Tree(), fresh()
    blocks = tree.mine(REGTEST_GENESIS, 5)
    tree.follow(chain, blocks[4])
    tree.follow(chain, blocks[2])
    assert isinstance(chain.behind, ChainBehind)
    assert str(chain.behind) == "the chain ends at block 3, but this node has already seen block 5"
    assert chain.tip.block_hash == blocks[4]
    tree.follow(chain, blocks[4])
    assert chain.behind is None


def test_restart_on_a_stale_fork() -> None:
    tree, chain = Tree(), fresh()
    common = tree.mine(REGTEST_GENESIS, 30)
    stale = tree.mine(common[-1], 5)
    best = tree.mine(common[-1], 7)
    tree.follow(chain, stale[-1])
    restarted = HeaderChain(Network.REGTEST, chain.locator())
    tree.headers = {h: tree.headers[h] for h in common + best}
    tree.log.clear()
    tree.follow(restarted, best[-1])
    assert tree.log == ["back to 30", *(f"block {n}" for n in range(31, 38))]
    assert restarted.tip == KnownBlock(BlockHeight(37), BlockHash(best[-1]), (2 * 37).to_bytes(32, "big"), REGTEST_BITS)


def test_restart_on_a_deep_stale_fork_goes_back_further_than_it_forks() -> None:
    tree, chain = Tree(), fresh()
    common = tree.mine(REGTEST_GENESIS, 500)
    stale = tree.mine(common[-1], 100)
    best = tree.mine(common[-1], 101)
    tree.follow(chain, stale[-1])
    restarted = HeaderChain(Network.REGTEST, chain.locator())
    tree.log.clear()
    tree.follow(restarted, best[-1])
    assert tree.log[0] == "back to 480"
    assert restarted.tip.block_hash == best[-1]
    tree.log.clear()
    tree.follow(chain, best[-1])
    assert tree.log[0] == "back to 500", "one that ran on knows every block"


def test_a_locator_advances_like_the_chain() -> None:
    tree, chain = Tree(), fresh()
    locator = BlockLocator.from_network(Network.REGTEST)
    for block in tree.mine(REGTEST_GENESIS, 300):
        locator = locator.advance(tree.headers[block])
    tree.follow(chain, locator.block_hash)
    assert chain.locator() == locator
    heights = [block.height for block in locator.previous_blocks]
    assert heights[:12] == [*range(299, 287, -1)]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) < 50
    back = locator.back_to(BlockHeight(293))
    assert back == BlockLocator(locator.previous_blocks[6], locator.previous_blocks[7:])
    assert BlockLocator.new(locator.block_hash, BlockHeight(300)).back_to(BlockHeight(299)) is None


def test_long_chains_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_chain, "STORED_BLOCKS", 100)
    tree, chain = Tree(), fresh()
    blocks = tree.mine(REGTEST_GENESIS, 1200)
    for tip in range(99, 1200, 100):
        tree.follow(chain, blocks[tip])
    assert tree.fetched == 1200
    assert len(chain._known) < 100 + 256 + 50
    rival = tree.mine(blocks[300], 900)
    tree.log.clear()
    tree.follow(chain, rival[-1])
    assert tree.log[0] == "back to 256"
    assert chain.tip.block_hash == rival[-1]


def test_a_better_block_in_between_costs_its_own_header_only() -> None:
    tree, chain = Tree(), fresh()
    blocks = tree.mine(REGTEST_GENESIS, 10)
    tree.follow(chain, blocks[7], limit=6)
    assert (tree.fetched, tree.log) == (6, [])
    tree.follow(chain, blocks[8], limit=2)
    assert tree.fetched == 8
    tree.follow(chain, blocks[9])
    assert (tree.fetched, len(tree.log)) == (10, 10)


def test_wrong_network() -> None:
    chain = fresh()
    chain.check_genesis(BlockHash(Network.REGTEST.chain_hash))
    with pytest.raises(WrongNetwork) as caught:
        chain.check_genesis(BlockHash(Network.SIGNET.chain_hash))
    assert str(caught.value) == "the chain is of signet, this node is of regtest"
    tree = Tree()
    tree.heights[bytes(32)] = 0
    blocks = tree.mine(bytes(32), 2)
    with pytest.raises(WrongNetwork) as caught:
        tree.follow(chain, blocks[-1])
    assert str(caught.value).startswith("the chain is of an unknown network (genesis block 0000")
    assert chain.next_step() is None


def test_fork_too_deep() -> None:
    tree = Tree()
    old = tree.mine(REGTEST_GENESIS, 20)
    new = tree.mine(old[9], 12)
    chain = HeaderChain(Network.REGTEST, BlockLocator.new(BlockHash(old[14]), BlockHeight(15)))
    tree.follow(chain, old[19])
    with pytest.raises(ForkTooDeep) as caught:
        tree.follow(chain, new[-1])
    assert (caught.value.tip_height, caught.value.lowest_height) == (20, 15)
    assert chain.tip.block_hash == old[19]
    tree.follow(chain, old[3])
    assert str(chain.behind) == str(ChainBehind(BlockHeight(20), BlockHeight(4)))


def test_headers_are_checked() -> None:
    tree, chain = Tree(), fresh()
    first, second = tree.mine(REGTEST_GENESIS, 2)
    tree.set_best(chain, second)
    with pytest.raises(InvalidHeader, match="the source gave the header of"):
        chain.add_header(tree.headers[first])
    assert chain.next_step() is None

    lazy = tree.headers[first][:76] + bytes(4)
    nonce = 0
    while int.from_bytes(sha256d(lazy), "little") < 1 << 255:
        nonce += 1
        lazy = lazy[:76] + nonce.to_bytes(4, "little")
    chain.set_best(BlockHash(sha256d(lazy)), BlockHeight(1))
    with pytest.raises(InvalidHeader, match="does not meet the work of its bits 207fffff"):
        chain.add_header(lazy)

    signet = HeaderChain(Network.SIGNET, BlockLocator.from_network(Network.SIGNET))
    signet.set_best(BlockHash(first), BlockHeight(1))
    with pytest.raises(InvalidHeader):
        signet.add_header(tree.headers[first])


@pytest.mark.parametrize(
    ("height", "bits", "parent_bits", "good"),
    [
        (2015, 0x207FFFFF, 0x207FFFFF, True),
        (2015, 0x203FFFFF, 0x207FFFFF, False),
        (2016, 0x207FFFFF, 0x2020FFFF, True),
        (2016, 0x207FFFFF, 0x201FFFFF, False),
        (2016, 0x201FFFFF, 0x207FFFFF, True),
        (2016, 0x201FF000, 0x207FFFFF, False),
    ],
)
def test_mainnet_retarget(
    monkeypatch: pytest.MonkeyPatch, height: int, bits: int, parent_bits: int, good: bool
) -> None:
    monkeypatch.setitem(header_chain.POW_LIMIT_BITS, Network.MAINNET, REGTEST_BITS)
    parent = KnownBlock(BlockHeight(height - 1), BlockHash(b"\x05" * 32), bytes(32), parent_bits)
    chain = HeaderChain(Network.MAINNET, BlockLocator(parent))
    header = mine_header(parent.block_hash, bits=bits)
    chain.set_best(BlockHash(sha256d(header)), BlockHeight(height))
    if good:
        chain.add_header(header)
        assert isinstance(chain.next_step(), Connect)
    else:
        with pytest.raises(InvalidHeader):
            chain.add_header(header)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_random_trees_and_interruptions(seed: int) -> None:
    """The best block changes at any moment, the process restarts at any moment; the most work wins in the end."""
    chance = random.Random(seed)
    tree, chain = Tree(), fresh()
    everything = [REGTEST_GENESIS]
    for _ in range(chance.randrange(1, 25)):
        on = chance.choice(everything[-8:])
        everything += tree.mine(on, chance.choice([1, 1, 2, 5]), chance.choice([REGTEST_BITS, REGTEST_BITS, HARD_BITS]))
        best = chance.choice(everything[1:])
        before = chain.tip.block_hash
        tree.follow(chain, best, limit=chance.choice([1, 3, 10**9]))
        if chain.next_step() is None:
            wins = tree.work(best) > tree.work(before)
            assert chain.tip.block_hash == (best if wins else before)
        if chance.random() < 0.3:
            chain = HeaderChain(Network.REGTEST, chain.locator())
    most = max(everything, key=tree.work)
    tree.follow(chain, most)
    assert tree.work(chain.tip.block_hash) == tree.work(most)
    assert int.from_bytes(chain.tip.chainwork, "big") == 2 * tree.work(most)
    known = [block.block_hash for block in reversed((chain.tip, *chain.locator().previous_blocks))]
    path = [REGTEST_GENESIS, *tree.path(chain.tip.block_hash)]
    assert known == [h for h in path if h in known]
    assert known[-12:] == path[-12:]
