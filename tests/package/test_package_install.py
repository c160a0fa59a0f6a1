"""A clone installs, as it is and editable. Of two workers (`make package`) one does this, the other the wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.commands import TRY_IT, fresh, run


@pytest.mark.parametrize("how", [["."], ["-e", "."]])
def test_a_clone_installs_and_runs(clone: Path, tmp_path: Path, how: list[str]) -> None:
    source = tmp_path / "source"
    run("git", "clone", "-q", clone, source)
    python = fresh(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", *how, cwd=source)
    output = run(python, "-c", TRY_IT, cwd=tmp_path)
    assert str(source if how[0] == "-e" else tmp_path / "venv") in output
