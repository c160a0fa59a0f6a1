"""A failure made smaller still fails, in the same way, and its command replays it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pyln_fast.cli.main import app
from pyln_fast.testing.shrink import Case, ranges_of, ranges_text, shrink
from tests.sim.mutations import released_before_its_batch

SEED = 1


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((7,), "7"), ((1, 2, 3, 7), "1-3,7"), ((3, 1, 2, 10, 11), "1-3,10-11")]
)
def test_ranges_as_text(numbers: tuple[int, ...], text: str) -> None:
    assert ranges_text(numbers) == text
    assert tuple(ranges_of(text)) == tuple(sorted(numbers))


def test_skipped_draws_change_nothing_else() -> None:
    """Up to the first of them the run is the same, and so are the numbers behind them."""
    whole: list[str] = []
    cut: list[str] = []
    Case(SEED, 300).run(whole.append)
    Case(SEED, 300, skip=frozenset(range(201, 301))).run(cut.append)
    assert cut[:200] == whole[:200]
    assert cut[200:] != whole[200:]


def test_a_failure_becomes_small(monkeypatch: pytest.MonkeyPatch) -> None:
    released_before_its_batch(monkeypatch)
    case = Case(SEED, 1000)
    outcome = case.run()
    assert outcome.invariant == "2 durable first"
    found = shrink(case, outcome, tries=60)
    assert found.outcome.invariant == "2 durable first"
    assert found.case.draws <= outcome.index // 2
    assert found.tries <= 60
    assert found.case.run() == found.outcome
    words = found.case.command.split()
    assert words[:2] == ["pyln-fast", "simulate"]
    replayed = CliRunner().invoke(app, words[1:])
    assert replayed.exit_code == 1
    last = f"{found.outcome.line} {found.outcome.detail}  # {found.case.command}"
    assert replayed.output.splitlines()[-1] == last


def test_the_command_shrinks_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    released_before_its_batch(monkeypatch)
    arguments = [
        "simulate",
        "--seeds",
        "1",
        "--from",
        str(SEED),
        "--steps",
        "1000",
        "--jobs",
        "1",
        "--shrink",
        "--tries",
        "3",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    first, second, last = result.output.splitlines()
    assert first.startswith(f"seed={SEED} step=")
    assert second.startswith(f"pyln-fast simulate --seed {SEED} --steps ")
    assert last.endswith("1 failures")


def test_a_list_of_draws_that_is_none() -> None:
    result = CliRunner().invoke(app, ["simulate", "--seed", "1", "--skip", "1-x"])
    assert result.exit_code == 2
    assert "--skip 1-x: numbers and ranges, such as 3-17,20" in " ".join(result.output.replace("│", " ").split())
