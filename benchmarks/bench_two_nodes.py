"""The Bottlepay test: how many payments a second two nodes make between them, with every step durable on both sides.

Two nodes, a process each, over TCP and SQLite; ten channels; a hundred workers in the payer, each of which asks the
receiver for an invoice and pays it, again and again. Every message waits for the fsync of what it promises.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

pytest.importorskip("pbk")

from pyln_fast.cli.run import SWITCH_SECONDS
from pyln_fast.node.node import Node
from pyln_fast.rpc.client import RpcClient
from pyln_fast.runtime.builder import NodeBuilder
from pyln_fast.runtime.lightning_node import LightningNode
from pyln_fast.types import Network, Sat
from tests.cli.processes import Chain, Daemon, start_chain

CHANNELS = 10
WORKERS = 100
PAYMENTS = int(os.environ.get("PYLN_BENCH_PAYMENTS", "3000"))
CHANNEL_SAT = 10_000_000
PAYMENT_MSAT = 1_000_000
AT_ONCE = 4
"""Channels opened between two blocks: a peer may not have more unconfirmed ones."""

PUBLISHED = (
    # (payments a second, node, source). Other machines than this one: an order of magnitude, not a race.
    (176, "LDK node", "as published for the same test, database on disk"),
    (89, "eclair", "Bottlepay, Lightning Node Performance: Testing TPS, 2021, and its repository lightning-benchmark"),
    (61, "CLN", "Bottlepay, the same"),
    (35, "LND", "Bottlepay, the same"),
)


def test_payments_per_second(tmp_path: Path, report: Callable[..., None]) -> None:
    fsync = fsync_seconds(tmp_path)
    with (
        start_chain(tmp_path / "chain") as chain,
        Daemon(chain, tmp_path / "receiver", "--log-level", "warning") as bob,
    ):
        sys.setswitchinterval(SWITCH_SECONDS)
        result = uvloop.run(pay_all(chain, bob, tmp_path / "payer"))
    rate = PAYMENTS / result["seconds"]
    for published, node, _ in PUBLISHED:
        report(
            name=f"two nodes: {CHANNELS} channels, {WORKERS} workers, durable",
            figure=rate,
            unit="payments/s",
            reference=f"{node}, published",
            reference_figure=published,
            ratio=rate / published,
            target=">= 250 payments/s",
            reached=rate >= 250,
        )
    report(name="two nodes: payment latency, median", figure=result["p50"] * 1e3, unit="ms")
    report(name="two nodes: payment latency, p99", figure=result["p99"] * 1e3, unit="ms")
    report(name="two nodes: one payment at a time", figure=result["alone"] * 1e3, unit="ms", reference="a bare fsync",
           reference_figure=fsync * 1e3, ratio=result["alone"] / fsync)  # fmt: skip
    for side in ("payer", "receiver"):
        # On two cores the busier of the two processes is what limits the rate: the disk is waited for in groups.
        report(name=f"two nodes: processor time of the {side} a payment", figure=result[f"{side}_cpu"] * 1e3, unit="ms")
    report(name="two nodes: payments a batch of the payer", figure=PAYMENTS / result["batches"], unit="payments")


def fsync_seconds(directory: Path) -> float:
    """The median of appending a page and syncing it, on the same disk."""
    seconds = []
    with (directory / "fsync").open("wb", buffering=0) as file:
        for _ in range(200):
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


async def pay_all(chain: Chain, bob: Daemon, data_dir: Path) -> dict[str, Any]:
    node = (
        NodeBuilder()
        .set_network(Network.REGTEST)
        .set_storage_dir_path(data_dir)
        .set_chain_source_bitcoind_rpc(chain.url, cookie_file=chain.cookie)
        .set_listening_addresses()
        .build()
    )
    async with node, RpcClient(bob.data_dir) as receiver:
        await open_channels(chain, node, bob)
        alone = statistics.median([await one_payment(node, receiver) for _ in range(20)])
        left = itertools.repeat(None, PAYMENTS)
        latencies: list[float] = []

        async def worker() -> None:
            for _ in left:
                latencies.append(await one_payment(node, receiver))

        before = node.node.journal.durable_sequence
        spent = time.process_time(), cpu_seconds(bob)
        start = time.perf_counter()
        profile = os.environ.get("PYLN_BENCH_PROFILE")
        if profile:
            import cProfile

            profiler = cProfile.Profile()
            profiler.enable()
        await asyncio.gather(*(worker() for _ in range(WORKERS)))
        if profile:
            profiler.disable()
            profiler.dump_stats(profile)
        seconds = time.perf_counter() - start
        spent = time.process_time() - spent[0], cpu_seconds(bob) - spent[1]
        assert len(latencies) == PAYMENTS
        await node.wait_until(settled)
        left_msat = sum(each.holder_balance_msat for each in await node.list_channels())
        assert left_msat == 1000 * CHANNELS * CHANNEL_SAT - PAYMENT_MSAT * (PAYMENTS + 20)
        latencies.sort()
        return {
            "seconds": seconds,
            "payer_cpu": spent[0] / PAYMENTS,
            "receiver_cpu": spent[1] / PAYMENTS,
            "p50": latencies[len(latencies) // 2],
            "p99": latencies[len(latencies) * 99 // 100],
            "alone": alone,
            "batches": node.node.journal.durable_sequence - before,
        }


async def one_payment(node: LightningNode, receiver: RpcClient) -> float:
    start = time.perf_counter()
    invoice = await receiver.call("invoice", amount_msat=PAYMENT_MSAT)
    await node.pay(invoice["invoice"])
    return time.perf_counter() - start


def cpu_seconds(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def settled(core: Node) -> bool | None:
    """Every HTLC is gone from both commitments: then balances are what was paid."""
    return None if any(each.pending_outbound_htlcs for each in core.channel_manager.list_channels()) else True


async def open_channels(chain: Chain, node: LightningNode, bob: Daemon) -> None:
    for _ in range(CHANNELS):
        chain.send_to(await node.new_onchain_address(), CHANNEL_SAT + 100_000)
    chain.mine(1)
    await node.wait_for_height(chain.height)
    node_id = await node.connect_peer(bob.address)
    for first in range(0, CHANNELS, AT_ONCE):
        opened = [await node.open_channel(node_id, Sat(CHANNEL_SAT)) for _ in range(min(AT_ONCE, CHANNELS - first))]
        for each in opened:
            await node.wait_for_channel(each, usable=False)
        while len(chain.rpc("getrawmempool")) < len(opened):
            await asyncio.sleep(0.01)
        chain.mine(6)
        for each in opened:
            await node.wait_for_channel(each)
