"""Every decoder and the whole byte stream of a peer under coverage-guided fuzzing: `make fuzz`.

A target is a function of bytes: `targets.py` lists those in Python (atheris), `ext/tests/fuzz_*.c` are those in C
(libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer; their names begin with `c_`). Each starts from seeds
that are made of the vectors (`seeds.py`), from `corpus/<target>/`, and from what its runs before have found
(`build/fuzz/<target>/`).

    make fuzz ARGS="--seconds 600"                           all of them, ten minutes of wall time together
    make fuzz ARGS="--seconds 60 --target invoice --json FILE"
    make fuzz ARGS="--target invoice --replay FILE"          one input, with its traceback
    make fuzz ARGS="--keep"                                  what was found goes into the corpus, minimised

A finding becomes a file `corpus/<target>/finding-<what it was>`: the ordinary tests replay the corpus.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import msgspec

from tests.fuzz import programs
from tests.fuzz.programs import CannotFuzz, Program, Result


def line(result: Result) -> str:
    found = f"{len(result.findings)} findings" if result.findings else result.why or "no findings"
    return (
        f"{result.target:17}{result.runs:10} runs {result.runs_per_second:7}/s  coverage {result.coverage:5}"
        f"  features {result.features:6}  {result.seconds:5.1f} s  {found}"
    )


def run_all(chosen: list[Program], seconds: float) -> list[Result]:
    """The wall time of all together is `seconds`, and a few more."""
    workers = min(programs.jobs(), len(chosen))
    share = seconds * workers / sum(program.weight for program in chosen)
    results = []
    with ThreadPoolExecutor(workers) as pool:
        heaviest_first = sorted(chosen, key=lambda program: -program.weight)
        futures = [pool.submit(programs.fuzz, each, share * each.weight) for each in heaviest_first]
        for future in as_completed(futures):
            result = future.result()
            print(line(result), flush=True)
            for finding in result.findings:
                print(f"    {finding}: {result.why}", flush=True)
            results.append(result)
    return results


def chosen_of(names: list[str] | None) -> list[Program]:
    every = {program.name: program for program in (*programs.c_programs(), *programs.python_programs())}
    unknown = [name for name in names or () if name not in every]
    if unknown:
        raise CannotFuzz(f"there is no target {unknown[0]}: they are {', '.join(every)}")
    return [every[name] for name in names or every]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description="coverage-guided fuzzing")
    parser.add_argument("--seconds", type=float, default=300, help="wall time of all targets together (300)")
    parser.add_argument(
        "--target", action="append", metavar="NAME", help="only this one, and those of further --target"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input of the target")
    parser.add_argument("--keep", action="store_true", help="minimise what was found into the corpus")
    arguments = parser.parse_args()
    try:
        chosen = chosen_of(arguments.target)
        programs.prepare(chosen)
    except CannotFuzz as error:
        print(f"make fuzz: {error}")
        return 1
    if arguments.replay is not None:
        programs.replay(chosen[0], arguments.replay)
        print(f"{arguments.replay}: nothing is wrong")
        return 0
    if arguments.keep:
        sizes = {program.name: programs.keep(program) for program in chosen}
        print(*(f"{name:17}{size:7} bytes" for name, size in sizes.items()), sep="\n")
        return 0
    began = time.monotonic()
    results = run_all(chosen, arguments.seconds)
    elapsed = time.monotonic() - began
    findings = sum(len(result.findings) for result in results)
    broken = [result.target for result in results if result.runs == 0]
    total = sum(result.runs for result in results)
    print(f"{len(results)} targets, {total} runs, {findings} findings, {elapsed:.0f} s of wall time")
    if broken:
        print(f"not run: {', '.join(broken)}")
    if arguments.json is not None:
        report = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "jobs": programs.jobs(),
            "seconds": round(elapsed, 1),
            "results": msgspec.to_builtins(results),
        }
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 1 if findings or broken else 0


if __name__ == "__main__":
    sys.exit(main())
