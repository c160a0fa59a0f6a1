"""`pyln-fast simulate`: networks of nodes from seeds. A failing seed is one line, which is enough to replay it."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyln_fast.testing.shrink import Case
    from pyln_fast.testing.simulator import Outcome

DEFAULT_STEPS = 2000


def simulate(
    seed: Annotated[int | None, typer.Option(help="Replay this one, with every step in words.")] = None,
    seeds: Annotated[int, typer.Option(help="Run so many.", min=1)] = 100,
    start: Annotated[int, typer.Option("--from", help="The first of them.")] = 1,
    steps: Annotated[int, typer.Option(help="Of each seed, besides those towards quiescence.", min=1)] = DEFAULT_STEPS,
    nodes: Annotated[int | None, typer.Option(help="So many, not as the seed has it.", min=2, max=20)] = None,
    channels: Annotated[int | None, typer.Option(help="So many, not as the seed has it.", min=1, max=50)] = None,
    adversary: Annotated[bool | None, typer.Option(help="With a lawless node or not, whatever the seed has.")] = None,
    skip: Annotated[str, typer.Option(help="Draws of the seed that are left out, such as 3-17,20.")] = "",
    jobs: Annotated[int | None, typer.Option(help="Processes; as many as there are cores.", min=1)] = None,
    small: Annotated[bool, typer.Option("--shrink", help="Make failures smaller, and say what replays them.")] = False,
    tries: Annotated[int, typer.Option(help="Runs that --shrink may take for a failure.", min=1)] = 400,
    json_file: Annotated[Path | None, typer.Option("--json", help="Figures and failures as JSON.")] = None,
) -> None:
    """Run whole networks on a simulated clock, network, disk and chain, and check what must hold after every step.

    The exit code is 1 if a seed fails.
    """
    from pyln_fast.testing.shrink import Case, ranges_of

    try:
        skipped = frozenset(ranges_of(skip))
    except ValueError:
        raise typer.BadParameter(f"--skip {skip}: numbers and ranges, such as 3-17,20") from None
    case = Case(seed or 0, steps, nodes, channels, adversary, skipped)
    began = time.monotonic()
    trace: list[str] = []
    outcomes: list[Outcome] = []
    smaller: dict[int, str] = {}
    if seed is not None:
        outcomes.append(_replay(case, trace, quiet=small))
    else:
        outcomes += _run_all(case, range(start, start + seeds), jobs or os.cpu_count() or 1)
    elapsed = time.monotonic() - began
    for outcome in outcomes if small else ():
        if outcome.invariant is not None:
            smaller[outcome.seed] = _shrunk(case, outcome, tries)
    report = _report(outcomes, elapsed, smaller)
    if seed is not None:
        report["trace"] = trace
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    if seed is None:
        total = sum(outcome.steps for outcome in outcomes)
        typer.echo(
            f"{len(outcomes)} seeds, {total} steps in {elapsed:.1f} s ({total / elapsed:.0f}/s), "
            f"{report['payments']} payments, {report['crashes']} crashes, {_failed(outcomes)} failures"
        )
    if _failed(outcomes):
        raise typer.Exit(1)


def _failed(outcomes: list[Outcome]) -> int:
    return sum(outcome.invariant is not None for outcome in outcomes)


def _replay(case: Case, trace: list[str], quiet: bool) -> Outcome:
    def tell(line: str) -> None:
        trace.append(line)
        if not quiet:
            typer.echo(line)

    outcome = case.run(tell)
    if outcome.invariant is not None:
        typer.echo(_failure(case, outcome))
    else:
        typer.echo(f"seed={case.seed} step={outcome.steps} trace={outcome.trace_hash}")
    return outcome


def _run_all(case: Case, seeds: range, jobs: int) -> Iterator[Outcome]:
    """In the order of the seeds; a failure is printed when it is known."""
    from msgspec.structs import replace

    cases = [replace(case, seed=seed) for seed in seeds]
    if jobs == 1 or len(cases) == 1:
        yield from map(_told, cases, map(_run, cases))
        return
    # A forked process would share what the parent's libraries keep; a spawned one begins afresh.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(cases)), context) as pool:
        yield from map(_told, cases, pool.map(_run, cases, chunksize=4))


def _run(case: Case) -> Outcome:
    return case.run()


def _told(case: Case, outcome: Outcome) -> Outcome:
    if outcome.invariant is not None:
        typer.echo(_failure(case, outcome))
    return outcome


def _failure(case: Case, outcome: Outcome) -> str:
    """One line, which ends with what replays it."""
    from msgspec.structs import replace

    return f"{outcome.line} {outcome.detail}  # {replace(case, steps=outcome.index).command}"


def _shrunk(case: Case, outcome: Outcome, tries: int) -> str:
    from msgspec.structs import replace

    from pyln_fast.testing.shrink import shrink

    found = shrink(replace(case, seed=outcome.seed), outcome, tries)
    typer.echo(f"{found.case.command}  # {found.case.draws} draws, {found.outcome.line} {found.outcome.detail}")
    return found.case.command


def _report(outcomes: list[Outcome], elapsed: float, smaller: dict[int, str]) -> dict[str, object]:
    failures = []
    for each in outcomes:
        if each.invariant is not None:
            failure = {"seed": each.seed, "step": each.steps, "invariant": each.invariant, "detail": each.detail}
            failures.append(failure | ({"smaller": smaller[each.seed]} if each.seed in smaller else {}))
    return {
        "seeds": len(outcomes),
        "steps": sum(outcome.steps for outcome in outcomes),
        "simulated_s": sum(outcome.simulated_s for outcome in outcomes),
        "elapsed_s": round(elapsed, 3),
        "payments": sum(outcome.payments for outcome in outcomes),
        "crashes": sum(outcome.crashes for outcome in outcomes),
        "failures": failures,
    }
