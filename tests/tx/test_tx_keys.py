from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast._ext import _core, _keys
from pyln_fast.tx import keys
from pyln_fast.types import CommitmentNumber, PrivateKey, PublicKey, Secret, Signature
from tests.oracle import curve
from tests.oracle import keys as oracle

VECTORS = Path(__file__).parents[1] / "vectors"
SECRETS = json.loads((VECTORS / "bolt03-d-secrets.json").read_text())
KEYS = {
    name: bytes.fromhex(value)
    for name, value in json.loads((VECTORS / "bolt03-e-keys.json").read_text())["values"].items()
}

scalars = st.integers(1, curve.N - 1).map(lambda n: PrivateKey(n.to_bytes(32, "big")))
indexes = st.integers(0, keys.FIRST_COMMITMENT_INDEX)
slow = settings(max_examples=25, deadline=None)

BAD_POINTS = (
    b"\x02" + curve.P.to_bytes(32, "big"),
    b"\x02" + (5).to_bytes(32, "big"),  # 5^3 + 7 is no square
    b"\x04" + KEYS["base_point"][1:],
    bytes(33),
)
BAD_SCALARS = (bytes(32), curve.N.to_bytes(32, "big"), b"\xff" * 32)


def test_bolt3_key_derivation() -> None:
    base_secret, secret = PrivateKey(KEYS["base_secret"]), Secret(KEYS["per_commitment_secret"])
    base, point = keys.public_key(base_secret), keys.per_commitment_point(secret)
    assert (base, point) == (KEYS["base_point"], KEYS["per_commitment_point"])
    assert keys.derive_public_key(base, point) == KEYS["localpubkey"]
    assert keys.derive_private_key(base_secret, point) == KEYS["localprivkey"]
    assert keys.derive_revocation_public_key(base, point) == KEYS["revocationpubkey"]
    assert keys.derive_revocation_private_key(base_secret, secret) == KEYS["revocationprivkey"]


@pytest.mark.parametrize("case", SECRETS["generation"], ids=lambda case: case["name"])
def test_bolt3_secret_generation(case: dict) -> None:
    assert keys.per_commitment_secret(Secret.fromhex(case["seed"]), case["I"]).hex() == case["output"]


@pytest.mark.parametrize("case", SECRETS["storage"], ids=lambda case: case["name"])
def test_bolt3_secret_storage(case: dict) -> None:
    store = keys.CommitmentSecrets()
    for step in case["inserts"]:
        secret = Secret.fromhex(step["secret"])
        if step["ok"]:
            store = store.insert(step["I"], secret)
            assert store.lookup(step["I"]) == secret
        else:
            before = store
            with pytest.raises(keys.InvalidSecret) as caught:
                store.insert(step["I"], secret)
            assert caught.value.index == step["I"]
            assert store is before


def test_commitment_numbers_count_up_and_indexes_down() -> None:
    assert keys.commitment_index(CommitmentNumber(0)) == 281474976710655
    assert keys.commitment_index(CommitmentNumber(42)) == 281474976710655 - 42


def test_secrets_are_a_value_that_encodes_and_does_not_show_itself() -> None:
    seed, store = Secret(b"\x07" * 32), keys.CommitmentSecrets()
    for index in range(keys.FIRST_COMMITMENT_INDEX, keys.FIRST_COMMITMENT_INDEX - 200, -1):
        assert store.lookup(index) is None
        store = store.insert(index, keys.per_commitment_secret(seed, index))
    assert all(
        store.lookup(index) == oracle.per_commitment_secret(seed, index)
        for index in range(keys.FIRST_COMMITMENT_INDEX - 199, keys.FIRST_COMMITMENT_INDEX + 1)
    )
    assert store.next_index == keys.FIRST_COMMITMENT_INDEX - 200
    assert len(store.entries) == 8
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(store), type=keys.CommitmentSecrets) == store
    assert repr(store) == f"<CommitmentSecrets next_index={store.next_index}>"


def test_the_last_secret_of_all_is_the_seed() -> None:
    seed = Secret(b"\x07" * 32)
    store = keys.CommitmentSecrets(((1, bytes(keys.per_commitment_secret(seed, 1))),))
    store = store.insert(0, seed)
    assert [index for index, _ in store.entries] == [1, 0]
    assert store.next_index == -1
    assert keys.CommitmentSecrets(((0, seed),)).lookup(12345) == oracle.per_commitment_secret(seed, 12345)


def test_an_index_out_of_turn_is_our_bug() -> None:
    with pytest.raises(AssertionError):
        keys.CommitmentSecrets().insert(7, Secret(bytes(32)))


@slow
@given(scalars, scalars)
def test_derivation_against_the_oracle(base_secret: PrivateKey, secret: PrivateKey) -> None:
    base, point = keys.public_key(base_secret), keys.per_commitment_point(secret)
    assert base == oracle.public_key(base_secret)
    assert keys.derive_public_key(base, point) == oracle.derive_public_key(base, point)
    assert keys.derive_private_key(base_secret, point) == oracle.derive_private_key(base_secret, point)
    assert keys.derive_revocation_public_key(base, point) == oracle.derive_revocation_public_key(base, point)
    revocation_key = keys.derive_revocation_private_key(base_secret, secret)
    assert revocation_key == oracle.derive_revocation_private_key(base_secret, secret)
    assert keys.public_key(revocation_key) == keys.derive_revocation_public_key(base, point)
    assert keys.ecdh(base_secret, point) == keys.ecdh(secret, base) == oracle.ecdh(base_secret, point)


@slow
@given(scalars, scalars)
def test_arithmetic_against_the_oracle(a: PrivateKey, b: PrivateKey) -> None:
    total, product = (oracle.scalar(a) + oracle.scalar(b)) % curve.N, oracle.scalar(a) * oracle.scalar(b) % curve.N
    point = keys.public_key(a)
    assert oracle.scalar(keys.private_key_multiply(a, b)) == product
    assert keys.public_key_multiply(point, b) == curve.serialize(curve.multiply(curve.G, product))
    if total:
        assert oracle.scalar(keys.private_key_add(a, b)) == total
        assert keys.public_key_add(point, b) == curve.serialize(curve.multiply(curve.G, total))
        assert keys.public_key_combine(point, keys.public_key(b)) == keys.public_key_add(point, b)


@given(st.binary(min_size=32, max_size=32), indexes, st.integers(0, 48), indexes)
def test_secrets_below_a_prefix_follow_from_it(seed: bytes, index: int, bits: int, other: int) -> None:
    prefix = index >> bits << bits
    known = keys.per_commitment_secret(Secret(seed), prefix)
    assert known == oracle.per_commitment_secret(seed, prefix)
    assert _keys.shachain_derive(known, prefix, index) == oracle.per_commitment_secret(seed, index)
    free = 48 if prefix == 0 else (prefix & -prefix).bit_length() - 1
    reachable = prefix >> free == other >> free
    assert (_keys.shachain_derive(known, prefix, other) is not None) == reachable


def test_points_and_scalars_that_are_none() -> None:
    good, secret = PublicKey(KEYS["base_point"]), PrivateKey(KEYS["base_secret"])
    assert keys.is_valid_public_key(good)
    assert keys.is_valid_private_key(secret)
    for bad in map(PublicKey, BAD_POINTS):
        assert not keys.is_valid_public_key(bad)
        assert not keys.verify_ecdsa(Signature(bytes(63) + b"\x01"), bytes(32), bad)
        for call in (
            lambda p: keys.ecdh(secret, p),
            lambda p: keys.public_key_add(p, secret),
            lambda p: keys.public_key_multiply(p, secret),
            lambda p: keys.public_key_combine(good, p),
            lambda p: keys.derive_public_key(p, good),
            lambda p: keys.derive_revocation_public_key(p, good),
            lambda p: keys.derive_revocation_public_key(good, p),
        ):
            with pytest.raises(ValueError, match=r"not a (point|scalar)"):
                call(bad)
    for raw in map(PrivateKey, BAD_SCALARS):
        assert not keys.is_valid_private_key(raw)
        for refused in (
            lambda s: keys.public_key(s),
            lambda s: keys.ecdh(s, good),
            lambda s: keys.sign_ecdsa(s, bytes(32)),
            lambda s: keys.sign_recoverable(s, bytes(32)),
            lambda s: keys.derive_private_key(s, good),
            lambda s: keys.derive_revocation_private_key(s, secret),
            lambda s: keys.derive_revocation_private_key(secret, s),
        ):
            with pytest.raises(ValueError, match="not a scalar"):
                refused(raw)
    negated = PrivateKey((curve.N - oracle.scalar(secret)).to_bytes(32, "big"))
    with pytest.raises(ValueError, match="the result is none"):
        keys.private_key_add(secret, negated)
    assert _core.secp_error() is None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_wrong_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"secret: {size} bytes, not 32"):
        keys.public_key(Secret(size))
    assert not keys.is_valid_public_key(bytes(size))
    with pytest.raises(TypeError, match="int instead of bytes"):
        _keys.pubkey_create(size)  # type: ignore[arg-type]


def test_ecdsa() -> None:
    secret, digest = PrivateKey(b"\x11" * 32), sha256(b"message").digest()
    signature = keys.sign_ecdsa(secret, digest)
    point = keys.public_key(secret)
    assert keys.verify_ecdsa(signature, digest, point)
    assert not keys.verify_ecdsa(signature, sha256(b"another").digest(), point)
    high_s = (curve.N - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert not keys.verify_ecdsa(Signature(signature[:32] + high_s), digest, point)
    assert not keys.verify_ecdsa(Signature(b"\xff" * 64), digest, point)
    recoverable, recovery_id = keys.sign_recoverable(secret, digest)
    assert recoverable == signature
    assert keys.recover(recoverable, recovery_id, digest) == point
    assert keys.recover(recoverable, recovery_id ^ 1, digest) != point
    for bad_id in (-1, 4):
        with pytest.raises(ValueError, match="no public key"):
            keys.recover(recoverable, bad_id, digest)
    assert _core.secp_error() is None


def test_schnorr_with_the_second_vector_of_bip_340() -> None:
    pubkey = bytes.fromhex("DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659")
    message = bytes.fromhex("243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89")
    signature = bytes.fromhex(
        "6896BD60EEAE296DB48A229FF71DFE071BDE413E6D43F917DC8DCF8C78DE33418906D11AC976ABCCB20B091292BFF4EA897EFCB639EA871CFA95F6DE339E4B0A"
    )
    assert keys.verify_schnorr(signature, message, pubkey)
    assert not keys.verify_schnorr(signature, message + b"\x00", pubkey)
    assert not keys.verify_schnorr(signature, message, b"\xff" * 32)
