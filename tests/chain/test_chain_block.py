"""The C block walk against the oracle, on made-up blocks and on two real ones."""

from __future__ import annotations

import lzma
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyln_fast._ext import _scan
from tests.oracle import block as oracle

SEED = bytes(range(32))
BLOCKS = Path(__file__).parents[2] / "benchmarks" / "data"


def compact_size(number: int) -> bytes:
    if number < 253:
        return bytes([number])
    if number < 2**16:
        return b"\xfd" + number.to_bytes(2, "little")
    return b"\xfe" + number.to_bytes(4, "little")


def make_tx(inputs: list[bytes], scripts: list[bytes], witness: bool) -> bytes:
    body = compact_size(len(inputs)) + b"".join(o + compact_size(len(o) % 7) + bytes(len(o) % 7 + 4) for o in inputs)
    body += compact_size(len(scripts)) + b"".join(bytes(8) + compact_size(len(s)) + s for s in scripts)
    if not witness:
        return bytes(4) + body + bytes(4)
    witnesses = b"".join(b"\x02" + compact_size(300) + bytes(300) + b"\x00" for _ in inputs)
    return bytes(4) + b"\x00\x01" + body + witnesses + bytes(4)


def make_block(txs: list[bytes]) -> bytes:
    return bytes(80) + compact_size(len(txs)) + b"".join(txs)


def watch(outpoints: set[bytes], scripts: set[bytes]) -> _scan.WatchSet:
    watch_set = _scan.WatchSet(SEED)
    for outpoint in sorted(outpoints):
        watch_set.add_outpoint(outpoint)
    for script in sorted(scripts):
        watch_set.add_script(script)
    return watch_set


def txid(raw: bytes) -> bytes:
    return oracle.read_tx(oracle.Reader(raw)).txid


def agree(raw: bytes, outpoints: set[bytes], scripts: set[bytes]) -> None:
    try:
        expected = oracle.sha256d(raw[:80]), oracle.scan(raw, outpoints, scripts)
    except ValueError:
        expected = None
    assert watch(outpoints, scripts).scan(raw) == expected


def scripts_of(chance: random.Random) -> list[bytes]:
    lengths = chance.choices([0, 1, 7, 8, 22, 34, 40, 41, 83, 300], k=chance.choice([1, 2, 3, 90]))
    return [chance.randbytes(length) for length in lengths]


def random_block(chance: random.Random) -> bytes:
    txs: list[bytes] = []
    for _ in range(chance.choice([1, 2, 30, 260])):
        inputs = [chance.randbytes(36) for _ in range(chance.choice([1, 1, 2, 5, 70]))]
        if txs and chance.random() < 0.5:
            inputs[chance.randrange(len(inputs))] = txid(chance.choice(txs[-3:])) + chance.choice([0, 1]).to_bytes(
                4, "little"
            )
        txs.append(make_tx(inputs, scripts_of(chance), chance.random() < 0.5))
    return make_block(txs)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(min_value=0, max_value=2**32), st.sampled_from([0, 0.001, 0.02, 0.5]))
def test_scan_agrees_with_the_oracle(seed: int, density: float) -> None:
    chance = random.Random(seed)
    raw = random_block(chance)
    txs = oracle.parse(raw).txs
    outpoints = {o for tx in txs for o in tx.outpoints if chance.random() < density}
    scripts = {s for tx in txs for s in tx.scripts if s and chance.random() < density}
    agree(raw, outpoints, scripts)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_corrupted_blocks_agree_with_the_oracle(data: st.DataObject) -> None:
    chance = random.Random(data.draw(st.integers(0, 1000)))
    first = make_tx([chance.randbytes(36)], [chance.randbytes(22)], True)
    second = make_tx([txid(first) + bytes(4), chance.randbytes(36)], [b"\x51", chance.randbytes(50)], False)
    raw = bytearray(make_block([first, second]))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(80, len(raw) - 1))] = data.draw(st.sampled_from([0, 1, 2, 35, 252, 253, 254, 255]))
    agree(bytes(raw), {bytes(raw[88:124])}, {b"\x51"})


def test_truncated_at_every_offset() -> None:
    parent = make_tx([b"\x07" * 36], [b"\x51\x52", b"\x6a"], True)
    raw = make_block([parent, make_tx([txid(parent) + bytes(4)], [b"\x53"], False)])
    watch_set = watch({b"\x07" * 36}, {b"\x53"})
    assert watch_set.scan(raw) == (oracle.sha256d(raw[:80]), oracle.scan(raw, {b"\x07" * 36}, {b"\x53"}))
    for length in range(len(raw)):
        assert watch_set.scan(raw[:length]) is None
        assert not _scan.check_merkle_root(raw[:length])
    assert watch_set.scan(raw + b"\x00") is None


@pytest.mark.parametrize(
    "tail",
    [
        b"\x00",
        b"\x02" + make_tx([bytes(36)], [b""], False),
        b"\xfd\x01\x00" + make_tx([bytes(36)], [b""], False),
        b"\xff" * 9 + bytes(60),
        b"\x01" + bytes(4) + b"\xff" * 9 + bytes(60),
        b"\x01" + bytes(4) + b"\x01" + bytes(36) + b"\xff" * 9 + bytes(60),
        b"\x01" + bytes(4) + b"\x01" + bytes(36) + b"\x00" + bytes(4) + b"\xff" * 9 + bytes(60),
        b"\x01" + bytes(4) + b"\x01" + bytes(36) + b"\x00" + bytes(4) + b"\x01" + bytes(8) + b"\xff" * 9 + bytes(60),
        b"\x01" + bytes(4) + b"\x00\x02" + make_tx([bytes(36)], [b""], False)[4:],
        b"\x01" + bytes(4) + b"\x00\x01" + make_tx([bytes(36)], [b""], False)[4:-4] + b"\x00" + bytes(4),
        b"\x01" + make_tx([], [b""], False),
        b"\x01" + make_tx([bytes(36)], [], False) + bytes(20),
        b"\x01" + make_tx([bytes(36)], [bytes(3_999_900)], False),
    ],
    ids=[
        "no transactions",
        "one missing",
        "count not shortest",
        "count of transactions",
        "count of inputs",
        "length of script_sig",
        "count of outputs",
        "length of script_pubkey",
        "unknown flag",
        "superfluous witness",
        "no inputs",
        "no outputs",
        "over four million bytes",
    ],
)
def test_refused(tail: bytes) -> None:
    raw = bytes(80) + tail
    with pytest.raises(ValueError):
        oracle.parse(raw)
    assert watch(set(), set()).scan(raw) is None


@pytest.fixture(scope="module", params=["413567", "702861"])
def real_block(request: pytest.FixtureRequest) -> bytes:
    return lzma.decompress((BLOCKS / f"{request.param}.raw.xz").read_bytes())


def test_real_block(real_block: bytes) -> None:
    chance = random.Random(1)
    txs = oracle.parse(real_block).txs
    outpoints = {o for tx in txs for o in tx.outpoints if chance.random() < 0.01}
    scripts = {s for tx in txs for s in tx.scripts if chance.random() < 0.01 and s}
    hits = oracle.scan(real_block, outpoints, scripts)
    assert {kind for *_, kind, _ in hits} == {oracle.OUTPOINT, oracle.SCRIPT, oracle.JOINED}
    outpoints |= {chance.randbytes(36) for _ in range(5000)}
    assert watch(outpoints, scripts).scan(real_block) == (oracle.sha256d(real_block[:80]), hits)


def test_real_block_header_and_merkle_root(real_block: bytes) -> None:
    block_hash, good = _scan.check_header(real_block[:80], real_block[4:36], 0x1D00FFFF)
    assert (block_hash, good) == (oracle.sha256d(real_block[:80]), True)
    assert block_hash[-8:] == bytes(8)
    assert _scan.check_header(real_block[:80], None, 0x1D00FFFF) == (block_hash, True)
    assert _scan.check_header(real_block[:80], bytes(32), 0x1D00FFFF) == (block_hash, False)
    assert _scan.check_header(real_block[:80], None, 0x17000001) == (block_hash, False)
    wrong_nonce = real_block[:76] + bytes(4)
    assert _scan.check_header(wrong_nonce, None, 0x1D00FFFF) == (oracle.sha256d(wrong_nonce), False)
    assert _scan.check_merkle_root(real_block)
    assert not _scan.check_merkle_root(real_block[:-1] + bytes([real_block[-1] ^ 1]))


def expand(bits: int) -> int | None:
    """Bitcoin Core's arith_uint256::SetCompact: None where it says negative, overflow or zero."""
    size, mantissa = bits >> 24, bits & 0x7FFFFF
    target = mantissa << 8 * (size - 3) if size > 3 else mantissa >> 8 * (3 - size)
    return None if target == 0 or bits & 0x800000 or target >= 2**256 else target


@settings(max_examples=200, deadline=None)
@given(st.integers(28, 36) | st.integers(0, 40), st.integers(0, 2**24 - 1), st.integers(0, 255))
@example(0x20, 0xFFFFFF, 0)
@example(0x20, 0xFFFFFF, 1)
@example(0x20, 0xFFFFFF, 2)
@example(0x20, 0x7FFFFF, 0)
@example(0x21, 0x0100FF, 0)
@example(0x22, 0x0000FF, 0)
@example(0x23, 0x000001, 0)
@example(0x03, 0x000000, 0)
def test_targets(size: int, mantissa: int, nonce: int) -> None:
    bits = size << 24 | mantissa
    header = bytes(72) + bits.to_bytes(4, "little") + nonce.to_bytes(4, "little")
    block_hash = oracle.sha256d(header)
    target, limit = expand(bits), 0xFFFF << 8 * 30
    good = target is not None and target <= limit and int.from_bytes(block_hash, "little") <= target
    assert _scan.check_header(header, None, 0x2100FFFF) == (block_hash, good)


@pytest.mark.parametrize("count", [*range(1, 18), 100, 127, 129])
def test_merkle_root(count: int) -> None:
    txs = [make_tx([n.to_bytes(36, "little")], [b"\x51"], n % 2 == 0) for n in range(count)]
    root = oracle.merkle_root([txid(tx) for tx in txs])
    body = compact_size(count) + b"".join(txs)
    assert _scan.check_merkle_root(bytes(36) + root + bytes(12) + body)
    assert not _scan.check_merkle_root(bytes(80) + body)


@pytest.mark.parametrize(("count", "repeated"), [(3, 1), (5, 1), (6, 2), (7, 1), (12, 4)])
def test_repeated_pair_has_the_same_root_and_is_refused(count: int, repeated: int) -> None:
    txs = [make_tx([n.to_bytes(36, "little")], [b"\x51"], False) for n in range(count)]
    root = oracle.merkle_root([txid(tx) for tx in txs])
    txs += txs[-repeated:]
    assert oracle.merkle_root([txid(tx) for tx in txs]) is None
    assert not _scan.check_merkle_root(bytes(36) + root + bytes(12) + compact_size(len(txs)) + b"".join(txs))


def test_arguments_of_the_wrong_size() -> None:
    with pytest.raises(ValueError):
        _scan.WatchSet(bytes(31))
    with pytest.raises(ValueError):
        _scan.check_header(bytes(79), None, 0x207FFFFF)
    with pytest.raises(ValueError):
        _scan.check_header(bytes(80), bytes(31), 0x207FFFFF)
