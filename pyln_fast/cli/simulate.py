"""`pyln-fast simulate`: networks of nodes from seeds. A failing seed is one line, which is enough to replay it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STEPS = 2000


def simulate(
    seed: Annotated[int | None, typer.Option(help="Replay this one, with every step in words.")] = None,
    seeds: Annotated[int, typer.Option(help="Run so many.", min=1)] = 100,
    start: Annotated[int, typer.Option("--from", help="The first of them.")] = 1,
    steps: Annotated[int, typer.Option(help="Of each seed, besides those towards quiescence.", min=1)] = DEFAULT_STEPS,
    json_file: Annotated[Path | None, typer.Option("--json", help="Figures and failures as JSON.")] = None,
) -> None:
    """Run whole networks on a simulated clock, network, disk and chain, and check what must hold after every step.

    The exit code is 1 if a seed fails.
    """
    from pyln_fast.testing.simulator import Outcome, Simulator

    began = time.monotonic()
    outcomes: list[Outcome] = []
    wanted = [seed] if seed is not None else range(start, start + seeds)
    for number in wanted:
        outcome = Simulator(number, trace=typer.echo if seed is not None else None).run(steps)
        outcomes.append(outcome)
        if outcome.invariant is not None:
            typer.echo(f"{outcome.line} {outcome.detail}")
        elif seed is not None:
            typer.echo(f"seed={seed} step={outcome.steps} trace={outcome.trace_hash}")
    elapsed = time.monotonic() - began
    failures = [outcome for outcome in outcomes if outcome.invariant is not None]
    total = sum(outcome.steps for outcome in outcomes)
    report = {
        "seeds": len(outcomes),
        "steps": total,
        "simulated_s": sum(outcome.simulated_s for outcome in outcomes),
        "elapsed_s": round(elapsed, 3),
        "payments": sum(outcome.payments for outcome in outcomes),
        "crashes": sum(outcome.crashes for outcome in outcomes),
        "failures": [
            {"seed": each.seed, "step": each.steps, "invariant": each.invariant, "detail": each.detail}
            for each in failures
        ],
    }
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    if seed is None:
        typer.echo(
            f"{len(outcomes)} seeds, {total} steps in {elapsed:.1f} s ({total / elapsed:.0f}/s), "
            f"{report['payments']} payments, {report['crashes']} crashes, {len(failures)} failures"
        )
    if failures:
        raise typer.Exit(1)
