"""The time of this machine, as the core takes it: as values that come with inputs."""

from __future__ import annotations

import time
from typing import Protocol

from pyln_fast.types import Monotonic, UnixTime


class Clock(Protocol):
    def monotonic(self) -> Monotonic: ...

    def wall(self) -> UnixTime: ...


class SystemClock:
    def monotonic(self) -> Monotonic:
        return Monotonic(time.monotonic_ns() // 1_000_000)

    def wall(self) -> UnixTime:
        return UnixTime(int(time.time()))
