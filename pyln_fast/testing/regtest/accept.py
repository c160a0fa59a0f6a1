"""Whether the mempool takes a transaction: consensus and standard policy, in the order of Core's checks.

The order decides which reason a transaction with several faults is refused for. Source: Bitcoin Core 28 and 29,
src/validation.cpp, MemPoolAccept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyln_fast.errors import DecodeError
from pyln_fast.testing.regtest import consensus, policy, replacement, script_verify, truc
from pyln_fast.testing.regtest.chain import Chain, Coin
from pyln_fast.testing.regtest.errors import Rejected, RejectKind
from pyln_fast.testing.regtest.kernel import InputVerifier, unreadable_reason
from pyln_fast.testing.regtest.mempool import Entry, Mempool
from pyln_fast.testing.regtest.policy import Policy
from pyln_fast.testing.regtest.scripts import signature_operations_cost
from pyln_fast.tx.transaction import Transaction, parse, txid, weight, wtxid
from pyln_fast.types import OutPoint, Sat, Txid, TxOut, txid_hex

_SIBLING_EVICTION = " (including sibling eviction)"
_CARVE_OUT_VBYTES = 10_000
_LEFT_TO_THE_KERNEL = "Invalid Schnorr signature"
"""What script_verify.py does not check; of taproot's commitments Core says `Witness program hash mismatch`."""


class Candidate:
    """A transaction on its way into the mempool, with all that the checks found out about it."""

    def __init__(self, raw: bytes) -> None:
        """Raises DecodeError."""
        self.raw = raw
        self.tx: Transaction = parse(raw)
        self.txid: Txid = txid(self.tx)
        self.wtxid: Txid = wtxid(self.tx)
        self.weight = weight(self.tx)
        self.vsize = 0
        self.fee_sat = Sat(0)
        self.sigops_cost = 0
        self.coins: list[Coin] = []
        self.parents: list[Entry] = []
        self.conflicts: list[Entry] = []
        self.evicted: list[Entry] = []
        self.evicts_sibling = False

    @property
    def spent(self) -> list[TxOut]:
        return [coin.output for coin in self.coins]

    def entry(self) -> Entry:
        return Entry(self.raw, self.tx, self.txid, self.wtxid, self.weight, self.vsize, self.fee_sat, self.sigops_cost)


class Acceptance:
    """The checks of one node's mempool."""

    def __init__(self, chain: Chain, mempool: Mempool, settings: Policy) -> None:
        self._chain = chain
        self._mempool = mempool
        self._policy = settings

    def check(self, candidate: Candidate, *, bypass_limits: bool = False) -> None:
        """All rules for a transaction by itself. `bypass_limits`: it was in a disconnected block. Raises Rejected."""
        self.check_before_scripts(candidate, bypass_limits=bypass_limits)
        if candidate.conflicts:
            self._check_replacement(candidate)
        self.check_dust_is_spent(candidate, {})
        self.check_scripts(candidate)

    def enter(self, candidate: Candidate, now: int) -> None:
        """Puts a checked transaction into the mempool, in the place of what it replaces."""
        self._mempool.remove_with_descendants(candidate.evicted)
        self._mempool.add(candidate.entry(), now)

    def check_before_scripts(
        self,
        candidate: Candidate,
        *,
        bypass_limits: bool = False,
        own_feerate: bool = True,
        may_replace: bool = True,
        alone: bool = True,
        package_outputs: Mapping[OutPoint, TxOut] | None = None,
    ) -> None:
        """Core's PreChecks. Raises Rejected.

        `alone` False: as a member of a package, whose earlier members bring `package_outputs`.
        """
        tx = candidate.tx
        policy.check_sanity(tx)
        policy.check_standard(tx, candidate.weight, self._policy)
        if not consensus.is_final(tx, self._chain.height + 1, self._chain.median_time_past(self._chain.tip.hash)):
            raise Rejected("non-final")
        self._find_conflicts(candidate, may_replace)
        self._find_coins(candidate, package_outputs or {})
        if not consensus.relative_locks_passed(tx, candidate.coins, self._chain):
            raise Rejected("non-BIP68-final")
        candidate.fee_sat = consensus.fee_sat(tx, candidate.coins, self._chain.height + 1)
        spent = candidate.spent
        policy.check_inputs_standard(tx, spent)
        candidate.sigops_cost = signature_operations_cost(
            [i.script_sig for i in tx.inputs], [i.witness for i in tx.inputs], tx.outputs, spent
        )
        candidate.vsize = policy.virtual_size(candidate.weight, candidate.sigops_cost)
        if candidate.fee_sat != 0 and policy.dust_outputs(tx, self._policy):
            raise Rejected("dust", "tx with dust output must be 0-fee")
        if candidate.sigops_cost > policy.MAX_SIGOPS_COST:
            raise Rejected("bad-txns-too-many-sigops", str(candidate.sigops_cost))
        if own_feerate and not bypass_limits:
            self.check_feerate(candidate.fee_sat, candidate.vsize)
        candidate.parents = self._mempool.parents_of(tx)
        self._check_chain_limits(candidate, carve_outs=alone)
        if not bypass_limits:
            self._check_truc(candidate, may_evict_sibling=alone)
        ancestors = list(self._mempool.ancestors(candidate.parents).values())
        replacement.check_no_ancestor_conflicts(candidate.txid, ancestors, candidate.conflicts)

    def check_feerate(self, fee_sat: int, vsize: int) -> None:
        needed = policy.fee_at(self._policy.min_relay_sat_per_kvb, vsize)
        if fee_sat < needed:
            raise Rejected("min relay fee not met", f"{fee_sat} < {needed}", RejectKind.RECONSIDERABLE)

    def check_dust_is_spent(self, candidate: Candidate, package: Mapping[Txid, Transaction]) -> None:
        """A child of a transaction with dust must spend the dust. Raises Rejected."""
        wanted: set[OutPoint] = set()
        for parent_txid in dict.fromkeys(i.outpoint.txid for i in candidate.tx.inputs):
            entry = self._mempool.entries.get(parent_txid)
            parent = package.get(parent_txid, entry.tx if entry else None)
            if parent is not None:
                wanted.update(OutPoint(parent_txid, vout) for vout in policy.dust_outputs(parent, self._policy))
        if wanted - {i.outpoint for i in candidate.tx.inputs}:
            name = f"{txid_hex(candidate.txid)} (wtxid={txid_hex(candidate.wtxid)})"
            raise Rejected("missing-ephemeral-spends", f"tx {name} did not spend parent's ephemeral dust")

    def check_scripts(self, candidate: Candidate) -> None:
        """The kernel's verification of every input, then what policy asks of its scripts. Raises Rejected."""
        verifier = InputVerifier(candidate.raw, candidate.spent)
        for index, spent in enumerate(candidate.spent):
            if not verifier.is_valid(index):
                reason = script_verify.failure(candidate.tx, index, spent, policy=False) or _LEFT_TO_THE_KERNEL
                label = f"mandatory-script-verify-flag-failed ({reason})"
            else:
                wrong = script_verify.failure(candidate.tx, index, spent, policy=True)
                if wrong is None:
                    continue
                label = f"non-mandatory-script-verify-flag ({wrong})"
            name = f"input {index} of {txid_hex(candidate.txid)} (wtxid {txid_hex(candidate.wtxid)})"
            raise Rejected(label, f"{name}, spending {candidate.tx.inputs[index].outpoint}")

    def _find_conflicts(self, candidate: Candidate, may_replace: bool) -> None:
        known = self._mempool.entries.get(candidate.txid)
        if known is not None:
            same = known.wtxid == candidate.wtxid
            raise Rejected("txn-already-in-mempool" if same else "txn-same-nonwitness-data-in-mempool")
        conflicts: dict[Txid, Entry] = {}
        for tx_input in candidate.tx.inputs:
            spender = self._mempool.spenders.get(tx_input.outpoint)
            if spender is not None:
                if not may_replace:
                    raise Rejected("bip125-replacement-disallowed")
                conflicts[spender] = self._mempool.entries[spender]
        candidate.conflicts = list(conflicts.values())

    def _find_coins(self, candidate: Candidate, package_outputs: Mapping[OutPoint, TxOut]) -> None:
        coins = []
        for tx_input in candidate.tx.inputs:
            output = package_outputs.get(tx_input.outpoint)
            coin = Coin(output, self._chain.height + 1, False) if output else self._mempool.coin(tx_input.outpoint)
            if coin is None:
                if any(OutPoint(candidate.txid, i) in self._chain.coins for i in range(len(candidate.tx.outputs))):
                    raise Rejected("txn-already-known")
                raise Rejected("bad-txns-inputs-missingorspent", kind=RejectKind.MISSING_INPUTS)
            coins.append(coin)
        candidate.coins = coins

    def _check_chain_limits(self, candidate: Candidate, carve_outs: bool) -> None:
        extra_count, extra_vsize = 0, 0
        if carve_outs and len(candidate.conflicts) == 1:
            # One direct conflict: judged as if it were gone already.
            extra_count, extra_vsize = 1, sum(e.vsize for e in self._mempool.descendants(candidate.conflicts).values())
        wrong = self.chain_limit_exceeded([candidate], extra_count, extra_vsize)
        if wrong is None:
            return
        if carve_outs and candidate.vsize <= _CARVE_OUT_VBYTES and candidate.tx.version != truc.VERSION:
            # The carve-out: one more small child for the other party of a channel.
            relaxed = self.chain_limit_exceeded([candidate], extra_count + 1, extra_vsize + _CARVE_OUT_VBYTES, 2)
            if relaxed is None:
                return
        raise Rejected("too-long-mempool-chain", wrong)

    def chain_limit_exceeded(
        self,
        candidates: Sequence[Candidate],
        extra_count: int = 0,
        extra_vsize: int = 0,
        ancestor_limit: int | None = None,
    ) -> str | None:
        """Ancestors and descendants with the candidates added together (Core's wording), or None."""
        limits = self._policy
        count, vsize = len(candidates), sum(candidate.vsize for candidate in candidates)
        parents = {entry.txid: entry for candidate in candidates for entry in candidate.parents}
        ancestors = self._mempool.ancestors(parents.values())
        for entry in ancestors.values():
            below = self._mempool.descendants([entry])
            size_below = vsize + sum(e.vsize for e in below.values())
            if size_below > limits.descendant_vbytes_limit + extra_vsize:
                allowed = limits.descendant_vbytes_limit + extra_vsize
                return f"exceeds descendant size limit for tx {txid_hex(entry.txid)} [limit: {allowed}]"
            if len(below) + count > limits.descendant_limit + extra_count:
                allowed = limits.descendant_limit + extra_count
                return f"too many descendants for tx {txid_hex(entry.txid)} [limit: {allowed}]"
        if vsize + sum(entry.vsize for entry in ancestors.values()) > limits.ancestor_vbytes_limit:
            return f"exceeds ancestor size limit [limit: {limits.ancestor_vbytes_limit}]"
        most = limits.ancestor_limit if ancestor_limit is None else ancestor_limit
        if len(ancestors) + count > most:
            return f"too many unconfirmed ancestors [limit: {most}]"
        return None

    def _check_truc(self, candidate: Candidate, may_evict_sibling: bool) -> None:
        wrong = truc.check_single(
            candidate.txid,
            candidate.wtxid,
            candidate.tx,
            candidate.vsize,
            candidate.parents,
            candidate.conflicts,
            self._mempool,
        )
        if wrong is None:
            return
        message, sibling = wrong
        if sibling is None or not may_evict_sibling:
            raise Rejected("TRUC-violation", message)
        candidate.conflicts.append(sibling)
        candidate.evicts_sibling = True

    def _check_replacement(self, candidate: Candidate) -> None:
        label = _SIBLING_EVICTION if candidate.evicts_sibling else ""
        name = candidate.txid
        replacement.check_pays_more_than_direct_conflicts(
            name, candidate.fee_sat, candidate.vsize, candidate.conflicts, label
        )
        candidate.evicted = replacement.evicted(name, candidate.conflicts, self._mempool, label)
        if not candidate.evicts_sibling:
            replacement.check_no_new_unconfirmed(name, candidate.tx, candidate.conflicts, self._mempool)
        wrong = replacement.check_pays_for_relay(
            name, candidate.fee_sat, candidate.vsize, candidate.evicted, self._policy
        )
        if wrong is not None:
            raise Rejected(f"insufficient fee{label}", wrong, RejectKind.RECONSIDERABLE)


def decode(raw: bytes) -> Candidate:
    """Raises DecodeError; Rejected for amounts, a size or a lack of outputs that no block may have."""
    try:
        return Candidate(raw)
    except DecodeError:
        reason = unreadable_reason(raw)
        if reason is None:
            raise
        raise Rejected(reason) from None
