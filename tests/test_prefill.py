"""The tool that gives a database a past writes what a node could have written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.prefill import NoChannels, prefill
from pyln_fast.node.state import COMMITMENTS, FINISHED_PAYMENTS, FORWARDED, LOADED_TABLES
from pyln_fast.persist.check import check
from pyln_fast.persist.sqlite_store import SqliteStore

STORE = Path(__file__).parent / "vectors" / "store-v1"
PAYMENTS = 4100
"""More than two batches."""


def test_a_prefilled_database_is_whole_and_its_node_is_the_same(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    shutil.copytree(STORE, directory)
    directory.chmod(0o700)
    store = SqliteStore(directory, reserve_bytes=0, low_space_bytes=0)
    loaded = store.load(LOADED_TABLES).tables
    history = (FINISHED_PAYMENTS, FORWARDED, COMMITMENTS)
    before = [dict(store.scan(table.name)) for table in history]
    store.close()
    first, second = prefill(directory, PAYMENTS), prefill(directory, 10)
    assert (first.payments, first.rows, second.rows) == (PAYMENTS, 3 * PAYMENTS, 30)
    report = check(directory)
    assert report.problems == ()
    assert report.tail_rows == 0
    store = SqliteStore(directory, reserve_bytes=0, low_space_bytes=0)
    assert store.load(LOADED_TABLES).tables == loaded
    for table, old in zip(history, before):
        found = dict(store.scan(table.name))
        assert len(found) == len(old) + PAYMENTS + 10
        assert found.items() >= old.items(), "nothing that the node wrote is replaced"
        assert {type(table.decode(value)) for value in found.values()} == {table.kind}
    for done in (first, second):
        value = store.read(FINISHED_PAYMENTS.name, done.an_id)
        assert value is not None
        assert FINISHED_PAYMENTS.decode(value).payment_id == done.an_id
    store.close()


def test_a_database_without_channels_has_no_past(tmp_path: Path) -> None:
    SqliteStore(tmp_path, reserve_bytes=0, low_space_bytes=0).close()
    with pytest.raises(NoChannels, match="no channel that payments could have gone over"):
        prefill(tmp_path, 1)
