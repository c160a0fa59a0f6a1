"""The payer of `history.py` as a process of its own: opens channels once, or pays, and prints what it measured as JSON.

It embeds the node, as in the benchmark of two nodes; its memory is then the node's and nothing else's.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from benchmarks.bench_two_nodes import WORKERS, one_payment, open_channels, settled
from pyln_fast.cli.run import SWITCH_SECONDS
from pyln_fast.payment.outbound import RetryableSendFailure
from pyln_fast.rpc.client import RpcClient
from pyln_fast.runtime.builder import NodeBuilder
from pyln_fast.runtime.lightning_node import LightningNode
from pyln_fast.types import Msat, Network, PaymentId
from tests.cli.bitcoin_rpc import BitcoinRpc
from tests.cli.processes import Chain


def resident_bytes(process: int | str = "self") -> int:
    """What the process has in memory (VmRSS)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the system does not say what memory a process has")


class _Receiver:
    """Of a Daemon, what `open_channels` asks for."""

    def __init__(self, address: str) -> None:
        self.address = address


class _Chain(Chain):
    """The chain of another process's."""

    def __init__(self, url: str, cookie: Path) -> None:
        self.url, self.cookie, self.rpc = url, cookie, BitcoinRpc(url, cookie)


async def refused_by_history(node: LightningNode, receiver: RpcClient, payment_id: PaymentId) -> str | None:
    """Why a payment with the PaymentId of one that history has is refused."""
    invoice = await receiver.call("invoice", amount_msat=1_000_000)
    try:
        await node.pay_invoice(invoice["invoice"], payment_id=payment_id)
    except RetryableSendFailure as error:
        return error.reason
    return None


async def pay(node: LightningNode, receiver: RpcClient, payments: int) -> dict[str, Any]:
    latencies: list[float] = []
    left = itertools.repeat(None, payments)

    async def worker() -> None:
        for _ in left:
            latencies.append(await one_payment(node, receiver))

    alone = sorted([await one_payment(node, receiver) for _ in range(20)])[10]
    resident = resident_bytes()
    spent, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    assert len(latencies) == payments
    await node.wait_until(settled)
    latencies.sort()
    return {
        "seconds": seconds,
        "cpu_seconds": spent,
        "alone": alone,
        "p50": latencies[payments // 2],
        "p99": latencies[payments * 99 // 100],
        "resident_before": resident,
        "resident_after": resident_bytes(),
    }


async def run(
    data_dir: Path, url: str, cookie: Path, receiver_dir: Path, address: str, payments: int, used_id: str
) -> dict[str, Any]:
    builder = NodeBuilder().set_network(Network.REGTEST).set_storage_dir_path(data_dir).set_listening_addresses()
    node = builder.set_chain_source_bitcoind_rpc(url, cookie_file=cookie).build()
    async with node, RpcClient(receiver_dir) as receiver:
        if not await node.list_channels():
            await open_channels(_Chain(url, cookie), node, _Receiver(address))  # type: ignore[arg-type]
            return {}
        await node.connect_peer(address)
        await node.wait_until(_usable)
        refused = await refused_by_history(node, receiver, PaymentId(bytes.fromhex(used_id))) if used_id else None
        before = sum(each.holder_balance_msat for each in await node.list_channels())
        measured = await pay(node, receiver, payments)
        after = sum(each.holder_balance_msat for each in await node.list_channels())
        assert before - after == Msat(1_000_000 * (payments + 20)), (before, after)
        return {**measured, "refused": refused}


def _usable(node: Any) -> bool | None:
    return True if all(each.is_usable for each in node.channel_manager.list_channels()) else None


def main(
    data_dir: Annotated[Path, typer.Option()],
    bitcoind_url: Annotated[str, typer.Option()],
    bitcoind_cookie: Annotated[Path, typer.Option()],
    receiver_dir: Annotated[Path, typer.Option()],
    receiver_address: Annotated[str, typer.Option()],
    payments: Annotated[int, typer.Option()],
    used_id: Annotated[str, typer.Option(help="A PaymentId of the history, in hex: it must be refused.")] = "",
) -> None:
    """Opens the channels if there are none, else pays."""
    sys.setswitchinterval(SWITCH_SECONDS)
    result = uvloop.run(run(data_dir, bitcoind_url, bitcoind_cookie, receiver_dir, receiver_address, payments, used_id))
    print(json.dumps(result))


if __name__ == "__main__":
    typer.run(main)
