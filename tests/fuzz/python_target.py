"""One target under atheris: `python -m tests.fuzz.python_target NAME ENDS_AT PROGRAM LIBFUZZER_OPTIONS…`.

PROGRAM is what libFuzzer calls to start this again, with the options alone.
"""

from __future__ import annotations

import sys
import time

import atheris

from tests.fuzz.targets import TARGETS


def main() -> None:
    _, name, ends_at, program, *options = sys.argv
    target = TARGETS[name]
    with atheris.instrument_imports(include=["pyln_fast"]):
        run = target.run
    options.append(f"-max_len={target.max_bytes}")
    if ends_at != "never":
        # What the imports took is not fuzzing.
        options.append(f"-max_total_time={max(1, round(float(ends_at) - time.time()))}")
    atheris.Setup([program, *options], run)
    atheris.Fuzz()


main()
