"""Which channels are closed, who dies at what, and how the feerates move."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.torture.coins import Coins, Opening
from tests.torture.turnover import FEERATES_PER_KW, LEAST_SAT, MOST, MOST_SAT, Estimates, Turnover
from tests.torture.world import CHANNELS


def with_channels(count: int) -> tuple[Turnover, Coins]:
    """From each node to each of its neighbours so many."""
    coins = Coins()
    for opener, acceptor in CHANNELS * count:
        number = len(coins.openings) + 1
        opening = Opening(number, opener, acceptor, 1_000_000, 0, funding_txo=f"{number}:0", channel_id=f"{number}")
        coins.ask(opening)
        coins.by_channel[opening.channel_id] = opening
    return Turnover({}, coins, random.Random(1)), coins


@pytest.mark.parametrize(("count", "opens", "closes"), [(1, True, False), (2, True, True), (MOST, False, True)])
def test_the_last_channel_of_an_opener_is_never_closed_and_there_are_not_too_many(
    count: int, opens: bool, closes: bool
) -> None:
    turnover, coins = with_channels(count)
    chosen = [turnover.choose() for _ in range(200)]
    known = [each for each in chosen if each.channel_id]
    new = [each for each in chosen if not each.channel_id]
    assert (bool(new), bool(known)) == (opens, closes)
    assert all(each in coins.made for each in known)
    assert {each.sides for each in chosen} == set(CHANNELS)
    assert all(LEAST_SAT <= each.value_sat <= MOST_SAT for each in new)
    assert len({each.user_channel_id for each in new}) == len(new)


def test_who_may_die_at_what() -> None:
    turnover, coins = with_channels(1)
    new, old = Opening(9, "alice", "bob", 1, 0), coins.made[0]
    assert {turnover.moment(new) for _ in range(200)} == {
        ("alice", "OpenChannel"),
        ("bob", "AcceptChannel"),
        ("alice", "FundingCreated"),
        ("bob", "FundingSigned"),
        ("alice", "broadcast"),
    }
    whats = ("Shutdown", "ClosingSigned", "broadcast")
    assert {turnover.moment(old) for _ in range(200)} == {(name, what) for name in old.sides for what in whats}


class FakeChain:
    def __init__(self) -> None:
        self.per_kw = [500]

    async def call(self, method: str, per_kvb: str) -> None:
        assert method == "setfeerate"
        self.per_kw.append(round(float(per_kvb) * 1e8 / 4))


class FakeNode:
    """It heeds the estimate at once, but for what a test sets."""

    def __init__(self, chain: FakeChain) -> None:
        self._chain = chain
        self.lag = 0
        self.of_channel: int | None = None

    async def call(self, method: str) -> Any:
        newest = self._chain.per_kw[-1]
        if method == "feerate":
            return newest + self.lag
        of_channel = newest if self.of_channel is None else self.of_channel
        return [{"channel_id": "1", "is_channel_ready": True, "feerate_sat_per_1000_weight": of_channel}]


def estimates() -> tuple[Estimates, FakeChain, list[FakeNode]]:
    chain = FakeChain()
    nodes = [FakeNode(chain), FakeNode(chain)]
    return Estimates(chain, dict(zip("ab", nodes, strict=True)), random.Random(1)), chain, nodes  # type: ignore[arg-type]


def test_estimates_go_everywhere_in_small_steps() -> None:
    moving, chain, _ = estimates()

    async def move() -> None:
        for _ in range(100):
            await moving._move()

    asyncio.run(move())
    assert moving.moves == len(chain.per_kw) - 1 == 100
    assert set(chain.per_kw) == set(FEERATES_PER_KW)
    steps = {abs(after - before) for before, after in zip(chain.per_kw, chain.per_kw[1:], strict=False)}
    assert 0 < min(steps) <= max(steps) <= 250


@pytest.mark.parametrize(
    ("lag", "of_channel", "moves"),
    [(0, None, 2), (0, 500, 1), (250, None, 1), (0, 299, 1), (0, 600, 1)],
)
def test_an_estimate_waits_for_every_node_and_channel(lag: int, of_channel: int | None, moves: int) -> None:
    moving, _, nodes = estimates()

    async def move() -> None:
        await moving._move()
        nodes[1].lag, nodes[1].of_channel = lag, of_channel
        await moving._move()

    asyncio.run(move())
    assert moving.moves == moves


def test_a_channel_may_stay_above_the_estimate_until_it_has_halved() -> None:
    moving, chain, nodes = estimates()

    async def move() -> None:
        chain.per_kw.append(700)
        moving._place, moving.moves = FEERATES_PER_KW.index(700), 1
        for each in nodes:
            each.of_channel = 1400
        await moving._move()
        assert moving.moves == 1
        for each in nodes:
            each.of_channel = 1399
        await moving._move()

    asyncio.run(move())
    assert moving.moves == 2
