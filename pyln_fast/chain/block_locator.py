"""Where in the chain we are, with enough of its past to find the way back after a reorg that we slept through."""

from __future__ import annotations

import msgspec

from pyln_fast._ext import _scan
from pyln_fast.types import BlockHash, BlockHeight, Network

RECENT_BLOCKS = 12
"""Every block this near to the tip is kept, as LDK keeps them: reorgs are shallow."""
MAX_DEPTH = 4096
"""Blocks deeper than this are forgotten: four weeks of a reorg are not an accident that software repairs."""

_EASIEST = 0x2100FFFF


class KnownBlock(msgspec.Struct, frozen=True, array_like=True):
    height: BlockHeight
    block_hash: BlockHash
    chainwork: bytes = bytes(32)
    """Hashes expected since the first block that we ever knew, a big-endian number; work is only ever compared."""
    bits: int = 0
    """Its target as the header encodes it; 0 if nobody has shown us the header."""

    def child(self, header: bytes) -> KnownBlock:
        """The block of this header on top of this one. The caller has checked the header."""
        block_hash, _ = _scan.check_header(header, self.block_hash, _EASIEST)
        bits = header_bits(header)
        work = int.from_bytes(self.chainwork, "big") + work_of(bits)
        return KnownBlock(BlockHeight(self.height + 1), BlockHash(block_hash), work.to_bytes(32, "big"), bits)


class BlockLocator(msgspec.Struct, frozen=True, array_like=True):
    """A block and some of those below it: all of the last twelve, then fewer and fewer. A value to be stored with what
    was learnt from that block."""

    tip: KnownBlock
    previous_blocks: tuple[KnownBlock, ...] = ()
    """From the newest to the oldest."""

    @property
    def block_hash(self) -> BlockHash:
        return self.tip.block_hash

    @property
    def height(self) -> BlockHeight:
        return self.tip.height

    @staticmethod
    def from_network(network: Network) -> BlockLocator:
        """The genesis block."""
        return BlockLocator.new(BlockHash(network.chain_hash), BlockHeight(0))

    @staticmethod
    def new(block_hash: BlockHash, height: BlockHeight) -> BlockLocator:
        """A block of which nothing below is known: where a new node begins. No reorg below it can be followed."""
        return BlockLocator(KnownBlock(height, block_hash))

    def advance(self, header: bytes) -> BlockLocator:
        """One block on. The caller has checked that the header is the next one."""
        return self.above(self.tip.child(header))

    def above(self, block: KnownBlock) -> BlockLocator:
        """A later block as the tip, with what is worth keeping of this one's past."""
        kept = tuple(known for known in (self.tip, *self.previous_blocks) if is_kept(known.height, block.height))
        return BlockLocator(block, kept)

    def back_to(self, height: BlockHeight) -> BlockLocator | None:
        """The newest known block at this height or below, or None."""
        blocks = (self.tip, *self.previous_blocks)
        for position, known in enumerate(blocks):
            if known.height <= height:
                return BlockLocator(known, blocks[position + 1 :])
        return None


def is_kept(height: int, tip_height: int) -> bool:
    """Whether a locator with this tip holds the block at this height. What is dropped once is never wanted again."""
    depth = tip_height - height
    if depth <= RECENT_BLOCKS:
        return True
    return depth <= MAX_DEPTH and height % (1 << (depth // RECENT_BLOCKS).bit_length() + 1) == 0


def header_bits(header: bytes) -> int:
    return int.from_bytes(header[72:76], "little")


def target_of(bits: int) -> int:
    """The number that the compact form stands for, where `check_header` has accepted it."""
    size, mantissa = bits >> 24, bits & 0x7FFFFF
    return mantissa << 8 * (size - 3) if size > 3 else mantissa >> 8 * (3 - size)


def work_of(bits: int) -> int:
    """How many hashes meet the target once, on average."""
    return (1 << 256) // (target_of(bits) + 1)
