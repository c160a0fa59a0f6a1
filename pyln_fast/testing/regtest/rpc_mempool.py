"""RPC: transactions and the mempool."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pyln_fast.errors import DecodeError
from pyln_fast.testing.regtest import errors, json_shapes
from pyln_fast.testing.regtest.accept import decode
from pyln_fast.testing.regtest.block_store import Block
from pyln_fast.testing.regtest.errors import Rejected, RejectKind, RpcError
from pyln_fast.testing.regtest.mempool import Entry
from pyln_fast.testing.regtest.node import RegtestNode
from pyln_fast.testing.regtest.package import MAX_TRANSACTIONS, MemberResult, is_child_with_independent_parents
from pyln_fast.testing.regtest.policy import fee_at
from pyln_fast.testing.regtest.rpc_chain import hash_parameter
from pyln_fast.testing.regtest.rpc_table import NO_AMOUNT, Amount, method, satoshi
from pyln_fast.testing.regtest.scripts import MalformedScript, operations
from pyln_fast.types import BlockHash, OutPoint, Txid, txid_hex

_DEFAULT_MAX_FEERATE = Amount("0.10")
_MAX_FEE_EXCEEDED = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"
_MAX_BURN_EXCEEDED = "Unspendable output exceeds maximum configured by user (maxburnamount)"
_GENESIS_COINBASE = "The genesis block coinbase is not considered an ordinary transaction and cannot be retrieved"


def _decoded(text: str, message: str) -> bytes:
    """The raw bytes of a transaction that parses. Raises RpcError."""
    try:
        raw = bytes.fromhex(text)
        decode(raw)
    except (ValueError, DecodeError):
        raise RpcError(errors.DESERIALIZATION_ERROR, message) from None
    except Rejected as error:
        raise RpcError(errors.VERIFY_REJECTED, str(error)) from None
    return raw


def _feerate_limit(maxfeerate: Decimal) -> int | None:
    """sat/kvB; None: no limit."""
    if maxfeerate >= 1:
        raise RpcError(errors.INVALID_PARAMETER, "Fee rates larger than or equal to 1BTC/kvB are not accepted")
    return satoshi(maxfeerate) or None


def _check_burn(raw: bytes, maxburnamount: Decimal) -> None:
    limit = satoshi(maxburnamount)
    for out in decode(raw).tx.outputs:
        if out.value_sat > limit and (out.script_pubkey[:1] == b"\x6a" or not _has_valid_operations(out.script_pubkey)):
            raise RpcError(errors.VERIFY_ERROR, _MAX_BURN_EXCEEDED)


def _has_valid_operations(script: bytes) -> bool:
    try:
        return len(script) <= 10_000 and all(
            opcode <= 0xBA and len(data) <= 520 for opcode, data, _ in operations(script)
        )
    except MalformedScript:
        return False


@method
def sendrawtransaction(
    node: RegtestNode, hexstring: str, maxfeerate: Amount = _DEFAULT_MAX_FEERATE, maxburnamount: Amount = NO_AMOUNT
) -> str:
    """Offers a transaction to the mempool; its txid, also if it was there before."""
    raw = _decoded(hexstring, "TX decode failed. Make sure the tx has at least one input.")
    _check_burn(raw, maxburnamount)
    limit = _feerate_limit(maxfeerate)
    candidate = decode(raw)
    if any(OutPoint(candidate.txid, i) in node.chain.coins for i in range(len(candidate.tx.outputs))):
        raise RpcError(errors.VERIFY_ALREADY_IN_UTXO_SET, "Transaction outputs already in utxo set")
    if candidate.txid in node.mempool:
        return txid_hex(candidate.txid)
    try:
        if limit is not None:
            entry = node.test_accept(raw)
            if entry.fee_sat > fee_at(limit, entry.vsize):
                raise RpcError(errors.VERIFY_ERROR, _MAX_FEE_EXCEEDED)
        return txid_hex(node.broadcast(raw))
    except Rejected as error:
        missing = error.kind is RejectKind.MISSING_INPUTS
        raise RpcError(errors.VERIFY_ERROR if missing else errors.VERIFY_REJECTED, str(error)) from None


@method
def testmempoolaccept(
    node: RegtestNode,
    rawtxs: list[Any],
    maxfeerate: Amount = _DEFAULT_MAX_FEERATE,  # noqa: PT028 (an RPC, not a test)
) -> list[dict[str, Any]]:
    """Whether the mempool would take transactions."""
    raws = _raw_transactions(rawtxs)
    limit = _feerate_limit(maxfeerate)
    candidates = [decode(raw) for raw in raws]
    package_error = None
    results: dict[Txid, MemberResult] = {}
    if len(raws) == 1:
        try:
            entry = node.test_accept(raws[0])
            feerate = entry.fee_sat * 1000 // entry.vsize
            accepted = MemberResult(entry.txid, entry.wtxid, None, entry.vsize, entry.fee_sat, feerate, (entry.wtxid,))
            results[entry.wtxid] = accepted
        except Rejected as error:
            results[candidates[0].wtxid] = MemberResult(candidates[0].txid, candidates[0].wtxid, error)
    else:
        outcome = node.test_accept_package(raws)
        results = outcome.members
        package_error = outcome.message if outcome.message not in ("success", "transaction failed") else None
    shapes = []
    stop = False
    for candidate in candidates:
        shape: dict[str, Any] = {"txid": txid_hex(candidate.txid), "wtxid": txid_hex(candidate.wtxid)}
        if package_error is not None:
            shape["package-error"] = package_error
        result = results.get(candidate.wtxid)
        if result is not None and not stop:
            shape.update(_acceptance_json(result, limit))
            stop = shape.get("reject-reason") == "max-fee-exceeded"
        shapes.append(shape)
    return shapes


def _raw_transactions(rawtxs: list[Any]) -> list[bytes]:
    if not 1 <= len(rawtxs) <= MAX_TRANSACTIONS:
        message = f"Array must contain between 1 and {MAX_TRANSACTIONS} transactions."
        raise RpcError(errors.INVALID_PARAMETER, message)
    return [_decoded(str(t), f"TX decode failed: {t} Make sure the tx has at least one input.") for t in rawtxs]


def _acceptance_json(result: MemberResult, limit: int | None) -> dict[str, Any]:
    if result.error is not None:
        if result.error.kind is RejectKind.MISSING_INPUTS:
            return {"allowed": False, "reject-reason": "missing-inputs"}
        return {"allowed": False, "reject-reason": result.error.reason, "reject-details": str(result.error)}
    if limit is not None and result.fee_sat > fee_at(limit, result.vsize):
        return {"allowed": False, "reject-reason": "max-fee-exceeded"}
    return {"allowed": True, "vsize": result.vsize, "fees": _fees_json(result)}


def _fees_json(result: MemberResult) -> dict[str, Any]:
    fees: dict[str, Any] = {"base": json_shapes.amount(result.fee_sat)}
    if result.effective_feerate_sat_per_kvb is not None:
        fees["effective-feerate"] = json_shapes.amount(result.effective_feerate_sat_per_kvb)
        fees["effective-includes"] = [txid_hex(wtxid) for wtxid in result.effective_includes]
    return fees


@method
def submitpackage(
    node: RegtestNode,
    package: list[Any],
    maxfeerate: Amount = _DEFAULT_MAX_FEERATE,
    maxburnamount: Amount = NO_AMOUNT,
) -> dict[str, Any]:
    """Offers a child with its parents, the child last."""
    raws = _raw_transactions(package)
    for raw in raws:
        _check_burn(raw, maxburnamount)
    limit = _feerate_limit(maxfeerate)
    if len(raws) > 1 and not is_child_with_independent_parents([decode(raw) for raw in raws]):
        raise RpcError(
            errors.VERIFY_ERROR, "package topology disallowed. not child-with-parents or parents depend on each other."
        )
    outcome = node.broadcast_package(raws, limit)
    members: dict[str, Any] = {}
    for raw in raws:
        candidate = decode(raw)
        shape: dict[str, Any] = {"txid": txid_hex(candidate.txid)}
        result = outcome.members.get(candidate.wtxid)
        if result is None:
            shape["error"] = "package-not-validated"
        elif result.other_wtxid is not None:
            shape["other-wtxid"] = txid_hex(result.other_wtxid)
        elif result.error is not None:
            shape["error"] = str(result.error)
        else:
            shape["vsize"] = result.vsize
            shape["fees"] = _fees_json(result)
        members[txid_hex(candidate.wtxid)] = shape
    replaced = [txid_hex(txid) for txid in outcome.replaced]
    return {"package_msg": outcome.message, "tx-results": members, "replaced-transactions": replaced}


@method
def getrawtransaction(node: RegtestNode, txid: str, verbosity: Any = 0, blockhash: str = "") -> Any:
    """A transaction of the mempool or the chain: in hex (0), as an object (1), or with what it spends (2)."""
    wanted = Txid(hash_parameter(txid, "txid"))
    chain = node.chain
    if wanted == chain.blocks[chain.active[0]].txids[0]:
        raise RpcError(errors.INVALID_ADDRESS_OR_KEY, _GENESIS_COINBASE)
    block: Block | None = None
    if blockhash:
        block = chain.blocks.get(BlockHash(hash_parameter(blockhash, "blockhash")))
        if block is None:
            raise RpcError(errors.INVALID_ADDRESS_OR_KEY, "Block hash not found")
    elif wanted not in node.mempool and wanted in chain.blocks_of_transactions:
        block = chain.blocks[chain.blocks_of_transactions[wanted]]
    found = node.mempool.entries[wanted].raw if block is None and wanted in node.mempool else None
    if block is not None and wanted in block.txids:
        found = block.raw_transactions[block.txids.index(wanted)]
    if found is None:
        where = (
            "No such transaction found in the provided block" if block else "No such mempool or blockchain transaction"
        )
        message = f"{where}. Use gettransaction for wallet transactions."
        raise RpcError(errors.INVALID_ADDRESS_OR_KEY, message)
    if not verbosity:
        return found.hex()
    shape: dict[str, Any] = {"in_active_chain": chain.is_active(block.hash)} if blockhash and block else {}
    if block is not None and verbosity >= 2:
        shape.update(json_shapes.block_json(chain, block, 3)["tx"][block.txids.index(wanted)])
    else:
        shape.update(json_shapes.transaction_json(decode(found).tx), hex=found.hex())
    if block is not None:
        shape["blockhash"] = txid_hex(block.hash)
        if chain.is_active(block.hash):
            shape["confirmations"] = chain.confirmations(block.hash)
            shape["time"] = shape["blocktime"] = block.header.time
        else:
            shape["confirmations"] = 0
    return shape


@method
def decoderawtransaction(node: RegtestNode, hexstring: str) -> dict[str, Any]:
    """A transaction as an object."""
    raw = _decoded(hexstring, "TX decode failed. Make sure the tx has at least one input.")
    return json_shapes.transaction_json(decode(raw).tx)


def _entry(node: RegtestNode, txid: str) -> Entry:
    entry = node.mempool.entries.get(Txid(hash_parameter(txid, "txid")))
    if entry is None:
        raise RpcError(errors.INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
    return entry


@method
def getrawmempool(node: RegtestNode, verbose: bool = False, mempool_sequence: bool = False) -> Any:
    """The txids of the mempool, or its entries by txid."""
    if verbose:
        if mempool_sequence:
            message = "Verbose results cannot contain mempool sequence values."
            raise RpcError(errors.INVALID_PARAMETER, message)
        return {txid_hex(t): json_shapes.entry_json(node.mempool, e) for t, e in node.mempool.entries.items()}
    txids = [txid_hex(txid) for txid in node.mempool]
    return {"txids": txids, "mempool_sequence": node.mempool.sequence} if mempool_sequence else txids


@method
def getmempoolentry(node: RegtestNode, txid: str) -> dict[str, Any]:
    """One transaction of the mempool."""
    return json_shapes.entry_json(node.mempool, _entry(node, txid))


@method
def getmempoolancestors(node: RegtestNode, txid: str, verbose: bool = False) -> Any:
    """What a transaction of the mempool waits for."""
    entry = _entry(node, txid)
    return _relatives(node, [e for e in node.mempool.ancestors([entry]).values() if e is not entry], verbose)


@method
def getmempooldescendants(node: RegtestNode, txid: str, verbose: bool = False) -> Any:
    """What waits for a transaction of the mempool."""
    entry = _entry(node, txid)
    return _relatives(node, [e for e in node.mempool.descendants([entry]).values() if e is not entry], verbose)


def _relatives(node: RegtestNode, entries: list[Entry], verbose: bool) -> Any:
    if verbose:
        return {txid_hex(entry.txid): json_shapes.entry_json(node.mempool, entry) for entry in entries}
    return [txid_hex(entry.txid) for entry in entries]


@method
def getmempoolinfo(node: RegtestNode) -> dict[str, Any]:
    """The size of the mempool and its fee limits."""
    entries = list(node.mempool.entries.values())
    return {
        "loaded": True,
        "size": len(entries),
        "bytes": sum(entry.vsize for entry in entries),
        "usage": sum(len(entry.raw) for entry in entries),
        "total_fee": json_shapes.amount(sum(entry.fee_sat for entry in entries)),
        "maxmempool": node.policy.max_mempool_bytes,
        "mempoolminfee": json_shapes.amount(node.policy.min_relay_sat_per_kvb),
        "minrelaytxfee": json_shapes.amount(node.policy.min_relay_sat_per_kvb),
        "incrementalrelayfee": json_shapes.amount(node.policy.incremental_relay_sat_per_kvb),
        "unbroadcastcount": 0,
        "fullrbf": True,
    }


@method
def gettxspendingprevout(node: RegtestNode, outputs: list[Any]) -> list[dict[str, Any]]:
    """Which transactions of the mempool spend outputs."""
    shapes = []
    for wanted in outputs:
        try:
            text, vout = wanted["txid"], wanted["vout"]
        except (KeyError, TypeError):
            raise RpcError(errors.TYPE_ERROR, "Missing txid or vout") from None
        shape: dict[str, Any] = {"txid": text, "vout": vout}
        spender = node.mempool.spenders.get(OutPoint(Txid(hash_parameter(text, "txid")), vout))
        if spender is not None:
            shape["spendingtxid"] = txid_hex(spender)
        shapes.append(shape)
    return shapes
