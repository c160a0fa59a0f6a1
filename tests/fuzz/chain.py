"""Transactions and blocks, as the bindings of the C core read them."""

from __future__ import annotations

from pyln_fast.chain.scanner import InvalidBlock, WatchSet, check_merkle_root, scan
from pyln_fast.errors import DecodeError
from pyln_fast.tx import transaction
from pyln_fast.types import OutPoint, Txid

FIRST_INPUT = 88
"""Where the first input of the first transaction stands in a small block: the set watches what is there."""


def raw_transaction(data: bytes) -> None:
    """A funding transaction of a user, or one of bitcoind."""
    try:
        tx = transaction.parse(data)
    except (DecodeError, ValueError):
        return
    assert transaction.serialize(tx) == data
    assert len(transaction.serialize_stripped(tx)) * 3 + len(data) == transaction.weight(tx)
    assert len(transaction.txid(tx)) == 32
    for index in range(min(len(tx.inputs), 3)):
        transaction.sighash_bip143(tx, index, b"\x51", tx.outputs[0].value_sat)


def block(data: bytes) -> None:
    watched = WatchSet()
    watched.add_script(b"\x51")
    if len(data) >= FIRST_INPUT + 36:
        txid, vout = data[FIRST_INPUT : FIRST_INPUT + 32], data[FIRST_INPUT + 32 : FIRST_INPUT + 36]
        watched.add_outpoint(OutPoint(Txid(txid), int.from_bytes(vout, "little")))
    try:
        hits = scan(watched, data)
    except InvalidBlock:
        hits = None
    try:
        check_merkle_root(data)
    except InvalidBlock:
        return
    assert hits is not None
    for hit in hits.hits:
        assert transaction.txid(transaction.parse(hit.raw)) == hit.txid
