# Each target does its own set-up in .venv and passes ARGS on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
NATIVE := $(wildcard ext/src/*.c ext/src/*.h ext/include/*.h ext/cython/*.pyx ext/cython/*.pxd) setup.py

.PHONY: demo test lint bench sanitize ctime clean

$(STAMP): pyproject.toml $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pyln_fast needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@command -v $${CC:-cc} >/dev/null || { echo "pyln_fast needs a C compiler (apt-get install gcc)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

# The main job on the embedded regtest chain: open, pay, forward, crash, restart, close.
demo: $(STAMP)
	$(BIN)/pyln-fast demo $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m pytest benchmarks $(ARGS)

# liblnfast under ASan and UBSan: its tests in C, then the tests in Python that call it.
sanitize: $(STAMP)
	$(MAKE) -s -C ext/tests warnings all
	$(MAKE) -s -C ext/tests python PYTHON=$(abspath $(BIN)/python) ARGS="$(ARGS)"

# Does liblnfast's time depend on a secret? Needs valgrind, and gets it where it may.
ctime:
	@command -v valgrind >/dev/null || { apt-get -qq update && apt-get -qq install -y valgrind; } || { echo "make ctime needs valgrind (apt-get install valgrind)"; exit 1; }
	$(MAKE) -s -C ext/tests ctime

clean:
	rm -rf $(VENV) build dist *.egg-info pyln_fast/_ext/*.so pyln_fast/_ext/include ext/cython/*.c ext/tests/build .pytest_cache .mypy_cache .ruff_cache
