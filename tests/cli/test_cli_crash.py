"""SIGKILL in the middle of payments, on either side: every payment succeeds exactly once, and no msat is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pbk")

from pyln_fast.rpc.client import NodeNotReachable, RpcClient
from tests.cli.processes import Chain, Daemon, free_port, start_chain

PAYMENTS = 60
AMOUNT_MSAT = 1_000_000
FUNDING_SAT = 2_000_000


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with start_chain(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


async def pay(directory: Path, invoice: str, payment_id: str) -> dict[str, Any]:
    """Asks until the node answers: after each crash again, with the same PaymentId."""
    while True:
        try:
            async with RpcClient(directory) as client:
                paid: dict[str, Any] = await client.call(
                    "pay", invoice=invoice, payment_id=payment_id, retry_for_secs=60
                )
                return paid
        except NodeNotReachable:
            await asyncio.sleep(0.05)


def open_channel(chain: Chain, alice: Daemon, bob: Daemon) -> None:
    chain.send_to(alice.call("newaddress")["address"], FUNDING_SAT + 100_000)
    chain.mine(1)
    alice.wait_for_height(chain)
    chain.mine_when_waiting(6)
    alice.call("open", node_id=bob.address, amount_sat=FUNDING_SAT, wait=True)


@pytest.mark.parametrize("store", ["sqlite", "filesystem"])
@pytest.mark.parametrize("victim", ["payer", "payee"])
def test_killed_in_the_middle(chain: Chain, tmp_path: Path, victim: str, store: str) -> None:
    ports = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with (
        Daemon(chain, tmp_path / "alice", "--store", store, listen=ports[0]) as alice,
        Daemon(chain, tmp_path / "bob", "--store", store, listen=ports[1]) as bob,
    ):
        open_channel(chain, alice, bob)
        invoices = [bob.call("invoice", amount_msat=AMOUNT_MSAT)["invoice"] for _ in range(PAYMENTS)]

        async def crash() -> None:
            for kills in range(1, 4):
                while sent(alice) < kills * PAYMENTS // 5:
                    await asyncio.sleep(0.002)
                await asyncio.to_thread((alice if victim == "payer" else bob).kill_and_restart)

        def sent(node: Daemon) -> int:
            return sum(1 for each in node.call("list-payments") if each["status"] == "fulfilled")

        async def play() -> list[dict[str, Any]]:
            room = asyncio.Semaphore(15)

            async def one(number: int, invoice: str) -> dict[str, Any]:
                async with room:
                    return await pay(alice.data_dir, invoice, number.to_bytes(32, "big").hex())

            crashing = asyncio.ensure_future(crash())
            results = await asyncio.gather(*(one(number, invoice) for number, invoice in enumerate(invoices)))
            await crashing
            return list(results)

        results = asyncio.run(asyncio.wait_for(play(), 100))
        assert {result["type"] for result in results} == {"PaymentSent"}
        assert len({result["payment_preimage"] for result in results}) == PAYMENTS
        [mine], [theirs] = alice.wait_until_settled(), bob.wait_until_settled()
        paid = PAYMENTS * AMOUNT_MSAT
        assert (mine["holder_balance_msat"], theirs["holder_balance_msat"]) == (1000 * FUNDING_SAT - paid, paid)
        payments = alice.call("list-payments")
        assert len(payments) == PAYMENTS
        assert {payment["status"] for payment in payments} == {"fulfilled"}
