# Two commands on a fresh machine: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEV_STAMP := .venv/.installed-dev

.PHONY: demo test engines lint types figures agreement reliability bench clean

demo: $(STAMP)
	$(BIN)/xai run experiment=quickstart

test: $(DEV_STAMP) lint types tests/javascript/node_modules
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# executors that span machines, each with its real engine on this one; what cannot be installed is skipped
engines: $(DEV_STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[slurm,ray]" hydra-joblib-launcher
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/engines

# checks of the page's script; tests say so where there is no Node.js
tests/javascript/node_modules: tests/javascript/package-lock.json
	if command -v npm >/dev/null; then npm ci --prefix tests/javascript --no-audit --no-fund --loglevel=error; fi

lint: $(DEV_STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV_STAMP)
	$(BIN)/mypy

agreement: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.agreement

reliability: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.reliability --full --write

# side by side with other libraries; forty minutes
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m benchmarks all --write

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
