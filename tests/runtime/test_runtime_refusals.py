"""What a node refuses to start with: each one clear line, and nothing left behind."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyln_fast.errors import LightningError
from pyln_fast.runtime.builder import NodeBuilder
from pyln_fast.runtime.settings import InvalidSettings
from pyln_fast.types import Network
from tests.runtime.network import World, play

Build = Callable[[NodeBuilder], NodeBuilder]


async def refusal(world: World, name: str, build: Build = lambda builder: builder) -> str:
    """The line."""
    with pytest.raises(LightningError) as error:
        await world.start(name, build)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_mainnet(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        line = await refusal(world, "alice", lambda builder: builder.set_network(Network.MAINNET))
        expected = "mainnet is refused: this version cannot claim its money on chain after a force-close"
        assert line == expected
        assert not (tmp_path / "alice").exists()

    play(tmp_path, scene)


def test_the_wrong_network(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        line = await refusal(world, "alice", lambda builder: builder.set_network(Network.SIGNET))
        assert line == "the chain is of regtest, this node is of signet"

    play(tmp_path, scene)


def test_nobody_answers_for_the_chain(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        line = await refusal(
            world, "alice", lambda builder: builder.set_chain_source_bitcoind_rpc("http://127.0.0.1:1", user="a")
        )
        assert line.startswith("bitcoind at http://127.0.0.1:1 cannot be reached: ")
        line = await refusal(
            world,
            "alice",
            lambda builder: builder.set_chain_source_bitcoind_rpc(world.server.url, user="a", password="b"),
        )
        assert line.startswith(f"bitcoind at {world.server.url}")
        assert "refuses" in line

    play(tmp_path, scene)


def test_a_chain_behind_what_we_have_seen(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice = await world.start("alice")
        await world.mine(2)
        await alice.stop()
        world.chain.invalidate(world.chain.chain.active[-1])
        line = await refusal(world, "alice")
        height = world.chain.height
        assert line == f"the chain ends at block {height}, but this node has already seen block {height + 1}"

    play(tmp_path, scene)


def test_two_processes_on_one_database(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice = await world.start("alice")
        assert await refusal(world, "alice") == (
            f"{tmp_path}/alice: another process has it open (process {os.getpid()})"
        )
        assert await alice.list_channels() == []

    play(tmp_path, scene)


def test_a_port_in_use(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice = await world.start("alice")
        [address] = alice.listening_addresses
        line = await refusal(world, "bob", lambda builder: builder.set_listening_addresses(address))
        assert line == f"{address}: cannot listen there: Address already in use"
        # Nothing was left behind: the same directory starts with another port.
        await world.start("bob")

    play(tmp_path, scene)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        (tmp_path / "file").write_text("")
        line = await refusal(world, "file/alice")
        assert line == f"{tmp_path}/file/alice: it cannot be written: Not a directory"

    play(tmp_path, scene)


def test_a_database_that_is_damaged_newer_or_without_its_seed(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        for name in ("damaged", "newer", "seedless"):
            await (await world.start(name)).stop()
        (tmp_path / "seedless/keys_seed").unlink()
        path = tmp_path / "seedless/keys_seed"
        assert await refusal(world, "seedless") == f"{path}: the seed is missing, although there is a database"
        database = tmp_path / "damaged/node.db"
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE log SET payload = x'00' WHERE sequence = 1")
        connection.close()
        assert await refusal(world, "damaged") == f"{database}: log row 1: its checksum does not match"
        with sqlite3.connect(tmp_path / "newer/node.db") as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        line = await refusal(world, "newer")
        assert line.startswith(f"{tmp_path}/newer/node.db: ")
        assert "newer" in line

    play(tmp_path, scene)


@pytest.mark.parametrize(("one", "other"), [("sqlite", "filesystem"), ("filesystem", "sqlite")])
def test_a_database_of_the_other_kind(tmp_path: Path, one: str, other: str) -> None:
    async def scene(world: World) -> None:
        node = await world.start("alice", lambda builder: builder.set_store(one))
        node_id = node.node_id
        await node.stop()
        before = {path.name: path.read_bytes() for path in (tmp_path / "alice").iterdir()}
        line = await refusal(world, "alice", lambda builder: builder.set_store(other))
        assert line == f"{tmp_path}/alice: it holds a database of the {one} store, not of the {other} store"
        assert {path.name: path.read_bytes() for path in (tmp_path / "alice").iterdir()} == before
        again = await world.start("alice", lambda builder: builder.set_store(one))
        assert again.node_id == node_id

    play(tmp_path, scene)


def test_a_store_that_there_is_not() -> None:
    with pytest.raises(InvalidSettings, match=r"^floppy: there is no such store; it is sqlite or filesystem$"):
        NodeBuilder().set_store("floppy")


def test_without_assertions(tmp_path: Path) -> None:
    command = [sys.executable, "-O", "-c", "from pyln_fast.cli.main import main; main()"]
    options = ["run", "--data-dir", str(tmp_path / "node"), "--bitcoind-url", "http://127.0.0.1:1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    line = "python -O removes assertions, which are part of this program: run it without"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"pyln-fast run: {line}\n")
    assert not (tmp_path / "node").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--network", "mainnet"], "mainnet is refused: this version cannot claim its money on chain"),
        (["--network", "moon"], "--network moon: it is one of mainnet, testnet, main, test"),
        (["--listen", "nowhere"], "nowhere: there is no host and port"),
        (["--store", "floppy"], "floppy: there is no such store; it is sqlite or filesystem"),
        (["--set", "x=1"], "x=1: there is no such setting"),
        (["--config", "/nowhere"], "/nowhere: No such file or directory"),
        ([], "bitcoind at http://127.0.0.1:1 cannot be reached: "),
    ],
)
def test_by_the_command_line(tmp_path: Path, options: list[str], line: str) -> None:
    command = [sys.executable, "-c", "from pyln_fast.cli.main import main; main()"]
    base = ["run", "--data-dir", str(tmp_path / "node"), "--bitcoind-url", "http://127.0.0.1:1"]
    done = subprocess.run([*command, *base, *options], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"pyln-fast run: {line}"), done.stderr
    assert done.stderr.count("\n") == 1
