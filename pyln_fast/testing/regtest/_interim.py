"""Stands in for tx/transaction.py and tx/scripts.py until they are there."""

from __future__ import annotations

import hashlib

import msgspec

from pyln_fast.errors import DecodeError
from pyln_fast.types import OutPoint, Sat, Txid, TxOut


class TxInput(msgspec.Struct, frozen=True, array_like=True):
    outpoint: OutPoint
    script_sig: bytes = b""
    sequence: int = 0xFFFFFFFF
    witness: tuple[bytes, ...] = ()


class Transaction(msgspec.Struct, frozen=True, array_like=True):
    version: int
    inputs: tuple[TxInput, ...]
    outputs: tuple[TxOut, ...]
    lock_time: int = 0


def sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def compact_size(n: int) -> bytes:
    if n < 0xFD:
        return bytes([n])
    if n <= 0xFFFF:
        return b"\xfd" + n.to_bytes(2, "little")
    if n <= 0xFFFFFFFF:
        return b"\xfe" + n.to_bytes(4, "little")
    return b"\xff" + n.to_bytes(8, "little")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.data):
            raise DecodeError("transaction", "too short")
        self.at += n
        return self.data[self.at - n : self.at]

    def u(self, n: int) -> int:
        return int.from_bytes(self.take(n), "little")

    def size(self) -> int:
        first = self.u(1)
        return first if first < 0xFD else self.u({0xFD: 2, 0xFE: 4, 0xFF: 8}[first])

    def blob(self) -> bytes:
        return self.take(self.size())


def parse(raw: bytes) -> Transaction:
    r = _Reader(raw)
    version = r.u(4)
    count = r.size()
    segwit = False
    if count == 0:
        if r.u(1) != 1:
            raise DecodeError("transaction", "no inputs")
        segwit = True
        count = r.size()
    ins = [(OutPoint(Txid(r.take(32)), r.u(4)), r.blob(), r.u(4)) for _ in range(count)]
    outs = tuple(TxOut(Sat(r.u(8)), r.blob()) for _ in range(r.size()))
    wits: list[tuple[bytes, ...]] = [()] * count
    if segwit:
        wits = [tuple(r.blob() for _ in range(r.size())) for _ in range(count)]
        if not any(wits):
            raise DecodeError("transaction", "superfluous witness")
    lock = r.u(4)
    if r.at != len(raw):
        raise DecodeError("transaction", "trailing bytes")
    return Transaction(version, tuple(TxInput(a, b, c, w) for (a, b, c), w in zip(ins, wits)), outs, lock)


def serialize(tx: Transaction, witness: bool = True) -> bytes:
    segwit = witness and any(i.witness for i in tx.inputs)
    out = [tx.version.to_bytes(4, "little")]
    if segwit:
        out.append(b"\x00\x01")
    out.append(compact_size(len(tx.inputs)))
    for i in tx.inputs:
        out += [i.outpoint.txid, i.outpoint.vout.to_bytes(4, "little"), compact_size(len(i.script_sig)), i.script_sig]
        out.append(i.sequence.to_bytes(4, "little"))
    out.append(compact_size(len(tx.outputs)))
    for o in tx.outputs:
        out += [o.value_sat.to_bytes(8, "little"), compact_size(len(o.script_pubkey)), o.script_pubkey]
    if segwit:
        for i in tx.inputs:
            out.append(compact_size(len(i.witness)))
            for w in i.witness:
                out += [compact_size(len(w)), w]
    out.append(tx.lock_time.to_bytes(4, "little"))
    return b"".join(out)


def txid(tx: Transaction) -> Txid:
    return Txid(sha256d(serialize(tx, False)))


def wtxid(tx: Transaction) -> Txid:
    return Txid(sha256d(serialize(tx)))


def weight(tx: Transaction) -> int:
    return 3 * len(serialize(tx, False)) + len(serialize(tx))


def sighash_bip143(tx: Transaction, index: int, script_code: bytes, value_sat: int, sighash_type: int) -> bytes:
    base, anyone = sighash_type & 0x1F, bool(sighash_type & 0x80)
    zero = bytes(32)
    prevouts = b"".join(i.outpoint.txid + i.outpoint.vout.to_bytes(4, "little") for i in tx.inputs)
    sequences = b"".join(i.sequence.to_bytes(4, "little") for i in tx.inputs)

    def out(o: TxOut) -> bytes:
        return o.value_sat.to_bytes(8, "little") + compact_size(len(o.script_pubkey)) + o.script_pubkey

    if base not in (2, 3):
        outputs = sha256d(b"".join(out(o) for o in tx.outputs))
    elif base == 3 and index < len(tx.outputs):
        outputs = sha256d(out(tx.outputs[index]))
    else:
        outputs = zero
    this = tx.inputs[index]
    return sha256d(
        tx.version.to_bytes(4, "little")
        + (zero if anyone else sha256d(prevouts))
        + (zero if anyone or base in (2, 3) else sha256d(sequences))
        + this.outpoint.txid
        + this.outpoint.vout.to_bytes(4, "little")
        + compact_size(len(script_code))
        + script_code
        + value_sat.to_bytes(8, "little")
        + this.sequence.to_bytes(4, "little")
        + outputs
        + tx.lock_time.to_bytes(4, "little")
        + sighash_type.to_bytes(4, "little")
    )


_CHARS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def _polymod(values: list[int]) -> int:
    check = 1
    for v in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ v
        for i, g in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= g if top >> i & 1 else 0
    return check


def _bits(data: bytes | list[int], a: int, b: int, pad: bool) -> list[int]:
    acc = n = 0
    out = []
    for v in data:
        acc = acc << a | v
        n += a
        while n >= b:
            n -= b
            out.append(acc >> n & (1 << b) - 1)
    if pad and n:
        out.append(acc << b - n & (1 << b) - 1)
    elif not pad and (n >= a or acc & (1 << n) - 1):
        raise ValueError("padding")
    return out


def encode_segwit(hrp: str, version: int, program: bytes) -> str:
    data = [version, *_bits(program, 8, 5, True)]
    expanded = [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]
    check = _polymod(expanded + data + [0] * 6) ^ (1 if version == 0 else 0x2BC830A3)
    return hrp + "1" + "".join(_CHARS[d] for d in data + [check >> 5 * (5 - i) & 31 for i in range(6)])


def decode_segwit(hrp: str, text: str) -> tuple[int, bytes]:
    low = text.lower()
    if (low != text and text.upper() != text) or not low.startswith(hrp + "1"):
        raise ValueError("prefix")
    try:
        data = [_CHARS.index(c) for c in low[len(hrp) + 1 :]]
    except ValueError:
        raise ValueError("character") from None
    expanded = [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]
    if len(data) < 7 or _polymod(expanded + data) != (1 if data[0] == 0 else 0x2BC830A3):
        raise ValueError("checksum")
    program = bytes(_bits(data[1:-6], 5, 8, False))
    if not 2 <= len(program) <= 40 or data[0] > 16 or (data[0] == 0 and len(program) not in (20, 32)):
        raise ValueError("program")
    return data[0], program
