from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.commands import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has, without what was built here."""
    target = tmp_path_factory.mktemp("clone") / "pyln_fast"
    run("git", "clone", "-q", ROOT, target)
    return target
