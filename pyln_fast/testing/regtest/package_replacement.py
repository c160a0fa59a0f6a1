"""A package of one parent and one child that replaces others (Core 28 and 29, package RBF).

It must pay for what it evicts and for its own relay, and the feerate diagram of what a miner has left must improve
everywhere. That diagram is worked out for clusters of at most two transactions; others cannot be replaced this way.
Source: Bitcoin Core 28, src/validation.cpp (PackageRBFChecks), src/txmempool.cpp (CalculateChunksForRBF).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from pyln_fast.testing.regtest import replacement
from pyln_fast.testing.regtest.accept import Candidate
from pyln_fast.testing.regtest.consensus import btc
from pyln_fast.testing.regtest.errors import Rejected
from pyln_fast.testing.regtest.mempool import Entry, Mempool
from pyln_fast.testing.regtest.policy import Policy
from pyln_fast.types import Sat, txid_hex

_FAILED = "package RBF failed: "
_Chunk = tuple[int, int]
"""(fee, vsize)"""


def check(package: Sequence[Candidate], fee_sat: Sat, vsize: int, mempool: Mempool, settings: Policy) -> list[Entry]:
    """What goes. Raises Rejected."""
    if len(package) != 2:
        raise Rejected(_FAILED + "package must be 1-parent-1-child")
    if any(candidate.parents for candidate in package):
        raise Rejected(_FAILED + "new transaction cannot have mempool ancestors")
    parent, child = package
    conflicts = list({entry.txid: entry for candidate in package for entry in candidate.conflicts}.values())
    try:
        gone = replacement.evicted(child.txid, conflicts, mempool)
    except Rejected as error:
        raise Rejected(_FAILED + error.reason, error.details) from None
    wrong = replacement.check_pays_for_relay(child.txid, fee_sat, vsize, gone, settings)
    if wrong is not None:
        raise Rejected(_FAILED + "insufficient anti-DoS fees", wrong)
    if fee_sat * parent.vsize <= parent.fee_sat * vsize:
        own, together = parent.fee_sat * 1000 // parent.vsize, fee_sat * 1000 // vsize
        raise Rejected(
            _FAILED + "package feerate is less than or equal to parent feerate",
            f"package feerate {btc(together)} BTC/kvB <= parent feerate is {btc(own)} BTC/kvB",
        )
    for entry in conflicts:
        wrong = _cluster_too_large(entry)
        if wrong is not None:
            raise Rejected(_FAILED + wrong)
    old, kept = _chunks(conflicts, gone)
    if not _improves(old, [*kept, (fee_sat, vsize)]):
        raise Rejected(_FAILED + "insufficient feerate: does not improve feerate diagram")
    return gone


def _cluster_too_large(entry: Entry) -> str | None:
    name = txid_hex(entry.txid)
    if entry.parents and entry.children:
        return f"{name} has both ancestor and descendant, exceeding cluster limit of 2"
    for relatives, word in ((entry.parents, "ancestors"), (entry.children, "descendants")):
        if len(relatives) > 1:
            return f"{name} has {len(relatives)} {word}, max 1 allowed"
    for parent in entry.parents.values():
        if len(parent.children) > 1:
            return f"{name} is not the only child of parent {txid_hex(parent.txid)}"
        if parent.parents:
            return f"{name} has {len(parent.parents) + 1} ancestors, max 1 allowed"
    for child in entry.children.values():
        if len(child.parents) > 1:
            return f"{name} is not the only parent of child {txid_hex(child.txid)}"
        if child.children:
            return f"{name} has {len(child.children) + 1} descendants, max 1 allowed"
    return None


def _chunks(conflicts: Sequence[Entry], gone: Sequence[Entry]) -> tuple[list[_Chunk], list[_Chunk]]:
    """What the clusters of the conflicts are worth now, and what of them stays."""
    now: list[_Chunk] = []
    stays: list[_Chunk] = []
    done = set()
    for entry in conflicts:
        first = next(iter(entry.parents.values()), entry)
        if first.txid in done:
            continue
        done.add(first.txid)
        own = (first.fee_sat, first.vsize)
        second = next(iter(first.children.values()), None)
        if second is None:
            now.append(own)
        elif second.fee_sat * first.vsize > first.fee_sat * second.vsize:
            now.append((first.fee_sat + second.fee_sat, first.vsize + second.vsize))
        else:
            now += [own, (second.fee_sat, second.vsize)]
        if first not in gone:
            stays.append(own)
    return now, stays


def _improves(old: Sequence[_Chunk], new: Sequence[_Chunk]) -> bool:
    """Whether the new diagram (vsize to fee, best chunks first) lies nowhere below the old one, and somewhere above."""
    old_points, new_points = _diagram(old), _diagram(new)
    above = False
    for vsize in sorted({vsize for _, vsize in [*old_points, *new_points]}):
        # Both are (fee, divisor): heights of the two lines at this size.
        old_fee, old_divisor = _height(old_points, vsize)
        new_fee, new_divisor = _height(new_points, vsize)
        difference = new_fee * old_divisor - old_fee * new_divisor
        if difference < 0:
            return False
        above = above or difference > 0
    return above


def _diagram(chunks: Sequence[_Chunk]) -> list[_Chunk]:
    best_first = sorted(chunks, key=lambda chunk: -(chunk[0] << 40) // chunk[1])
    return list(accumulate(best_first, lambda a, b: (a[0] + b[0], a[1] + b[1]), initial=(0, 0)))


def _height(points: Sequence[_Chunk], vsize: int) -> _Chunk:
    """The fee at a size as a fraction; beyond the last point the line is flat."""
    for (fee, at), (next_fee, next_at) in pairwise(points):
        if vsize <= next_at:
            return fee * (next_at - at) + (next_fee - fee) * (vsize - at), next_at - at
    return points[-1][0], 1
