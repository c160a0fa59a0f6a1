"""How fast the simulator breaks things: its speed is its power."""

from __future__ import annotations

import time
from collections.abc import Callable

from pyln_fast.testing.simulator import Simulator

SEEDS = range(1, 13)
STEPS = 1000
TARGET_STEPS_PER_SECOND = 1500


def test_simulator_steps(report: Callable[..., None]) -> None:
    """Processor time, in one process: a step is one delivered message, completion, block, tick or wish."""
    steps = payments = 0
    began = time.process_time()
    for seed in SEEDS:
        outcome = Simulator(seed).run(STEPS)
        assert outcome.invariant is None, outcome.line
        steps += outcome.steps
        payments += outcome.payments
    figure = steps / (time.process_time() - began)
    assert payments > 0
    report(
        name="simulator, all invariants checked",
        figure=figure,
        unit="steps/s a core",
        target=f">= {TARGET_STEPS_PER_SECOND}",
        reached=figure >= TARGET_STEPS_PER_SECOND,
    )
