"""A failing seed made smaller: fewer nodes and channels, fewer steps, the same invariant."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec
from msgspec.structs import replace

from pyln_fast.testing.simulator import Outcome, Simulator


class Case(msgspec.Struct, frozen=True):
    """All that a run depends on."""

    seed: int
    steps: int
    nodes: int | None = None
    channels: int | None = None
    adversary: bool | None = None
    skip: frozenset[int] = frozenset()

    def run(self, trace: Callable[[str], None] | None = None) -> Outcome:
        simulator = Simulator(self.seed, self.nodes, self.channels, trace, adversary=self.adversary, skip=self.skip)
        return simulator.run(self.steps)

    @property
    def draws(self) -> int:
        """Those that are not skipped."""
        return self.steps - sum(1 for index in self.skip if index <= self.steps)

    @property
    def command(self) -> str:
        """What replays it."""
        words = [f"pyln-fast simulate --seed {self.seed} --steps {self.steps}"]
        if self.nodes is not None:
            words.append(f"--nodes {self.nodes}")
        if self.channels is not None:
            words.append(f"--channels {self.channels}")
        if self.adversary is not None:
            words.append("--adversary" if self.adversary else "--no-adversary")
        if self.skip:
            words.append(f"--skip {ranges_text(self.skip)}")
        return " ".join(words)


class Shrunk(msgspec.Struct, frozen=True):
    """The smallest case that was found, what it comes to, and how many runs that took."""

    case: Case
    outcome: Outcome
    tries: int


def shrink(case: Case, outcome: Outcome, tries: int) -> Shrunk:
    """`outcome` is what `case` came to, a failure. At most `tries` runs; the result fails in the same invariant."""
    assert outcome.invariant is not None
    shrinker = _Shrinker(replace(case, steps=outcome.index), outcome, tries)
    shrinker.fewer_nodes()
    shrinker.fewer_steps()
    return Shrunk(shrinker.case, shrinker.outcome, shrinker.tried)


class _Shrinker:
    def __init__(self, case: Case, outcome: Outcome, tries: int) -> None:
        self.case = case
        self.outcome = outcome
        self.tried = 0
        self._tries = tries

    def _fails(self, case: Case) -> bool:
        """If it still fails it is what is made smaller from now on."""
        if self.tried >= self._tries:
            return False
        self.tried += 1
        outcome = case.run()
        if outcome.invariant != self.outcome.invariant:
            return False
        skip = frozenset(index for index in case.skip if index <= outcome.index)
        self.case, self.outcome = replace(case, steps=outcome.index, skip=skip), outcome
        return True

    def fewer_nodes(self) -> None:
        if self.case.adversary is not False:
            self._fails(replace(self.case, adversary=False))
        original = Simulator(self.case.seed, self.case.nodes, self.case.channels, adversary=self.case.adversary)
        count, channels = len(original.nodes), len(original.edges)
        smaller = ((n, c) for n in range(2, count + 1) for c in range(n - 1, min(channels, n + 1) + 1))
        for nodes, edges in smaller:
            if (nodes, edges) < (count, channels) and self._fails(replace(self.case, nodes=nodes, channels=edges)):
                return

    def fewer_steps(self) -> None:
        """Draws are left out, half of them at first, then ever smaller runs of them."""
        size = self.case.steps // 2
        while size >= 1 and self.tried < self._tries:
            for first in _chunk_starts(self.case, size):
                chunk = range(first, first + size)
                if not self.case.skip.issuperset(chunk):
                    self._fails(replace(self.case, skip=self.case.skip.union(chunk)))
            size //= 2


def _chunk_starts(case: Case, size: int) -> Iterator[int]:
    """From the end on: what comes late depends on more, and is depended on by less."""
    yield from range(case.steps - size + 1, 0, -size)


def ranges_text(numbers: Collection[int]) -> str:
    """`1-3,7`. `ranges_of` reads it."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{first}-{last}" if first != last else str(first) for first, last in parts)


def ranges_of(text: str) -> Iterable[int]:
    """Raises ValueError."""
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
