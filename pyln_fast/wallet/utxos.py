"""The wallet's records, and the set of them that can take back what it did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import msgspec

from pyln_fast.records import Table, Write
from pyln_fast.types import BlockHeight, OutPoint, Sat, Txid
from pyln_fast.wallet.keys import Branch

COINBASE_MATURITY = 100
"""Consensus: a coinbase output can be spent in the block that is so many above its own."""

Record = TypeVar("Record")


class WalletUtxo(msgspec.Struct, frozen=True, array_like=True):
    """An output that pays one of our keys. It stays on record after it is spent: a reorg can bring it back."""

    value_sat: Sat
    branch: int
    """With `index`, where its key is: `keys.Branch`."""
    index: int
    height: BlockHeight | None
    """None: its transaction is not in a block."""
    coinbase: bool
    spent_by: Txid | None = None
    reserved_by: bytes | None = None
    """Whom it is kept for: a name that the caller chose."""


class WalletTx(msgspec.Struct, frozen=True, array_like=True):
    """A transaction that pays us or spends what is ours."""

    raw: bytes
    height: BlockHeight | None
    ours: bool
    """We made it. Only our own unconfirmed transactions are broadcast again, and only their change is trusted."""
    sequence: int
    """In which order the wallet came to know them: parents before children."""


class WalletKeyIndex(msgspec.Struct, frozen=True, array_like=True):
    """How many addresses of a branch were given out or seen on chain."""

    next_index: int


UTXOS = Table("wallet_utxos", WalletUtxo)
TRANSACTIONS = Table("wallet_transactions", WalletTx)
KEY_INDEXES = Table("wallet_key_indexes", WalletKeyIndex)
TABLES: tuple[Table[Any], ...] = (UTXOS, TRANSACTIONS, KEY_INDEXES)


class RecordSet:
    """Records by table and key, with the writes that a store still lacks and what undoes them."""

    __slots__ = ("_before", "_dirty", "_tables")

    def __init__(self, loaded: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """`loaded`: encoded records by table. Raises DecodeError."""
        self._tables: dict[str, dict[bytes, Any]] = {
            table.name: {key: table.decode(value) for key, value in loaded.get(table.name, {}).items()}
            for table in TABLES
        }
        self._dirty: dict[tuple[str, bytes], None] = {}
        self._before: list[tuple[str, bytes, Any]] = []

    def get(self, table: Table[Record], key: bytes) -> Record | None:
        return cast("Record | None", self._tables[table.name].get(key))

    def items(self, table: Table[Record]) -> Iterator[tuple[bytes, Record]]:
        """In the order in which they came. Do not change the table meanwhile."""
        return iter(self._tables[table.name].items())

    def put(self, table: Table[Record], key: bytes, record: Record) -> None:
        records = self._tables[table.name]
        self._before.append((table.name, key, records.get(key)))
        self._dirty[table.name, key] = None
        records[key] = record

    def delete(self, table: Table[Record], key: bytes) -> None:
        self._before.append((table.name, key, self._tables[table.name].pop(key)))
        self._dirty[table.name, key] = None

    def mark(self) -> int:
        """A point to which `roll_back` can return, until the next `take_writes`."""
        return len(self._before)

    def roll_back(self, mark: int) -> None:
        while len(self._before) > mark:
            name, key, before = self._before.pop()
            if before is None:
                self._tables[name].pop(key, None)
            else:
                self._tables[name][key] = before

    def take_writes(self) -> list[Write]:
        """What changed since the last call, each record once."""
        writes: list[Write] = []
        by_name = {table.name: table for table in TABLES}
        for name, key in self._dirty:
            table, record = by_name[name], self._tables[name].get(key)
            writes.append(table.delete(key) if record is None else table.put(key, record))
        self._dirty.clear()
        self._before.clear()
        return writes


def utxo_key(outpoint: OutPoint) -> bytes:
    """36 bytes, as in a transaction."""
    return outpoint.txid + outpoint.vout.to_bytes(4, "little")


def outpoint_of(key: bytes) -> OutPoint:
    return OutPoint(Txid(key[:32]), int.from_bytes(key[32:], "little"))


def branch_key(branch: Branch) -> bytes:
    return bytes((branch,))
