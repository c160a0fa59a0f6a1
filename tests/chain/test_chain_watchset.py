"""The C watch set against a dictionary."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast._ext import _scan

KEYS = [bytes([n]) * 36 for n in range(20)] + [b"\x00" * length for length in (1, 22, 34, 36, 40, 41, 43, 10_000)]


@settings(max_examples=150, deadline=None)
@given(
    st.binary(min_size=32, max_size=32),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from(KEYS)), max_size=60),
)
def test_behaves_as_a_counter(seed: bytes, steps: list[tuple[bool, bool, bytes]]) -> None:
    watch_set = _scan.WatchSet(seed)
    model: Counter[tuple[bool, bytes]] = Counter()
    for adds, is_script, key in steps:
        is_script = is_script or len(key) != 36
        if adds:
            (watch_set.add_script if is_script else watch_set.add_outpoint)(key)
            model[is_script, key] += 1
        else:
            removed = (watch_set.remove_script if is_script else watch_set.remove_outpoint)(key)
            assert removed == (model[is_script, key] > 0)
            model[is_script, key] -= removed
        assert len(watch_set) == sum(1 for count in model.values() if count)
    for key in KEYS:
        assert watch_set.count_script(key) == model[True, key]
        if len(key) == 36:
            assert watch_set.count_outpoint(key) == model[False, key]


@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_entries_come_and_go(seed: int) -> None:
    """Crowded tables: long runs of slots, gaps closed across the end of the table, growth."""
    chance = random.Random(seed)
    watch_set = _scan.WatchSet(chance.randbytes(32))
    model: dict[bytes, None] = {}
    for _ in range(20_000):
        if model and chance.random() < 0.45:
            outpoint = chance.choice(list(model)[:50])
            del model[outpoint]
            assert watch_set.remove_outpoint(outpoint)
            assert watch_set.count_outpoint(outpoint) == 0
        else:
            outpoint = chance.randbytes(36)
            model[outpoint] = None
            watch_set.add_outpoint(outpoint)
    assert len(watch_set) == len(model)
    assert all(watch_set.count_outpoint(outpoint) == 1 for outpoint in model)
    assert not any(watch_set.count_outpoint(chance.randbytes(36)) for _ in range(1000))
    for outpoint in model:
        assert watch_set.remove_outpoint(outpoint)
    assert len(watch_set) == 0


def test_refused() -> None:
    watch_set = _scan.WatchSet(bytes(32))
    for call in (watch_set.add_outpoint, watch_set.remove_outpoint, watch_set.count_outpoint):
        with pytest.raises(ValueError):
            call(bytes(35))
    for script in (b"", bytes(10_001)):
        with pytest.raises(ValueError):
            watch_set.add_script(script)
        assert not watch_set.remove_script(script)
        assert watch_set.count_script(script) == 0
    assert len(watch_set) == 0
