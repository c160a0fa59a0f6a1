"""RPC: blocks, headers, coins and the state of the chain."""

from __future__ import annotations

from typing import Any

from pyln_fast.testing.regtest import errors, json_shapes
from pyln_fast.testing.regtest.addresses import InvalidAddress, script_of_address
from pyln_fast.testing.regtest.block_store import HEADER_BYTES, Block
from pyln_fast.testing.regtest.chain import UnknownBlock
from pyln_fast.testing.regtest.errors import BlockRejected, RpcError
from pyln_fast.testing.regtest.node import RegtestNode
from pyln_fast.testing.regtest.rpc_table import method
from pyln_fast.testing.regtest.scripts import witness_program
from pyln_fast.types import BlockHash, OutPoint, Txid, txid_hex

VERSION = 290000
_PROTOCOL_VERSION = 70016
_HASH_DIGITS = 64


def hash_parameter(text: str, name: str) -> bytes:
    """32 bytes in internal order, with Core's complaints. Raises RpcError."""
    if len(text) != _HASH_DIGITS:
        message = f"{name} must be of length 64 (not {len(text)}, for '{text}')"
        raise RpcError(errors.INVALID_PARAMETER, message)
    try:
        return bytes.fromhex(text)[::-1]
    except ValueError:
        raise RpcError(errors.INVALID_PARAMETER, f"{name} must be hexadecimal string (not '{text}')") from None


def _block(node: RegtestNode, blockhash: str) -> Block:
    try:
        return node.chain.block(BlockHash(hash_parameter(blockhash, "blockhash")))
    except UnknownBlock:
        raise RpcError(errors.INVALID_ADDRESS_OR_KEY, "Block not found") from None


@method
def getblockchaininfo(node: RegtestNode) -> dict[str, Any]:
    """The state of the chain."""
    chain = node.chain
    return {
        "chain": "regtest",
        "blocks": chain.height,
        "headers": chain.height,
        "bestblockhash": txid_hex(chain.tip.hash),
        "bits": json_shapes.BITS,
        "target": json_shapes.TARGET,
        "difficulty": json_shapes.DIFFICULTY,
        "time": chain.tip.header.time,
        "mediantime": chain.median_time_past(chain.tip.hash),
        "verificationprogress": 1,
        "initialblockdownload": node.in_initial_download,
        "chainwork": json_shapes.chain_work(chain.height),
        "size_on_disk": sum(len(block.raw) + 8 for block in chain.blocks.values()),
        "pruned": False,
        "warnings": [],
    }


@method
def getnetworkinfo(node: RegtestNode) -> dict[str, Any]:
    """The version whose interface this is, and the relay fees; there is no network."""
    return {
        "version": VERSION,
        "subversion": "/Satoshi:29.0.0(pyln_fast regtest)/",
        "protocolversion": _PROTOCOL_VERSION,
        "localservices": "0000000000000009",
        "localservicesnames": ["NETWORK", "WITNESS"],
        "localrelay": True,
        "timeoffset": 0,
        "networkactive": True,
        "connections": 0,
        "connections_in": 0,
        "connections_out": 0,
        "networks": [],
        "relayfee": json_shapes.amount(node.policy.min_relay_sat_per_kvb),
        "incrementalfee": json_shapes.amount(node.policy.incremental_relay_sat_per_kvb),
        "localaddresses": [],
        "warnings": [],
    }


@method
def getbestblockhash(node: RegtestNode) -> str:
    """The hash of the tip."""
    return txid_hex(node.best_block_hash)


@method
def getblockcount(node: RegtestNode) -> int:
    """The height of the tip."""
    return node.height


@method
def getblockhash(node: RegtestNode, height: int) -> str:
    """The hash of the block at a height of the active chain."""
    if not 0 <= height <= node.height:
        raise RpcError(errors.INVALID_PARAMETER, "Block height out of range")
    return txid_hex(node.chain.active[height])


@method
def getblockheader(node: RegtestNode, blockhash: str, verbose: bool = True) -> Any:
    """A header as an object, or its 80 bytes in hex."""
    block = _block(node, blockhash)
    return json_shapes.header_json(node.chain, block) if verbose else block.raw[:HEADER_BYTES].hex()


@method
def getblock(node: RegtestNode, blockhash: str, verbosity: Any = 1) -> Any:
    """A block in hex (0), with its txids (1), its transactions (2), or also with what they spend (3)."""
    if type(verbosity) not in (int, bool):
        raise RpcError(errors.TYPE_ERROR, "JSON value of type string is not of expected type number")
    block = _block(node, blockhash)
    return block.raw.hex() if verbosity < 1 else json_shapes.block_json(node.chain, block, int(verbosity))


@method
def getchaintips(node: RegtestNode) -> list[dict[str, Any]]:
    """The ends of all branches, the highest first."""
    chain = node.chain
    tips = []
    for block_hash in sorted({*chain.leaves(), chain.tip.hash}, key=lambda h: -chain.heights[h]):
        branch, at = 0, block_hash
        while not chain.is_active(at):
            branch, at = branch + 1, chain.blocks[at].header.previous
        status = "active" if branch == 0 else "invalid" if chain.is_invalid(block_hash) else "valid-fork"
        if branch or block_hash == chain.tip.hash:
            height = chain.heights[block_hash]
            tips.append({"height": height, "hash": txid_hex(block_hash), "branchlen": branch, "status": status})
    return tips


@method
def gettxout(node: RegtestNode, txid: str, n: int, include_mempool: bool = True) -> dict[str, Any] | None:
    """An unspent output, or null. With the mempool, what it spends is spent and what it creates is there."""
    outpoint = OutPoint(Txid(hash_parameter(txid, "txid")), n)
    coin = node.mempool.coin(outpoint) if include_mempool else node.chain.coins.get(outpoint)
    if coin is None or (include_mempool and outpoint in node.mempool.spenders):
        return None
    confirmed = outpoint in node.chain.coins
    return {
        "bestblock": txid_hex(node.best_block_hash),
        "confirmations": node.height - coin.height + 1 if confirmed else 0,
        "value": json_shapes.amount(coin.output.value_sat),
        "scriptPubKey": json_shapes.script_json(coin.output.script_pubkey),
        "coinbase": coin.coinbase,
    }


@method
def invalidateblock(node: RegtestNode, blockhash: str) -> None:
    """Leaves a block and all that build on it."""
    block = _block(node, blockhash)
    try:
        node.invalidate(block.hash)
    except ValueError as error:
        raise RpcError(errors.MISC_ERROR, str(error)) from None


@method
def reconsiderblock(node: RegtestNode, blockhash: str) -> None:
    """Undoes invalidateblock."""
    node.reconsider(_block(node, blockhash).hash)


@method
def submitblock(node: RegtestNode, hexdata: str, dummy: str = "") -> str | None:
    """Gives the node a block. Null if it was taken, else the reason (BIP 22)."""
    try:
        raw = bytes.fromhex(hexdata)
        block_known = len(raw) >= HEADER_BYTES and node.chain.is_active(Block(raw, ()).hash)
        if block_known:
            return "duplicate"
        node.process_block(raw)
    except ValueError:
        raise RpcError(errors.DESERIALIZATION_ERROR, "Block decode failed") from None
    except BlockRejected as error:
        if error.reason == "Block decode failed":
            raise RpcError(errors.DESERIALIZATION_ERROR, error.reason) from None
        return error.reason
    return None


@method
def getindexinfo(node: RegtestNode, index_name: str = "") -> dict[str, Any]:
    """The indexes: that of transactions is always there."""
    if index_name not in ("", "txindex"):
        return {}
    return {"txindex": {"synced": True, "best_block_height": node.height}}


@method
def validateaddress(node: RegtestNode, address: str) -> dict[str, Any]:
    """What an address of this chain stands for."""
    try:
        script = script_of_address(address)
    except InvalidAddress as error:
        return {"isvalid": False, "error_locations": [], "error": str(error)}
    shape: dict[str, Any] = {"isvalid": True, "address": address.lower() if address.isupper() else address}
    program = witness_program(script)
    shape["scriptPubKey"] = script.hex()
    shape["isscript"] = script[:1] == b"\xa9" or (program is not None and len(program[1]) == 32)
    shape["iswitness"] = program is not None
    if program is not None:
        shape["witness_version"] = program[0]
        shape["witness_program"] = program[1].hex()
    return shape
