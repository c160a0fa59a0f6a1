"""The programs that fuzz one target each: libFuzzer for C, atheris for Python."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha1
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import msgspec

from tests.fuzz.seeds import c_seeds
from tests.fuzz.targets import CORPUS, TARGETS

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
C_TESTS = ROOT / "ext" / "tests"
TIMEOUT_SECONDS = 30
"""An input that takes longer is a finding."""
RSS_MB = 2560
GRACE_SECONDS, FIRST_SECONDS = 2, 12
"""For a program that ends by itself, and for one to start at all on a busy machine."""
KEPT_BYTES, KEPT_FILES = 10_000, 100
"""Of each target's corpus in the repository: the smallest files of it."""
_PROGRESS = re.compile(rb"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+).*?exec/s: (\d+)")
_RUNS = re.compile(rb"stat::number_of_executed_units: (\d+)")
_UNCAUGHT = re.compile(rb"(?:Uncaught Python exception: ===\n|is not so|runtime error:|ERROR: )(.*)")


class CannotFuzz(Exception):
    """What this machine lacks, in one line."""


class Program(msgspec.Struct, frozen=True):
    name: str
    seeds: Callable[[], Iterable[bytes]]
    weight: int = 1
    """Its share of the time."""

    @property
    def in_c(self) -> bool:
        return self.name.startswith("c_")

    @property
    def directory(self) -> Path:
        return BUILD / self.name

    def command(self, ends_at: float | None) -> list[str]:
        if self.in_c:
            limit = [] if ends_at is None else [f"-max_total_time={max(1, round(ends_at - time.time()))}"]
            return [str(C_TESTS / "build" / f"fuzz_{self.name[2:]}.libfuzzer"), *limit]
        # libFuzzer starts itself again to merge: by one word, so there is a script for it.
        script = self.directory / "run"
        python = f"{shlex.quote(sys.executable)} -m tests.fuzz.python_target"
        script.write_text(
            f'#!/bin/sh\ncd {shlex.quote(str(ROOT))}\nexec {python} {self.name} {ends_at or "never"} "$0" "$@"\n'
        )
        script.chmod(0o755)
        return [str(script)]


class Result(msgspec.Struct, frozen=True):
    target: str
    seconds: float
    runs: int
    runs_per_second: int
    coverage: int
    """Edges of the program that some input took."""
    features: int
    """Edges, told apart by how often an input took them."""
    findings: tuple[str, ...]
    """Files: each an input that broke something."""
    why: str
    """The first line of what was broken."""


def c_programs() -> list[Program]:
    names = sorted("c_" + path.stem[len("fuzz_") :] for path in C_TESTS.glob("fuzz_*.c"))
    return [Program(name, lambda name=name: c_seeds(name)) for name in names]  # type: ignore[misc]


def python_programs() -> list[Program]:
    return [Program(target.name, target.seeds, target.weight) for target in TARGETS.values()]


def prepare(programs: list[Program]) -> None:
    """Raises CannotFuzz."""
    if any(program.in_c for program in programs):
        if shutil.which("clang") is None:
            raise CannotFuzz("clang is missing (apt-get install clang libclang-rt-dev)")
        made = subprocess.run(["make", "-s", "-C", C_TESTS, "libfuzzer"], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            lines = [line for line in made.stderr.splitlines() if "rror" in line or "annot" in line] or ["make failed"]
            lacks = " (apt-get install libclang-rt-dev)" if "clang_rt" in made.stderr else ""
            raise CannotFuzz(f"the programs in C cannot be built: {lines[0]}{lacks}")
    if not all(program.in_c for program in programs) and find_spec("atheris") is None:
        wanted = [text.partition(";")[0].strip() for text in requires("pyln-fast") or () if "atheris" in text]
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
        if not wanted or subprocess.run([*command, *wanted], check=False).returncode != 0:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise CannotFuzz(f"atheris cannot be installed for Python {version} (pip install 'pyln-fast[fuzz]')")


def fuzz(program: Program, seconds: float) -> Result:
    """Its own corpus of earlier runs, that of the repository and the seeds are where it begins."""
    began = time.time()
    directory = program.directory
    grown, seeds, findings = (directory / name for name in ("corpus", "seeds", "findings"))
    for each in (grown, seeds, findings):
        each.mkdir(parents=True, exist_ok=True)
    for data in program.seeds():
        (seeds / sha1(data).hexdigest()).write_bytes(data)
    kept = [CORPUS / program.name] if (CORPUS / program.name).is_dir() else []
    before = set(findings.iterdir())
    command = [
        *program.command(began + seconds),
        f"-artifact_prefix={findings}/",
        f"-timeout={TIMEOUT_SECONDS}",
        f"-rss_limit_mb={RSS_MB}",
        "-print_final_stats=1",
        *map(str, (grown, *kept, seeds)),
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            running.wait(max(seconds + GRACE_SECONDS, FIRST_SECONDS))
        except subprocess.TimeoutExpired:
            # It has not come to its end by itself: the machine is busy, or its corpus alone takes longer.
            running.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                running.wait(TIMEOUT_SECONDS)
            running.kill()
    return read_log(program.name, time.time() - began, (directory / "log").read_bytes(), findings, before)


def read_log(name: str, seconds: float, log: bytes, findings: Path, before: set[Path]) -> Result:
    progress = [tuple(map(int, found)) for found in _PROGRESS.findall(log)]
    runs, coverage, features, per_second = progress[-1] if progress else (0, 0, 0, 0)
    total = _RUNS.search(log)
    found = tuple(str(path.relative_to(ROOT)) for path in sorted(set(findings.iterdir()) - before))
    broken = _UNCAUGHT.search(log)
    why = "" if not found and progress else (broken[0] if broken else log[-300:]).decode("utf-8", "replace").strip()
    return Result(
        name,
        round(seconds, 1),
        int(total[1]) if total else runs,
        per_second,
        coverage,
        features,
        found,
        why.splitlines()[-1] if why else "",
    )


def keep(program: Program) -> int:
    """The smallest part of all corpora that reaches what they reach becomes the repository's. Returns its bytes."""
    merged = program.directory / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    kept = CORPUS / program.name
    kept.mkdir(parents=True, exist_ok=True)
    sources = [program.directory / "seeds", program.directory / "corpus", kept]
    command = [*program.command(None), "-merge=1", str(merged), *(str(each) for each in sources if each.is_dir())]
    with (program.directory / "merge.log").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)
    assert any(merged.iterdir()), f"nothing was merged: {program.directory / 'merge.log'}"
    for path in kept.iterdir():
        if not path.name.startswith("finding-"):
            path.unlink()
    # The seeds are made by code in every run.
    made = set(program.seeds())
    size = files = 0
    for path in sorted(merged.iterdir(), key=lambda path: path.stat().st_size):
        data = path.read_bytes()
        if data not in made and size + len(data) <= KEPT_BYTES and files < KEPT_FILES:
            size, files = size + len(data), files + 1
            (kept / sha1(data).hexdigest()[:12]).write_bytes(data)
    return size


def replay(program: Program, path: Path) -> None:
    """Raises what the input breaks."""
    if program.in_c:
        subprocess.run([*program.command(None), str(path)], check=True)
    else:
        TARGETS[program.name].run(path.read_bytes())


def jobs() -> int:
    return len(os.sched_getaffinity(0))
