"""The chain of headers: which branch has the most work, and which blocks to disconnect and connect to get there.

Nothing here waits. The shell says which block its source calls the best (`set_best`), then does what `next_step` asks
until there is nothing left: fetch a header (`add_header`), tell the listener that blocks are gone (`disconnected`) or
fetch the next block and hand it over (`connected`). It may break off and set another best block at any time.
"""

from __future__ import annotations

import msgspec

from pyln_fast._ext import _scan
from pyln_fast.chain.block_locator import BlockLocator, KnownBlock, header_bits, is_kept, target_of, work_of
from pyln_fast.errors import LightningError
from pyln_fast.types import BlockHash, BlockHeight, Network, txid_hex

STORED_BLOCKS = 2016
"""A fork above this depth is found exactly; below it, to the next older block that a locator keeps."""

# Bitcoin Core, chainparams.cpp: the easiest target of each network.
POW_LIMIT_BITS = {
    Network.MAINNET: 0x1D00FFFF,
    Network.TESTNET: 0x1D00FFFF,
    Network.TESTNET4: 0x1D00FFFF,
    Network.SIGNET: 0x1E0377AE,
    Network.REGTEST: 0x207FFFFF,
}
_RETARGET_INTERVAL = 2016
_SLACK = 256
"""So many blocks are forgotten at once."""


class ChainSourceError(LightningError):
    """What the source of the chain says cannot be used, or it says nothing."""


class SourceStarting(ChainSourceError):
    """The source has not got its chain together yet: waiting helps."""


class WrongNetwork(ChainSourceError):
    def __init__(self, network: Network, genesis_hash: BlockHash) -> None:
        other = next((known.value for known in Network if _genesis(known) == genesis_hash), None)
        what = f"of {other}" if other else f"of an unknown network (genesis block {txid_hex(genesis_hash)})"
        super().__init__(f"the chain is {what}, this node is of {network.value}")
        self.network = network
        self.genesis_hash = genesis_hash


class ChainBehind(ChainSourceError):
    """The source's best chain has less work than the one that we have seen already."""

    def __init__(self, stored_height: BlockHeight, source_height: BlockHeight) -> None:
        super().__init__(
            f"the chain ends at block {source_height}, but this node has already seen block {stored_height}"
        )
        self.stored_height = stored_height
        self.source_height = source_height


class ForkTooDeep(ChainSourceError):
    def __init__(self, tip_height: BlockHeight, lowest_height: BlockHeight) -> None:
        super().__init__(
            f"the chain forks from ours (block {tip_height}) below block {lowest_height}, the oldest one that is known"
        )
        self.tip_height = tip_height
        self.lowest_height = lowest_height


class InvalidHeader(ChainSourceError):
    def __init__(self, block_hash: BlockHash, why: str) -> None:
        super().__init__(f"block {txid_hex(block_hash)}: {why}")
        self.block_hash = block_hash
        self.why = why


class FetchHeader(msgspec.Struct, frozen=True):
    block_hash: BlockHash


class Disconnect(msgspec.Struct, frozen=True):
    """Our blocks above the fork point are not in the best chain."""

    fork_point: BlockLocator


class Connect(msgspec.Struct, frozen=True):
    """The next block on top of the tip."""

    block_hash: BlockHash
    height: BlockHeight
    header: bytes


Step = FetchHeader | Disconnect | Connect


class HeaderChain:
    """Knows the last blocks of the chain that its listener has seen, and the headers on the way to a better one."""

    def __init__(self, network: Network, locator: BlockLocator) -> None:
        self._network = network
        self._tip = locator.tip
        # By height, growing: every block of the last STORED_BLOCKS that we connected, then what the locator kept.
        self._known = {block.height: block for block in reversed((locator.tip, *locator.previous_blocks))}
        self._best: BlockHash | None = None
        self._best_height = locator.height
        # Checked headers on the way down from the best block, newest first; the fork point once they meet the chain.
        self._branch: list[tuple[BlockHash, bytes]] = []
        self._fork: KnownBlock | None = None
        self._headers: dict[BlockHash, bytes] = {}
        self.behind: ChainBehind | None = None
        """Set while the source's best chain has less work than ours (or it is ours, cut short)."""

    @property
    def tip(self) -> KnownBlock:
        return self._tip

    def check_genesis(self, genesis_hash: BlockHash) -> None:
        if genesis_hash != _genesis(self._network):
            raise WrongNetwork(self._network, genesis_hash)

    def locator(self) -> BlockLocator:
        """To be stored: a new HeaderChain made from it goes on from here."""
        return self._locator_at(self._tip)

    def set_best(self, block_hash: BlockHash, height: BlockHeight) -> None:
        """The source's best block. What was not done yet for an earlier one is dropped; its headers are not.
        Raises as `add_header` does."""
        self._best, self._best_height = block_hash, height
        self._branch, self._fork, self.behind = [], None, None
        if block_hash == self._tip.block_hash:
            self._finish()
        elif self._is_known(height, block_hash) or height < self._lowest():
            self._stay_ahead()
        else:
            try:
                self._descend(block_hash)
            except ChainSourceError:
                self._finish()
                raise

    def next_step(self) -> Step | None:
        """What to do now; None: the listener has seen the best chain that we know of."""
        if self._best is None:
            return None
        if self._fork is None:
            return FetchHeader(self._wanted())
        if self._fork != self._tip:
            return Disconnect(self._locator_at(self._fork))
        block_hash, header = self._branch[-1]
        return Connect(block_hash, BlockHeight(self._tip.height + 1), header)

    def add_header(self, header: bytes) -> None:
        """What FetchHeader asked for. Raises InvalidHeader, WrongNetwork or ForkTooDeep, and drops the best block."""
        wanted = self._wanted()
        try:
            self._check(wanted, header)
            self._headers[wanted] = header
            self._descend(wanted)
        except ChainSourceError:
            self._finish()
            raise

    def disconnected(self) -> None:
        """The Disconnect step is done."""
        assert self._fork is not None
        self._tip = self._fork
        self._known = {height: block for height, block in self._known.items() if height <= self._tip.height}

    def connected(self) -> None:
        """The Connect step is done."""
        assert self._fork == self._tip
        _, header = self._branch.pop()
        self._tip = self._fork = self._tip.child(header)
        self._known[self._tip.height] = self._tip
        self._forget_old()
        if not self._branch:
            self._finish()

    # --- the way down from the best block to our chain ----------------------------------------------------------------

    def _wanted(self) -> BlockHash:
        assert self._best is not None
        return _prev_hash(self._branch[-1][1]) if self._branch else self._best

    def _descend(self, block_hash: BlockHash) -> None:
        """Goes down from this block as far as headers are at hand, and decides if that meets our chain."""
        while (header := self._headers.get(block_hash)) is not None:
            height = BlockHeight(self._best_height - len(self._branch))
            if self._branch:
                self._check_retarget(height + 1, self._branch[-1], header_bits(header))
            self._branch.append((block_hash, header))
            block_hash = _prev_hash(header)
            if self._is_known(height - 1, block_hash):
                self._decide(self._known[BlockHeight(height - 1)])
                return
            if height <= 1:
                self.check_genesis(block_hash)
            if height - 1 <= self._lowest():
                raise ForkTooDeep(self._tip.height, self._lowest())

    def _decide(self, fork: KnownBlock) -> None:
        """The most work wins; of equals, the one that was here first."""
        if fork.bits:
            self._check_retarget(fork.height + 1, self._branch[-1], fork.bits)
        ours = int.from_bytes(self._tip.chainwork, "big") - int.from_bytes(fork.chainwork, "big")
        theirs = sum(work_of(header_bits(header)) for _, header in self._branch)
        if theirs > ours:
            self._fork = fork
        else:
            self._stay_ahead()

    def _check(self, wanted: BlockHash, header: bytes) -> None:
        block_hash, good = _scan.check_header(header, None, POW_LIMIT_BITS[self._network])
        if block_hash != wanted:
            raise InvalidHeader(wanted, f"the source gave the header of {txid_hex(BlockHash(block_hash))}")
        if not good:
            raise InvalidHeader(wanted, f"its hash does not meet the work of its bits {header_bits(header):08x}")

    def _check_retarget(self, height: int, block: tuple[BlockHash, bytes], parent_bits: int) -> None:
        """Mainnet's target changes every 2016 blocks, and then fourfold at most."""
        if self._network is not Network.MAINNET:
            return
        block_hash, header = block
        bits = header_bits(header)
        if height % _RETARGET_INTERVAL:
            if bits != parent_bits:
                raise InvalidHeader(block_hash, f"its bits {bits:08x} are not {parent_bits:08x}, those before it")
            return
        target, parent_target = target_of(bits), target_of(parent_bits)
        # A quarter rounded down to the compact form may be a little less than a quarter.
        if target > 4 * parent_target or target * 4 < parent_target - (parent_target >> 14):
            raise InvalidHeader(block_hash, f"its bits {bits:08x} are too far from {parent_bits:08x}, those before it")

    # --- the chain that the listener has seen -------------------------------------------------------------------------

    def _is_known(self, height: int, block_hash: BlockHash) -> bool:
        known = self._known.get(BlockHeight(height))
        return known is not None and known.block_hash == block_hash

    def _locator_at(self, tip: KnownBlock) -> BlockLocator:
        below = [block for height, block in self._known.items() if height < tip.height and is_kept(height, tip.height)]
        return BlockLocator(tip, tuple(reversed(below)))

    def _lowest(self) -> BlockHeight:
        return next(iter(self._known))

    def _forget_old(self) -> None:
        if len(self._known) <= STORED_BLOCKS + _SLACK:
            return
        tip = self._tip.height
        self._known = {h: block for h, block in self._known.items() if tip - h <= STORED_BLOCKS or is_kept(h, tip)}

    def _stay_ahead(self) -> None:
        self.behind = ChainBehind(self._tip.height, self._best_height)
        self._finish()

    def _finish(self) -> None:
        self._best, self._branch, self._fork = None, [], None
        self._headers.clear()


def _genesis(network: Network) -> BlockHash:
    return BlockHash(network.chain_hash)


def _prev_hash(header: bytes) -> BlockHash:
    return BlockHash(header[4:36])
