"""A block parser that can be read at a glance, and its scan: every txid computed, every key compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

OUTPOINT, SCRIPT, JOINED = 1, 2, 3


def sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError(f"{count} bytes wanted at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def compact_size(self) -> int:
        first = self.take(1)[0]
        if first < 253:
            return first
        width, least = {253: (2, 253), 254: (4, 2**16), 255: (8, 2**32)}[first]
        number = int.from_bytes(self.take(width), "little")
        if number < least:
            raise ValueError("not the shortest form")
        return number


@dataclass
class Tx:
    offset: int
    raw: bytes
    txid: bytes
    outpoints: list[bytes]
    scripts: list[bytes]


@dataclass
class Block:
    header: bytes
    txs: list[Tx]


def read_tx(reader: Reader) -> Tx:
    start = reader.at
    version = reader.take(4)
    segwit = reader.data[reader.at : reader.at + 1] == b"\x00"
    if segwit and reader.take(2) != b"\x00\x01":
        raise ValueError("no inputs, or an unknown flag")
    body = reader.at
    outpoints, scripts = [], []
    n_inputs = reader.compact_size()
    if n_inputs == 0:
        raise ValueError("no inputs")
    for _ in range(n_inputs):
        outpoints.append(reader.take(36))
        reader.take(reader.compact_size())
        reader.take(4)
    n_outputs = reader.compact_size()
    if n_outputs == 0:
        raise ValueError("no outputs")
    for _ in range(n_outputs):
        reader.take(8)
        scripts.append(reader.take(reader.compact_size()))
    middle = reader.data[body : reader.at]
    if segwit:
        items = 0
        for _ in range(n_inputs):
            count = reader.compact_size()
            items += count
            for _ in range(count):
                reader.take(reader.compact_size())
        if items == 0:
            raise ValueError("a superfluous witness")
    lock_time = reader.take(4)
    return Tx(start, reader.data[start : reader.at], sha256d(version + middle + lock_time), outpoints, scripts)


def parse(raw: bytes) -> Block:
    """Raises ValueError."""
    if len(raw) > 4_000_000:
        raise ValueError("over the limit of a block")
    reader = Reader(raw)
    header = reader.take(80)
    count = reader.compact_size()
    if count == 0:
        raise ValueError("no transactions")
    txs = [read_tx(reader) for _ in range(count)]
    if reader.at != len(raw):
        raise ValueError("bytes behind the block")
    return Block(header, txs)


def scan(raw: bytes, outpoints: set[bytes], scripts: set[bytes]) -> list[tuple[int, int, int, bytes, int, int]]:
    """(tx_index, offset, length, txid, kind, index) of each hit."""
    hits = []
    joined: set[bytes] = set()
    for tx_index, tx in enumerate(parse(raw).txs):
        place = (tx_index, tx.offset, len(tx.raw), tx.txid)
        spends = [(OUTPOINT, i) for i, outpoint in enumerate(tx.outpoints) if outpoint in outpoints]
        spends += [(JOINED, i) for i, outpoint in enumerate(tx.outpoints) if outpoint in joined - outpoints]
        spends.sort(key=lambda spend: spend[1])
        pays = [i for i, script in enumerate(tx.scripts) if script in scripts]
        hits += [(*place, kind, i) for kind, i in spends] + [(*place, SCRIPT, i) for i in pays]
        created = range(len(tx.scripts)) if spends else pays
        joined |= {tx.txid + i.to_bytes(4, "little") for i in created}
    return hits


def merkle_root(txids: list[bytes]) -> bytes | None:
    """None where a level repeats a pair: such a list has the root of a shorter one."""
    while len(txids) > 1:
        if any(a == b for a, b in zip(txids[::2], txids[1::2])):
            return None
        if len(txids) % 2:
            txids = [*txids, txids[-1]]
        txids = [sha256d(a + b) for a, b in zip(txids[::2], txids[1::2])]
    return txids[0]
