"""BIP 32 against its vectors: the extended keys are written out in full."""

import hashlib
import json
from pathlib import Path

import pytest

from pyln_fast.sign.bip32 import HARDENED, ExtendedKey, NoSuchKey, master_key, parse_path
from pyln_fast.tx.keys import public_key
from pyln_fast.types import PrivateKey, Secret

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bip32.json").read_text())["vectors"]
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
XPRV, XPUB = 0x0488ADE4, 0x0488B21E


def base58check(data: bytes) -> str:
    data += hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def hash160(data: bytes) -> bytes:
    return hashlib.new("ripemd160", hashlib.sha256(data).digest()).digest()


def written(master: ExtendedKey, path: tuple[int, ...], version: int) -> str:
    """BIP 32's serialization of the key at `path`."""
    key = master.derive(path)
    parent = hash160(master.derive(path[:-1]).public_key)[:4] if path else bytes(4)
    number = path[-1] if path else 0
    data = b"\0" + key.private_key if version == XPRV else key.public_key
    head = version.to_bytes(4, "big") + bytes((len(path),)) + parent + number.to_bytes(4, "big")
    return base58check(head + key.chain_code + data)


@pytest.mark.parametrize(
    ("seed", "chain"), [(vector["seed"], chain) for vector in VECTORS for chain in vector["chains"]]
)
def test_vectors(seed: str, chain: dict[str, str]) -> None:
    master = master_key(Secret(bytes.fromhex(seed)))
    path = parse_path(chain["path"])
    assert written(master, path, XPRV) == chain["prv"]
    assert written(master, path, XPUB) == chain["pub"]


def test_hardened_is_an_index_from_2_to_the_31() -> None:
    master = master_key(Secret(bytes(range(16))))
    assert master.hardened(7) == master.child(7 + HARDENED) != master.child(7)
    assert parse_path("m/84'/0'/3") == (84 + HARDENED, HARDENED, 3)


@pytest.mark.parametrize("text", ["", "84'/0'", "m/x", "m//1"])
def test_a_path_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_path(text)


def test_a_child_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 2^127, so the hash is made to give the group's order."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    monkeypatch.setattr("hmac.digest", lambda *_: order.to_bytes(32, "big") + bytes(32))
    with pytest.raises(NoSuchKey):
        master_key(Secret(bytes(16)))
    with pytest.raises(NoSuchKey):
        ExtendedKey(PrivateKey(bytes(31) + b"\1"), Secret(bytes(32))).child(0)


def test_nothing_secret_in_its_text() -> None:
    key = master_key(Secret(bytes(range(16))))
    assert repr(key) == "ExtendedKey(private_key=<PrivateKey of 32 bytes>, chain_code=<Secret of 32 bytes>)"
    assert public_key(key.private_key) == key.public_key
