"""What a block holds of what we watch: outpoints that its inputs spend, scripts that its outputs pay."""

from __future__ import annotations

import msgspec

from pyln_fast._ext import HASH_SEED, _scan
from pyln_fast.errors import DecodeError
from pyln_fast.types import BlockHash, OutPoint, Txid

HEADER_LEN = 80

_SCRIPT_HIT = 2


class InvalidBlock(DecodeError):
    """Bytes that are not one whole block, or not the block that its header commits to."""

    def __init__(self, why: str) -> None:
        super().__init__("block", why)


class Hit(msgspec.Struct, frozen=True, array_like=True):
    """A transaction that concerns us."""

    tx_index: int
    txid: Txid
    raw: bytes
    inputs: tuple[int, ...]
    """The inputs that spend a watched outpoint, or what an earlier hit of the same block created."""
    outputs: tuple[int, ...]
    """The outputs that pay a watched script."""


class BlockHits(msgspec.Struct, frozen=True, array_like=True):
    block_hash: BlockHash
    header: bytes
    """80 bytes."""
    hits: tuple[Hit, ...]
    """In the block's order, so a parent comes before its child."""


class WatchSet:
    """Outpoints and scripts, each with the number of its watchers: what two have added, two must remove."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set = _scan.WatchSet(HASH_SEED)

    def __len__(self) -> int:
        return len(self._set)

    def add_outpoint(self, outpoint: OutPoint) -> None:
        self._set.add_outpoint(_outpoint36(outpoint))

    def remove_outpoint(self, outpoint: OutPoint) -> None:
        """Nothing happens if nobody watches it."""
        self._set.remove_outpoint(_outpoint36(outpoint))

    def watches_outpoint(self, outpoint: OutPoint) -> bool:
        return self._set.count_outpoint(_outpoint36(outpoint)) > 0

    def add_script(self, script_pubkey: bytes) -> None:
        """Raises ValueError for an empty script and for one that is too long to be spent (over 10,000 bytes)."""
        self._set.add_script(script_pubkey)

    def remove_script(self, script_pubkey: bytes) -> None:
        """Nothing happens if nobody watches it. Outputs that paid it stay watched until they are removed."""
        self._set.remove_script(script_pubkey)

    def watches_script(self, script_pubkey: bytes) -> bool:
        return self._set.count_script(script_pubkey) > 0

    def hits(self, raw_block: bytes) -> tuple[bytes, list[tuple[int, int, int, bytes, int, int]]] | None:
        """As the C core reports them; `scan` makes values of them."""
        return self._set.scan(raw_block)


def scan(watch_set: WatchSet, raw_block: bytes) -> BlockHits:
    """Walks the block once, without the GIL.

    For the rest of the block everything that a hit created is watched: the outputs of a transaction that spends a
    watched outpoint, and an output that pays a watched script. The latter outpoint stays in the set afterwards, so that
    watching a script is enough to see the money come and go; what else should be watched is the caller's to add. A
    block that is scanned twice gives the same hits and adds nothing twice.

    Raises InvalidBlock if the bytes are not exactly one block. Neither proof of work nor the merkle root is checked.
    """
    found = watch_set.hits(raw_block)
    if found is None:
        raise InvalidBlock(f"{len(raw_block)} bytes that do not parse as one block")
    block_hash, raw_hits = found
    hits: list[Hit] = []
    inputs: list[int] = []
    outputs: list[int] = []
    for position, (tx_index, offset, length, txid, kind, index) in enumerate(raw_hits):
        (outputs if kind == _SCRIPT_HIT else inputs).append(index)
        last_of_tx = position + 1 == len(raw_hits) or raw_hits[position + 1][0] != tx_index
        if last_of_tx:
            raw = raw_block[offset : offset + length]
            hits.append(Hit(tx_index, Txid(txid), raw, tuple(inputs), tuple(outputs)))
            _stay_watched(watch_set, Txid(txid), outputs)
            inputs, outputs = [], []
    return BlockHits(BlockHash(block_hash), raw_block[:HEADER_LEN], tuple(hits))


def check_merkle_root(raw_block: bytes) -> None:
    """Raises InvalidBlock unless the transactions are those that the header commits to."""
    if not _scan.check_merkle_root(raw_block):
        raise InvalidBlock("its transactions are not those of its merkle root")


def _stay_watched(watch_set: WatchSet, txid: Txid, outputs: list[int]) -> None:
    for vout in outputs:
        outpoint = OutPoint(txid, vout)
        if not watch_set.watches_outpoint(outpoint):
            watch_set.add_outpoint(outpoint)


def _outpoint36(outpoint: OutPoint) -> bytes:
    return outpoint.txid + outpoint.vout.to_bytes(4, "little")
