"""The wallet's keys: words (BIP 39), and one account of P2WPKH addresses (BIP 84)."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

from mnemonic import Mnemonic

from pyln_fast.errors import LocalError
from pyln_fast.sign.bip32 import HARDENED, ExtendedKey, master_key
from pyln_fast.tx.scripts import address, p2wpkh
from pyln_fast.types import Network, PrivateKey, PublicKey, Secret

PURPOSE = 84
_WORDS = Mnemonic("english")
_CACHED_KEYS = 4096


class InvalidMnemonic(LocalError):
    """Words that are not a BIP 39 phrase: how many there are, or that one is unknown or the checksum is wrong."""


class Branch(IntEnum):
    """BIP 44: the last but one step of a path."""

    EXTERNAL = 0
    """Addresses that are given out."""
    CHANGE = 1


def words_from_entropy(entropy: Secret) -> str:
    """A phrase of 12 words for 16 bytes up to 24 words for 32 bytes. The phrase is as secret as the entropy."""
    return str(_WORDS.to_mnemonic(bytes(entropy)))


def seed_from_words(words: str, passphrase: str = "") -> Secret:
    """BIP 39: 64 bytes; 2048 rounds, so about a millisecond. Raises InvalidMnemonic."""
    phrase = " ".join(words.split())
    count = len(phrase.split())
    if count not in (12, 15, 18, 21, 24):
        raise InvalidMnemonic(f"a phrase of {count} words: BIP 39 has 12, 15, 18, 21 or 24")
    if not _WORDS.check(phrase):
        raise InvalidMnemonic("a word is not in the list, or the checksum of the phrase is wrong")
    return Secret(_WORDS.to_seed(phrase, passphrase))


class WalletKeys:
    """BIP 84's first account of one seed on one network: m/84'/coin'/0'/branch/index."""

    __slots__ = ("_account", "_branches", "_key", "network")

    def __init__(self, seed: Secret, network: Network) -> None:
        coin_type = 0 if network is Network.MAINNET else 1
        account = master_key(seed).derive((PURPOSE + HARDENED, coin_type + HARDENED, HARDENED))
        self.network = network
        self._account = account
        self._branches = tuple(account.child(branch) for branch in Branch)
        self._key = lru_cache(maxsize=_CACHED_KEYS)(self._derive)

    @classmethod
    def from_words(cls, words: str, network: Network, passphrase: str = "") -> WalletKeys:
        """Raises InvalidMnemonic."""
        return cls(seed_from_words(words, passphrase), network)

    def public_key(self, branch: Branch, index: int) -> PublicKey:
        return self._key(branch, index)[1]

    def private_key(self, branch: Branch, index: int) -> PrivateKey:
        return self._key(branch, index)[0]

    def script_pubkey(self, branch: Branch, index: int) -> bytes:
        return p2wpkh(self.public_key(branch, index))

    def address(self, branch: Branch, index: int) -> str:
        return address(self.script_pubkey(branch, index), self.network)

    def _derive(self, branch: Branch, index: int) -> tuple[PrivateKey, PublicKey]:
        key: ExtendedKey = self._branches[branch].child(index)
        return key.private_key, key.public_key
