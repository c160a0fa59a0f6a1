"""Follows a block source: drives the header chain, checks each block and hands it over in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from pyln_fast.chain.block_locator import RECENT_BLOCKS, BlockLocator
from pyln_fast.chain.header_chain import (
    ChainSourceError,
    Connect,
    Disconnect,
    FetchHeader,
    ForkTooDeep,
    HeaderChain,
    InvalidHeader,
    SourceStarting,
    WrongNetwork,
)
from pyln_fast.chain.interfaces import BlockSource, Listen
from pyln_fast.chain.scanner import HEADER_LEN, InvalidBlock, check_merkle_root
from pyln_fast.types import BlockHash, BlockHeight, Network

_LOG = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.5
"""After a failure; doubled with each one that follows, up to the longest."""
LONGEST_PAUSE_SECONDS = 30.0


class BlockConnected(msgspec.Struct, frozen=True):
    """The next block on top of the last one. Its header, its place and its merkle root are checked."""

    block: bytes
    height: BlockHeight
    locator: BlockLocator
    """With this block as its tip: to be stored with what the block brought."""


class BlocksDisconnected(msgspec.Struct, frozen=True):
    """The blocks above the fork point are no longer in the chain. Those of the new branch follow."""

    fork_point: BlockLocator


ChainUpdate = BlockConnected | BlocksDisconnected


class ChainPoller:
    """`deliver` gets each update when it has returned from the one before, so a slow node slows the poller."""

    def __init__(
        self,
        source: BlockSource,
        chain: HeaderChain,
        deliver: Callable[[ChainUpdate], Awaitable[None]],
        *,
        poll_seconds: float = POLL_SECONDS,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._source = source
        self._chain = chain
        self._deliver = deliver
        self._poll_seconds = poll_seconds
        self._first_pause_seconds = first_pause_seconds
        self._complaint = ""

    async def synchronize(self) -> None:
        """Delivers all that is missing up to the source's best block.

        Waits while the source starts. Everything else that prevents it is raised: a wrong network, a chain behind what
        we have seen, a fork deeper than we can follow, a source that does not answer."""
        pause = self._first_pause_seconds
        while True:
            try:
                await self._source.check_ready()
                self._chain.check_genesis(await self._source.get_genesis_hash())
                while await self._catch_up():
                    pass
                break
            except SourceStarting as error:
                self._complain(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        if self._chain.behind is not None:
            raise self._chain.behind

    async def run(self) -> None:
        """Follows the source until it is cancelled.

        Raises WrongNetwork and ForkTooDeep, which no waiting heals. Any other failure is logged once and tried again,
        after a growing pause and with a look at the network, for the source may be another one now."""
        pause = 0.0
        while True:
            try:
                if pause:
                    self._chain.check_genesis(await self._source.get_genesis_hash())
                await self._catch_up()
                if self._chain.behind is None and self._complaint:
                    _LOG.info("the chain is followed again, at block %d", self._chain.tip.height)
                    self._complaint = ""
                elif self._chain.behind is not None:
                    self._complain(self._chain.behind)
                pause = 0.0
            except (WrongNetwork, ForkTooDeep):
                raise
            except (ChainSourceError, InvalidBlock) as error:
                self._complain(error)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS) or self._first_pause_seconds
            await asyncio.sleep(pause or self._poll_seconds)

    async def _catch_up(self) -> bool:
        """One look at the source's best block, and all that follows from it. Whether anything did."""
        before = self._chain.tip
        self._chain.set_best(*await self._source.get_best_block())
        while (step := self._chain.next_step()) is not None:
            match step:
                case FetchHeader():
                    self._chain.add_header(await self._source.get_header(step.block_hash))
                case Disconnect():
                    await self._deliver(BlocksDisconnected(step.fork_point))
                    self._chain.disconnected()
                case Connect():
                    await self._connect(step)
        return self._chain.tip != before

    async def _connect(self, step: Connect) -> None:
        block = await self._source.get_block(step.block_hash)
        if block[:HEADER_LEN] != step.header:
            raise InvalidHeader(step.block_hash, "the source gave another block")
        check_merkle_root(block)
        await self._deliver(BlockConnected(block, step.height, self._chain.locator().advance(step.header)))
        self._chain.connected()

    def _complain(self, error: Exception) -> None:
        if str(error) != self._complaint:
            self._complaint = str(error)
            _LOG.warning("%s", error)


async def locator_of_best(source: BlockSource, network: Network) -> BlockLocator:
    """Where a new node begins: the best block, with the last few below it, so that a reorg can be followed at once."""
    genesis = BlockLocator.from_network(network)
    block_hash, height = await source.get_best_block()
    headers: list[bytes] = []
    while len(headers) < min(height, RECENT_BLOCKS):
        headers.append(await source.get_header(block_hash))
        block_hash = BlockHash(headers[-1][4:36])
    first = BlockHeight(height - len(headers))
    locator = BlockLocator.new(block_hash, first) if first else genesis
    for header in reversed(headers):
        locator = locator.advance(header)
    return locator


def listen_with(listener: Listen) -> Callable[[ChainUpdate], Awaitable[None]]:
    """`deliver` for a Listen."""

    async def deliver(update: ChainUpdate) -> None:
        match update:
            case BlockConnected():
                listener.block_connected(update.block, update.height)
            case BlocksDisconnected():
                listener.blocks_disconnected(update.fork_point)

    return deliver
