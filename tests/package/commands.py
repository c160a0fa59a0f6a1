"""What both files of this directory do."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

# Imports everything, and makes a signature through the C core.
TRY_IT = """
import importlib, pkgutil, pyln_fast
from pyln_fast.tx.keys import public_key, sign_ecdsa, verify_ecdsa
from pyln_fast.types import PrivateKey
names = [module.name for module in pkgutil.walk_packages(pyln_fast.__path__, "pyln_fast.")]
for name in names:
    if not name.endswith(("__main__", "liblnfast")) and not name.startswith("pyln_fast.testing"):
        importlib.import_module(name)
key = PrivateKey(bytes(31) + b"\\1")
assert verify_ecdsa(sign_ecdsa(key, bytes(32)), bytes(32), public_key(key))
print(len(names), pyln_fast.__file__)
"""


def run(*command: object, cwd: Path | None = None, **environment: str) -> str:
    """Runs it, and gives its output. Fails with the output where it fails."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def fresh(directory: Path) -> Path:
    """The python of a new environment."""
    venv.create(directory, with_pip=True)
    return directory / "bin" / "python"
