"""Signatures in scripts before taproot: their encodings, what they sign, whether they are right.

Sources: BIP 66 (strict DER), BIP 143; Bitcoin Core, src/script/interpreter.cpp.
"""

from __future__ import annotations

import coincurve
import msgspec

from pyln_fast.testing.regtest.block_store import sha256d
from pyln_fast.testing.regtest.script_numbers import ScriptFailure
from pyln_fast.testing.regtest.scripts import MalformedScript, operations
from pyln_fast.tx.transaction import (
    SIGHASH_ALL,
    SIGHASH_ANYONECANPAY,
    SIGHASH_NONE,
    SIGHASH_SINGLE,
    Transaction,
    TxInput,
    serialize_stripped,
    sighash_bip143,
)
from pyln_fast.types import Sat, TxOut

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_OP_CODESEPARATOR = 0xAB
_MINUS_ONE = TxOut(Sat((1 << 64) - 1), b"")
"""What SIGHASH_SINGLE makes of the outputs before its own."""


def der_numbers(signature: bytes) -> tuple[int, int] | None:
    """(r, s) of a strictly encoded signature with its hash type behind it; None if it is not strict (BIP 66)."""
    if not 9 <= len(signature) <= 73 or signature[0] != 0x30 or signature[1] != len(signature) - 3:
        return None
    numbers, at = [], 2
    for _ in range(2):
        if at + 2 > len(signature) - 1 or signature[at] != 0x02:
            return None
        size = signature[at + 1]
        digits = signature[at + 2 : at + 2 + size]
        at += 2 + size
        if not digits or at > len(signature) - 1 or digits[0] & 0x80:
            return None
        if len(digits) > 1 and digits[0] == 0 and not digits[1] & 0x80:
            return None
        numbers.append(int.from_bytes(digits, "big"))
    return (numbers[0], numbers[1]) if at == len(signature) - 1 else None


def check_signature_encoding(signature: bytes, policy: bool) -> None:
    """Raises ScriptFailure. An empty signature is the way to say that there is none."""
    if not signature:
        return
    numbers = der_numbers(signature)
    if numbers is None:
        raise ScriptFailure("Non-canonical DER signature")
    if policy and numbers[1] > _ORDER // 2:
        raise ScriptFailure("Non-canonical signature: S value is unnecessarily high")
    if policy and not SIGHASH_ALL <= signature[-1] & ~SIGHASH_ANYONECANPAY <= SIGHASH_SINGLE:
        raise ScriptFailure("Signature hash type missing or not understood")


def check_public_key_encoding(public_key: bytes, policy: bool, witness_v0: bool) -> None:
    """Raises ScriptFailure."""
    compressed = len(public_key) == 33 and public_key[0] in (2, 3)
    if policy and not compressed and not (len(public_key) == 65 and public_key[0] == 4):
        raise ScriptFailure("Public key is neither compressed or uncompressed")
    if policy and witness_v0 and not compressed:
        raise ScriptFailure("Using non-compressed keys in segwit")


class Signed(msgspec.Struct, frozen=True):
    """One input of a transaction, as its signatures see it."""

    tx: Transaction
    index: int
    value_sat: Sat

    def verifies(self, signature: bytes, public_key: bytes, script_code: bytes, witness_v0: bool) -> bool:
        """Whether a strictly encoded signature is that key's over this input."""
        numbers = der_numbers(signature)
        if numbers is None:
            return False
        hash_type = signature[-1]
        if witness_v0:
            digest = sighash_bip143(self.tx, self.index, script_code, self.value_sat, hash_type)
        else:
            digest = legacy_sighash(self.tx, self.index, script_code, hash_type)
        r, s = numbers
        # libsecp256k1 takes the lower of the two values only.
        encoded = _der(r) + _der(min(s, _ORDER - s) if 0 < s < _ORDER else s)
        try:
            key = coincurve.PublicKey(public_key)
            return key.verify(b"\x30" + bytes([len(encoded)]) + encoded, digest, hasher=None)
        except ValueError:
            return False


def _der(number: int) -> bytes:
    digits = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(digits)]) + digits


def legacy_sighash(tx: Transaction, index: int, script_code: bytes, hash_type: int) -> bytes:
    """What a signature outside of witnesses signs, with the well-known oddity of SIGHASH_SINGLE."""
    base = hash_type & 0x1F
    if base == SIGHASH_SINGLE and index >= len(tx.outputs):
        return b"\x01" + bytes(31)
    own = without_separators(script_code)
    inputs = []
    for i, tx_input in enumerate(tx.inputs):
        sequence = tx_input.sequence if i == index or base not in (SIGHASH_NONE, SIGHASH_SINGLE) else 0
        inputs.append(TxInput(tx_input.outpoint, own if i == index else b"", sequence, ()))
    outputs = tx.outputs
    if base == SIGHASH_NONE:
        outputs = ()
    elif base == SIGHASH_SINGLE:
        outputs = (*(_MINUS_ONE for _ in range(index)), tx.outputs[index])
    if hash_type & SIGHASH_ANYONECANPAY:
        inputs = [inputs[index]]
    signed = Transaction(tx.version, tuple(inputs), outputs, tx.lock_time)
    return sha256d(serialize_stripped(signed) + hash_type.to_bytes(4, "little"))


def without_separators(script: bytes) -> bytes:
    """A script without its OP_CODESEPARATORs."""
    result, start = b"", 0
    try:
        for opcode, _, end in operations(script):
            if opcode == _OP_CODESEPARATOR:
                result += script[start : end - 1]
                start = end
    except MalformedScript:
        pass
    return result + script[start:]


def find_and_delete(script: bytes, pattern: bytes) -> bytes:
    """The script without the pattern wherever an operation starts with it (before segwit, signatures are cut out)."""
    result, at = b"", 0
    if not pattern:
        return script
    while at < len(script):
        while script.startswith(pattern, at):
            at += len(pattern)
        try:
            _, _, size = next(operations(script[at:]))
        except (MalformedScript, StopIteration):
            break
        result += script[at : at + size]
        at += size
    return result + script[at:]
