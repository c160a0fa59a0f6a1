"""Blocks as they are kept: the raw bytes on disk, in the order of their arrival, and what is cut out of them.

A data directory holds one append-only file. Each record is its length, its CRC-32 and a MessagePack value; a record
that a SIGKILL tore in two is cut off at the next start. Replaying the file gives the chain as it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import IO

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.tx.transaction import Transaction, compact_size, parse, serialize_stripped, txid
from pyln_fast.types import BlockHash, Txid

HEADER_BYTES = 80


def sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


class Header(msgspec.Struct, frozen=True):
    """The six fields of a block header; hashes in internal order."""

    version: int
    previous: BlockHash
    merkle_root: bytes
    time: int
    bits: int
    nonce: int

    def encode(self) -> bytes:
        tail = struct.pack("<III", self.time, self.bits, self.nonce)
        return struct.pack("<i", self.version) + self.previous + self.merkle_root + tail


def decode_header(raw: bytes) -> Header:
    version, previous, root, time, bits, nonce = struct.unpack("<i32s32sIII", raw[:HEADER_BYTES])
    return Header(version, BlockHash(previous), root, time, bits, nonce)


class Block:
    """A block with its transactions parsed. `raw_transactions` are with witnesses, the coinbase first."""

    __slots__ = ("hash", "header", "raw", "raw_transactions", "transactions", "txids")

    def __init__(self, raw: bytes, raw_transactions: Sequence[bytes]) -> None:
        self.raw = raw
        self.hash = BlockHash(sha256d(raw[:HEADER_BYTES]))
        self.header = decode_header(raw)
        self.raw_transactions: tuple[bytes, ...] = tuple(raw_transactions)
        self.transactions: tuple[Transaction, ...] = tuple(parse(tx) for tx in self.raw_transactions)
        self.txids: tuple[Txid, ...] = tuple(txid(tx) for tx in self.transactions)

    @property
    def stripped_bytes(self) -> int:
        """The size of the block without its witnesses."""
        count = len(self.transactions)
        return HEADER_BYTES + len(compact_size(count)) + sum(len(serialize_stripped(tx)) for tx in self.transactions)

    @property
    def weight(self) -> int:
        return 3 * self.stripped_bytes + len(self.raw)


def assemble(header: bytes, raw_transactions: Sequence[bytes]) -> bytes:
    return header + compact_size(len(raw_transactions)) + b"".join(raw_transactions)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    level = list(leaves)
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [sha256d(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


class RecordKind(Enum):
    BLOCK = "block"
    INVALIDATE = "invalidate"
    RECONSIDER = "reconsider"


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened to the chain: `header` is a block hash where `kind` is not a block."""

    kind: RecordKind
    header: bytes
    raw_transactions: tuple[bytes, ...] = ()


class DataDirectoryInUse(LocalError):
    """Another process holds this data directory."""


def open_locked(path: Path) -> IO[bytes]:
    """A file to append to, in a directory that is made if need be, for nobody else until it is closed.

    Raises DataDirectoryInUse.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise DataDirectoryInUse(f"{path.parent} is in use by another regtest node") from None
    return file


class BlockStore:
    """The file `blocks.log` of a data directory, locked for this process. Without a directory nothing is kept."""

    def __init__(self, data_dir: Path | None) -> None:
        self._file: IO[bytes] | None = None
        self.kernel_directory = data_dir / "kernel" if data_dir is not None else None
        """Where the kernel keeps what it makes of the blocks; nothing in it is needed after a restart."""
        if data_dir is None:
            return
        self._file = open_locked(data_dir / "blocks.log")

    def load(self) -> Iterator[Record]:
        """Every whole record, oldest first; what follows the last whole one is cut off."""
        if self._file is None:
            return
        self._file.seek(0)
        data = self._file.read()
        at = 0
        while at + 8 <= len(data):
            size, checksum = struct.unpack_from("<II", data, at)
            body = data[at + 8 : at + 8 + size]
            if len(body) < size or zlib.crc32(body) != checksum:
                break
            yield msgspec.msgpack.decode(body, type=Record)
            at += 8 + size
        os.ftruncate(self._file.fileno(), at)

    def append(self, record: Record) -> None:
        """Safe against SIGKILL on return; a power cut may take the newest records."""
        if self._file is not None:
            body = msgspec.msgpack.encode(record)
            self._file.write(struct.pack("<II", len(body), zlib.crc32(body)) + body)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
