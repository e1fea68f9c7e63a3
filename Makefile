# `make run` evaluates and `make test` tests. Both first make a virtual environment in .venv (about 6 GB with torch).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
FAST   := -m pytest -n auto -m "not slow" -rs
# The tests run in one process per core, so each of them gets one thread.
test test-slow fuzz soak test-oldest test-newest: export OMP_NUM_THREADS ?= 1
OLDEST_PYTHON ?= 3.11
NEWEST_PYTHON ?= 3.13

.PHONY: run leaderboards readme check-submissions site test test-slow fuzz soak test-oldest test-newest lint types clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vpbench needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

run: $(VENV)/.installed
	$(BIN)/vpbench run
	$(BIN)/vpbench leaderboard --out results/leaderboards

# Copies the finished results in RESULTS into leaderboards/results, and updates the committed pages and the README.
leaderboards: $(VENV)/.installed
	$(BIN)/python leaderboards/archive.py $(RESULTS)
	$(MAKE) readme

readme: $(VENV)/.installed
	$(BIN)/vpbench leaderboard leaderboards/results
	$(BIN)/python docs/generate.py

# The guides, a page per plugin, the API reference and the report of the leaderboards: site/index.html.
site: $(VENV)/.installed
	$(BIN)/python docs/build_site.py

# Reviews a pull request that adds results: PULLED is its leaderboards/results. The workflow "submissions" calls it.
check-submissions: $(VENV)/.installed
	$(BIN)/python leaderboards/check.py $(PULLED) --out review

# The first lane: every test that takes under a second, in under three minutes on two cores.
test: $(VENV)/.installed
	$(BIN)/python $(FAST)

# The rest: trainings, subprocesses, a wheel, real clips; and property tests with many more examples.
test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto -m "slow or hypothesis" --hypothesis-profile=thorough --durations=30 -rs

# Generated records through their readers, and mutated media through reading processes; `make test-slow` tries a few of them.
fuzz: export FUZZ_FILES ?= 10000
fuzz: export FUZZ_MEDIA ?= 500
fuzz: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto -rP tests/fuzz

# Kills, full and broken disks, and other faults; `make test-slow` tries a few of each. SOAK_FAULTS=0 lets every operation fail.
soak: export SOAK_KILLS ?= 200
soak: export SOAK_FAULTS ?= 20
soak: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto -rP tests/soak

# The first lane with the lowest versions that pyproject.toml allows, and with the newest. Each environment takes 6 GB.
test-oldest test-newest: test-%: $(VENV)-%/.installed
	$(VENV)-$*/bin/python $(FAST)

$(VENV)-oldest/.installed: UV_PYTHON = $(OLDEST_PYTHON)
$(VENV)-oldest/.installed: UV_RESOLUTION := lowest-direct
$(VENV)-newest/.installed: UV_PYTHON = $(NEWEST_PYTHON)
$(VENV)-newest/.installed: UV_RESOLUTION := highest
$(VENV)-oldest/.installed $(VENV)-newest/.installed: pyproject.toml $(VENV)-uv/.installed
	$(VENV)-uv/bin/uv venv --quiet --clear --python $(UV_PYTHON) $(@D)
	$(VENV)-uv/bin/uv pip install --quiet --python $(@D)/bin/python --resolution $(UV_RESOLUTION) -e '.[dev]'
	touch $@

$(VENV)-uv/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	MYPYPATH=plugins:datasets:. $(BIN)/mypy

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest $(VENV)-uv .pytest_cache .mypy_cache .ruff_cache
