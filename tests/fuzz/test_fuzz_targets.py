"""Every input that is kept runs through its target, without a fuzzer: what was found stays found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.programs import C_TESTS
from tests.fuzz.targets import CORPUS, TARGETS, Target

KEPT = [
    pytest.param(target, path, id=f"{target.name}/{path.name}")
    for target in TARGETS.values()
    for path in target.corpus()
]


@pytest.mark.parametrize(("target", "path"), KEPT)
def test_kept(target: Target, path: Path) -> None:
    target.run(path.read_bytes())


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "peer_stream"])
def test_seeds(name: str) -> None:
    seeds = list(TARGETS[name].seeds())
    assert seeds
    for data in seeds:
        TARGETS[name].run(data)


def test_seeds_of_peer_streams() -> None:
    """Some of them: each takes a thirtieth of a second."""
    target = TARGETS["peer_stream"]
    for data in list(target.seeds())[::8]:
        target.run(data)


def test_the_corpus_has_targets_and_is_small() -> None:
    in_c = {"c_" + path.stem[len("fuzz_") :] for path in C_TESTS.glob("fuzz_*.c")}
    assert {path.name for path in CORPUS.iterdir()} <= TARGETS.keys() | in_c
    assert sum(path.stat().st_size for path in CORPUS.glob("*/*")) < 300_000
