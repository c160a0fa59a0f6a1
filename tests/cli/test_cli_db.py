"""`pyln-fast db`: what it says of whole and damaged databases, and that no secret is in what it shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("pbk")

from pyln_fast.cli.db import TABLES
from pyln_fast.cli.main import app
from pyln_fast.persist import kv_store
from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.stores import open_store
from pyln_fast.records import Batch, Put
from pyln_fast.sign.in_memory_signer import InMemorySigner
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.tx.keys import CommitmentSecrets
from pyln_fast.types import CommitmentNumber, Network, Secret
from pyln_fast.wallet.keys import Branch, WalletKeys, seed_from_words, words_from_entropy
from tests.node.make_store_vector import busy
from tests.node.world import World

KINDS = [kind.value for kind in StoreKind]


def secrets_in(value: object) -> Iterator[bytes]:
    """Every secret inside a record, whatever its depth."""
    if isinstance(value, Secret):
        yield bytes(value)
    elif isinstance(value, CommitmentSecrets):
        yield from (secret for _, secret in value.entries)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        yield from secrets_in(tuple(value.items()))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from secrets_in(each)


def keys_of(name: str, channel_keys_ids: set[bytes]) -> Iterator[bytes]:
    """All that a node's seed gives: of the node, of its wallet, and of its channels."""
    seed = Secret(hashlib.sha256(name.encode()).digest())
    entropy = Secret(seed[:16])
    wallet_seed = seed_from_words(words_from_entropy(entropy))
    wallet = WalletKeys(wallet_seed, Network.REGTEST)
    keys = KeysManager(seed, 1_700_000_001, 0)
    yield from (seed, entropy, wallet_seed, keys.get_node_secret_key(), keys.get_inbound_payment_key())
    yield from (wallet.private_key(branch, index) for branch in Branch for index in range(20))
    for keys_id in channel_keys_ids:
        signer = keys.derive_channel_signer(keys_id)
        assert isinstance(signer, InMemorySigner)
        yield from (bytes(getattr(signer.secrets, each)) for each in signer.secrets.__struct_fields__)
        yield from (bytes(signer._secret(CommitmentNumber(number))) for number in range(40))


@pytest.fixture(scope="module")
def life() -> tuple[list[Batch], set[bytes]]:
    """All that a node in full work wrote, and every secret that it or its peers ever had."""
    with closing(Closer(World())) as made:
        bob = busy(made.world)
        secrets: set[bytes] = set()
        ids: set[bytes] = set()
        for host in made.world.hosts.values():
            for batch in host.store.batches:
                for write in batch.writes:
                    if isinstance(write, Put):
                        record = TABLES[write.table].decode(write.value)
                        secrets.update(secrets_in(record))
            ids |= {monitor.channel_keys_id for monitor in host.node.core.state.monitors.values()}
        for name in made.world.hosts:
            secrets.update(keys_of(name, ids))
        return bob.store.batches, secrets


class Closer:
    def __init__(self, world: World) -> None:
        self.world = world

    def close(self) -> None:
        self.world.close_all()


def written(directory: Path, kind: str, batches: list[Batch], checkpoint_until: int = 150) -> Path:
    """A database whose log has all that came after that batch."""
    store = open_store(directory, StoreKind(kind), reserve_bytes=0, low_space_bytes=0)
    for batch in batches:
        store.append(batch)
        while batch.sequence == checkpoint_until and store.checkpoint():
            pass
    store.close()
    return directory


def db(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["db", *map(str, arguments)])


def test_no_secret_is_in_a_dump(tmp_path: Path, life: tuple[list[Batch], set[bytes]]) -> None:
    batches, secrets = life
    stored = b"".join(write.value for batch in batches for write in batch.writes if isinstance(write, Put))
    assert sum(secret in stored for secret in secrets) > 20
    assert len(secrets) > 300
    shown = [
        db("dump", "--data-dir", directory, *options)
        for directory in [written(tmp_path / kind, kind, batches) for kind in KINDS]
        for options in ([], ["--json"])
    ]
    assert [(result.exit_code, result.stderr) for result in shown] == [(0, "")] * 4
    assert [result.stdout for result in shown[:2]] == [result.stdout for result in shown[2:]]
    for result in shown[:2]:
        text = result.stdout.lower()
        for secret in secrets:
            for told in (secret.hex(), secret[::-1].hex(), repr(bytes(secret))[2:-1].lower()):
                assert told not in text
            assert secret not in result.stdout_bytes


def test_every_record_is_in_a_dump(tmp_path: Path, life: tuple[list[Batch], set[bytes]]) -> None:
    batches, _ = life
    directory = written(tmp_path, "filesystem", batches)
    rows = [json.loads(line) for line in db("dump", "--data-dir", directory, "--json").stdout.splitlines()]
    state: dict[tuple[str, str], str] = {}
    for batch in batches:
        for write in batch.writes:
            state.pop((write.table, write.key.hex()), None)
            if isinstance(write, Put):
                record = TABLES[write.table].decode(write.value)
                state[write.table, write.key.hex()] = type(record).__name__
    assert {(row["table"], row["key"]): row["record"]["type"] for row in rows} == state
    assert len(rows) == len(state)
    [finished] = [row["record"] for row in rows if row["table"] == "finished_payments"]
    assert finished["preimage"] == f"<preimage of {finished['payment_hash']}>"
    assert (finished["status"], finished["amount_msat"], finished["payment_secret"]) == (
        "FULFILLED", 7_000_000, "<PaymentSecret>",
    )  # fmt: skip
    only = [
        json.loads(line)
        for line in db(*f"dump --data-dir {directory} --table htlcs --json".split()).stdout.splitlines()
    ]
    assert only == [row for row in rows if row["table"] == "htlcs"]
    text = db("dump", "--data-dir", directory, "--table", "wallet_key_indexes").stdout
    assert text == "wallet_key_indexes 00\n  type: WalletKeyIndex\n  next_index: 5\n" + (
        "wallet_key_indexes 01\n  type: WalletKeyIndex\n  next_index: 2\n"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_dump_has_a_page_of_records_in_memory(
    tmp_path: Path, kind: str, life: tuple[list[Batch], set[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = written(tmp_path, kind, life[0])
    whole = db("dump", "--data-dir", directory).stdout
    sizes = []
    scan = JournalStore.scan

    def watched(store: JournalStore, *arguments: Any, **named: Any) -> list[tuple[bytes, bytes]]:
        sizes.append(len(page := scan(store, *arguments, **named)))
        return page

    monkeypatch.setattr(JournalStore, "scan", watched)
    monkeypatch.setattr(kv_store, "PAGE_RECORDS", 3)
    assert db("dump", "--data-dir", directory).stdout == whole
    assert max(sizes) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_whole_and_damaged(tmp_path: Path, kind: str, life: tuple[list[Batch], set[bytes]]) -> None:
    directory = written(tmp_path, kind, life[0])
    whole = db("check", "--data-dir", directory)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert whole.stdout.splitlines()[0] == f"{directory / StoreKind(kind).file}: whole"
    told = json.loads(db("check", "--data-dir", directory, "--json").stdout)
    assert (told["whole"], told["sequence"], told["checkpoint"], told["problems"]) == (True, 184, 150, [])
    (directory / "tail").unlink()
    damaged = db("check", "--data-dir", directory)
    assert damaged.exit_code == 1
    assert damaged.stdout.splitlines()[-1] == f"problem: {directory / 'tail'}: No such file or directory"
    told = json.loads(db("check", "--data-dir", directory, "--json").stdout)
    assert (told["whole"], told["durable_sequence"]) == (False, -1)
    refused = db("dump", "--data-dir", directory)
    line = f"pyln-fast db dump: {directory / 'tail'}: it is missing, although the log reaches batch 184\n"
    assert (refused.exit_code, refused.stdout, refused.stderr) == (1, "", line)


@pytest.mark.parametrize("command", ["check", "dump"])
@pytest.mark.parametrize("kind", KINDS)
def test_not_while_a_node_runs(tmp_path: Path, kind: str, command: str) -> None:
    store = open_store(tmp_path, StoreKind(kind), reserve_bytes=0, low_space_bytes=0)
    result = db(command, "--data-dir", tmp_path)
    store.close()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"pyln-fast db {command}: {tmp_path}: another process has it open (process ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "dump"])
def test_nothing_there(tmp_path: Path, command: str) -> None:
    result = db(command, "--data-dir", tmp_path / "none")
    line = f"pyln-fast db {command}: {tmp_path / 'none'}: there is no database\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", line)
    assert not (tmp_path / "none").exists()


def test_a_table_that_there_is_not(tmp_path: Path) -> None:
    written(tmp_path, "sqlite", [])
    result = db("dump", "--data-dir", tmp_path, "--table", "secrets")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("pyln-fast db dump: secrets: there is no such table; there are channels, claimable")
