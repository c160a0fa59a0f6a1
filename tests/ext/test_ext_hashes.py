from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyln_fast._ext import _noise
from tests.oracle import hashes

VECTORS = Path(__file__).parents[1] / "vectors"
each_level = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(name: str) -> list[dict]:
    return json.loads((VECTORS / name).read_text())["tests"]


def test_nist_sha256() -> None:
    for case in load("nist-sha256.json"):
        assert _noise.sha256(bytes.fromhex(case["msg"])).hex() == case["md"]


def test_sha256_of_a_million_letters() -> None:
    # FIPS 180-2, B.3.
    expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert _noise.sha256(b"a" * 1_000_000).hex() == expected


def test_rfc_4231() -> None:
    for case in load("rfc4231.json"):
        got = _noise.hmac_sha256(bytes.fromhex(case["key"]), bytes.fromhex(case["msg"])).hex()
        assert got.startswith(case["tag"])


def test_wycheproof_hmac() -> None:
    for case in load("wycheproof-hmac-sha256.json"):
        got = _noise.hmac_sha256(bytes.fromhex(case["key"]), bytes.fromhex(case["msg"])).hex()
        assert got.startswith(case["tag"]) == (case["result"] == "valid")


def test_rfc_5869_case_3() -> None:
    # The case without salt and info; its 42 bytes are the first of our 64.
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert _noise.hkdf_sha256(b"", b"\x0b" * 22).hex().startswith(expected)


def test_wycheproof_hkdf() -> None:
    for case in load("wycheproof-hkdf-sha256.json"):
        got = _noise.hkdf_sha256(bytes.fromhex(case["salt"]), bytes.fromhex(case["ikm"]))
        assert (got[: case["size"]].hex() == case["okm"]) == (case["result"] == "valid")


def test_every_length_around_a_block() -> None:
    data = bytes(i * 131 & 255 for i in range(260))
    for n in range(260):
        assert _noise.sha256(data[:n]) == hashes.sha256(data[:n])


@each_level
@given(st.binary(max_size=1000), st.binary(max_size=200))
def test_against_the_oracle(data: bytes, key: bytes) -> None:
    assert _noise.sha256(data) == hashes.sha256(data)
    assert _noise.sha256d(data) == hashes.sha256d(data)
    assert _noise.hmac_sha256(key, data) == hashes.hmac_sha256(key, data)
    assert _noise.hkdf_sha256(key, data) == hashes.hkdf_sha256(key, data)
