"""Bitcoin transactions as values: parse, serialise, ids, weight and signature hashes."""

from __future__ import annotations

import struct

import msgspec

from pyln_fast._ext import _tx
from pyln_fast.errors import DecodeError
from pyln_fast.types import OutPoint, PublicKey, Sat, Txid, TxOut

SIGHASH_ALL = 0x01
SIGHASH_NONE = 0x02
SIGHASH_SINGLE = 0x03
SIGHASH_ANYONECANPAY = 0x80

SEQUENCE_FINAL = 0xFFFFFFFF
SEQUENCE_RBF = 0xFFFFFFFD


class TxInput(msgspec.Struct, frozen=True, array_like=True):
    outpoint: OutPoint
    script_sig: bytes = b""
    sequence: int = SEQUENCE_FINAL
    witness: tuple[bytes, ...] = ()


class Transaction(msgspec.Struct, frozen=True, array_like=True):
    version: int
    inputs: tuple[TxInput, ...]
    outputs: tuple[TxOut, ...]
    lock_time: int = 0


def parse(raw: bytes) -> Transaction:
    """One whole transaction, in the one serialisation that Bitcoin Core makes of it. Raises DecodeError."""
    try:
        version, inputs, outputs, lock_time = _tx.parse(raw)
    except ValueError as error:
        raise DecodeError("transaction", str(error)) from None
    return Transaction(
        version,
        tuple(
            TxInput(OutPoint(Txid(txid_), vout), script_sig, sequence, witness)
            for txid_, vout, script_sig, sequence, witness in inputs
        ),
        tuple(TxOut(Sat(value_sat), script) for value_sat, script in outputs),
        lock_time,
    )


def serialize(tx: Transaction) -> bytes:
    """With the witness if any input has one (BIP 144)."""
    if not any(tx_in.witness for tx_in in tx.inputs):
        return serialize_stripped(tx)
    parts = [struct.pack("<I", tx.version), b"\x00\x01", *_body(tx)]
    for tx_in in tx.inputs:
        parts.append(serialize_witness(tx_in.witness))
    parts.append(struct.pack("<I", tx.lock_time))
    return b"".join(parts)


def serialize_stripped(tx: Transaction) -> bytes:
    """Without any witness: what the txid is the hash of."""
    return b"".join((struct.pack("<I", tx.version), *_body(tx), struct.pack("<I", tx.lock_time)))


def serialize_witness(witness: tuple[bytes, ...]) -> bytes:
    """The number of items, then each with its length: also what `tx_signatures` carries."""
    return b"".join((compact_size(len(witness)), *(compact_size(len(item)) + item for item in witness)))


def serialize_output(output: TxOut) -> bytes:
    return struct.pack("<Q", output.value_sat) + compact_size(len(output.script_pubkey)) + output.script_pubkey


def compact_size(n: int) -> bytes:
    if n < 0xFD:
        return bytes((n,))
    if n <= 0xFFFF:
        return struct.pack("<BH", 0xFD, n)
    if n <= 0xFFFFFFFF:
        return struct.pack("<BI", 0xFE, n)
    return struct.pack("<BQ", 0xFF, n)


def txid(tx: Transaction) -> Txid:
    return Txid(_tx.sha256d(serialize_stripped(tx)))


def wtxid(tx: Transaction) -> Txid:
    return Txid(_tx.sha256d(serialize(tx)))


def weight(tx: Transaction) -> int:
    """In weight units (BIP 141)."""
    return 3 * len(serialize_stripped(tx)) + len(serialize(tx))


def sighash_bip143(
    tx: Transaction, index: int, script_code: bytes, value_sat: Sat, sighash_type: int = SIGHASH_ALL
) -> bytes:
    """What a version 0 witness signs for one input. `script_code` is without its length. Raises IndexError."""
    return _tx.sighash_bip143(serialize_stripped(tx), index, script_code, value_sat, sighash_type)


def sighash_p2wpkh(
    tx: Transaction, index: int, public_key: PublicKey, value_sat: Sat, sighash_type: int = SIGHASH_ALL
) -> bytes:
    script_code = b"\x76\xa9\x14" + _tx.hash160(public_key) + b"\x88\xac"
    return sighash_bip143(tx, index, script_code, value_sat, sighash_type)


def with_witness(tx: Transaction, index: int, witness: tuple[bytes, ...]) -> Transaction:
    """The transaction with one input's witness in place."""
    inputs = list(tx.inputs)
    inputs[index] = msgspec.structs.replace(inputs[index], witness=witness)
    return msgspec.structs.replace(tx, inputs=tuple(inputs))


def bip69_output_key(output: TxOut) -> tuple[int, bytes]:
    """BOLT 3, Transaction Output Ordering: by value, then by script."""
    return output.value_sat, output.script_pubkey


def _body(tx: Transaction) -> list[bytes]:
    parts = [compact_size(len(tx.inputs))]
    for tx_in in tx.inputs:
        parts.append(tx_in.outpoint.txid)
        parts.append(struct.pack("<I", tx_in.outpoint.vout))
        parts.append(compact_size(len(tx_in.script_sig)))
        parts.append(tx_in.script_sig)
        parts.append(struct.pack("<I", tx_in.sequence))
    parts.append(compact_size(len(tx.outputs)))
    parts.extend(map(serialize_output, tx.outputs))
    return parts
