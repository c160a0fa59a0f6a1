"""Blocks, transactions and mempool entries in the JSON of Bitcoin Core 29's RPC: its names, in its order."""

from __future__ import annotations

from typing import Any

import msgspec

from pyln_fast.testing.regtest.addresses import address_of_script
from pyln_fast.testing.regtest.block_store import Block
from pyln_fast.testing.regtest.chain import Chain
from pyln_fast.testing.regtest.consensus import btc
from pyln_fast.testing.regtest.mempool import Entry, Mempool
from pyln_fast.testing.regtest.policy import is_coinbase
from pyln_fast.testing.regtest.script_text import asm, descriptor
from pyln_fast.testing.regtest.scripts import script_type
from pyln_fast.tx.transaction import Transaction, serialize, txid, weight, wtxid
from pyln_fast.types import TxOut, txid_hex

TARGET = f"{0x7FFFFF << 8 * 29:064x}"
BITS = "207fffff"
DIFFICULTY = 4.656542373906925e-10
_MAX_RBF_SEQUENCE = 0xFFFFFFFD


def amount(sat: int) -> msgspec.Raw:
    """A number of BTC with eight places, as Core writes it."""
    return msgspec.Raw(btc(sat).encode())


def chain_work(height: int) -> str:
    """Two tries a block is what regtest's target takes on average."""
    return f"{2 * (height + 1):064x}"


def header_json(chain: Chain, block: Block) -> dict[str, Any]:
    height = chain.heights[block.hash]
    header = block.header
    result: dict[str, Any] = {
        "hash": txid_hex(block.hash),
        "confirmations": chain.confirmations(block.hash),
        "height": height,
        "version": header.version,
        "versionHex": f"{header.version & 0xFFFFFFFF:08x}",
        "merkleroot": header.merkle_root[::-1].hex(),
        "time": header.time,
        "mediantime": chain.median_time_past(block.hash),
        "nonce": header.nonce,
        "bits": f"{header.bits:08x}",
        "target": TARGET,
        "difficulty": DIFFICULTY,
        "chainwork": chain_work(height),
        "nTx": len(block.transactions),
    }
    if height:
        result["previousblockhash"] = txid_hex(header.previous)
    if chain.is_active(block.hash) and height < chain.height:
        result["nextblockhash"] = txid_hex(chain.active[height + 1])
    return result


def block_json(chain: Chain, block: Block, verbosity: int) -> dict[str, Any]:
    """`verbosity` 1: txids; 2: transactions with their fees; 3: with the outputs that they spend."""
    result = header_json(chain, block)
    result["strippedsize"] = block.stripped_bytes
    result["size"] = len(block.raw)
    result["weight"] = block.weight
    if verbosity == 1:
        result["tx"] = [txid_hex(t) for t in block.txids]
        return result
    transactions = []
    for index, tx in enumerate(block.transactions):
        entry = transaction_json(tx)
        spent = [chain.spent_coin(block.hash, i.outpoint) for i in tx.inputs] if index else []
        coins = [coin for coin in spent if coin is not None]
        if coins and len(coins) == len(tx.inputs):
            if verbosity >= 3:
                for shape, coin in zip(entry["vin"], coins):
                    sequence = shape.pop("sequence")
                    shape["prevout"] = {
                        "generated": coin.coinbase,
                        "height": coin.height,
                        "value": amount(coin.output.value_sat),
                        "scriptPubKey": script_json(coin.output.script_pubkey),
                    }
                    shape["sequence"] = sequence
            paid = sum(coin.output.value_sat for coin in coins) - sum(out.value_sat for out in tx.outputs)
            entry["fee"] = amount(paid)
        entry["hex"] = serialize(tx).hex()
        transactions.append(entry)
    result["tx"] = transactions
    return result


def transaction_json(tx: Transaction) -> dict[str, Any]:
    tx_weight = weight(tx)
    return {
        "txid": txid_hex(txid(tx)),
        "hash": txid_hex(wtxid(tx)),
        "version": tx.version,
        "size": len(serialize(tx)),
        "vsize": (tx_weight + 3) // 4,
        "weight": tx_weight,
        "locktime": tx.lock_time,
        "vin": _inputs_json(tx),
        "vout": [_output_json(index, out) for index, out in enumerate(tx.outputs)],
    }


def _inputs_json(tx: Transaction) -> list[dict[str, Any]]:
    shapes = []
    for tx_input in tx.inputs:
        shape: dict[str, Any] = {}
        if is_coinbase(tx):
            shape["coinbase"] = tx_input.script_sig.hex()
        else:
            shape["txid"] = txid_hex(tx_input.outpoint.txid)
            shape["vout"] = tx_input.outpoint.vout
            shape["scriptSig"] = {"asm": asm(tx_input.script_sig), "hex": tx_input.script_sig.hex()}
        if tx_input.witness:
            shape["txinwitness"] = [item.hex() for item in tx_input.witness]
        shape["sequence"] = tx_input.sequence
        shapes.append(shape)
    return shapes


def _output_json(index: int, out: TxOut) -> dict[str, Any]:
    return {"value": amount(out.value_sat), "n": index, "scriptPubKey": script_json(out.script_pubkey)}


def script_json(script: bytes) -> dict[str, Any]:
    shape = {"asm": asm(script), "desc": descriptor(script), "hex": script.hex()}
    address = address_of_script(script)
    if address is not None:
        shape["address"] = address
    shape["type"] = script_type(script).value
    return shape


def entry_json(mempool: Mempool, entry: Entry) -> dict[str, Any]:
    ancestors = list(mempool.ancestors([entry]).values())
    descendants = list(mempool.descendants([entry]).values())
    replaceable = any(i.sequence <= _MAX_RBF_SEQUENCE for e in ancestors for i in e.tx.inputs)
    return {
        "vsize": entry.vsize,
        "weight": entry.weight,
        "time": entry.time,
        "height": entry.height,
        "descendantcount": len(descendants),
        "descendantsize": sum(e.vsize for e in descendants),
        "ancestorcount": len(ancestors),
        "ancestorsize": sum(e.vsize for e in ancestors),
        "wtxid": txid_hex(entry.wtxid),
        "fees": {
            "base": amount(entry.fee_sat),
            "modified": amount(entry.fee_sat),
            "ancestor": amount(sum(e.fee_sat for e in ancestors)),
            "descendant": amount(sum(e.fee_sat for e in descendants)),
        },
        "depends": sorted(txid_hex(t) for t in entry.parents),
        "spentby": sorted(txid_hex(t) for t in entry.children),
        "bip125-replaceable": replaceable,
        "unbroadcast": False,
    }
