"""Why the scripts of an input fail, in Core's words: consensus rules alone, or with those of standard policy besides.

What it says of validity is not what counts (kernel.py is), and it leaves Schnorr signatures and taproot's commitments
to the kernel. Source: Bitcoin Core, src/script/interpreter.cpp (VerifyScript, VerifyWitnessProgram).
"""

from __future__ import annotations

import hashlib

from pyln_fast.testing.regtest import scripts
from pyln_fast.testing.regtest.script_machine import Kind, Machine
from pyln_fast.testing.regtest.script_numbers import ScriptFailure, is_true, push
from pyln_fast.testing.regtest.script_signatures import Signed
from pyln_fast.tx.transaction import Transaction
from pyln_fast.types import TxOut

_EVALUATES_FALSE = "Script evaluated without error but finished with a false/empty top stack element"
_UNCLEAN = "Stack size must be exactly one after execution"
_MISMATCH = "Witness program hash mismatch"
_EMPTY_WITNESS = "Witness program was passed an empty witness"
_MAX_ELEMENT_BYTES = 520
_MAX_STACK = 1_000
_ANNEX_TAG = 0x50
_LEAF_MASK, _TAPSCRIPT_LEAF = 0xFE, 0xC0
_CONTROL_BASE_BYTES, _CONTROL_NODE_BYTES, _MAX_CONTROL_BYTES = 33, 32, 33 + 128 * 32
# BIP 342: these make a script succeed whatever else is in it.
_OP_SUCCESS = {80, 98, *range(126, 130), *range(131, 135), 137, 138, 141, 142, *range(149, 154), *range(187, 255)}


def failure(tx: Transaction, index: int, spent: TxOut, policy: bool) -> str | None:
    """Core's ScriptErrorString for the first rule that the input breaks, or None."""
    try:
        _Verification(tx, index, spent, policy).run()
    except ScriptFailure as error:
        return error.reason
    return None


class _Verification:
    def __init__(self, tx: Transaction, index: int, spent: TxOut, policy: bool) -> None:
        self._input = tx.inputs[index]
        self._signed = Signed(tx, index, spent.value_sat)
        self._script_pubkey = spent.script_pubkey
        self._policy = policy

    def run(self) -> None:
        script_sig = self._input.script_sig
        stack: list[bytes] = []
        self._execute(script_sig, stack, Kind.LEGACY)
        pushed = stack[:]
        self._execute(self._script_pubkey, stack, Kind.LEGACY)
        _check_true(stack)
        program = scripts.witness_program(self._script_pubkey)
        if program is not None:
            if script_sig:
                raise ScriptFailure("Witness requires empty scriptSig")
            self._run_program(*program, wrapped=False)
            return
        if scripts.is_pay_to_script_hash(self._script_pubkey):
            if not scripts.is_push_only(script_sig):
                raise ScriptFailure("Only push operators allowed in signatures")
            stack = pushed
            redeem = stack.pop()
            self._execute(redeem, stack, Kind.LEGACY)
            _check_true(stack)
            program = scripts.witness_program(redeem)
            if program is not None:
                if script_sig != push(redeem):
                    raise ScriptFailure("Witness requires only-redeemscript scriptSig")
                self._run_program(*program, wrapped=True)
                return
        if self._policy and len(stack) != 1:
            raise ScriptFailure(_UNCLEAN)
        if self._input.witness:
            raise ScriptFailure("Witness provided for non-witness script")

    def _execute(self, script: bytes, stack: list[bytes], kind: Kind) -> None:
        Machine(script, stack, self._signed, kind, self._policy).run()

    def _run_program(self, version: int, program: bytes, wrapped: bool) -> None:
        if version == 0:
            self._run_version_0(program)
        elif version == 1 and len(program) == 32 and not wrapped:
            self._run_taproot()
        elif not wrapped and self._script_pubkey == scripts.PAY_TO_ANCHOR:
            pass
        elif self._policy:
            raise ScriptFailure("Witness version reserved for soft-fork upgrades")

    def _run_version_0(self, program: bytes) -> None:
        witness = self._input.witness
        if len(program) == 20:
            if len(witness) != 2:
                raise ScriptFailure(_MISMATCH)
            self._run_witness_script(b"\x76\xa9" + push(program) + b"\x88\xac", witness, Kind.WITNESS_V0)
        elif len(program) == 32:
            if not witness:
                raise ScriptFailure(_EMPTY_WITNESS)
            if hashlib.sha256(witness[-1]).digest() != program:
                raise ScriptFailure(_MISMATCH)
            self._run_witness_script(witness[-1], witness[:-1], Kind.WITNESS_V0)
        else:
            raise ScriptFailure("Witness program has incorrect length")

    def _run_taproot(self) -> None:
        witness = self._input.witness
        if not witness:
            raise ScriptFailure(_EMPTY_WITNESS)
        if len(witness) >= 2 and witness[-1][:1] == bytes([_ANNEX_TAG]):
            witness = witness[:-1]
        if len(witness) == 1:
            return
        control, script, arguments = witness[-1], witness[-2], witness[:-2]
        in_range = _CONTROL_BASE_BYTES <= len(control) <= _MAX_CONTROL_BYTES
        if not in_range or (len(control) - _CONTROL_BASE_BYTES) % _CONTROL_NODE_BYTES:
            raise ScriptFailure("Invalid Taproot control block size")
        if control[0] & _LEAF_MASK == _TAPSCRIPT_LEAF:
            self._run_tapscript(script, arguments)
        elif self._policy:
            raise ScriptFailure("Taproot version reserved for soft-fork upgrades")

    def _run_tapscript(self, script: bytes, arguments: tuple[bytes, ...]) -> None:
        try:
            for opcode, _, _ in scripts.operations(script):
                if opcode in _OP_SUCCESS:
                    if self._policy:
                        raise ScriptFailure("OP_SUCCESSx reserved for soft-fork upgrades")
                    return
        except scripts.MalformedScript:
            raise ScriptFailure("Opcode missing or not understood") from None
        if len(arguments) > _MAX_STACK:
            raise ScriptFailure("Stack size limit exceeded")
        self._run_witness_script(script, arguments, Kind.TAPSCRIPT)

    def _run_witness_script(self, script: bytes, arguments: tuple[bytes, ...], kind: Kind) -> None:
        if any(len(item) > _MAX_ELEMENT_BYTES for item in arguments):
            raise ScriptFailure("Push value size limit exceeded")
        stack = list(arguments)
        self._execute(script, stack, kind)
        if len(stack) != 1:
            raise ScriptFailure(_UNCLEAN)
        _check_true(stack)


def _check_true(stack: list[bytes]) -> None:
    if not stack or not is_true(stack[-1]):
        raise ScriptFailure(_EVALUATES_FALSE)
