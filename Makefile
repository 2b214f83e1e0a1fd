# `make demo` and `make test` work from a bare checkout: they make .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# The version is pinned because a plain range takes the newest release, whose wheel pulls in some gigabytes of CUDA
# packages. Under the pin, pip prefers the wheel with a local label (+cpu) wherever it is offered one.
TORCH ?= torch==2.13.0
WORKERS ?= 2
FUZZ ?= mp fmt-yaml set check run.json npz csv emit-torch
FUZZ_SECONDS ?= 1
PYTEST_FLAGS ?= -n $(WORKERS) --dist worksteal

BIN := .venv/bin
READY := .venv/.stamp
LINT := $(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo
DEMO := specs/realnvp.yaml
RUN := runs/demo

# A virtual environment or a path of the caller's must not reach into ours.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help demo test test-wheel smoke fuzz lint format docs docs-commands clean

help:
	@echo "make demo        build, train, evaluate and sample $(DEMO)"
	@echo "make test        lint and the whole test suite"
	@echo "make test-wheel  the suite against the built wheel instead of the checkout"
	@echo "make smoke       the built wheel in empty environments: every command, each extra"
	@echo "make fuzz        some seconds of the fuzzers; python tests/fuzz/run.py --help for more"
	@echo "make docs-commands  the commands of the documentation, trainings in full; half an hour"
	@echo "make lint        ruff, mypy, import-linter"
	@echo "make docs        the site, into build/site"
	@echo "make format      apply what ruff would"
	@echo "make clean       remove what was built; .venv stays"

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[all,dev,docs]"
	@touch $@

demo: $(READY)
	$(BIN)/mpcompile build $(DEMO) --backend torch
	$(BIN)/mpcompile train $(DEMO) --backend torch --out $(RUN)
	$(BIN)/mpcompile eval $(RUN)
	$(BIN)/mpcompile sample $(RUN) -n 64 -o $(RUN)/samples.png

lint: $(READY)
	@$(LINT)

# The suite runs even where lint finds something, so that one run shows both; the exit status is that of either.
# One thread per worker: more would only fight over the cores.
test: $(READY)
	@$(LINT); lint=$$?; \
	[ $$lint -eq 0 ] || echo "lint failed, see above; the suite follows"; \
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_FLAGS); tests=$$?; \
	[ $$lint -eq 0 ] || exit $$lint; exit $$tests

test-wheel: $(READY)
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel . >/dev/null
	cd build/wheel && ../../$(BIN)/python -m zipfile -e *.whl unpacked
	PYTHONPATH=$(CURDIR)/build/wheel/unpacked OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_FLAGS)

smoke: $(READY)
	TORCH="$(TORCH)" $(BIN)/python tests/release/smoke.py

# About 20 s, mostly imports. The same inputs each time, so that a change that is not at fault does not fail.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(addprefix --target ,$(FUZZ))
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/axis_orders.py --specs 100
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/forms.py --specs 200

format: $(READY)
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

docs: $(READY)
	$(BIN)/python docs/publish.py build/site

docs-commands: $(READY)
	MPCOMPILE_EVERY_COMMAND=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/docs/test_pages.py tests/docs/test_ci.py tests/docs/test_data.py -n 1

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path "./.venv/*" -prune -exec rm -rf {} +
