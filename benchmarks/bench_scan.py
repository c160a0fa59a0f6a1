"""A real block is scanned for 100,000 watched outpoints: out of the caches, and warm against python-bitcoinlib."""

from __future__ import annotations

import lzma
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import bitcoin.core
import pytest

from pyln_fast._ext import _scan
from tests.oracle import block as oracle

WATCHED = 100_000
COLD_ROUNDS = 15
BLOCK = Path(__file__).parent / "data" / "702861.raw.xz"
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
DEFAULT_CACHE_BYTES = 64 << 20


@pytest.fixture(scope="module")
def raw_block() -> bytes:
    return lzma.decompress(BLOCK.read_bytes())


@pytest.fixture(scope="module")
def watch_set(raw_block: bytes) -> _scan.WatchSet:
    """Ten outpoints that transactions of the block spend, among those that it does not. The hits are the oracle's."""
    chance = random.Random(1)
    spent = [chance.choice(tx.outpoints) for tx in chance.sample(oracle.parse(raw_block).txs[1:], 10)]
    watched = {*spent, *(chance.randbytes(36) for _ in range(WATCHED - 10))}
    watch_set = _scan.WatchSet(chance.randbytes(32))
    for outpoint in sorted(watched):
        watch_set.add_outpoint(outpoint)
    found = watch_set.scan(raw_block)
    assert found is not None
    hits = oracle.scan(raw_block, watched, set())
    assert found == (oracle.sha256d(raw_block[:80]), hits)
    assert sum(1 for *_, kind, _ in hits if kind == oracle.OUTPOINT) == 10
    return watch_set


def last_cache_bytes() -> int:
    sizes = [(path / "size").read_text().strip() for path in CACHES.glob("index*")]
    units = {"K": 1 << 10, "M": 1 << 20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes), default=DEFAULT_CACHE_BYTES)


@pytest.fixture
def median_cold() -> Callable[..., list[float]]:
    """The median seconds of each function, called when everything else has gone through the caches since."""
    crowd = bytes([1]) * (2 * last_cache_bytes())

    def measure(*functions: Callable[[], object]) -> list[float]:
        seconds: list[list[float]] = [[] for _ in functions]
        for _ in range(COLD_ROUNDS):
            for function, samples in zip(functions, seconds, strict=True):
                assert crowd.find(0) == -1
                start = time.perf_counter()
                function()
                samples.append(time.perf_counter() - start)
        return [statistics.median(samples) for samples in seconds]

    return measure


def test_cold(
    raw_block: bytes,
    watch_set: _scan.WatchSet,
    median_cold: Callable[..., list[float]],
    report: Callable[..., None],
) -> None:
    other = bytes(bytearray(raw_block)).replace(b"\xff", b"\xfe")
    scan, read = median_cold(lambda: watch_set.scan(raw_block), lambda: other.find(0xFF))
    ours, limit = (len(raw_block) / seconds / 1e9 for seconds in (scan, read))
    report(
        name=f"block scan, {WATCHED:,} outpoints, cold",
        figure=ours,
        unit="GB/s",
        reference="memchr over as many cold bytes",
        reference_figure=limit,
        ratio=ours / limit,
        target=">= 3 GB/s",
        reached=ours >= 3,
    )


def test_warm(
    raw_block: bytes,
    watch_set: _scan.WatchSet,
    best_of: Callable[..., list[float]],
    report: Callable[..., None],
) -> None:
    parsed = bitcoin.core.CBlock.deserialize(raw_block)
    assert parsed.GetHash() == oracle.sha256d(raw_block[:80])
    scan, deserialize = best_of(
        lambda: watch_set.scan(raw_block), lambda: bitcoin.core.CBlock.deserialize(raw_block), seconds=1.0
    )
    report(
        name=f"block scan, {WATCHED:,} outpoints, warm",
        figure=scan * 1e6,
        unit="us",
        reference="python-bitcoinlib's deserialize",
        reference_figure=deserialize * 1e6,
        ratio=deserialize / scan,
        target=500,
        reached=deserialize / scan >= 500,
    )
