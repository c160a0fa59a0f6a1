"""mypy refuses a `replace` that the struct's constructor would refuse."""

import sys
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

ROOT = Path(__file__).parents[2]
SNIPPET = """
from typing import Generic, TypeVar
import msgspec
from msgspec.structs import replace
from pyln_fast.types import Msat, Sat

T = TypeVar("T")

class Parent(msgspec.Struct, frozen=True):
    amount_msat: Msat
class Child(Parent, frozen=True):
    fee_sat: Sat = Sat(0)
class Other(msgspec.Struct, frozen=True):
    amount_msat: Msat
    count: int
class Box(msgspec.Struct, Generic[T], frozen=True):
    inside: T
S = TypeVar("S", bound=Parent)

def right(child: Child, either: Child | Other, box: Box[Sat]) -> Child:
    replace(either, amount_msat=Msat(1))
    replace(box, inside=Sat(1))
    return msgspec.structs.replace(child, amount_msat=Msat(1), fee_sat=Sat(2))

def right_of_any(struct: S) -> S:
    return replace(struct, amount_msat=Msat(1))

def wrong(child: Child, either: Child | Other, box: Box[Sat], struct: S) -> None:
    replace(child, amount_msat=Sat(1))
    msgspec.structs.replace(child, amount_msat=1)
    replace(child, amount=Msat(1))
    replace(either, count=1)
    replace(box, inside=Msat(1))
    replace(struct, fee_sat=Sat(1))
"""
REFUSALS = {
    "replace(child, amount_msat=Sat(1))": (
        'Argument "amount_msat" to "replace" has incompatible type "Sat"; expected "Msat"'
    ),
    "msgspec.structs.replace(child, amount_msat=1)": (
        'Argument "amount_msat" to "replace" has incompatible type "int"; expected "Msat"'
    ),
    "replace(child, amount=Msat(1))": 'Unexpected keyword argument "amount" for "replace"',
    "replace(either, count=1)": 'Unexpected keyword argument "count" for "replace"',
    "replace(box, inside=Msat(1))": 'Argument "inside" to "replace" has incompatible type "Msat"; expected "Sat"',
    "replace(struct, fee_sat=Sat(1))": 'Unexpected keyword argument "fee_sat" for "replace"',
}


def test_wrong_units_and_unknown_fields_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET)
    # mypy raises the limit for the whole process, in which other tests look at what is nested too deeply.
    limit = sys.getrecursionlimit()
    try:
        out, err, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-pretty", str(snippet)])
    finally:
        sys.setrecursionlimit(limit)
    assert err == ""
    lines = SNIPPET.splitlines()
    found: dict[str, str] = {}
    for line in out.splitlines()[:-1]:
        place, level, text = line.split(": ", 2)
        if level == "error":
            found[lines[int(place.rsplit(":", 1)[1]) - 1].strip()] = text.split("  [")[0].split("; did you mean")[0]
    assert found == REFUSALS
