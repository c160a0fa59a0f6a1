"""BIP 39 and BIP 84 against their vectors, and any address as a script."""

import json
from pathlib import Path

import pytest

from pyln_fast.errors import DecodeError
from pyln_fast.sign.bip32 import HARDENED, master_key, parse_path
from pyln_fast.types import Network, Secret
from pyln_fast.wallet.addresses import script_pubkey
from pyln_fast.wallet.keys import Branch, InvalidMnemonic, WalletKeys, seed_from_words, words_from_entropy

VECTORS = Path(__file__).parents[1] / "vectors"
BIP39 = json.loads((VECTORS / "bip39.json").read_text())
BIP84 = json.loads((VECTORS / "bip84.json").read_text())


@pytest.mark.parametrize("vector", BIP39["vectors"], ids=lambda vector: vector["entropy"][:8])
def test_bip_39(vector: dict[str, str]) -> None:
    assert words_from_entropy(Secret(bytes.fromhex(vector["entropy"]))) == vector["words"]
    assert seed_from_words(vector["words"], BIP39["passphrase"]).hex() == vector["seed"]


@pytest.mark.parametrize("vector", BIP84["keys"], ids=lambda vector: vector["path"])
def test_bip_84(vector: dict[str, str]) -> None:
    keys = WalletKeys.from_words(BIP84["mnemonic"], Network.MAINNET)
    *account, branch, index = parse_path(vector["path"])
    assert account == [84 + HARDENED, HARDENED, HARDENED]
    assert keys.public_key(Branch(branch), index).hex() == vector["pubkey"]
    assert keys.address(Branch(branch), index) == vector["address"]
    assert script_pubkey(vector["address"], Network.MAINNET) == keys.script_pubkey(Branch(branch), index)


def test_other_networks_have_coin_type_1() -> None:
    seed = Secret(bytes(64))
    expected = master_key(seed).derive(parse_path("m/84'/1'/0'/0/5")).private_key
    for network in (Network.TESTNET, Network.TESTNET4, Network.SIGNET, Network.REGTEST):
        keys = WalletKeys(seed, network)
        assert keys.private_key(Branch.EXTERNAL, 5) == expected
        assert keys.address(Branch.EXTERNAL, 5).startswith(network.bech32_hrp + "1q")


WORDS = BIP84["mnemonic"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "a phrase of 0 words: BIP 39 has 12, 15, 18, 21 or 24"),
        (WORDS + " about", "a phrase of 13 words: BIP 39 has 12, 15, 18, 21 or 24"),
        (WORDS.replace("about", "abandon"), "a word is not in the list, or the checksum of the phrase is wrong"),
        (WORDS.replace("about", "aboutt"), "a word is not in the list, or the checksum of the phrase is wrong"),
    ],
)
def test_words_that_are_no_phrase(words: str, why: str) -> None:
    with pytest.raises(InvalidMnemonic) as error:
        seed_from_words(words)
    assert str(error.value) == why


def test_white_space_in_a_phrase_means_nothing() -> None:
    assert seed_from_words(f"  {WORDS}\n".replace(" ", "  ")) == seed_from_words(WORDS)


@pytest.mark.parametrize(
    ("address", "network", "script"),
    [
        ("1RustyRX2oai4EYYDpQGWvEL62BBGqN9T", Network.MAINNET, "76a91404b61f7dc1ea0dc99424464cc4064dc564d91e8988ac"),
        ("3EktnHQD7RiAE6uzMj2ZifT9YgRrkSgzQX", Network.MAINNET, "a9148f55563b9a19f321c211e9b9f38cdf686ea0784587"),
        ("mk2QpYatsKicvFVuTAQLBryyccRXMUaGHP", Network.REGTEST, "76a9143172b5654f6683c8fb146959d347ce303cae4ca788ac"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Network.MAINNET, "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    ],
)
def test_addresses(address: str, network: Network, script: str) -> None:
    assert script_pubkey(f" {address}\n", network).hex() == script


@pytest.mark.parametrize(
    ("address", "network", "why"),
    [
        ("", Network.MAINNET, "neither bech32 nor base58"),
        ("1RustyRX2oai4EYYDpQGWvEL62BBGqN9l", Network.MAINNET, "neither bech32 nor base58"),
        ("1RustyRX2oai4EYYDpQGWvEL62BBGqN9U", Network.MAINNET, "the checksum is wrong"),
        ("1RustyRX2oai4EYYDpQGWvEL62BBGqN9", Network.MAINNET, "24 bytes of base58, not 25"),
        ("1RustyRX2oai4EYYDpQGWvEL62BBGqN9T", Network.REGTEST, "version 0 is no address of regtest"),
        ("mk2QpYatsKicvFVuTAQLBryyccRXMUaGHP", Network.MAINNET, "version 111 is no address of main"),
    ],
)
def test_addresses_that_are_none(address: str, network: Network, why: str) -> None:
    with pytest.raises(DecodeError) as error:
        script_pubkey(address, network)
    assert (error.value.what, error.value.why) == ("address", why)


def test_a_segwit_address_of_another_network() -> None:
    with pytest.raises(DecodeError):
        script_pubkey("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Network.REGTEST)
