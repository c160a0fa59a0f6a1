"""When a transaction may replace others (BIP 125 as Core 28 and 29 apply it: whether they signal or not)."""

from __future__ import annotations

from collections.abc import Sequence

from pyln_fast.testing.regtest.consensus import btc
from pyln_fast.testing.regtest.errors import Rejected, RejectKind
from pyln_fast.testing.regtest.mempool import Entry, Mempool
from pyln_fast.testing.regtest.policy import Policy, fee_at
from pyln_fast.tx.transaction import Transaction
from pyln_fast.types import Txid, txid_hex

_MAX_REPLACED = 100


def check_no_ancestor_conflicts(txid: Txid, ancestors: Sequence[Entry], conflicts: Sequence[Entry]) -> None:
    """A transaction cannot spend what it replaces."""
    names = {entry.txid for entry in conflicts}
    for ancestor in ancestors:
        if ancestor.txid in names:
            raise Rejected(
                "bad-txns-spends-conflicting-tx",
                f"{txid_hex(txid)} spends conflicting transaction {txid_hex(ancestor.txid)}",
            )


def evicted(txid: Txid, conflicts: Sequence[Entry], mempool: Mempool, label: str = "") -> list[Entry]:
    """Rule 5: everything that would go, at most a hundred. Raises Rejected."""
    # Core counts a descendant once for each conflict that it descends from.
    count = sum(len(mempool.descendants([entry])) for entry in conflicts)
    if count > _MAX_REPLACED:
        raise Rejected(
            f"too many potential replacements{label}",
            f"rejecting replacement {txid_hex(txid)}; too many potential replacements ({count} > {_MAX_REPLACED})",
        )
    return list(mempool.descendants(conflicts).values())


def check_no_new_unconfirmed(txid: Txid, tx: Transaction, conflicts: Sequence[Entry], mempool: Mempool) -> None:
    """Rule 2: no unconfirmed input that what it replaces did not have."""
    known = {tx_input.outpoint.txid for entry in conflicts for tx_input in entry.tx.inputs}
    for index, tx_input in enumerate(tx.inputs):
        if tx_input.outpoint.txid in mempool.entries and tx_input.outpoint.txid not in known:
            raise Rejected(
                "replacement-adds-unconfirmed",
                f"replacement {txid_hex(txid)} adds unconfirmed input, idx {index}",
            )


def check_pays_more_than_direct_conflicts(
    txid: Txid, fee_sat: int, vsize: int, conflicts: Sequence[Entry], label: str = ""
) -> None:
    """Rule 6: a higher feerate than each transaction that it conflicts with."""
    for entry in conflicts:
        old, new = entry.fee_sat * 1000 // entry.vsize, fee_sat * 1000 // vsize
        if new <= old:
            raise Rejected(
                f"insufficient fee{label}",
                f"rejecting replacement {txid_hex(txid)}; "
                f"new feerate {btc(new)} BTC/kvB <= old feerate {btc(old)} BTC/kvB",
                RejectKind.RECONSIDERABLE,
            )


def check_pays_for_relay(txid: Txid, fee_sat: int, vsize: int, gone: Sequence[Entry], policy: Policy) -> str | None:
    """Rules 3 and 4: at least what is evicted paid, and its own relay besides. What is wrong, or None."""
    old = sum(entry.fee_sat for entry in gone)
    if fee_sat < old:
        return f"rejecting replacement {txid_hex(txid)}, less fees than conflicting txs; {btc(fee_sat)} < {btc(old)}"
    needed = fee_at(policy.incremental_relay_sat_per_kvb, vsize)
    if fee_sat - old < needed:
        return (
            f"rejecting replacement {txid_hex(txid)}, not enough additional fees to relay; "
            f"{btc(fee_sat - old)} < {btc(needed)}"
        )
    return None
