# Each target does its own set-up in .venv and passes ARGS on: make test ARGS="tests/wire -x"
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
NATIVE := $(wildcard ext/src/*.c ext/src/*.h ext/include/*.h ext/cython/*.pyx ext/cython/*.pxd) setup.py
ARGS ?=

.PHONY: help demo simulate campaign torture test lint format bench bench-history interop sanitize ctime fuzz package clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 16

# The dependencies where pyproject.toml changed, else only what is compiled.
$(STAMP): pyproject.toml $(NATIVE)
	@command -v $(PYTHON) >/dev/null || { echo "pyln_fast needs Python 3.11 or newer, and there is no $(PYTHON) (apt-get install python3-venv python3-dev)"; exit 1; }
	@$(PYTHON) ext/prerequisites.py
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "setting up $(VENV)"
	@$(if $(filter pyproject.toml,$?),$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]',$(BIN)/python setup.py -q build_ext --inplace)
	@touch $@

demo: $(STAMP) ## the main job on a regtest chain: open, pay, forward, crash, restart, close (ARGS="--json FILE")
	@$(BIN)/pyln-fast demo $(ARGS)

simulate: $(STAMP) ## whole networks of nodes from seeds (ARGS="--seeds 600 --from 1 --json FILE", or ARGS="--seed S" to replay one)
	$(BIN)/pyln-fast simulate $(ARGS)

campaign: $(STAMP) ## millions of steps of the simulator, in pieces that are kept (ARGS="DIR --steps 20000000 --from 1")
	@$(BIN)/python -m tests.sim.campaign $(ARGS)

torture: $(STAMP) ## nodes killed (SIGKILL) under load, again and again (ARGS="--kills 2000 --store sqlite --json FILE --seed S")
	@$(BIN)/python -m tests.torture $(ARGS)

test: $(STAMP) ## every test, on all cores
	@$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(STAMP) ## ruff, clang-format and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror ext/src/*.[ch] ext/include/*.h ext/tests/*.[ch]
	$(BIN)/mypy $(ARGS)

format: $(STAMP) ## the layout that make lint asks for
	$(BIN)/ruff check -q --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i ext/src/*.[ch] ext/include/*.h ext/tests/*.[ch]

bench: $(STAMP) ## the benchmarks and their table (ARGS="--json FILE")
	@$(BIN)/python -m pytest benchmarks $(ARGS)

bench-history: $(STAMP) ## do payments slow down with a past of a million? (minutes; ARGS="--payments N --rounds R --json FILE")
	@$(BIN)/python -m pytest -s -o tmp_path_retention_policy=failed benchmarks/history.py $(ARGS)

PEERS ?= ldk
interop: $(STAMP) ## against other implementations, PEERS=ldk (needs node and npm; ARGS="--json FILE", "--help")
	@command -v npm >/dev/null || { echo "make interop needs node and npm (apt-get install nodejs npm)"; exit 1; }
	@$(BIN)/python -m tests.interop --peers $(PEERS) $(ARGS)

sanitize: $(STAMP) ## the C core under ASan and UBSan: its tests in C, then those in Python that call it
	@$(MAKE) -s -C ext/tests warnings all
	@$(MAKE) -s -C ext/tests python PYTHON=$(abspath $(BIN)/python) ARGS="$(ARGS)"

ctime: ## does the C core's time depend on a secret? (needs valgrind)
	@command -v valgrind >/dev/null || { echo "make ctime needs valgrind (apt-get install valgrind)"; exit 1; }
	@$(MAKE) -s -C ext/tests ctime

fuzz: $(STAMP) ## every parser in C and Python, fuzzed (needs clang; ARGS="--seconds 300 --target NAME --json FILE")
	@$(BIN)/python -m tests.fuzz $(ARGS)

package: $(STAMP) ## sdist, wheel and each way to install them, in fresh environments
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/package $(ARGS)

clean: ## remove all that was built
	rm -rf $(VENV) build dist *.egg-info pyln_fast/_ext/*.so pyln_fast/_ext/include ext/cython/*.c ext/tests/build
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
