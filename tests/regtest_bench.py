"""Coins and transactions to try the rules of the regtest node with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import coincurve
import pytest

from pyln_fast.testing.regtest import RegtestNode, Rejected
from pyln_fast.testing.regtest.addresses import address_of_script
from pyln_fast.tx.scripts import p2wsh
from pyln_fast.tx.transaction import (
    Transaction,
    TxInput,
    parse,
    serialize,
    serialize_stripped,
    sighash_bip143,
    txid,
    weight,
)
from pyln_fast.types import OutPoint, Sat, TxOut

TRUE = b"\x51"
P2WSH_TRUE = p2wsh(TRUE)
P2A = bytes.fromhex("51024e73")
KEY = coincurve.PrivateKey(b"\x01" * 32)
PUBLIC_KEY = KEY.public_key.format()
P2WPKH = b"\x00\x14" + hashlib.new("ripemd160", hashlib.sha256(PUBLIC_KEY).digest()).digest()
COIN_SAT = 100_000


class Spend(NamedTuple):
    """An input to come: what it spends, and how."""

    outpoint: OutPoint
    witness: tuple[bytes, ...] = (TRUE,)
    script_sig: bytes = b""
    sequence: int = 0xFFFFFFFD


def hash160(data: bytes) -> bytes:
    return hashlib.new("ripemd160", hashlib.sha256(data).digest()).digest()


def p2sh(script: bytes) -> bytes:
    return b"\xa9\x14" + hash160(script) + b"\x87"


def transaction(
    spends: Sequence[Spend], outputs: Sequence[tuple[int, bytes]], version: int = 2, lock_time: int = 0
) -> Transaction:
    inputs = tuple(TxInput(s.outpoint, s.script_sig, s.sequence, s.witness) for s in spends)
    return Transaction(version, inputs, tuple(TxOut(Sat(sat), script) for sat, script in outputs), lock_time)


def vsize(tx: Transaction) -> int:
    return (weight(tx) + 3) // 4


def output(tx: Transaction, vout: int = 0) -> OutPoint:
    return OutPoint(txid(tx), vout)


class Bench:
    def __init__(self, node: RegtestNode) -> None:
        self.node = node

    def coins(self, scripts: Sequence[bytes], sat: int = COIN_SAT) -> list[OutPoint]:
        """Confirmed outputs with these scripts, standard or not."""
        needed = sat * len(scripts) + 10_000
        funding = self.node.faucet.create(P2WSH_TRUE, needed)
        split = transaction([Spend(output(parse(funding)))], [(sat, script) for script in scripts])
        address = address_of_script(P2WPKH)
        assert address is not None
        self.node.mine_transactions(address, [funding, serialize(split)])
        return [output(split, i) for i in range(len(scripts))]

    def coin(self, script: bytes = P2WSH_TRUE, sat: int = COIN_SAT) -> OutPoint:
        return self.coins([script], sat)[0]

    def accept(self, tx: Transaction) -> Transaction:
        assert self.node.broadcast(serialize(tx)) == txid(tx)
        assert txid(tx) in self.node.mempool
        return tx

    def refuse(self, tx: Transaction, reason: str) -> Rejected:
        before = list(self.node.mempool)
        with pytest.raises(Rejected) as refused:
            self.node.broadcast(serialize(tx))
        assert refused.value.reason == reason, str(refused.value)
        assert list(self.node.mempool) == before
        return refused.value

    def mine_mempool(self) -> None:
        """What policy let in is valid: the kernel takes a block of all of it."""
        waiting = list(self.node.mempool)
        self.node.mine(1)
        assert list(self.node.mempool) == []
        assert sorted(self.node.chain.tip.txids[1:]) == sorted(waiting)

    def pay(self, outpoint: OutPoint, fee: int = 1_000, sat: int = COIN_SAT, **changes: object) -> Transaction:
        """One output that pays `fee`."""
        return transaction([Spend(outpoint)], [(sat - fee, P2WSH_TRUE)], **changes)  # type: ignore[arg-type]


def sign_witness_v0(tx: Transaction, index: int, script: bytes, sat: int = COIN_SAT, hash_type: int = 1) -> bytes:
    digest = sighash_bip143(tx, index, script, Sat(sat), hash_type)
    return KEY.sign(digest, hasher=None) + bytes([hash_type])


def sign_legacy(tx: Transaction, index: int, script: bytes) -> bytes:
    """SIGHASH_ALL before segwit, written apart from the package's own."""
    inputs = [TxInput(i.outpoint, script if n == index else b"", i.sequence, ()) for n, i in enumerate(tx.inputs)]
    raw = serialize_stripped(Transaction(tx.version, tuple(inputs), tx.outputs, tx.lock_time)) + b"\x01\x00\x00\x00"
    return KEY.sign(hashlib.sha256(hashlib.sha256(raw).digest()).digest(), hasher=None) + b"\x01"
