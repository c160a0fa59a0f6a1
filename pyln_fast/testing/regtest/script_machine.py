"""Runs one script on a stack, under consensus rules alone or with those of standard policy besides.

The kernel decides what is valid; this machine says why something is not, and applies the rules that the kernel does
not have: minimal pushes and conditions, empty failed signatures, reserved operations. Schnorr signatures are the
kernel's: one that is not empty counts as right here. Source: Bitcoin Core, src/script/interpreter.cpp.
"""

from __future__ import annotations

from enum import Enum

from pyln_fast.testing.regtest import scripts
from pyln_fast.testing.regtest.script_numbers import (
    ScriptFailure,
    decode,
    encode,
    is_minimal_push,
    is_true,
    push,
)
from pyln_fast.testing.regtest.script_signatures import (
    Signed,
    check_public_key_encoding,
    check_signature_encoding,
    find_and_delete,
)
from pyln_fast.testing.regtest.script_stack import OPERATIONS, SHORT_STACK, boolean, need, pop_number, verify

_MAX_ELEMENT_BYTES = 520
_MAX_STACK = 1_000
_MAX_OPERATIONS = 201
_MAX_PUBKEYS = 20
_OP_IF, _OP_NOTIF, _OP_ELSE, _OP_ENDIF = 0x63, 0x64, 0x67, 0x68
_OP_VERIF, _OP_VERNOTIF = 0x65, 0x66
_OP_TOALTSTACK, _OP_FROMALTSTACK = 0x6B, 0x6C
_OP_CODESEPARATOR, _OP_CHECKSIGADD = 0xAB, 0xBA
_OP_CLTV, _OP_CSV = 0xB1, 0xB2
_RESERVED_NOPS = {0xB0, *range(0xB3, 0xBA)}
_DISABLED = {0x7E, 0x7F, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x8D, 0x8E, 0x95, 0x96, 0x97, 0x98, 0x99}
_BAD_OPCODE = "Opcode missing or not understood"
_NULL_FAIL = "Signature must be zero for failed CHECK(MULTI)SIG operation"
_UNSATISFIED = "Locktime requirement not satisfied"
_LOCK_TIME_THRESHOLD = 500_000_000
_SEQUENCE_FINAL = 0xFFFFFFFF
_DISABLE_FLAG, _TIME_FLAG = 1 << 31, 1 << 22
_SEQUENCE_MASK = _TIME_FLAG | 0xFFFF


class Kind(Enum):
    """Where a script stands: its rules differ."""

    LEGACY = "legacy"
    WITNESS_V0 = "witness v0"
    TAPSCRIPT = "tapscript"


class Machine:
    """One run. `stack` is what the script starts from and leaves."""

    def __init__(self, script: bytes, stack: list[bytes], signed: Signed, kind: Kind, policy: bool) -> None:
        self.stack = stack
        self._script = script
        self._signed = signed
        self._kind = kind
        self._policy = policy
        self._alternative: list[bytes] = []
        self._branches: list[bool] = []
        self._operations = 0
        self._code_start = 0

    def run(self) -> None:
        """Raises ScriptFailure."""
        if self._kind is not Kind.TAPSCRIPT and len(self._script) > scripts.MAX_SCRIPT_BYTES:
            raise ScriptFailure("Script is too big")
        try:
            for opcode, data, end in scripts.operations(self._script):
                self._step(opcode, data, end)
        except scripts.MalformedScript:
            raise ScriptFailure(_BAD_OPCODE) from None
        if self._branches:
            raise ScriptFailure("Invalid OP_IF construction")

    def _step(self, opcode: int, data: bytes, end: int) -> None:
        running = all(self._branches)
        if len(data) > _MAX_ELEMENT_BYTES:
            raise ScriptFailure("Push value size limit exceeded")
        if self._kind is not Kind.TAPSCRIPT and opcode > scripts.OP_16:
            self._count_operations(1)
        if opcode in _DISABLED:
            raise ScriptFailure("Attempted to use a disabled opcode")
        if opcode == _OP_CODESEPARATOR and self._kind is Kind.LEGACY and self._policy:
            raise ScriptFailure("Using OP_CODESEPARATOR in non-witness script")
        if opcode <= scripts.OP_PUSHDATA4:
            if running:
                if self._policy and not is_minimal_push(opcode, data):
                    raise ScriptFailure("Data push larger than necessary")
                self.stack.append(data)
        elif running or _OP_IF <= opcode <= _OP_ENDIF:
            self._execute(opcode, running, end)
        if len(self.stack) + len(self._alternative) > _MAX_STACK:
            raise ScriptFailure("Stack size limit exceeded")

    def _count_operations(self, count: int) -> None:
        self._operations += count
        if self._operations > _MAX_OPERATIONS:
            raise ScriptFailure("Operation limit exceeded")

    def _execute(self, opcode: int, running: bool, end: int) -> None:
        if opcode == scripts.OP_1NEGATE or scripts.OP_1 <= opcode <= scripts.OP_16:
            self.stack.append(encode(opcode - scripts.OP_RESERVED))
        elif opcode in (_OP_IF, _OP_NOTIF):
            self._branches.append(self._condition() != (opcode == _OP_NOTIF) if running else False)
        elif opcode in (_OP_ELSE, _OP_ENDIF):
            self._close_branch(opcode)
        elif opcode in OPERATIONS:
            OPERATIONS[opcode](self.stack, self._policy)
        elif opcode == _OP_CODESEPARATOR:
            self._code_start = end
        elif opcode in (scripts.OP_CHECKSIG, scripts.OP_CHECKSIGVERIFY, _OP_CHECKSIGADD):
            self._check_signature(opcode)
        elif opcode in (scripts.OP_CHECKMULTISIG, scripts.OP_CHECKMULTISIGVERIFY):
            self._check_multisig(opcode)
        elif opcode == _OP_CLTV:
            self._check_lock_time()
        elif opcode == _OP_CSV:
            self._check_sequence()
        elif opcode in (_OP_TOALTSTACK, _OP_FROMALTSTACK):
            self._alternative_stack(opcode)
        elif opcode in _RESERVED_NOPS:
            if self._policy:
                raise ScriptFailure("NOPx reserved for soft-fork upgrades")
        elif opcode == scripts.OP_RETURN:
            raise ScriptFailure("OP_RETURN was encountered")
        else:
            raise ScriptFailure(_BAD_OPCODE)

    def _condition(self) -> bool:
        if not self.stack:
            raise ScriptFailure("Invalid OP_IF construction")
        value = self.stack.pop()
        if value not in (b"", b"\x01"):
            if self._kind is Kind.TAPSCRIPT:
                raise ScriptFailure("OP_IF/NOTIF argument must be minimal in tapscript")
            if self._kind is Kind.WITNESS_V0 and self._policy:
                raise ScriptFailure("OP_IF/NOTIF argument must be minimal")
        return is_true(value)

    def _close_branch(self, opcode: int) -> None:
        if not self._branches:
            raise ScriptFailure("Invalid OP_IF construction")
        branch = self._branches.pop()
        if opcode == _OP_ELSE:
            self._branches.append(not branch)

    def _alternative_stack(self, opcode: int) -> None:
        if opcode == _OP_TOALTSTACK:
            need(self.stack, 1)
            self._alternative.append(self.stack.pop())
        elif not self._alternative:
            raise ScriptFailure("Operation not valid with the current altstack size")
        else:
            self.stack.append(self._alternative.pop())

    # Lock times (BIP 65, BIP 112)

    def _lock_operand(self) -> int:
        need(self.stack, 1)
        operand = decode(self.stack[-1], self._policy, max_bytes=5)
        if operand < 0:
            raise ScriptFailure("Negative locktime")
        return operand

    def _check_lock_time(self) -> None:
        wanted, tx = self._lock_operand(), self._signed.tx
        same_kind = (wanted < _LOCK_TIME_THRESHOLD) == (tx.lock_time < _LOCK_TIME_THRESHOLD)
        final = tx.inputs[self._signed.index].sequence == _SEQUENCE_FINAL
        if not same_kind or wanted > tx.lock_time or final:
            raise ScriptFailure(_UNSATISFIED)

    def _check_sequence(self) -> None:
        wanted, tx = self._lock_operand(), self._signed.tx
        if wanted & _DISABLE_FLAG:
            return
        sequence = tx.inputs[self._signed.index].sequence
        given = sequence & _SEQUENCE_MASK
        same_kind = (wanted & _TIME_FLAG) == (given & _TIME_FLAG)
        if tx.version < 2 or sequence & _DISABLE_FLAG or not same_kind or wanted & _SEQUENCE_MASK > given:
            raise ScriptFailure(_UNSATISFIED)

    # Signatures

    def _check_signature(self, opcode: int) -> None:
        if opcode == _OP_CHECKSIGADD:
            if self._kind is not Kind.TAPSCRIPT:
                raise ScriptFailure(_BAD_OPCODE)
            need(self.stack, 3)
            number = decode(self.stack[-2], self._policy)
            right = self._signature_is_right(self.stack[-3], self.stack[-1])
            self.stack[-3:] = [encode(number + right)]
            return
        need(self.stack, 2)
        self.stack[-2:] = [boolean(self._signature_is_right(self.stack[-2], self.stack[-1]))]
        if opcode == scripts.OP_CHECKSIGVERIFY:
            verify(self.stack, "Script failed an OP_CHECKSIGVERIFY operation")

    def _signature_is_right(self, signature: bytes, public_key: bytes) -> bool:
        if self._kind is Kind.TAPSCRIPT:
            if not public_key:
                raise ScriptFailure("Empty public key in tapscript")
            if self._policy and len(public_key) != 32:
                raise ScriptFailure("Public key version reserved for soft-fork upgrades")
            return bool(signature)
        code = self._code_without([signature])
        right = self._ecdsa_is_right(signature, public_key, code)
        if not right and signature and self._policy:
            raise ScriptFailure(_NULL_FAIL)
        return right

    def _code_without(self, signatures: list[bytes]) -> bytes:
        code = self._script[self._code_start :]
        if self._kind is Kind.LEGACY:
            for signature in signatures:
                shorter = find_and_delete(code, push(signature))
                if self._policy and shorter != code:
                    raise ScriptFailure("Signature is found in scriptCode")
                code = shorter
        return code

    def _ecdsa_is_right(self, signature: bytes, public_key: bytes, code: bytes) -> bool:
        witness = self._kind is Kind.WITNESS_V0
        check_signature_encoding(signature, self._policy)
        check_public_key_encoding(public_key, self._policy, witness)
        return self._signed.verifies(signature, public_key, code, witness)

    def _pop_many(self, limit: int, reason: str, count_operations: bool) -> list[bytes]:
        """A number, then that many elements; the first of them was pushed last."""
        count = pop_number(self.stack, self._policy)
        if not 0 <= count <= limit:
            raise ScriptFailure(reason)
        if count_operations:
            self._count_operations(count)
        need(self.stack, count)
        return [self.stack.pop() for _ in range(count)]

    def _check_multisig(self, opcode: int) -> None:
        if self._kind is Kind.TAPSCRIPT:
            raise ScriptFailure("OP_CHECKMULTISIG(VERIFY) is not available in tapscript")
        keys = self._pop_many(_MAX_PUBKEYS, "Pubkey count negative or limit exceeded", count_operations=True)
        too_many = "Signature count negative or greater than pubkey count"
        signatures = self._pop_many(len(keys), too_many, count_operations=False)
        code = self._code_without(signatures)
        left, keys_left = signatures[:], keys[:]
        while left and len(left) <= len(keys_left):
            if self._ecdsa_is_right(left[0], keys_left.pop(0), code):
                left.pop(0)
        if left and self._policy and any(signatures):
            raise ScriptFailure(_NULL_FAIL)
        if not self.stack:
            raise ScriptFailure(SHORT_STACK)
        if self.stack.pop():
            raise ScriptFailure("Dummy CHECKMULTISIG argument must be zero")
        self.stack.append(boolean(not left))
        if opcode == scripts.OP_CHECKMULTISIGVERIFY:
            verify(self.stack, "Script failed an OP_CHECKMULTISIGVERIFY operation")
