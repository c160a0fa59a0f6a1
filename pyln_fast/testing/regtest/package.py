"""Packages: a child with its parents, judged by their fees together (submitpackage; BIP 331's rules in Core 28 and 29).

Each member is tried by itself first. What fails for its fee alone, or for a missing parent, is tried again together.
Source: Bitcoin Core, src/validation.cpp (AcceptPackage) and src/policy/packages.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from pyln_fast.testing.regtest import package_replacement, truc
from pyln_fast.testing.regtest.accept import Acceptance, Candidate
from pyln_fast.testing.regtest.errors import Rejected, RejectKind
from pyln_fast.testing.regtest.mempool import Mempool
from pyln_fast.testing.regtest.policy import Policy
from pyln_fast.types import OutPoint, Sat, Txid, TxOut, txid_hex

MAX_TRANSACTIONS = 25
_MAX_WEIGHT = 404_000
_FAILED = "transaction failed"


class MemberResult(msgspec.Struct, frozen=True):
    """What became of one transaction: accepted or already there (`error` None), or refused."""

    txid: Txid
    wtxid: Txid
    error: Rejected | None = None
    vsize: int = 0
    fee_sat: Sat = Sat(0)
    effective_feerate_sat_per_kvb: int | None = None
    """By itself or as the package it was judged in; None if it was in the mempool before."""
    effective_includes: tuple[Txid, ...] = ()
    """The wtxids that this feerate is of."""
    other_wtxid: Txid | None = None
    """The same transaction with another witness is in the mempool."""


class PackageResult(msgspec.Struct, frozen=True):
    """`message` is `success` or Core's word for what failed. Results by wtxid; empty if nothing was looked at."""

    message: str
    members: dict[Txid, MemberResult]
    replaced: tuple[Txid, ...]


class _PackageRejected(Exception):
    def __init__(self, message: str, members: dict[Txid, MemberResult] | None = None) -> None:
        super().__init__(message)
        self.members = members or {}


def _refused(candidate: Candidate, error: Rejected) -> MemberResult:
    return MemberResult(candidate.txid, candidate.wtxid, error)


def check_well_formed(package: Sequence[Candidate]) -> None:
    """The rules that need no chain. Raises Rejected."""
    if len(package) > MAX_TRANSACTIONS:
        raise Rejected("package-too-many-transactions")
    if len(package) > 1 and sum(candidate.weight for candidate in package) > _MAX_WEIGHT:
        raise Rejected("package-too-large")
    later = {candidate.txid for candidate in package}
    if len(later) != len(package):
        raise Rejected("package-contains-duplicates")
    seen: set[OutPoint] = set()
    for candidate in package:
        if any(tx_input.outpoint.txid in later for tx_input in candidate.tx.inputs):
            raise Rejected("package-not-sorted")
        later.remove(candidate.txid)
    for candidate in package:
        spent = {tx_input.outpoint for tx_input in candidate.tx.inputs}
        if spent & seen:
            raise Rejected("conflict-in-package")
        seen |= spent


def is_child_with_parents(package: Sequence[Candidate]) -> bool:
    """Whether all but the last are parents of the last."""
    parents = {tx_input.outpoint.txid for tx_input in package[-1].tx.inputs}
    return len(package) > 1 and all(candidate.txid in parents for candidate in package[:-1])


def is_child_with_independent_parents(package: Sequence[Candidate]) -> bool:
    """The topology that submitpackage takes: no parent spends another."""
    parents = {candidate.txid for candidate in package[:-1]}
    spends = any(tx_input.outpoint.txid in parents for member in package[:-1] for tx_input in member.tx.inputs)
    return is_child_with_parents(package) and not spends


class PackageAcceptance:
    """Takes packages into a node's mempool."""

    def __init__(self, acceptance: Acceptance, mempool: Mempool, settings: Policy, now: Callable[[], int]) -> None:
        self._acceptance = acceptance
        self._mempool = mempool
        self._policy = settings
        self._now = now

    def submit(self, package: Sequence[Candidate], max_feerate_sat_per_kvb: int | None = None) -> PackageResult:
        """Submits a child with its parents, or a single transaction."""
        try:
            check_well_formed(package)
        except Rejected as error:
            return PackageResult(str(error), {}, ())
        if len(package) > 1 and not is_child_with_parents(package):
            return PackageResult("package-not-child-with-parents", {}, ())
        results: dict[Txid, MemberResult] = {}
        replaced: list[Txid] = []
        again: list[Candidate] = []
        message = "success"
        for candidate in package:
            try:
                results[candidate.wtxid] = self._known(candidate) or self._single(
                    candidate, max_feerate_sat_per_kvb, replaced
                )
            except Rejected as error:
                results[candidate.wtxid] = _refused(candidate, error)
                if len(package) == 1 or error.kind is RejectKind.INVALID:
                    message = _FAILED
                else:
                    again.append(candidate)
        if message == "success" and again:
            try:
                results.update(self._together([Candidate(c.raw) for c in again], max_feerate_sat_per_kvb, replaced))
            except _PackageRejected as failure:
                message = str(failure)
                results.update(failure.members)
        ordered = {candidate.wtxid: results[candidate.wtxid] for candidate in package}
        return PackageResult(message, ordered, tuple(sorted(set(replaced), key=txid_hex)))

    def test(self, package: Sequence[Candidate]) -> PackageResult:
        """testmempoolaccept for several: each pays for itself, later ones may spend earlier ones; nothing is kept."""
        try:
            check_well_formed(package)
            return PackageResult("success", self._check_members(package, by_package_feerate=False), ())
        except Rejected as error:
            return PackageResult(str(error), {}, ())
        except _PackageRejected as failure:
            return PackageResult(str(failure), failure.members, ())

    def _known(self, candidate: Candidate) -> MemberResult | None:
        entry = self._mempool.entries.get(candidate.txid)
        if entry is None:
            return None
        if entry.wtxid != candidate.wtxid:
            return MemberResult(candidate.txid, candidate.wtxid, other_wtxid=entry.wtxid)
        return MemberResult(entry.txid, entry.wtxid, None, entry.vsize, entry.fee_sat)

    def _single(self, candidate: Candidate, max_feerate: int | None, replaced: list[Txid]) -> MemberResult:
        self._acceptance.check(candidate)
        _check_max_feerate(candidate, max_feerate)
        return self._enter(candidate, candidate.fee_sat * 1000 // candidate.vsize, (candidate.wtxid,), replaced)

    def _enter(
        self, candidate: Candidate, feerate: int, includes: tuple[Txid, ...], replaced: list[Txid]
    ) -> MemberResult:
        replaced += [entry.txid for entry in candidate.evicted]
        self._acceptance.enter(candidate, self._now())
        return _accepted(candidate, feerate, includes)

    def _together(
        self, package: Sequence[Candidate], max_feerate: int | None, replaced: list[Txid]
    ) -> dict[Txid, MemberResult]:
        if len(package) == 1:
            try:
                return {package[0].wtxid: self._single(package[0], max_feerate, replaced)}
            except Rejected as error:
                raise _PackageRejected(_FAILED, {package[0].wtxid: _refused(package[0], error)}) from None
        results = self._check_members(package, by_package_feerate=True, max_feerate=max_feerate)
        for candidate in package:
            replaced += [entry.txid for entry in candidate.evicted]
            self._acceptance.enter(candidate, self._now())
        return results

    def _check_members(
        self, package: Sequence[Candidate], by_package_feerate: bool, max_feerate: int | None = None
    ) -> dict[Txid, MemberResult]:
        """Core's AcceptMultipleTransactions up to the change of the mempool. Raises _PackageRejected."""
        self._check_each(package, by_package_feerate, max_feerate)
        self._check_truc(package)
        fee, vsize = sum(c.fee_sat for c in package), sum(c.vsize for c in package)
        if by_package_feerate:
            try:
                self._acceptance.check_feerate(fee, vsize)
            except Rejected as error:
                raise _PackageRejected(_FAILED, {package[-1].wtxid: _refused(package[-1], error)}) from None
        if len(package) > 1:
            self._check_together(package, Sat(fee), vsize)
        members = {candidate.txid: candidate.tx for candidate in package}
        for candidate in package:
            try:
                self._acceptance.check_dust_is_spent(candidate, members)
            except Rejected as error:
                raise _PackageRejected("unspent-dust", {candidate.wtxid: _refused(candidate, error)}) from None
        for candidate in package:
            try:
                self._acceptance.check_scripts(candidate)
            except Rejected as error:
                raise _PackageRejected(_FAILED, {candidate.wtxid: _refused(candidate, error)}) from None
        everyone = tuple(candidate.wtxid for candidate in package)
        return {
            c.wtxid: _accepted(c, fee * 1000 // vsize, everyone)
            if by_package_feerate
            else _accepted(c, c.fee_sat * 1000 // c.vsize, (c.wtxid,))
            for c in package
        }

    def _check_each(self, package: Sequence[Candidate], by_package_feerate: bool, max_feerate: int | None) -> None:
        outputs: dict[OutPoint, TxOut] = {}
        for candidate in package:
            try:
                self._acceptance.check_before_scripts(
                    candidate,
                    own_feerate=not by_package_feerate,
                    may_replace=by_package_feerate,
                    alone=False,
                    package_outputs=outputs,
                )
                _check_max_feerate(candidate, max_feerate)
            except Rejected as error:
                raise _PackageRejected(_FAILED, {candidate.wtxid: _refused(candidate, error)}) from None
            outputs.update({OutPoint(candidate.txid, i): out for i, out in enumerate(candidate.tx.outputs)})

    def _check_truc(self, package: Sequence[Candidate]) -> None:
        for candidate in package:
            others = [other for other in package if other is not candidate]
            wrong = truc.check_in_package(candidate, others, self._mempool)
            if wrong is not None:
                raise _PackageRejected(f"TRUC-violation, {wrong}")

    def _check_together(self, package: Sequence[Candidate], fee_sat: Sat, vsize: int) -> None:
        wrong = self._acceptance.chain_limit_exceeded(package)
        if wrong is not None:
            raise _PackageRejected(f"package-mempool-limits, {wrong}")
        if any(candidate.conflicts for candidate in package):
            try:
                package[0].evicted = package_replacement.check(package, fee_sat, vsize, self._mempool, self._policy)
            except Rejected as error:
                raise _PackageRejected(str(error)) from None


def _accepted(candidate: Candidate, feerate: int, includes: tuple[Txid, ...]) -> MemberResult:
    return MemberResult(candidate.txid, candidate.wtxid, None, candidate.vsize, candidate.fee_sat, feerate, includes)


def _check_max_feerate(candidate: Candidate, max_feerate: int | None) -> None:
    if max_feerate is not None and candidate.fee_sat * 1000 > max_feerate * candidate.vsize:
        raise Rejected("max feerate exceeded")
