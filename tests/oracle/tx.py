"""Scripts, serialisation and BIP 143 in obvious Python: hashlib and BOLT 3's text, one list of pushes a script."""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from bitcoin.core.contrib.ripemd160 import ripemd160  # type: ignore[import-untyped]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sha256d(data: bytes) -> bytes:
    return sha256(sha256(data))


def hash160(data: bytes) -> bytes:
    return ripemd160(sha256(data))


OPCODES = {
    "OP_0": 0x00, "OP_1": 0x51, "OP_2": 0x52, "OP_16": 0x60, "OP_IF": 0x63, "OP_NOTIF": 0x64, "OP_ELSE": 0x67,
    "OP_ENDIF": 0x68, "OP_IFDUP": 0x73, "OP_DROP": 0x75, "OP_DUP": 0x76, "OP_SWAP": 0x7C, "OP_SIZE": 0x82,
    "OP_EQUAL": 0x87, "OP_EQUALVERIFY": 0x88, "OP_HASH160": 0xA9, "OP_CHECKSIG": 0xAC, "OP_CHECKSIGVERIFY": 0xAD,
    "OP_CHECKMULTISIG": 0xAE, "OP_CHECKLOCKTIMEVERIFY": 0xB1, "OP_CHECKSEQUENCEVERIFY": 0xB2,
}  # fmt: skip


def push_number(n: int) -> bytes:
    if n == 0:
        return b"\x00"
    if n <= 16:
        return bytes([0x50 + n])
    data = n.to_bytes(n.bit_length() // 8 + 1, "little")
    return bytes([len(data)]) + data


def script(text: str, **values: bytes | int) -> bytes:
    """Assembles a script as BOLT 3 writes it; `<name>` is a value."""
    out = b""
    for word in text.split():
        if word in OPCODES:
            out += bytes([OPCODES[word]])
        elif word.isdigit():
            out += push_number(int(word))
        else:
            value = values[word.strip("<>")]
            out += push_number(value) if isinstance(value, int) else bytes([len(value)]) + value
    return out


def funding_script(a: bytes, b: bytes) -> bytes:
    return script("2 <a> <b> 2 OP_CHECKMULTISIG", a=min(a, b), b=max(a, b))


def to_local_script(revocation: bytes, delay: int, delayed: bytes) -> bytes:
    return script(
        """OP_IF <revocation>
           OP_ELSE <delay> OP_CHECKSEQUENCEVERIFY OP_DROP <delayed>
           OP_ENDIF OP_CHECKSIG""",
        revocation=revocation, delay=delay, delayed=delayed,
    )  # fmt: skip


def to_remote_script(payment: bytes) -> bytes:
    return script("<payment> OP_CHECKSIGVERIFY 1 OP_CHECKSEQUENCEVERIFY", payment=payment)


def anchor_script(funding: bytes) -> bytes:
    return script("<funding> OP_CHECKSIG OP_IFDUP OP_NOTIF OP_16 OP_CHECKSEQUENCEVERIFY OP_ENDIF", funding=funding)


def offered_htlc_script(revocation: bytes, local: bytes, remote: bytes, payment_hash: bytes, anchors: bool) -> bytes:
    return script(
        f"""OP_DUP OP_HASH160 <revocation_hash> OP_EQUAL
            OP_IF OP_CHECKSIG
            OP_ELSE
                <remote> OP_SWAP OP_SIZE 32 OP_EQUAL
                OP_NOTIF OP_DROP 2 OP_SWAP <local> 2 OP_CHECKMULTISIG
                OP_ELSE OP_HASH160 <hash> OP_EQUALVERIFY OP_CHECKSIG
                OP_ENDIF
                {"1 OP_CHECKSEQUENCEVERIFY OP_DROP" if anchors else ""}
            OP_ENDIF""",
        revocation_hash=hash160(revocation), remote=remote, local=local, hash=ripemd160(payment_hash),
    )  # fmt: skip


def received_htlc_script(
    revocation: bytes, local: bytes, remote: bytes, payment_hash: bytes, cltv_expiry: int, anchors: bool
) -> bytes:
    return script(
        f"""OP_DUP OP_HASH160 <revocation_hash> OP_EQUAL
            OP_IF OP_CHECKSIG
            OP_ELSE
                <remote> OP_SWAP OP_SIZE 32 OP_EQUAL
                OP_IF
                    OP_HASH160 <hash> OP_EQUALVERIFY
                    2 OP_SWAP <local> 2 OP_CHECKMULTISIG
                OP_ELSE
                    OP_DROP <cltv_expiry> OP_CHECKLOCKTIMEVERIFY OP_DROP OP_CHECKSIG
                OP_ENDIF
                {"1 OP_CHECKSEQUENCEVERIFY OP_DROP" if anchors else ""}
            OP_ENDIF""",
        revocation_hash=hash160(revocation), remote=remote, local=local, hash=ripemd160(payment_hash),
        cltv_expiry=cltv_expiry,
    )  # fmt: skip


def p2wsh(witness_script: bytes) -> bytes:
    return b"\x00\x20" + sha256(witness_script)


def p2wpkh(point: bytes) -> bytes:
    return b"\x00\x14" + hash160(point)


class In(NamedTuple):
    txid: bytes
    vout: int
    sequence: int


class Out(NamedTuple):
    value_sat: int
    script: bytes


class Tx(NamedTuple):
    inputs: tuple[In, ...]
    outputs: tuple[Out, ...]
    lock_time: int
    version: int = 2


def compact_size(n: int) -> bytes:
    for limit, prefix, form in ((0xFD, b"", "<B"), (1 << 16, b"\xfd", "<H"), (1 << 32, b"\xfe", "<I")):
        if n < limit:
            return prefix + struct.pack(form, n)
    return b"\xff" + struct.pack("<Q", n)


def outpoint(tx_in: In) -> bytes:
    return tx_in.txid + struct.pack("<I", tx_in.vout)


def output(out: Out) -> bytes:
    return struct.pack("<Q", out.value_sat) + compact_size(len(out.script)) + out.script


def serialize(tx: Tx) -> bytes:
    """Without witness."""
    raw = struct.pack("<I", tx.version) + compact_size(len(tx.inputs))
    for tx_in in tx.inputs:
        raw += outpoint(tx_in) + b"\x00" + struct.pack("<I", tx_in.sequence)
    raw += compact_size(len(tx.outputs))
    for out in tx.outputs:
        raw += output(out)
    return raw + struct.pack("<I", tx.lock_time)


ALL, NONE, SINGLE, ANYONECANPAY = 1, 2, 3, 0x80


def sighash(tx: Tx, index: int, script_code: bytes, value_sat: int, kind: int) -> bytes:
    """BIP 143, item by item."""
    zero = bytes(32)
    anyone, base = bool(kind & ANYONECANPAY), kind & 0x1F
    hash_prevouts = zero if anyone else sha256d(b"".join(map(outpoint, tx.inputs)))
    hash_sequence = zero
    if not anyone and base not in (SINGLE, NONE):
        hash_sequence = sha256d(b"".join(struct.pack("<I", i.sequence) for i in tx.inputs))
    hash_outputs = zero
    if base not in (SINGLE, NONE):
        hash_outputs = sha256d(b"".join(map(output, tx.outputs)))
    elif base == SINGLE and index < len(tx.outputs):
        hash_outputs = sha256d(output(tx.outputs[index]))
    return sha256d(
        struct.pack("<I", tx.version)
        + hash_prevouts
        + hash_sequence
        + outpoint(tx.inputs[index])
        + compact_size(len(script_code))
        + script_code
        + struct.pack("<Q", value_sat)
        + struct.pack("<I", tx.inputs[index].sequence)
        + hash_outputs
        + struct.pack("<II", tx.lock_time, kind)
    )
