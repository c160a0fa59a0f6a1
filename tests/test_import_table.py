"""Arrows go down only: who may import whom, and who may wait, read a clock, throw dice or touch a disk.

runtime  rpc  cli      wait; the only `async`, besides testing
persist  testing       talk to disks and databases; simulate
node
peer  channel  chain  wallet  payment  routing      do not import each other
wire  tx  sign  onion  onion may use wire, sign may use tx
types errors features config events records
_ext
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pyln_fast"

VALUES = frozenset({"types", "errors", "features", "config", "events", "records"})
LOW = VALUES | {"_ext"}
BOTTOM = frozenset({"wire", "tx", "sign", "onion"})
MIDDLE = frozenset({"peer", "channel", "chain", "wallet", "payment", "routing"})
CORE = LOW | BOTTOM | MIDDLE | {"node"}

# What a package may import besides itself. A package that is not here fails the test: it enters the table first.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "_ext": frozenset(),
    **dict.fromkeys(VALUES, LOW),
    "wire": LOW,
    "tx": LOW,
    "sign": LOW | {"tx"},
    "onion": LOW | {"wire"},
    **dict.fromkeys(MIDDLE, LOW | BOTTOM),
    "node": LOW | BOTTOM | MIDDLE,
    # What it encodes are values of the layers below node.
    "persist": LOW | BOTTOM | MIDDLE,
    "runtime": CORE | {"persist"},
    "testing": CORE | {"persist", "runtime"},
    "rpc": CORE | {"persist", "runtime"},
    "cli": CORE | {"persist", "runtime", "rpc", "testing"},
    "__main__": frozenset({"cli"}),
    # Importing any part of the package imports this first.
    "__init__": VALUES,
}

MAY_WAIT = {"runtime", "rpc", "cli", "testing"}
MAY_TOUCH_THE_WORLD = MAY_WAIT | {"persist"}
# The blinding seed of libsecp256k1's context comes from the operating system; no result depends on it.
EXCEPT = {("_ext/__init__.py", "os")}

WAITING = "aiohttp asyncio concurrent multiprocessing queue sched select selectors signal subprocess threading uvloop"
CHANCE = "calendar datetime random secrets time uuid zoneinfo"
OUTSIDE = (
    "dbm fcntl fileinput glob http io mmap os pathlib psycopg shelve shutil socket socketserver sqlite3 ssl tempfile"
)
THE_WORLD = frozenset(f"{WAITING} {CHANCE} {OUTSIDE} urllib".split())
WORLD_CALLS = {"open", "input", "print"}

FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def package_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def imported(tree: ast.AST, file: str) -> Iterator[str]:
    """Every module that the file names in an import, wherever in the file, as an absolute dotted name."""
    here = ["pyln_fast", *Path(file).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            # `from pyln_fast import wire` names a package, `from pyln_fast.wire import codec` does so already.
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "pyln_fast" else (module,)


def called(tree: ast.AST) -> Iterator[str]:
    """Every plain name that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def complaints(file: str, source: str) -> list[str]:
    """What this file may not do, or an empty list."""
    package, tree, found = package_of(file), ast.parse(source), []
    if package not in MAY_IMPORT:
        return [f"the package {package} is not in the table"]
    for module in imported(tree, file):
        top, *rest = module.split(".")
        if top == "pyln_fast":
            target = rest[0] if rest else "__init__"
            known = target in MAY_IMPORT and target != "__init__"
            if known and target != package and target not in MAY_IMPORT[package]:
                found.append(f"{package} imports {module}")
        elif top in THE_WORLD and package not in MAY_TOUCH_THE_WORLD and (file, top) not in EXCEPT:
            found.append(f"{package} imports {module}")
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef) and package not in MAY_WAIT:
            found.append(f"{package} waits: async def {node.name}")
    if package not in MAY_TOUCH_THE_WORLD:
        found += [f"{package} calls {name}()" for name in called(tree) if name in WORLD_CALLS]
    return found


@pytest.mark.parametrize("file", FILES)
def test_a_file_keeps_to_the_table(file: str) -> None:
    assert complaints(file, (PACKAGE / file).read_text()) == []


def test_the_table_has_no_way_back_up() -> None:
    """A table with a cycle would allow what it is there to forbid; only the values may lean on each other."""
    order: list[str] = []
    rest = {package: (targets - {package}) - VALUES for package, targets in MAY_IMPORT.items()}
    while rest:
        free = [package for package, targets in rest.items() if targets <= set(order)]
        assert free, f"these import each other in a circle: {sorted(rest)}"
        order += free
        rest = {package: targets for package, targets in rest.items() if package not in free}
    assert all(not MAY_IMPORT[package] & (MIDDLE - {package}) for package in MIDDLE)


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("channel/x.py", "from pyln_fast.chain import scanner", "channel imports pyln_fast.chain"),
        ("channel/x.py", "from pyln_fast import chain", "channel imports pyln_fast.chain"),
        ("channel/states/x.py", "from ...chain.scanner import scan", "channel imports pyln_fast.chain.scanner"),
        ("channel/x.py", "def f():\n    import pyln_fast.node.journal", "channel imports pyln_fast.node.journal"),
        ("wire/x.py", "from pyln_fast.onion import packet", "wire imports pyln_fast.onion"),
        ("tx/x.py", "from pyln_fast.sign.interfaces import NodeSigner", "tx imports pyln_fast.sign.interfaces"),
        ("node/x.py", "import pyln_fast.runtime", "node imports pyln_fast.runtime"),
        ("types.py", "from pyln_fast.tx import keys", "types imports pyln_fast.tx"),
        ("node/x.py", "import os.path", "node imports os.path"),
        ("chain/x.py", "from time import monotonic", "chain imports time"),
        ("persist/x.py", "async def f(): pass", "persist waits: async def f"),
        ("node/x.py", "open('x')", "node calls open()"),
        ("_ext/x.py", "import os", "_ext imports os"),
        ("newcomer/x.py", "", "the package newcomer is not in the table"),
    ],
)
def test_what_the_table_forbids(file: str, source: str, complaint: str) -> None:
    assert complaints(file, source) == [complaint]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("onion/x.py", "from pyln_fast.wire import failure_msgs"),
        ("sign/x.py", "from pyln_fast.tx.keys import public_key"),
        ("channel/states/x.py", "from ..channel import Channel\nfrom pyln_fast import __version__"),
        ("node/x.py", "from pyln_fast.chain import scanner\nfrom pyln_fast.channel import channel"),
        ("runtime/x.py", "import asyncio, os\nasync def f(): open('x')"),
        ("persist/x.py", "import sqlite3, threading"),
        ("_ext/__init__.py", "import os"),
    ],
)
def test_what_the_table_allows(file: str, source: str) -> None:
    assert complaints(file, source) == []
