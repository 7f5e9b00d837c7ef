# Each target makes its own .venv on first use; later it is fast.
#   make demo   from nothing to an amalgamated student     make lab     JupyterLab on the notebooks
#   make lecture  the workbench as a page for a lecture, without code
#   make test   style, types and all tests                 make quick   the same without the slow tests
#   make bench  speed, as ratios
#   make claims, make frontier, make faults, make regime
#               the numbers of README and docs anew: hours; killed, they go on where they were

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Small nets run fastest on one thread; two busy threads on two cores can be ten times slower.
export OMP_NUM_THREADS ?= 1
# Processes that the tests are shared out to; 0 for this one alone.
JOBS ?= 2
# More words for pytest, as in make test ARGS=--durations=25
ARGS ?=

.PHONY: help demo lab lecture test quick bench claims frontier faults regime picture clean

help:
	@sed -n '2,7p' Makefile | sed 's/^# *//'

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "ka_explore needs Python 3.11 or newer, got $$($(PYTHON) --version): make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# One stamp an extra: what is there is not installed again until versions change.
$(VENV)/installed-%: pyproject.toml constraints.txt | $(VENV)/python
	@echo "Installing ka_explore[$*] into $(VENV) (some minutes the first time) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

demo: $(VENV)/installed-demo
	@$(BIN)/ka-explore demo

lab: $(VENV)/installed-lab
	$(BIN)/jupyter lab notebooks

lecture: $(VENV)/installed-lab
	JUPYTER_PATH=notebooks/lecture $(BIN)/voila --template=offline notebooks/lecture/amalgamation.ipynb

# The panels are tested on both generations of the kernel that are in use; this one is kept beside the other.
$(VENV)/ipykernel6: $(VENV)/installed-dev
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $@ ipykernel==6.31.0 nest-asyncio==1.6.0
	@touch $@

# Toy teachers are kept from one run to the next, and every module is compiled once, not by each process that a test starts.
test quick: export KA_EXPLORE_TEST_CACHE ?= $(CURDIR)/.pytest_cache/toy
unexport PYTHONDONTWRITEBYTECODE
test: $(VENV)/installed-dev $(VENV)/ipykernel6
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

quick: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not slow" $(ARGS)

bench: $(VENV)/installed-dev
	$(BIN)/python -m pytest -s --noconftest -p no:cacheprovider tests/benchmarks/bench_*.py

claims: $(VENV)/installed-dev
	$(BIN)/python -m ka_explore.benchmark.claims --jobs $(JOBS)

frontier: $(VENV)/installed-dev
	$(BIN)/python -m ka_explore.benchmark.frontier --jobs $(JOBS)

faults: $(VENV)/installed-dev
	$(BIN)/python tests/diagnosis/experiment.py --jobs $(JOBS)

regime: $(VENV)/installed-dev
	$(BIN)/python -m ka_explore.benchmark.regime --folder runs/regime --jobs $(JOBS)

picture: $(VENV)/installed-demo
	$(BIN)/ka-explore demo --folder runs/picture
	cp runs/picture/demo.png docs/demo.png
	$(BIN)/ka-explore run mnist common_feature --folder runs/steps --snapshots 100
	$(BIN)/ka-explore plot runs/steps pca --steps -o docs/steps.png

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
