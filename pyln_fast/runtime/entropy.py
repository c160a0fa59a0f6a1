"""The seed of a node: 32 bytes in a file of its owner alone, on disk before anybody uses it."""

from __future__ import annotations

import os
from pathlib import Path

from pyln_fast.errors import LocalError
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.types import Network, Secret
from pyln_fast.wallet.keys import WalletKeys, words_from_entropy

SEED_FILE = "keys_seed"
SEED_BYTES = 32


class SeedUnusable(LocalError):
    """The seed file cannot be read or made, or is not what was written. One line that names the path."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


def load_or_create_seed(directory: Path, *, may_create: bool) -> Secret:
    """The node's seed. The caller holds the directory's lock.

    `may_create` is False where a database exists already: a fresh seed would be another node over the old one's
    channels. Raises SeedUnusable.
    """
    path = directory / SEED_FILE
    try:
        seed = _read(path)
        if seed is None:
            if not may_create:
                raise SeedUnusable(path, "the seed is missing, although there is a database")
            _create(path)
            seed = _read(path)
            assert seed is not None
    except OSError as error:
        raise SeedUnusable(path, os.strerror(error.errno) if error.errno else str(error)) from None
    return seed


def mnemonic_words(seed: Secret) -> str:
    """BIP 39: the 24 words that are the seed. As secret as the seed, and only for whoever asks for them."""
    return words_from_entropy(seed)


def keys_manager(seed: Secret) -> KeysManager:
    """One for this run. What it calls a starting time is random: a clock that was set back must not repeat keys."""
    random = os.urandom(12)
    return KeysManager(seed, int.from_bytes(random[:8], "big"), int.from_bytes(random[8:], "big"))


def wallet_keys(seed: Secret, network: Network) -> WalletKeys:
    """Of the same words: any BIP 84 wallet finds the coins."""
    return WalletKeys.from_words(mnemonic_words(seed), network)


def _read(path: Path) -> Secret | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = os.read(descriptor, SEED_BYTES + 1)
        mode = os.fstat(descriptor).st_mode & 0o777
    finally:
        os.close(descriptor)
    if len(found) != SEED_BYTES:
        raise SeedUnusable(path, f"it has {len(found)} bytes, a seed has {SEED_BYTES}")
    if mode & 0o077:
        raise SeedUnusable(path, f"others may read it (mode {mode:04o}): make it 0600")
    return Secret(found)


def _create(path: Path) -> None:
    """Whole or not at all: written beside, synced, then linked to its name, which fails if there is one."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        written = os.write(descriptor, os.urandom(SEED_BYTES))
        assert written == SEED_BYTES
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.link(beside, path)
    beside.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
