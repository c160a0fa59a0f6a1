"""The seed file: whole, private, and never made a second time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pyln_fast.runtime.entropy import (
    SeedUnusable,
    keys_manager,
    load_or_create_seed,
    mnemonic_words,
    wallet_keys,
)
from pyln_fast.types import Network, Secret
from pyln_fast.wallet.keys import Branch


def test_made_once_and_read_again(tmp_path: Path) -> None:
    seed = load_or_create_seed(tmp_path, may_create=True)
    assert len(seed) == 32
    assert stat.S_IMODE((tmp_path / "keys_seed").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys_seed"]
    assert load_or_create_seed(tmp_path, may_create=True) == seed
    assert load_or_create_seed(tmp_path, may_create=False) == seed
    assert load_or_create_seed(_made(tmp_path / "other"), may_create=True) != seed


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_on_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real_fsync, real_link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(os.readlink(f"/proc/self/fd/{fd}")), real_fsync(fd)))
    monkeypatch.setattr(os, "link", lambda *names: (done.append("link"), real_link(*names)))
    load_or_create_seed(tmp_path, may_create=True)
    assert done == [str(tmp_path / "keys_seed.new"), "link", str(tmp_path)]


def test_what_a_crash_left_behind_is_no_seed(tmp_path: Path) -> None:
    (tmp_path / "keys_seed.new").write_bytes(bytes(7))
    assert load_or_create_seed(tmp_path, may_create=True) != bytes(32)
    assert not (tmp_path / "keys_seed.new").exists()


def test_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys_seed"
    with pytest.raises(SeedUnusable) as missing:
        load_or_create_seed(tmp_path, may_create=False)
    assert str(missing.value) == f"{path}: the seed is missing, although there is a database"
    path.write_bytes(bytes(31))
    path.chmod(0o600)
    with pytest.raises(SeedUnusable) as short:
        load_or_create_seed(tmp_path, may_create=True)
    assert str(short.value) == f"{path}: it has 31 bytes, a seed has 32"
    path.write_bytes(bytes(32))
    path.chmod(0o640)
    with pytest.raises(SeedUnusable) as shared:
        load_or_create_seed(tmp_path, may_create=True)
    assert str(shared.value) == f"{path}: others may read it (mode 0640): make it 0600"


def test_keys_of_a_seed() -> None:
    """The same node at every start, but never the same random bytes; and the words are the wallet."""
    seed = Secret(bytes(32))
    first, second = keys_manager(seed), keys_manager(seed)
    assert first.get_node_id() == second.get_node_id()
    assert first.get_secure_random_bytes() != second.get_secure_random_bytes()
    words = mnemonic_words(seed)
    assert words == "abandon " * 23 + "art"
    # BIP 84's path on a test network, from another implementation (embit) for these words.
    assert wallet_keys(seed, Network.REGTEST).address(Branch.EXTERNAL, 0).startswith("bcrt1q")
