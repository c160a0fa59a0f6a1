"""Topologically restricted transactions, version 3 (BIP 431): small, at most one parent and one child.

Source: Bitcoin Core 28 and 29, src/policy/truc_policy.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pyln_fast.testing.regtest.mempool import Entry, Mempool
from pyln_fast.tx.transaction import Transaction
from pyln_fast.types import Txid, txid_hex

VERSION = 3
MAX_VSIZE = 10_000
MAX_CHILD_VSIZE = 1_000


def _name(txid: Txid, wtxid: Txid) -> str:
    return f"tx {txid_hex(txid)} (wtxid={txid_hex(wtxid)})"


def check_inheritance(
    txid: Txid, wtxid: Txid, tx: Transaction, parents: Sequence[tuple[Txid, Txid, Transaction]]
) -> str | None:
    """Version 3 spends unconfirmed version 3 only, and the other way round. What is wrong, or None."""
    for parent_txid, parent_wtxid, parent in parents:
        mine, theirs = _name(txid, wtxid), _name(parent_txid, parent_wtxid)
        if tx.version != VERSION and parent.version == VERSION:
            return f"non-version=3 {mine} cannot spend from version=3 {theirs}"
        if tx.version == VERSION and parent.version != VERSION:
            return f"version=3 {mine} cannot spend from non-version=3 {theirs}"
    return None


def check_size(txid: Txid, wtxid: Txid, vsize: int, is_child: bool) -> str | None:
    limit, word = (MAX_CHILD_VSIZE, "child ") if is_child else (MAX_VSIZE, "")
    if vsize > limit:
        return f"version=3 {word}{_name(txid, wtxid)} is too big: {vsize} > {limit} virtual bytes"
    return None


def check_single(
    txid: Txid,
    wtxid: Txid,
    tx: Transaction,
    vsize: int,
    parents: Sequence[Entry],
    conflicts: Sequence[Entry],
    mempool: Mempool,
) -> tuple[str, Entry | None] | None:
    """One transaction against the mempool: what is wrong, and the sibling that it might evict instead; or None."""
    wrong = check_inheritance(txid, wtxid, tx, [(p.txid, p.wtxid, p.tx) for p in parents])
    if wrong is None and tx.version == VERSION:
        wrong = check_size(txid, wtxid, vsize, is_child=False)
        if wrong is None and (len(parents) > 1 or any(parent.parents for parent in parents)):
            wrong = f"{_name(txid, wtxid)} would have too many ancestors"
        if wrong is None and parents:
            wrong = check_size(txid, wtxid, vsize, is_child=True)
    if wrong is not None:
        return wrong, None
    if tx.version != VERSION or not parents:
        return None
    parent = parents[0]
    others = [entry for entry in mempool.descendants([parent]).values() if entry is not parent]
    if not others or any(entry in conflicts for entry in others):
        return None
    sibling = others[0] if len(others) == 1 and len(mempool.ancestors(others)) == 2 else None
    return f"{_name(parent.txid, parent.wtxid)} would exceed descendant count limit", sibling


class _Member(Protocol):
    """What the rules want to know of a transaction of a package."""

    tx: Transaction
    txid: Txid
    wtxid: Txid
    vsize: int
    parents: list[Entry]


def check_in_package(candidate: _Member, others: Sequence[_Member], mempool: Mempool) -> str | None:
    """The rules between a transaction of a package, the others and its parents in the mempool."""
    spends = {tx_input.outpoint.txid for tx_input in candidate.tx.inputs}
    in_package = [other for other in others if other.txid in spends]
    all_parents = [(p.txid, p.wtxid, p.tx) for p in candidate.parents] + [(p.txid, p.wtxid, p.tx) for p in in_package]
    name = _name(candidate.txid, candidate.wtxid)
    if candidate.tx.version != VERSION:
        return check_inheritance(candidate.txid, candidate.wtxid, candidate.tx, all_parents)
    grandparents = any(parent.parents for parent in candidate.parents)
    if len(all_parents) > 1 or grandparents:
        return f"{name} would have too many ancestors"
    if not all_parents:
        return None
    wrong = check_size(candidate.txid, candidate.wtxid, candidate.vsize, is_child=True)
    wrong = wrong or check_inheritance(candidate.txid, candidate.wtxid, candidate.tx, all_parents)
    if wrong is not None:
        return wrong
    parent_txid, parent_wtxid, _ = all_parents[0]
    for other in others:
        spent = {tx_input.outpoint.txid for tx_input in other.tx.inputs}
        if parent_txid in spent:
            return f"{_name(parent_txid, parent_wtxid)} would exceed descendant count limit"
        if candidate.txid in spent:
            return f"{_name(other.txid, other.wtxid)} would have too many ancestors"
    if candidate.parents and len(mempool.descendants(candidate.parents)) > 1:
        return f"{_name(parent_txid, parent_wtxid)} would exceed descendant count limit"
    return None
