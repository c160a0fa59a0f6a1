"""`pyln-fast run` and `pyln-fast cli` as processes, against the embedded regtest chain."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pbk")

from pyln_fast.rpc.client import call
from tests.cli.processes import Chain, Daemon, start_chain

PAYLOAD = [sys.executable, "-c", "from pyln_fast.cli.main import main; main()"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with start_chain(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


def cli(directory: Path, *arguments: str) -> Any:
    done = subprocess.run([*PAYLOAD, "cli", "--data-dir", directory, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_nodes_by_the_command_line(chain: Chain, tmp_path: Path) -> None:
    with Daemon(chain, tmp_path / "alice") as alice, Daemon(chain, tmp_path / "bob") as bob:
        address = cli(alice.data_dir, "newaddress")["address"]
        chain.send_to(address, 5_000_000)
        chain.mine(1)
        alice.wait_for_height(chain)
        chain.mine_when_waiting(6)
        opened = cli(alice.data_dir, "open", bob.address, "1000000", "--wait")
        assert (opened["state"], opened["is_usable"], opened["channel_type"]) == ("Normal", True, "401000")
        invoice = cli(bob.data_dir, "invoice", "25000000", "--description", "tea")["invoice"]
        assert cli(alice.data_dir, "decode", invoice)["payee"] == bob.node_id
        paid = cli(alice.data_dir, "pay", invoice)
        assert (paid["type"], paid["amount_msat"], paid["fee_paid_msat"]) == ("PaymentSent", 25_000_000, 0)
        [payment] = cli(alice.data_dir, "list-payments")
        assert (payment["status"], payment["preimage"]) == ("fulfilled", paid["payment_preimage"])
        assert cli(alice.data_dir, "list-payments", "--limit", "1") == {"payments": [payment], "next": None}
        again = cli(alice.data_dir, "list-payments", "--after", payment["payment_id"])
        assert again == {"payments": [], "next": None}
        assert cli(bob.data_dir, "list-forwards") == []
        assert cli(bob.data_dir, "list-forwards", "--limit", "5") == {"forwards": [], "next": None}
        assert cli(bob.data_dir, "balance")["channels_msat"] == 25_000_000
        names = [event["event"] for event in cli(bob.data_dir, "events")["events"]]
        expected = ["OpenChannelRequest", "ChannelPending", "ChannelReady", "PaymentClaimable", "PaymentClaimed"]
        assert names == expected
        cli(alice.data_dir, "close", opened["channel_id"])
        chain.wait_for_mempool()
        chain.mine(6)
        assert cli(alice.data_dir, "getinfo")["network"] == "regtest"


def test_the_socket_is_the_owners(chain: Chain, tmp_path: Path) -> None:
    long = tmp_path / ("d" * 100)
    with Daemon(chain, long) as node:
        assert stat.S_IMODE((long / "rpc").stat().st_mode) == 0o600
        assert stat.S_IMODE(long.stat().st_mode) == 0o700
        assert stat.S_IMODE((long / "keys_seed").stat().st_mode) == 0o600
        assert call(long, "getinfo")["node_id"] == node.node_id
    assert not (long / "rpc").exists()


def test_what_is_wrong_with_a_request_is_said(chain: Chain, tmp_path: Path) -> None:
    with Daemon(chain, tmp_path / "node") as node:
        asked = subprocess.run(
            [*PAYLOAD, "cli", "--data-dir", node.data_dir, "connect", "nobody"], capture_output=True, text=True
        )
        assert (asked.returncode, asked.stdout) == (1, "")
        text = "nobody: there is no @; an address of a node is node_id@host:port"
        assert asked.stderr == f"pyln-fast cli connect: {text}\n"
    asked = subprocess.run([*PAYLOAD, "cli", "--data-dir", node.data_dir, "getinfo"], capture_output=True, text=True)
    expected = f"pyln-fast cli getinfo: {node.data_dir}: no node answers there: No such file or directory\n"
    assert (asked.returncode, asked.stderr) == (1, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(chain: Chain, tmp_path: Path, number: signal.Signals) -> None:
    with Daemon(chain, tmp_path / "node") as node:
        node_id = node.node_id
        os.kill(node.process.pid, number)
        assert node.process.wait(10) == 0
    with Daemon(chain, tmp_path / "node") as node:
        assert node.node_id == node_id
        call(node.data_dir, "stop")
        assert node.process.wait(10) == 0
