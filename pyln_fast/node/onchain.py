"""Sending from the built-in wallet."""

from __future__ import annotations

from pyln_fast.chain.interfaces import ConfirmationTarget
from pyln_fast.node.effects import BroadcastPackage
from pyln_fast.node.node import Node
from pyln_fast.tx.transaction import serialize, txid
from pyln_fast.types import FeeratePerKw, Sat, Txid, TxOut
from pyln_fast.wallet.addresses import script_pubkey


def send_onchain(node: Node, address: str, amount_sat: Sat, feerate_per_kw: FeeratePerKw | None = None) -> Txid:
    """Raises what Wallet.create_transaction raises, and DecodeError for an address that is none."""
    core = node.core
    script = script_pubkey(address, core.network)
    if feerate_per_kw is None:
        feerate_per_kw = core.fee_estimator.get_est_sat_per_1000_weight(ConfirmationTarget.OUTPUT_SPENDING_FEE)
    tx = node.wallet.create_transaction((TxOut(amount_sat, script),), feerate_per_kw)
    node.wallet.commit_transaction(tx)
    core.effects.append(BroadcastPackage((serialize(tx),), "Sweep"))
    return txid(tx)
