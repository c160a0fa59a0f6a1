"""What a user installs: the sdist and the wheel that is built from it.

`make package` runs it; it needs pip's index, so `make test` leaves it out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.package.commands import TRY_IT, fresh, run

ROOT = Path(__file__).parents[2]
BINDINGS = sorted(path.stem for path in (ROOT / "ext" / "cython").glob("*.pyx"))
# A wheel may lean on the C library alone.
NATIVE_NEEDS = {"liblnfast.so", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


@pytest.fixture(scope="session")
def sdist(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    # A binary and a source that an earlier build left: neither may be packed.
    (clone / "pyln_fast" / "_ext" / "_old.cpython-311-x86_64-linux-gnu.so").write_bytes(b"stale")
    (clone / "ext" / "cython" / "_core.c").write_text("stale")
    run(sys.executable, "-m", "build", "-q", "--no-isolation", "--sdist", "-o", out, clone)
    return next(out.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unpacked")
    run("tar", "-xf", sdist, "-C", out)
    return next(out.iterdir())


@pytest.fixture(scope="session")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, over the leftovers of another build."""
    out = tmp_path_factory.mktemp("wheel")
    (unpacked / "pyln_fast" / "_ext" / "_old.cpython-311-x86_64-linux-gnu.so").write_bytes(b"stale")
    left = unpacked / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}" / "pyln_fast"
    left.mkdir(parents=True)
    (left / "removed_long_ago.py").write_text("")
    run(sys.executable, "-m", "build", "-q", "--no-isolation", "--wheel", "-o", out, unpacked)
    return next(out.glob("*.whl"))


def test_the_sdist_has_every_file_that_git_has(clone: Path, sdist: Path) -> None:
    left_out = {".gitignore"}
    tracked = {name for name in run("git", "ls-files", cwd=clone).splitlines() if name not in left_out}
    with tarfile.open(sdist) as archive:
        packed = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
        files = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    assert tracked - packed == set()
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in files - tracked - made if ".egg-info/" not in name} == set()


def test_the_wheel_holds_the_package_and_what_was_built(clone: Path, wheel: Path) -> None:
    tracked = {
        name for name in run("git", "ls-files", "pyln_fast", cwd=clone).splitlines() if name.endswith((".py", ".pyi"))
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    built = {name for name in names if name.endswith(".so")}
    assert {re.sub(r"\.cpython-[^/]*\.so$", "", Path(name).name) for name in built} == {*BINDINGS, "liblnfast.so"}
    assert names - built == {*tracked, "pyln_fast/py.typed", "pyln_fast/_ext/include/lnfast.h"}
    assert {f"pyln_fast/_ext/{name}.pyi" for name in BINDINGS} <= names


def test_the_wheel_needs_nothing_native_but_the_c_library(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    for library in (tmp_path / "pyln_fast" / "_ext").glob("*.so"):
        dynamic = run("readelf", "-d", library)
        assert set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)) <= NATIVE_NEEDS, library.name
        paths = [] if library.name == "liblnfast.so" else ["$ORIGIN"]
        assert re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", dynamic) == paths, library.name


def test_the_wheel_installs_and_runs(wheel: Path, tmp_path: Path) -> None:
    python = fresh(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", wheel)
    # Importing needs no compiler and no network, and no file of the checkout.
    output = run(python, "-c", TRY_IT, cwd=tmp_path, PATH="/nonexistent")
    assert str(tmp_path / "venv") in output
    assert "Lightning" in run(tmp_path / "venv" / "bin" / "pyln-fast", "--help", cwd=tmp_path)


@pytest.mark.parametrize(
    ("lost", "complaint"),
    [
        ("ext/cython/_noise.pyx", "ext/cython/_noise.pyx is missing"),
        ("ext/cython/lnf.pxd", "lnf.pxd"),
        ("ext/src/ripemd160.c", "lnf_ripemd160"),
        ("ext/include/lnfast.h", "lnfast.h"),
    ],
)
def test_an_sdist_that_forgot_a_file_does_not_build(unpacked: Path, tmp_path: Path, lost: str, complaint: str) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(unpacked, tree, ignore=shutil.ignore_patterns("build", "_*.c", "*.so", "tests", "benchmarks"))
    (tree / lost).unlink()
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext"], cwd=tree, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert complaint in result.stdout + result.stderr
