"""A node dies at any write, with that write on disk or not: payments end once, and no msat is made or lost."""

from __future__ import annotations

from contextlib import closing
from functools import cache

import pytest

from tests.node.crash_run import NAMES, CrashRun
from tests.node.random_run import RandomRun

STRIDE = 12
"""Every write is tried with a stride of 1, which takes minutes; the suite takes a part, each test another offset."""


@cache
def writes_of_a_quiet_run() -> dict[str, int]:
    run = CrashRun()
    with closing(Closer(run)):
        begun = {name: host.store.sequence for name, host in run.world.hosts.items()}
        run.run()
        assert run.deaths == 0
        assert run.world.rejected == []
        return {name: host.store.sequence - begun[name] for name, host in run.world.hosts.items()}


class Closer:
    def __init__(self, run: CrashRun) -> None:
        self.run = run

    def close(self) -> None:
        self.run.world.close_all()


def run_with_a_crash(name: str, write: int, after: bool) -> None:
    run = CrashRun()
    with closing(Closer(run)):
        host = run.world.hosts[name]
        host.crash_in, host.crash_after_write = write, after
        run.run()
        assert run.deaths == 1, f"{name} did not die at write {write}"


def test_what_the_script_does() -> None:
    run = CrashRun()
    with closing(Closer(run)):
        run.open_all()
        run.pay_all()
        run.finish_payments()
        names = ("there", "and back", "forwarded", "refused by carol", "forwarded back", "dust")
        assert [run.sent(name) for name in names] == [True, True, True, False, True, True]


@pytest.mark.parametrize("after", [False, True], ids=["lost", "written"])
@pytest.mark.parametrize("name", NAMES)
def test_a_crash_at_a_write(name: str, after: bool) -> None:
    first = NAMES.index(name) + 3 * after
    for write in range(first, writes_of_a_quiet_run()[name], STRIDE):
        try:
            run_with_a_crash(name, write, after)
        except BaseException as error:
            error.add_note(f"name={name} write={write} after={after}")
            raise


@pytest.mark.parametrize("seed", range(4))
def test_a_random_life(seed: int) -> None:
    run = RandomRun(seed)
    with closing(Closer(run)):
        run.run_all(300)
        assert run.deaths > 0
