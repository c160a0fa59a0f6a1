"""Bitcoin Core's standardness rules for one transaction by itself, in its order and with its reject reasons.

The rules are those of Core 28 and 29: TRUC transactions, pay-to-anchor, one ephemeral dust output, a minimum relay
feerate of 1 sat/vB. Source: Bitcoin Core, src/policy/policy.cpp and src/consensus/tx_check.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pyln_fast.testing.regtest import scripts
from pyln_fast.testing.regtest.errors import Rejected
from pyln_fast.testing.regtest.kernel import MAX_MONEY_SAT
from pyln_fast.testing.regtest.scripts import ScriptType
from pyln_fast.tx.transaction import Transaction, compact_size, serialize_stripped
from pyln_fast.types import Sat, TxOut

MAX_SIGOPS_COST = 80_000 // 5
_MAX_SCRIPT_SIG_BYTES = 1_650
_MIN_NON_WITNESS_BYTES = 65
_MAX_P2SH_SIGOPS = 15
_MAX_P2WSH_SCRIPT_BYTES = 3_600
_MAX_P2WSH_STACK_ITEMS = 100
_MAX_STACK_ITEM_BYTES = 80
_MAX_DUST_OUTPUTS = 1
_BYTES_PER_SIGOP = 20
_ANNEX_TAG = 0x50
_TAPSCRIPT_LEAF = 0xC0
_COINBASE_TXID = bytes(32)


class Policy(msgspec.Struct, frozen=True):
    """The settings of a node that Core's options set; the defaults are Core 29's."""

    min_relay_sat_per_kvb: int = 1_000
    """-minrelaytxfee"""
    incremental_relay_sat_per_kvb: int = 1_000
    """-incrementalrelayfee: what a replacement pays more for each vbyte of its own"""
    dust_relay_sat_per_kvb: int = 3_000
    """-dustrelayfee"""
    data_carrier_bytes: int = 83
    """-datacarriersize: of an OP_RETURN scriptPubKey"""
    permit_bare_multisig: bool = True
    max_standard_weight: int = 400_000
    ancestor_limit: int = 25
    ancestor_vbytes_limit: int = 101_000
    descendant_limit: int = 25
    descendant_vbytes_limit: int = 101_000
    max_mempool_bytes: int = 300_000_000
    """-maxmempool, shown only: nothing is evicted for space"""


def fee_at(sat_per_kvb: int, vsize: int) -> Sat:
    """Rounded up, as Core's CFeeRate::GetFee."""
    return Sat(-(-sat_per_kvb * vsize // 1000))


def check_sanity(tx: Transaction) -> None:
    """The consensus rules that need no context; parsing has checked the others (`decode`). Raises Rejected."""
    if sum(out.value_sat for out in tx.outputs) > MAX_MONEY_SAT:
        raise Rejected("bad-txns-txouttotal-toolarge")
    if len({tx_input.outpoint for tx_input in tx.inputs}) != len(tx.inputs):
        raise Rejected("bad-txns-inputs-duplicate")
    if is_coinbase(tx):
        if not 2 <= len(tx.inputs[0].script_sig) <= 100:
            raise Rejected("bad-cb-length")
        raise Rejected("coinbase")
    if any(tx_input.outpoint.txid == _COINBASE_TXID and tx_input.outpoint.vout == 0xFFFFFFFF for tx_input in tx.inputs):
        raise Rejected("bad-txns-prevout-null")


def is_coinbase(tx: Transaction) -> bool:
    first = tx.inputs[0].outpoint
    return len(tx.inputs) == 1 and first.txid == _COINBASE_TXID and first.vout == 0xFFFFFFFF


def check_standard(tx: Transaction, weight: int, policy: Policy) -> None:
    """Core's IsStandardTx. Raises Rejected."""
    if not 1 <= tx.version <= 3:
        raise Rejected("version")
    if weight > policy.max_standard_weight:
        raise Rejected("tx-size")
    for tx_input in tx.inputs:
        if len(tx_input.script_sig) > _MAX_SCRIPT_SIG_BYTES:
            raise Rejected("scriptsig-size")
        if not scripts.is_push_only(tx_input.script_sig):
            raise Rejected("scriptsig-not-pushonly")
    _check_outputs(tx, policy)
    if len(dust_outputs(tx, policy)) > _MAX_DUST_OUTPUTS:
        raise Rejected("dust")
    # CVE-2017-12842: 64 bytes look like an inner node of the merkle tree.
    if len(serialize_stripped(tx)) < _MIN_NON_WITNESS_BYTES:
        raise Rejected("tx-size-small")


def _check_outputs(tx: Transaction, policy: Policy) -> None:
    data_outputs = 0
    for out in tx.outputs:
        kind = scripts.script_type(out.script_pubkey)
        if kind is ScriptType.NULLDATA:
            if len(out.script_pubkey) > policy.data_carrier_bytes:
                raise Rejected("scriptpubkey")
            data_outputs += 1
        elif kind is ScriptType.MULTISIG:
            multisig = scripts.multisig(out.script_pubkey)
            if multisig is None or multisig[1] > 3:
                raise Rejected("scriptpubkey")
            if not policy.permit_bare_multisig:
                raise Rejected("bare-multisig")
        elif kind is ScriptType.NONSTANDARD:
            raise Rejected("scriptpubkey")
    if data_outputs > 1:
        raise Rejected("multi-op-return")


def dust_threshold_sat(script_pubkey: bytes, policy: Policy) -> Sat:
    """Below this, spending the output costs more than a third of it: Core's GetDustThreshold."""
    if script_pubkey[:1] == bytes([scripts.OP_RETURN]) or len(script_pubkey) > scripts.MAX_SCRIPT_BYTES:
        return Sat(0)
    size = 8 + len(compact_size(len(script_pubkey))) + len(script_pubkey)
    # An input that spends it: outpoint, lengths, sequence, and 107 bytes of signature and key (a quarter in a witness).
    size += 32 + 4 + 1 + (107 // 4 if scripts.witness_program(script_pubkey) else 107) + 4
    return fee_at(policy.dust_relay_sat_per_kvb, size)


def dust_outputs(tx: Transaction, policy: Policy) -> list[int]:
    return [i for i, out in enumerate(tx.outputs) if out.value_sat < dust_threshold_sat(out.script_pubkey, policy)]


def check_inputs_standard(tx: Transaction, spent: Sequence[TxOut]) -> None:
    """Core's AreInputsStandard and IsWitnessStandard. Raises Rejected."""
    for tx_input, out in zip(tx.inputs, spent):
        kind = scripts.script_type(out.script_pubkey)
        if kind in (ScriptType.NONSTANDARD, ScriptType.WITNESS_UNKNOWN):
            raise Rejected("bad-txns-nonstandard-inputs")
        if kind is ScriptType.SCRIPTHASH:
            redeem = scripts.redeem_script(tx_input.script_sig)
            if redeem is None or scripts.signature_operations(redeem, accurate=True) > _MAX_P2SH_SIGOPS:
                raise Rejected("bad-txns-nonstandard-inputs")
    for tx_input, out in zip(tx.inputs, spent):
        if tx_input.witness and not _is_witness_standard(tx_input.script_sig, tx_input.witness, out.script_pubkey):
            raise Rejected("bad-witness-nonstandard")


def _is_witness_standard(script_sig: bytes, witness: tuple[bytes, ...], script: bytes) -> bool:
    if script == scripts.PAY_TO_ANCHOR:
        return False
    wrapped = scripts.is_pay_to_script_hash(script)
    if wrapped:
        script = scripts.redeem_script(script_sig) or b""
    program = scripts.witness_program(script)
    if program is None:
        return False
    if program[0] == 0 and len(program[1]) == 32:
        return (
            len(witness[-1]) <= _MAX_P2WSH_SCRIPT_BYTES
            and len(witness) - 1 <= _MAX_P2WSH_STACK_ITEMS
            and all(len(item) <= _MAX_STACK_ITEM_BYTES for item in witness[:-1])
        )
    if program[0] == 1 and len(program[1]) == 32 and not wrapped:
        return _is_taproot_witness_standard(witness)
    return True


def _is_taproot_witness_standard(witness: tuple[bytes, ...]) -> bool:
    if len(witness) < 2:
        return True
    if witness[-1][:1] == bytes([_ANNEX_TAG]):
        return False
    control = witness[-1]
    if not control:
        return False
    is_tapscript = control[0] & 0xFE == _TAPSCRIPT_LEAF
    return not is_tapscript or all(len(item) <= _MAX_STACK_ITEM_BYTES for item in witness[:-2])


def virtual_size(weight: int, sigops_cost: int) -> int:
    """Vbytes, or what the signature operations would weigh at 20 vbytes each if that is more."""
    return (max(weight, sigops_cost * _BYTES_PER_SIGOP) + 3) // 4
