from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.chain.header_chain import (
    ChainBehind,
    ChainSourceError,
    ForkTooDeep,
    HeaderChain,
    InvalidHeader,
    WrongNetwork,
)
from pyln_fast.chain.scanner import InvalidBlock
from pyln_fast.runtime.bitcoind import BitcoindClient
from pyln_fast.runtime.bitcoind_rpc import BitcoindRefusedLogin, BitcoindUnreachable
from pyln_fast.runtime.chain_poller import (
    BlockConnected,
    BlocksDisconnected,
    ChainPoller,
    ChainUpdate,
    listen_with,
    locator_of_best,
)
from pyln_fast.types import BlockHash, BlockHeight, Network
from tests.oracle.mine import REGTEST_GENESIS
from tests.runtime.fake_bitcoind import FakeBitcoind, Fault

GENESIS = BlockLocator.from_network(Network.REGTEST)


class Follower:
    """A node as the poller sees it: it stores the locator with each block."""

    def __init__(self, fake: FakeBitcoind, client: BitcoindClient, locator: BlockLocator = GENESIS) -> None:
        self.fake = fake
        self.log: list[str] = []
        self.locator = locator
        self.chain = HeaderChain(Network.REGTEST, locator)
        self.poller = ChainPoller(client, self.chain, self.deliver, poll_seconds=0.01, first_pause_seconds=0.02)

    async def deliver(self, update: ChainUpdate) -> None:
        match update:
            case BlockConnected():
                assert update.block == self.fake.blocks[update.locator.block_hash]
                assert update.height == update.locator.height == self.locator.height + 1
                assert update.block[4:36] == self.locator.block_hash
                self.locator = update.locator
                self.log.append(f"block {update.height}")
            case BlocksDisconnected():
                self.locator = update.fork_point
                self.log.append(f"back to {update.fork_point.height}")

    async def reaches(self, block_hash: bytes) -> None:
        while self.locator.block_hash != block_hash:
            await asyncio.sleep(0.005)


def scenario(play: Callable[[FakeBitcoind, BitcoindClient], Awaitable[None]]) -> None:
    async def stage() -> None:
        fake = FakeBitcoind()
        async with fake.rpc() as rpc:
            await play(fake, BitcoindClient(rpc))

    asyncio.run(asyncio.wait_for(stage(), 20))


async def following(follower: Follower, play: Coroutine[Any, Any, None]) -> None:
    """Plays while the poller runs; an error of the poller ends it."""
    running = asyncio.ensure_future(follower.poller.run())
    playing = asyncio.ensure_future(play)
    await asyncio.wait({running, playing}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, playing):
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(running, playing, return_exceptions=True)


def test_synchronize_then_follow_through_a_reorg() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        blocks = fake.mine(3)
        follower = Follower(fake, client)
        await follower.poller.synchronize()
        assert follower.log == ["block 1", "block 2", "block 3"]

        async def story() -> None:
            [tip] = fake.mine()
            await follower.reaches(tip)
            *_, tip = fake.mine(4, on=blocks[0])
            await follower.reaches(tip)

        await following(follower, story())
        assert follower.log[3:] == ["block 4", "back to 1", "block 2", "block 3", "block 4", "block 5"]

    scenario(play)


def test_restart_on_a_stale_fork_that_nobody_knows_any_more() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        common = fake.mine(20)
        stale = fake.mine(4)
        first = Follower(fake, client)
        await first.poller.synchronize()
        for block in stale:
            del fake.blocks[block], fake.heights[block]
        best = fake.mine(5, on=common[-1])
        second = Follower(fake, client, first.locator)
        await second.poller.synchronize()
        assert second.log == ["back to 20", *(f"block {n}" for n in range(21, 26))]
        assert second.locator.block_hash == best[-1]

    scenario(play)


def test_connection_lost_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        follower = Follower(fake, client)

        async def story() -> None:
            for method in ("getbestblockhash", "getblockheader", "getblock"):
                fake.break_on = method
                *_, tip = fake.mine(3)
                await follower.reaches(tip)

        await following(follower, story())
        assert follower.log == [f"block {n}" for n in range(1, 10)]

    scenario(play)


def test_bitcoind_goes_away_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        follower = Follower(fake, client)
        healthy = fake.login

        async def story() -> None:
            [tip] = fake.mine()
            await follower.reaches(tip)
            fake.login = ("alice", "changed")
            *_, tip = fake.mine(2)
            await asyncio.sleep(0.2)
            assert follower.log == ["block 1"]
            fake.login = healthy
            await follower.reaches(tip)
            await asyncio.sleep(0.05)

        await following(follower, story())
        assert follower.log == ["block 1", "block 2", "block 3"]

    scenario(play)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pyln_fast")]
    assert [line.split("at http")[0] for line in lines] == ["bitcoind ", "the chain is followed again, at block 3"]


def test_what_stops_the_start() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.mine(3)
        fake.login = ("bob", "")
        with pytest.raises(BitcoindRefusedLogin):
            await Follower(fake, client).poller.synchronize()
        fake.login = ("alice", "secret")
        fake.genesis = Network.SIGNET.chain_hash
        with pytest.raises(WrongNetwork, match="the chain is of signet, this node is of regtest"):
            await Follower(fake, client).poller.synchronize()

    scenario(play)


def test_nobody_there() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        follower = Follower(fake, client)
        fake.hangs_up = True
        with pytest.raises(BitcoindUnreachable, match="closed the connection"):
            await follower.poller.synchronize()

    scenario(play)


def test_chain_behind_the_stored_tip(caplog: pytest.LogCaptureFixture) -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        blocks = fake.mine(5)
        first = Follower(fake, client)
        await first.poller.synchronize()
        fake.best = blocks[2]
        second = Follower(fake, client, first.locator)
        with pytest.raises(ChainBehind, match="ends at block 3, but this node has already seen block 5"):
            await second.poller.synchronize()

        async def story() -> None:
            await asyncio.sleep(0.05)
            assert first.log == [f"block {n}" for n in range(1, 6)]
            fake.best = blocks[4]
            [tip] = fake.mine()
            await first.reaches(tip)

        await following(first, story())
        assert first.log[5:] == ["block 6"], "a source that lags for a while undoes nothing"

    scenario(play)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pyln_fast")]
    assert lines == ["the chain ends at block 3, but this node has already seen block 5"]


def test_another_network_behind_the_same_port_ends_it() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        follower = Follower(fake, client)

        async def story() -> None:
            [tip] = fake.mine()
            await follower.reaches(tip)
            fake.hangs_up = True
            await asyncio.sleep(0.05)
            fake.genesis = Network.SIGNET.chain_hash
            fake.hangs_up = False
            await asyncio.sleep(5)

        with pytest.raises(WrongNetwork):
            await following(follower, story())

    scenario(play)


def test_blocks_that_come_during_the_start() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.mine(2)
        follower = Follower(fake, client)
        late = [1, 1]

        async def deliver(update: ChainUpdate) -> None:
            await follower.deliver(update)
            if late and update == BlockConnected(fake.blocks[fake.best], follower.locator.height, follower.locator):
                fake.mine(late.pop())

        follower.poller = ChainPoller(client, follower.chain, deliver)
        await follower.poller.synchronize()
        assert follower.log == ["block 1", "block 2", "block 3", "block 4"]

    scenario(play)


def test_fork_too_deep_ends_it() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.mine(20)
        follower = Follower(fake, client, await locator_of_best(client, Network.REGTEST))
        assert (follower.locator.height, len(follower.locator.previous_blocks)) == (20, 12)
        fake.mine(25, on=REGTEST_GENESIS)
        with pytest.raises(ForkTooDeep, match="below block 8, the oldest one that is known"):
            await follower.poller.run()

    scenario(play)


@pytest.mark.parametrize("height", [0, 1, 11, 12, 13, 40])
def test_where_a_new_node_begins(height: int) -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.mine(height)
        locator = await locator_of_best(client, Network.REGTEST)
        assert (locator.block_hash, locator.height) == (fake.best, height)
        assert [b.height for b in locator.previous_blocks] == [*range(height - 1, max(height - 13, -1), -1)]
        follower = Follower(fake, client, locator)
        await follower.poller.synchronize()
        assert follower.log == []
        [tip] = fake.mine()
        await follower.poller.synchronize()
        assert follower.log == [f"block {height + 1}"]
        assert follower.locator.block_hash == tip

    scenario(play)


def test_bad_blocks_are_not_delivered() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        first, second = fake.mine(2)
        good = fake.blocks[second]
        follower = Follower(fake, client)
        fake.answers["getblock"] = lambda block_hash, _: fake.blocks[first].hex()
        with pytest.raises(InvalidHeader, match="the source gave another block"):
            await follower.poller.synchronize()
        fake.answers["getblock"] = lambda block_hash, _: fake.blocks[fake.find(block_hash)][:-1].hex() + "01"
        follower.log.clear()
        with pytest.raises(InvalidBlock):
            await follower.poller.synchronize()
        fake.answers["getblock"] = lambda block_hash, _: "zz"
        with pytest.raises(ChainSourceError):
            await follower.poller.synchronize()
        del fake.answers["getblock"]
        await follower.poller.synchronize()
        assert follower.locator.block_hash == second
        assert fake.blocks[second] == good

    scenario(play)


def test_waits_while_bitcoind_starts(caplog: pytest.LogCaptureFixture) -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.mine(1)
        answers: list[Any] = [
            Fault(-28, "Verifying blocks…"),
            {"chain": "signet", "blocks": 5, "headers": 9, "initialblockdownload": True},
            {"chain": "signet", "blocks": 9, "headers": 9, "initialblockdownload": False},
        ]

        def starting() -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Fault):
                raise answer
            return answer

        fake.answers["getblockchaininfo"] = starting
        follower = Follower(fake, client)
        await follower.poller.synchronize()
        assert (follower.log, answers) == (["block 1"], [])

    scenario(play)
    lines = [record.getMessage().split(" is ")[1] for record in caplog.records if record.name.startswith("pyln_fast")]
    assert lines == ["starting: Verifying blocks…", "starting: it has block 5 of 9"]


def test_a_deliver_that_fails_is_asked_again() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.mine(2)
        follower = Follower(fake, client)
        deliver, failures = follower.deliver, [1]

        async def flaky(update: ChainUpdate) -> None:
            if isinstance(update, BlockConnected) and update.height == 2 and failures:
                raise RuntimeError(failures.pop())
            await deliver(update)

        follower.poller = ChainPoller(client, follower.chain, flaky)
        with pytest.raises(RuntimeError):
            await follower.poller.synchronize()
        await follower.poller.synchronize()
        assert follower.log == ["block 1", "block 2"]

    scenario(play)


def test_listen() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        class Listener:
            def __init__(self) -> None:
                self.heard: list[tuple[bytes, int]] = []

            def block_connected(self, block: bytes, height: BlockHeight) -> None:
                self.heard.append((block, height))

            def blocks_disconnected(self, fork_point: BlockLocator) -> None:
                self.heard.append((fork_point.block_hash, fork_point.height))

        [old] = fake.mine()
        listener = Listener()
        chain = HeaderChain(Network.REGTEST, GENESIS)
        poller = ChainPoller(client, chain, listen_with(listener))
        await poller.synchronize()
        new = fake.mine(2, on=REGTEST_GENESIS)
        await poller.synchronize()
        assert listener.heard == [
            (fake.blocks[old], 1),
            (BlockHash(REGTEST_GENESIS), 0),
            (fake.blocks[new[0]], 1),
            (fake.blocks[new[1]], 2),
        ]

    scenario(play)
