"""Signatures for inputs that spend P2WPKH outputs of the wallet (BIP 143)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pyln_fast.tx.keys import sign_ecdsa
from pyln_fast.tx.scripts import der_signature
from pyln_fast.tx.transaction import Transaction, sighash_p2wpkh, with_witness
from pyln_fast.types import Sat
from pyln_fast.wallet.keys import Branch, WalletKeys


class OwnedInput(msgspec.Struct, frozen=True):
    """An input of ours: its position in the transaction, and what it spends."""

    position: int
    value_sat: Sat
    branch: Branch
    index: int


def sign_inputs(tx: Transaction, keys: WalletKeys, owned: Sequence[OwnedInput]) -> Transaction:
    """With the witnesses of these inputs in place: each signs all inputs and outputs."""
    signed = tx
    for item in owned:
        public_key = keys.public_key(item.branch, item.index)
        digest = sighash_p2wpkh(tx, item.position, public_key, item.value_sat)
        signature = sign_ecdsa(keys.private_key(item.branch, item.index), digest)
        signed = with_witness(signed, item.position, (der_signature(signature), public_key))
    return signed
