from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyln_fast._ext import _noise

LEVELS = {
    "portable": 0,
    "sha-ni": _noise.CPU_SHA_NI,
    "avx2": _noise.CPU_AVX2,
    "avx512": _noise.CPU_AVX2 | _noise.CPU_AVX512,
}


@pytest.fixture(params=list(LEVELS), autouse=True)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test of this directory runs once on each level of code that this CPU has."""
    wanted = LEVELS[request.param]
    if _noise.cpu_restrict(wanted) != wanted:
        _noise.cpu_restrict(0xFF)
        pytest.skip(f"this CPU has no {request.param}")
    yield request.param
    _noise.cpu_restrict(0xFF)
