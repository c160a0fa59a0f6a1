from __future__ import annotations

import lzma
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from pyln_fast._ext import _tx
from pyln_fast.errors import DecodeError
from pyln_fast.tx import scripts
from pyln_fast.tx import transaction as transactions
from pyln_fast.tx.transaction import Transaction, TxInput, parse, serialize, serialize_stripped
from pyln_fast.types import OutPoint, TxOut, txid_hex
from tests.tx.bolt3 import load

BIP143 = load("bip143.json")
BOLT3_B = load("bolt03-b-funding.json")["values"]
BOLT3_G = load("bolt03-g-dualfund.json")["values"]


@pytest.mark.parametrize("case", BIP143["cases"], ids=lambda case: case["sighash"][:8])
def test_bip143(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["tx"])
    tx = parse(raw)
    outpoints = [tx_in.outpoint.txid + struct.pack("<I", tx_in.outpoint.vout) for tx_in in tx.inputs]
    index = outpoints.index(bytes.fromhex(case["outpoint"]))
    sighash = transactions.sighash_bip143(
        tx, index, bytes.fromhex(case["script_code"]), case["value_sat"], case["sighash_type"]
    )
    assert sighash.hex() == case["sighash"]


def test_bip143_p2wpkh() -> None:
    case = BIP143["cases"][0]
    public_key = bytes.fromhex("025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee6357")
    tx = parse(bytes.fromhex(case["tx"]))
    assert transactions.sighash_p2wpkh(tx, 1, public_key, 600_000_000).hex() == case["sighash"]


def test_there_is_no_such_input() -> None:
    with pytest.raises(IndexError):
        transactions.sighash_bip143(parse(bytes.fromhex(BIP143["cases"][0]["tx"])), 2, b"", 0)


REAL = [bytes.fromhex(raw) for raw in BIP143["signed"]] + [
    bytes.fromhex(raw)
    for raw in (
        BOLT3_B["block_1_coinbase_transaction"],
        BOLT3_B["funding_tx"],
        BOLT3_G["parent_tx"],
        BOLT3_G["unsigned_funding_tx"],
        BOLT3_G["signed_funding_tx"],
    )
]


@pytest.mark.parametrize("raw", REAL, ids=lambda raw: txid_hex(_tx.txid(raw))[:8])
def test_round_trip(raw: bytes) -> None:
    tx = parse(raw)
    assert serialize(tx) == raw
    assert transactions.txid(tx) == _tx.txid(raw)
    assert transactions.wtxid(tx) == _tx.wtxid(raw)
    assert transactions.weight(tx) == _tx.weight(raw)
    assert parse(serialize_stripped(tx)).outputs == tx.outputs


def test_bolt3_appendix_b_funding_transaction() -> None:
    tx = parse(bytes.fromhex(BOLT3_B["funding_tx"]))
    assert txid_hex(transactions.txid(tx)) == BOLT3_B["txid"]
    local, remote = (bytes.fromhex(BOLT3_B[f"{side}_funding_pubkey"]) for side in ("local", "remote"))
    assert scripts.funding_script(local, remote).hex() == BOLT3_B["funding_witness_script"]
    assert scripts.funding_script(remote, local).hex() == BOLT3_B["funding_witness_script"]
    expected = TxOut(BOLT3_B["funding_satoshis"], scripts.funding_script_pubkey(local, remote))
    assert tx.outputs[BOLT3_B["funding_output"]] == expected


def test_bolt3_appendix_g_dual_funding() -> None:
    unsigned = parse(bytes.fromhex(BOLT3_G["unsigned_funding_tx"]))
    signed = parse(bytes.fromhex(BOLT3_G["signed_funding_tx"]))
    assert txid_hex(transactions.txid(signed)) == BOLT3_G["txid"]
    assert transactions.txid(unsigned) == transactions.txid(signed)
    assert signed.lock_time == BOLT3_G["locktime"]
    # The transaction's inputs are in the order of their serial ids: the accepter's (11) first.
    witnesses = [transactions.serialize_witness(tx_in.witness).hex() for tx_in in signed.inputs]
    assert witnesses == [BOLT3_G["accepter_witness"], BOLT3_G["opener_witness"]]
    rebuilt = unsigned
    for i, tx_in in enumerate(signed.inputs):
        rebuilt = transactions.with_witness(rebuilt, i, tx_in.witness)
    assert serialize(rebuilt).hex() == BOLT3_G["signed_funding_tx"]


@pytest.mark.parametrize("raw", REAL, ids=lambda raw: txid_hex(_tx.txid(raw))[:8])
def test_truncated_and_trailing(raw: bytes) -> None:
    for length in range(len(raw)):
        with pytest.raises(DecodeError):
            parse(raw[:length])
    with pytest.raises(DecodeError, match="bytes after the end"):
        parse(raw + b"\x00")
    assert _tx.transaction_length(raw + b"more") == len(raw)


def test_one_changed_byte_never_reads_past_the_end() -> None:
    rng = random.Random(3)
    raw = bytes.fromhex(BOLT3_G["signed_funding_tx"])
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 << rng.randrange(8)
        try:
            tx = parse(bytes(changed))
        except DecodeError:
            continue
        assert serialize(tx) == bytes(changed)


OUTPUT = TxOut(1000, b"\x00\x14" + bytes(20))
ONE = Transaction(2, (TxInput(OutPoint(bytes(32), 1)),), (OUTPUT,), 0)
RAW = serialize(ONE)
INPUTS_AT, OUTPUTS_AT = 4, 4 + 1 + 41


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (RAW[:INPUTS_AT] + b"\x00\x00" + RAW[INPUTS_AT + 2 :], "no inputs, or an unknown flag"),
        (RAW[:INPUTS_AT] + b"\x00\x02" + RAW[INPUTS_AT:-4] + b"\x00" + RAW[-4:], "no inputs, or an unknown flag"),
        (RAW[:INPUTS_AT] + b"\x00\x01\x00\x00" + RAW[-4:], "no inputs"),
        (RAW[:OUTPUTS_AT] + b"\x00" + RAW[-4:], "no outputs"),
        (RAW[:INPUTS_AT] + b"\xfd\x01\x00" + RAW[INPUTS_AT + 1 :], "the number of inputs"),
        (RAW[:INPUTS_AT] + b"\xfe\x01\x00\x00\x00" + RAW[INPUTS_AT + 1 :], "the number of inputs"),
        (RAW[:INPUTS_AT] + b"\xff" + b"\x01" + bytes(7) + RAW[INPUTS_AT + 1 :], "the number of inputs"),
        (RAW[:INPUTS_AT] + b"\xff" * 9 + RAW[INPUTS_AT + 1 :], "more inputs than bytes"),
        (RAW[:OUTPUTS_AT] + b"\xff" * 9 + RAW[OUTPUTS_AT + 1 :], "more outputs than bytes"),
        (RAW[:INPUTS_AT] + b"\x00\x01" + RAW[INPUTS_AT:-4] + b"\x00" + RAW[-4:], "every input's is empty"),
        (RAW[:INPUTS_AT] + b"\x00\x01" + RAW[INPUTS_AT:-4] + b"\xff" * 9 + RAW[-4:], "more witness items"),
        (RAW[: OUTPUTS_AT + 1] + struct.pack("<Q", 2_100_000_000_000_001) + RAW[OUTPUTS_AT + 9 :], "21 million"),
        (RAW[: OUTPUTS_AT + 1] + b"\xff" * 8 + RAW[OUTPUTS_AT + 9 :], "21 million"),
        (serialize(Transaction(2, ONE.inputs, (TxOut(0, bytes(1_000_000)),), 0)), "heavier than a block"),
    ],
)
def test_malformed(raw: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        parse(raw)


def test_large_counts_round_trip() -> None:
    many = Transaction(
        1, tuple(TxInput(OutPoint(bytes(32), i), b"\x51", i, (b"", bytes(300))) for i in range(300)), (OUTPUT,) * 70_000
    )
    smaller = Transaction(1, many.inputs, (TxOut(7, bytes(70_000)),) * 3 + (OUTPUT,) * 260)
    assert parse(serialize(smaller)) == smaller
    with pytest.raises(DecodeError, match="heavier than a block"):
        parse(serialize(many))


BLOCKS = Path(__file__).parents[2] / "benchmarks" / "data"


@pytest.mark.parametrize("height", [413567, 702861])
def test_every_transaction_of_a_real_block(height: int) -> None:
    block = lzma.decompress((BLOCKS / f"{height}.raw.xz").read_bytes())
    at = 80
    count, at = (block[at], at + 1) if block[at] < 0xFD else (int.from_bytes(block[at + 1 : at + 3], "little"), at + 3)
    txids = []
    for _ in range(count):
        length = _tx.transaction_length(block, at)
        raw = block[at : at + length]
        tx = parse(raw)
        assert serialize(tx) == raw
        assert transactions.weight(tx) == _tx.weight(raw)
        txids.append(_tx.txid(raw))
        assert transactions.txid(tx) == txids[-1]
        at += length
    assert at == len(block)
    assert merkle_root(txids) == block[36:68]


def merkle_root(layer: list[bytes]) -> bytes:
    while len(layer) > 1:
        if len(layer) % 2:
            layer = [*layer, layer[-1]]
        layer = [_tx.sha256d(layer[i] + layer[i + 1]) for i in range(0, len(layer), 2)]
    return layer[0]
