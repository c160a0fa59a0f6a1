import pytest

from tests.channel.crash_loop import CrashLoop


@pytest.mark.parametrize("closing", [False, True], ids=["open", "closing"])
@pytest.mark.parametrize("first_seed", range(0, 40, 10))
def test_random_workloads_with_lost_links_and_crashes(first_seed: int, closing: bool) -> None:
    for seed in range(first_seed, first_seed + 10):
        CrashLoop(seed, closing).run(300)


# Seeds that once found a bug: (seed, closing, steps).
REGRESSIONS: list[tuple[int, bool, int]] = [
    # update_fee behind shutdown
    (1002, True, 300),
    (1884, True, 300),
]


@pytest.mark.parametrize(("seed", "closing", "steps"), REGRESSIONS)
def test_seed_that_once_failed(seed: int, closing: bool, steps: int) -> None:
    CrashLoop(seed, closing).run(steps)
