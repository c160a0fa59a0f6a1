"""Benchmarks are not run by the tests, and have to keep up with what they measure."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

MODULES = sorted(file.stem for file in (Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_it_finds_what_it_imports(module: str) -> None:
    importlib.import_module(f"benchmarks.{module}")
