from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyln_fast._ext import _tx
from pyln_fast.errors import DecodeError
from pyln_fast.tx import scripts
from pyln_fast.types import Network
from tests.oracle import tx as oracle
from tests.tx.bolt3 import APPENDIX_C, load, point

POINTS = tuple(bytes([2 + i % 2]) + hashlib.sha256(bytes([i])).digest() for i in range(4))
points = st.sampled_from(POINTS)
numbers = st.one_of(st.integers(0, 300), st.integers(0, (1 << 32) - 1))


@given(points, points, points, st.binary(min_size=32, max_size=32), numbers, st.booleans())
def test_templates(a: bytes, b: bytes, c: bytes, payment_hash: bytes, number: int, anchors: bool) -> None:
    assert scripts.funding_script(a, b) == oracle.funding_script(a, b)
    assert scripts.to_local_script(a, number, b) == oracle.to_local_script(a, number, b)
    assert scripts.to_remote_script(a) == oracle.to_remote_script(a)
    assert scripts.anchor_script(a) == oracle.anchor_script(a)
    offered = scripts.offered_htlc_script(a, b, c, payment_hash, anchors)
    assert offered == oracle.offered_htlc_script(a, b, c, payment_hash, anchors)
    received = scripts.received_htlc_script(a, b, c, payment_hash, number, anchors)
    assert received == oracle.received_htlc_script(a, b, c, payment_hash, number, anchors)
    assert scripts.p2wsh(received) == oracle.p2wsh(received)
    assert scripts.p2wpkh(a) == oracle.p2wpkh(a)


@given(st.binary(max_size=300))
def test_hashes(data: bytes) -> None:
    assert _tx.ripemd160(data) == oracle.ripemd160(data)
    assert _tx.hash160(data) == oracle.hash160(data)
    assert _tx.sha256d(data) == oracle.sha256d(data)


def test_bolt3_to_local() -> None:
    params = APPENDIX_C["params"]
    script = scripts.to_local_script(
        point(params["local_revocation_pubkey"]), params["local_delay"], point(params["local_delayedpubkey"])
    )
    assert f"wscript {script.hex()}" in APPENDIX_C["cases"][0]["comments"][2]


@pytest.mark.parametrize("length", [0, 32, 34])
def test_a_point_has_33_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="not 33"):
        scripts.anchor_script(bytes(length))


@pytest.mark.parametrize(
    ("compact", "der"),
    [
        ("01".zfill(64) + "02".zfill(64), "3006020101020102"),
        ("80".zfill(64) + "7f".zfill(64), "30070202008002017f"),
        ("ff" * 32 + "7f" * 32, "3045022100" + "ff" * 32 + "0220" + "7f" * 32),
        ("00" * 64, "3006020100020100"),
    ],
)
def test_der(compact: str, der: str) -> None:
    assert scripts.der_signature(bytes.fromhex(compact), 0x83).hex() == der + "83"


# BIP 350, Test vectors: addresses and their script_pubkey.
VALID = [
    ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "0014751e76e8199196d454941c45d1b3a323f1433bd6", Network.MAINNET),
    (
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
        Network.TESTNET,
    ),
    (
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
        "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6",
        Network.MAINNET,
    ),
    ("BC1SW50QGDZ25J", "6002751e", Network.MAINNET),
    ("bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "5210751e76e8199196d454941c45d1b3a323", Network.MAINNET),
    (
        "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
        "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        Network.SIGNET,
    ),
    (
        "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
        "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        Network.TESTNET4,
    ),
    (
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        Network.MAINNET,
    ),
]

INVALID = [
    "tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
    "tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf",
    "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",
    "tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47",
    "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
    "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",
    "bc1pw5dgrnzv",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",
    "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
    "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf",
    "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j",
    "bc1gmk9yu",
    "",
    "1",
    "bc1",
]


@pytest.mark.parametrize(("text", "script", "network"), VALID)
def test_bip350_valid(text: str, script: str, network: Network) -> None:
    assert scripts.script_pubkey_from_address(text, network).hex() == script
    assert scripts.address(bytes.fromhex(script), network) == text.lower()


@pytest.mark.parametrize("text", INVALID)
@pytest.mark.parametrize("network", [Network.MAINNET, Network.TESTNET])
def test_bip350_invalid(text: str, network: Network) -> None:
    with pytest.raises(DecodeError):
        scripts.script_pubkey_from_address(text, network)


def test_another_network() -> None:
    with pytest.raises(DecodeError, match="'bc' is not 'bcrt', that of regtest"):
        scripts.script_pubkey_from_address(VALID[0][0], Network.REGTEST)


def test_appendix_g_addresses() -> None:
    """Every address of the appendix beside its script."""
    text = "\n".join(entry["text"] for entry in load("bolt03-g-dualfund.json")["text"])
    lines = text.splitlines()
    pairs = [
        (lines[i - 1].split(":")[1].strip(), line.split(":")[1].strip())
        for i, line in enumerate(lines)
        if line.strip().startswith("address: bcrt1") and "scriptPubKey" in lines[i - 1]
    ]
    assert len(pairs) >= 2
    for script, address in pairs:
        assert scripts.address(bytes.fromhex(script), Network.REGTEST) == address


@given(st.integers(0, 16), st.binary(min_size=2, max_size=40), st.sampled_from(list(Network)))
def test_addresses_round_trip(version: int, program: bytes, network: Network) -> None:
    if version == 0:
        program = hashlib.sha256(program).digest()
    script = bytes([0x50 + version if version else 0, len(program)]) + program
    assert scripts.script_pubkey_from_address(scripts.address(script, network), network) == script


@pytest.mark.parametrize("script", [b"", b"\x6a\x01\x00", b"\x00\x13" + bytes(19), b"\x76\xa9\x14" + bytes(22)])
def test_scripts_without_an_address(script: bytes) -> None:
    with pytest.raises(ValueError):
        scripts.address(script, Network.MAINNET)
