"""Scripts as policy sees them, without running them: operations, standard types, signature operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from pyln_fast.types import TxOut

MAX_SCRIPT_BYTES = 10_000
OP_PUSHDATA1, OP_PUSHDATA2, OP_PUSHDATA4 = 0x4C, 0x4D, 0x4E
OP_1NEGATE, OP_RESERVED, OP_1, OP_16 = 0x4F, 0x50, 0x51, 0x60
OP_RETURN = 0x6A
OP_CHECKSIG, OP_CHECKSIGVERIFY, OP_CHECKMULTISIG, OP_CHECKMULTISIGVERIFY = 0xAC, 0xAD, 0xAE, 0xAF
_MAX_PUBKEYS_PER_MULTISIG = 20


class MalformedScript(ValueError):
    """A push that reaches beyond the script's end."""


def operations(script: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(opcode, pushed data, index behind it) one after the other. Raises MalformedScript where a push is cut."""
    at, end = 0, len(script)
    while at < end:
        opcode = script[at]
        at += 1
        size = 0
        if opcode <= OP_PUSHDATA4:
            width = {OP_PUSHDATA1: 1, OP_PUSHDATA2: 2, OP_PUSHDATA4: 4}.get(opcode, 0)
            if at + width > end:
                raise MalformedScript(f"a push without its length at {at - 1}")
            size = int.from_bytes(script[at : at + width], "little") if width else opcode
            at += width
            if at + size > end:
                raise MalformedScript(f"a push of {size} bytes at {at}, {end - at} are left")
        yield opcode, script[at : at + size], at + size
        at += size


def is_push_only(script: bytes) -> bool:
    try:
        return all(opcode <= OP_16 for opcode, _, _ in operations(script))
    except MalformedScript:
        return False


def pushes(script: bytes) -> list[bytes]:
    """The stack that a push-only script leaves. Raises MalformedScript, also for what is no push."""
    stack = []
    for opcode, data, _ in operations(script):
        if opcode == OP_1NEGATE:
            stack.append(b"\x81")
        elif OP_1 <= opcode <= OP_16:
            stack.append(bytes([opcode - OP_1 + 1]))
        elif opcode <= OP_PUSHDATA4:
            stack.append(data)
        else:
            raise MalformedScript(f"opcode {opcode:#x} is no push")
    return stack


class ScriptType(Enum):
    """The types of scriptPubKey that Core knows, by the names of its RPC."""

    NONSTANDARD = "nonstandard"
    PUBKEY = "pubkey"
    PUBKEYHASH = "pubkeyhash"
    SCRIPTHASH = "scripthash"
    MULTISIG = "multisig"
    NULLDATA = "nulldata"
    ANCHOR = "anchor"
    WITNESS_V0_KEYHASH = "witness_v0_keyhash"
    WITNESS_V0_SCRIPTHASH = "witness_v0_scripthash"
    WITNESS_V1_TAPROOT = "witness_v1_taproot"
    WITNESS_UNKNOWN = "witness_unknown"


PAY_TO_ANCHOR = bytes.fromhex("51024e73")


def witness_program(script: bytes) -> tuple[int, bytes] | None:
    """BIP 141: version and program, None if it is no witness program."""
    if 4 <= len(script) <= 42 and (script[0] == 0 or OP_1 <= script[0] <= OP_16) and script[1] == len(script) - 2:
        return (script[0] - OP_1 + 1 if script[0] else 0), script[2:]
    return None


def is_pay_to_script_hash(script: bytes) -> bool:
    return len(script) == 23 and script[:2] == b"\xa9\x14" and script[22] == 0x87


def script_type(script: bytes) -> ScriptType:
    if is_pay_to_script_hash(script):
        return ScriptType.SCRIPTHASH
    program = witness_program(script)
    if program is not None:
        return _witness_type(script, *program)
    if script[:1] == bytes([OP_RETURN]) and is_push_only(script[1:]):
        return ScriptType.NULLDATA
    if _is_pubkey(script[1:-1]) and script[:1] == bytes([len(script) - 2]) and script[-1] == OP_CHECKSIG:
        return ScriptType.PUBKEY
    if len(script) == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return ScriptType.PUBKEYHASH
    if multisig(script) is not None:
        return ScriptType.MULTISIG
    return ScriptType.NONSTANDARD


def _witness_type(script: bytes, version: int, program: bytes) -> ScriptType:
    if version == 0:
        by_size = {20: ScriptType.WITNESS_V0_KEYHASH, 32: ScriptType.WITNESS_V0_SCRIPTHASH}
        return by_size.get(len(program), ScriptType.NONSTANDARD)
    if version == 1 and len(program) == 32:
        return ScriptType.WITNESS_V1_TAPROOT
    return ScriptType.ANCHOR if script == PAY_TO_ANCHOR else ScriptType.WITNESS_UNKNOWN


def _is_pubkey(data: bytes) -> bool:
    return (len(data) == 33 and data[0] in (2, 3)) or (len(data) == 65 and data[0] in (4, 6, 7))


def multisig(script: bytes) -> tuple[int, int] | None:
    """(required, keys) of a bare multisig script, None if it is none."""
    if not script or script[-1] != OP_CHECKMULTISIG:
        return None
    try:
        parts = list(operations(script[:-1]))
    except MalformedScript:
        return None
    if len(parts) < 3:
        return None
    required, keys = _small_number(parts[0]), _small_number(parts[-1])
    if required is None or keys is None or not all(_is_pubkey(data) for _, data, _ in parts[1:-1]):
        return None
    return (required, keys) if len(parts) - 2 == keys and 1 <= required <= keys <= _MAX_PUBKEYS_PER_MULTISIG else None


def _small_number(part: tuple[int, bytes, int]) -> int | None:
    opcode, data, _ = part
    if OP_1 <= opcode <= OP_16:
        return opcode - OP_1 + 1
    return data[0] if len(data) == 1 and 16 < data[0] <= _MAX_PUBKEYS_PER_MULTISIG else None


def signature_operations(script: bytes, accurate: bool) -> int:
    """Core's CScript::GetSigOpCount: a multisig counts its keys if `accurate` and known, else twenty."""
    count, last = 0, 0xFF
    try:
        for opcode, _, _ in operations(script):
            if opcode in (OP_CHECKSIG, OP_CHECKSIGVERIFY):
                count += 1
            elif opcode in (OP_CHECKMULTISIG, OP_CHECKMULTISIGVERIFY):
                count += last - OP_1 + 1 if accurate and OP_1 <= last <= OP_16 else _MAX_PUBKEYS_PER_MULTISIG
            last = opcode
    except MalformedScript:
        pass
    return count


def redeem_script(script_sig: bytes) -> bytes | None:
    """What a P2SH spend reveals: the last push; None if it reveals nothing."""
    try:
        stack = pushes(script_sig)
    except MalformedScript:
        return None
    return stack[-1] if stack else None


def signature_operations_cost(
    script_sigs: Sequence[bytes],
    witnesses: Sequence[tuple[bytes, ...]],
    outputs: Sequence[TxOut],
    spent: Sequence[TxOut],
) -> int:
    """BIP 141: legacy and P2SH operations count four times, those of witnesses once."""
    cost = 4 * sum(signature_operations(script, accurate=False) for script in script_sigs)
    cost += 4 * sum(signature_operations(out.script_pubkey, accurate=False) for out in outputs)
    for script_sig, witness, out in zip(script_sigs, witnesses, spent):
        script = out.script_pubkey
        if is_pay_to_script_hash(script):
            script = redeem_script(script_sig) or b""
            cost += 4 * signature_operations(script, accurate=True)
        program = witness_program(script)
        if program is not None and program[0] == 0:
            if len(program[1]) == 20:
                cost += 1
            elif len(program[1]) == 32 and witness:
                cost += signature_operations(witness[-1], accurate=True)
    return cost
