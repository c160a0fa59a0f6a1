"""RPC: mining, time, fee estimation, the faucet, and the server itself (`stop` is the server's: server.py)."""

from __future__ import annotations

import time
from typing import Any

from pyln_fast.errors import DecodeError
from pyln_fast.testing.regtest import errors, json_shapes
from pyln_fast.testing.regtest.accept import decode
from pyln_fast.testing.regtest.addresses import InvalidAddress, script_of_address
from pyln_fast.testing.regtest.block_store import Block
from pyln_fast.testing.regtest.errors import BlockRejected, Rejected, RpcError
from pyln_fast.testing.regtest.faucet import InsufficientFunds
from pyln_fast.testing.regtest.kernel import transactions_of_block
from pyln_fast.testing.regtest.node import RegtestNode
from pyln_fast.testing.regtest.rpc_table import NO_AMOUNT, Amount, method, satoshi
from pyln_fast.types import Txid, txid_hex

_MAX_TARGET_BLOCKS = 1_008
_MAX_MOCK_TIME = (1 << 63) // 1_000_000_000
_TXID_DIGITS = 64


@method
def generatetoaddress(node: RegtestNode, nblocks: int, address: str, maxtries: int = 1_000_000) -> list[str]:
    """Mines blocks with what the mempool holds."""
    try:
        return [txid_hex(block_hash) for block_hash in node.mine(nblocks, address)]
    except InvalidAddress:
        raise RpcError(errors.INVALID_ADDRESS_OR_KEY, "Error: Invalid address") from None


@method
def generateblock(node: RegtestNode, output: str, transactions: list[Any], submit: bool = True) -> dict[str, Any]:
    """Mines exactly these transactions, each a txid of the mempool or raw hex, in this order."""
    try:
        script_of_address(output)
    except InvalidAddress:
        raise RpcError(errors.INVALID_ADDRESS_OR_KEY, "Error: Invalid address or descriptor") from None
    raws = [_transaction(node, str(text)) for text in transactions]
    try:
        raw = node.mine_transactions(output, raws, submit)
    except (BlockRejected, Rejected) as error:
        raise RpcError(errors.VERIFY_ERROR, f"TestBlockValidity failed: {error}") from None
    shape = {"hash": txid_hex(Block(raw, transactions_of_block(raw)).hash)}
    if not submit:
        shape["hex"] = raw.hex()
    return shape


def _transaction(node: RegtestNode, text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
        if len(text) == _TXID_DIGITS:
            entry = node.mempool.entries.get(Txid(raw[::-1]))
            if entry is None:
                raise RpcError(errors.INVALID_ADDRESS_OR_KEY, f"Transaction {text} not in mempool.")
            return entry.raw
        decode(raw)
    except (ValueError, DecodeError):
        message = f"Transaction decode failed for {text}. Make sure the tx has at least one input."
        raise RpcError(errors.DESERIALIZATION_ERROR, message) from None
    except Rejected as error:
        raise RpcError(errors.VERIFY_ERROR, f"TestBlockValidity failed: {error.reason}") from None
    return raw


@method
def setmocktime(node: RegtestNode, timestamp: int) -> None:
    """Stops the node's clock at a time, seconds since 1970; 0 lets it run."""
    if not 0 <= timestamp <= _MAX_MOCK_TIME:
        message = f"Mocktime must be in the range [0, {_MAX_MOCK_TIME}], not {timestamp}."
        raise RpcError(errors.INVALID_PARAMETER, message)
    node.set_time(timestamp)


@method
def estimatesmartfee(node: RegtestNode, conf_target: int, estimate_mode: str = "economical") -> dict[str, Any]:
    """The feerate that was set (`setfeerate`); without one, that there is too little data."""
    if not 1 <= conf_target <= _MAX_TARGET_BLOCKS:
        message = f"Invalid conf_target, must be between 1 and {_MAX_TARGET_BLOCKS}"
        raise RpcError(errors.INVALID_PARAMETER, message)
    if estimate_mode.lower() not in ("unset", "economical", "conservative"):
        message = 'Invalid estimate_mode parameter, must be one of: "unset", "economical", "conservative"'
        raise RpcError(errors.INVALID_PARAMETER, message)
    if node.feerate_sat_per_kvb is None:
        return {"errors": ["Insufficient data or no feerate found"], "blocks": max(conf_target, 2)}
    feerate = max(node.feerate_sat_per_kvb, node.policy.min_relay_sat_per_kvb)
    return {"feerate": json_shapes.amount(feerate), "blocks": max(conf_target, 2)}


@method
def setfeerate(node: RegtestNode, feerate: Amount = NO_AMOUNT) -> None:
    """Sets what estimatesmartfee answers, BTC/kvB; 0 takes it back. Bitcoin Core has no such method."""
    node.feerate_sat_per_kvb = satoshi(feerate) or None


@method
def getnewaddress(node: RegtestNode, label: str = "", address_type: str = "bech32") -> str:
    """An address of the faucet."""
    if address_type != "bech32":
        raise RpcError(errors.INVALID_ADDRESS_OR_KEY, f"Unknown address type '{address_type}'")
    return node.faucet.new_address()


@method
def getbalance(node: RegtestNode, dummy: str = "*", minconf: int = 0) -> Any:
    """What the faucet may spend."""
    return json_shapes.amount(node.faucet.balance_sat()[0])


@method
def getbalances(node: RegtestNode) -> dict[str, Any]:
    """What the faucet may spend, and its immature coinbases."""
    spendable, pending, immature = (json_shapes.amount(sat) for sat in node.faucet.balance_sat())
    return {"mine": {"trusted": spendable, "untrusted_pending": pending, "immature": immature}}


@method
def sendtoaddress(
    node: RegtestNode,
    address: str,
    amount: Amount,
    comment: str = "",
    comment_to: str = "",
    subtractfeefromamount: bool = False,
    replaceable: bool = True,
    conf_target: int = 0,
    estimate_mode: str = "",
    avoid_reuse: bool = False,
    fee_rate: Amount = NO_AMOUNT,
) -> str:
    """The faucet pays an address; `fee_rate` in sat/vB. What stands between is not looked at."""
    sat = satoshi(amount)
    if sat == 0:
        raise RpcError(errors.TYPE_ERROR, "Invalid amount for send")
    try:
        return txid_hex(node.send_to(address, sat, int(fee_rate) or None))
    except InvalidAddress:
        raise RpcError(errors.INVALID_ADDRESS_OR_KEY, f"Invalid address: {address}") from None
    except InsufficientFunds as error:
        raise RpcError(errors.WALLET_INSUFFICIENT_FUNDS, str(error)) from None
    except Rejected as error:
        raise RpcError(errors.WALLET_ERROR, str(error)) from None


@method
def uptime(node: RegtestNode) -> int:
    """Seconds since the node started."""
    return int(time.time()) - node.started_at
