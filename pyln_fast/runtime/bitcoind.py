"""Bitcoin Core as source of blocks, way into the mempool, estimator of fees and list of unspent outputs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from pyln_fast.chain.header_chain import ChainSourceError
from pyln_fast.chain.interfaces import ConfirmationTarget, TransactionType
from pyln_fast.chain.scanner import HEADER_LEN
from pyln_fast.runtime.bitcoind_rpc import (
    RPC_VERIFY_ALREADY_IN_CHAIN,
    BitcoindError,
    BitcoindRpc,
    BitcoindWarmingUp,
    RpcError,
)
from pyln_fast.runtime.fee_estimates import ESTIMATES, FeeEstimates, sat_per_kw
from pyln_fast.tx import transaction
from pyln_fast.types import (
    BlockHash,
    BlockHeight,
    FeeratePerKw,
    Network,
    OutPoint,
    Sat,
    Txid,
    TxOut,
    txid_from_hex,
    txid_hex,
)

T = TypeVar("T")
Number = TypeVar("Number", int, Decimal)

_LOG = logging.getLogger(__name__)

FEE_SECONDS = 60.0
"""Estimates move with the blocks; a full mempool can move faster."""
_COIN = 100_000_000
_MAX_MONEY_BTC = 21_000_000
_MAX_BTC_PER_KVB = 171
"""In `update_fee` a feerate has four bytes."""
_MAX_HEIGHT = 499_999_999
"""From 500,000,000 on a lock time is a time (Bitcoin Core, LOCKTIME_THRESHOLD)."""
# Bitcoin Core, validation.cpp: reasons why a transaction that is there already is refused.
_KNOWN_ALREADY = ("txn-already-in-mempool", "txn-already-known", "txn-same-nonwitness-data-in-mempool")


class BroadcastFailed(BitcoindError):
    """The mempool does not want it: the reason of each transaction that was refused."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("bitcoind refuses to broadcast: " + "; ".join(reasons))
        self.reasons = reasons


class BitcoindClient:
    """BlockSource, BroadcasterInterface, FeeEstimator and UtxoLookup of the interfaces, over one BitcoindRpc."""

    def __init__(self, rpc: BitcoindRpc) -> None:
        self._rpc = rpc
        self._fees = FeeEstimates()
        self._best: tuple[BlockHash, BlockHeight] | None = None
        self._broadcasts: asyncio.Queue[tuple[bytes, ...]] = asyncio.Queue()
        self._broadcaster: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """What still waits to be broadcast is dropped: the node broadcasts it again after a restart."""
        if self._broadcaster is not None:
            self._broadcaster.cancel()
            await asyncio.gather(self._broadcaster, return_exceptions=True)
            self._broadcaster = None
        await self._rpc.close()

    # --- BlockSource --------------------------------------------------------------------------------------------------

    async def check_ready(self) -> None:
        """Raises BitcoindWarmingUp while bitcoind downloads the chain (as it always says of an old regtest chain)."""
        info = await self._ask(_chain_info, "getblockchaininfo")
        if info.initialblockdownload and info.chain != Network.REGTEST.value:
            progress = f"it has block {info.blocks} of {info.headers}"
            raise BitcoindWarmingUp(self._rpc.url, progress)

    async def get_genesis_hash(self) -> BlockHash:
        return await self._ask(_block_hash, "getblockhash", 0)

    async def get_best_block(self) -> tuple[BlockHash, BlockHeight]:
        best = await self._ask(_block_hash, "getbestblockhash")
        if self._best is None or self._best[0] != best:
            self._best = best, await self._ask(_height, "getblockheader", txid_hex(best), True)
        return self._best

    async def get_header(self, block_hash: BlockHash) -> bytes:
        return await self._ask(_header, "getblockheader", txid_hex(block_hash), False)

    async def get_block(self, block_hash: BlockHash) -> bytes:
        return await self._ask(bytes.fromhex, "getblock", txid_hex(block_hash), 0)

    # --- UtxoLookup ---------------------------------------------------------------------------------------------------

    async def get_utxo(self, outpoint: OutPoint) -> TxOut | None:
        return await self._ask(_utxo, "gettxout", txid_hex(outpoint.txid), outpoint.vout, False)

    # --- BroadcasterInterface -----------------------------------------------------------------------------------------

    def broadcast_transactions(self, txs: Sequence[tuple[bytes, TransactionType]]) -> None:
        """See BroadcasterInterface. One broadcast after the other, in the order of the calls."""
        self._broadcasts.put_nowait(tuple(raw for raw, _ in txs))
        if self._broadcaster is None:
            self._broadcaster = asyncio.get_running_loop().create_task(self._broadcast_forever())

    async def broadcast(self, txs: Sequence[bytes]) -> None:
        """Returns once the mempool (or the chain) has them all. Raises BroadcastFailed or another BitcoindError."""
        ordered = parents_first(txs)
        if len(ordered) > 1:
            try:
                package = [raw.hex() for raw in ordered]
                if await self._ask(lambda result: result["package_msg"] == "success", "submitpackage", package):
                    return
            except RpcError as error:
                _LOG.debug("the package goes one by one: %s", error)
        await self._send_each(ordered)

    async def _send_each(self, ordered: Sequence[bytes]) -> None:
        """Parents first: one that is confirmed, or beaten by another transaction, does not stop the others."""
        reasons = []
        for raw in ordered:
            try:
                await self._rpc.call("sendrawtransaction", raw.hex())
            except RpcError as error:
                known = error.code == RPC_VERIFY_ALREADY_IN_CHAIN or error.message.startswith(_KNOWN_ALREADY)
                if not known:
                    reasons.append(f"{txid_hex(transaction.txid(transaction.parse(raw)))}: {error.message}")
        if reasons:
            raise BroadcastFailed(tuple(reasons))

    async def _broadcast_forever(self) -> None:
        while True:
            txs = await self._broadcasts.get()
            try:
                await self.broadcast(txs)
            except ChainSourceError as error:
                _LOG.warning("%s", error)
            except Exception:
                _LOG.exception("a broadcast failed")

    # --- FeeEstimator -------------------------------------------------------------------------------------------------

    def get_est_sat_per_1000_weight(self, confirmation_target: ConfirmationTarget) -> FeeratePerKw:
        """See FeeEstimator. From the last `refresh_fees`."""
        return self._fees.get(confirmation_target)

    async def refresh_fees(self) -> None:
        """Asks for every estimate. Raises a BitcoindError, and the old ones stay."""
        mempool_min = await self._ask(lambda info: _feerate(info, "mempoolminfee"), "getmempoolinfo")
        estimates: dict[tuple[int, str], FeeratePerKw | None] = {}
        for rule in ESTIMATES.values():
            key = rule.blocks, rule.mode
            if key not in estimates:
                estimates[key] = await self._ask(_estimate, "estimatesmartfee", *key)
        self._fees.update(estimates, mempool_min)

    async def follow_fees(self, seconds: float = FEE_SECONDS) -> None:
        """Asks again and again until it is cancelled. A failure is logged once; the old estimates stay meanwhile."""
        complaint = ""
        while True:
            try:
                await self.refresh_fees()
                complaint = ""
            except BitcoindError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    _LOG.warning("the old fee estimates stay: %s", complaint)
            await asyncio.sleep(seconds)

    async def _ask(self, read: Callable[[Any], T], method: str, *params: object) -> T:
        answer = await self._rpc.call(method, *params)
        try:
            return read(answer)
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise BitcoindError(f"bitcoind: {method}: an answer that cannot be understood ({error})") from error


def parents_first(txs: Sequence[bytes]) -> list[bytes]:
    """The same transactions, each after those whose outputs it spends."""
    parsed = {transaction.txid(tx): (raw, tx) for raw, tx in ((raw, transaction.parse(raw)) for raw in txs)}
    ordered: dict[bytes, None] = {}

    def visit(txid: Txid) -> None:
        raw, tx = parsed[txid]
        if raw in ordered:
            return
        for spent in tx.inputs:
            if spent.outpoint.txid in parsed:
                visit(spent.outpoint.txid)
        ordered[raw] = None

    for txid in parsed:
        visit(txid)
    return list(ordered)


class _ChainInfo(msgspec.Struct):
    chain: str
    blocks: int
    headers: int
    initialblockdownload: bool


def _chain_info(answer: object) -> _ChainInfo:
    return msgspec.convert(answer, _ChainInfo)


def _block_hash(answer: str) -> BlockHash:
    return BlockHash(txid_from_hex(answer))


def _height(answer: dict[str, Any]) -> BlockHeight:
    return BlockHeight(_in_range("height", msgspec.convert(answer["height"], int), _MAX_HEIGHT))


def _header(answer: str) -> bytes:
    header = bytes.fromhex(answer)
    if len(header) != HEADER_LEN:
        raise ValueError(f"{len(header)} bytes, not {HEADER_LEN}")
    return header


def _utxo(answer: dict[str, Any] | None) -> TxOut | None:
    if answer is None:
        return None
    value_btc = _in_range("value", Decimal(answer["value"]), _MAX_MONEY_BTC)
    return TxOut(Sat(int(value_btc * _COIN)), bytes.fromhex(answer["scriptPubKey"]["hex"]))


def _estimate(answer: dict[str, Any]) -> FeeratePerKw | None:
    return _feerate(answer, "feerate") if "feerate" in answer else None


def _feerate(answer: dict[str, Any], name: str) -> FeeratePerKw:
    return sat_per_kw(_in_range(name, Decimal(answer[name]), _MAX_BTC_PER_KVB))


def _in_range(name: str, value: Number, most: int) -> Number:
    """Raises ValueError. It comes before any conversion: of 1e999999 that alone would take long."""
    if not 0 <= value <= most:
        raise ValueError(f"{name} is not from 0 to {most}")
    return value
