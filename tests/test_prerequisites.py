"""A machine that lacks something is told so in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK = ROOT / "ext" / "prerequisites.py"
NO_HEADERS = """
import sysconfig
sysconfig.get_paths = lambda *_: dict.fromkeys(("include", "stdlib", "purelib", "platlib"), "/nowhere")
"""


def check(*, before: str = "", **environment: str) -> str:
    """What the check says. `before` is run in the same interpreter ahead of it."""
    program = f"{before}\nimport runpy\nrunpy.run_path({str(CHECK)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert done.returncode == (1 if done.stderr else 0)
    return done.stderr


@pytest.mark.skipif(
    shutil.which("cc") is None or not Path(sysconfig.get_paths()["include"], "Python.h").exists(),
    reason="this machine cannot build",
)
def test_a_machine_that_has_everything() -> None:
    assert check() == ""


@pytest.mark.parametrize(
    ("before", "line"),
    [
        (
            "import sys; sys.version_info = (3, 10, 4); sys.executable = '/python'",
            "pyln_fast needs Python 3.11 to 3.13, and /python is 3.10 (another one: make PYTHON=python3.12)\n",
        ),
        (
            "import sys; sys.version_info = (3, 14, 0); sys.executable = '/python'",
            "pyln_fast needs Python 3.11 to 3.13, and /python is 3.14 (another one: make PYTHON=python3.12)\n",
        ),
        ("import sys; sys.platform = 'darwin'", "pyln_fast needs Linux, and this is darwin\n"),
        (
            "import sys; sys.modules['ensurepip'] = None",
            "pyln_fast needs Python's venv (apt-get install python3-venv)\n",
        ),
        (
            NO_HEADERS,
            "pyln_fast needs Python's headers (apt-get install python3-dev)\n",
        ),
    ],
)
def test_what_is_missing(before: str, line: str) -> None:
    assert check(before=before) == line


def test_no_compiler_and_one_without_headers(tmp_path: Path) -> None:
    missing = "pyln_fast needs a C compiler, and there is no /no/cc (apt-get install gcc libc6-dev)\n"
    assert check(CC="/no/cc") == missing
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    assert check(CC=str(compiler)) == "pyln_fast needs the C library's headers (apt-get install libc6-dev)\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_says_it_before_it_builds(tmp_path: Path) -> None:
    command = ["make", "-s", "test", f"VENV={tmp_path}/venv", "PYTHON=/no/python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout.startswith("pyln_fast needs Python 3.11 or newer, and there is no /no/python")
    assert len(done.stdout.splitlines()) == 1
    assert not (tmp_path / "venv").exists()
