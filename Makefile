# Two commands: `make demo` runs Checxray on this machine, `make test` checks everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make requirements"
RUN_TESTS = $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PORT DIMSE_PORT CHECXRAY_HOME DEMO_EMPTY FILMS

.PHONY: demo test lint js migration-lint types migrations unit all-tests faults networks bench format hooks requirements release-migrations clean

demo: $(VENV)/.run-time
	@exec $(BIN)/python -m config.demo

test: lint types migrations all-tests

lint: $(VENV)/.development migration-lint js
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The scripts of static/js: lint and format, types, unit tests.
js: node_modules/.installed
	$(BIN)/node node_modules/@biomejs/biome/bin/biome check
	$(BIN)/node node_modules/typescript/bin/tsc
	$(BIN)/node --import ./tests/js/dom.js --test "tests/js/*.test.js"

migration-lint: $(VENV)/.development
	CHECXRAY_HOME="$$(mktemp -d)" $(BIN)/python -m config.migration_lint

types: $(VENV)/.development
	$(BIN)/mypy

migrations: $(VENV)/.development
	CHECXRAY_HOME="$$(mktemp -d)" $(BIN)/python manage.py makemigrations --check --dry-run

# Without browser, DICOM peers, trainings, other processes of the product and what else is slow: for every small step.
unit: $(VENV)/.development
	$(RUN_TESTS) -m "not long and not networks and not slow" $(PYTEST)

all-tests: $(VENV)/.development
	$(BIN)/python -m config.preconditions
	$(RUN_TESTS) -m "not long and not networks" $(PYTEST)

faults: $(VENV)/.development
	$(BIN)/python -m config.preconditions
	$(BIN)/pytest tests/faults $(PYTEST)

# A network of every kind: learns, resumes exactly, is served as it was trained.
networks: $(VENV)/.development
	$(RUN_TESTS) tests/ml/networks -m networks $(PYTEST)

bench: $(VENV)/.development
	@$(BIN)/python -m benchmarks

format: $(VENV)/.development node_modules/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/node node_modules/@biomejs/biome/bin/biome check --write

# What CI checks quickly, before each commit.
hooks: $(VENV)/.development
	$(BIN)/pre-commit install
	$(BIN)/pre-commit run --all-files

# Resolve the versions that requirements.in and requirements-dev.in name; what is pinned already stays.
requirements: $(VENV)/.development
	$(COMPILE) requirements.in --output-file requirements.txt
	$(COMPILE) requirements-dev.in --output-file requirements-dev.txt

# A release ships the migrations of today: the lint examines those that come after them.
release-migrations: $(VENV)/.development
	CHECXRAY_HOME="$$(mktemp -d)" $(BIN)/python -m config.migration_lint --release

clean:
	rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Checxray needs Python 3.11 or newer: make demo PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { echo "Python cannot make virtual environments: sudo apt-get install -y python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.run-time: requirements.txt | $(BIN)/python
	@echo "Installing the pinned requirements (PyTorch is large; the first time takes minutes)"
	@$(BIN)/python -m pip install --quiet --progress-bar on -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt | $(BIN)/python
	@echo "Installing the pinned requirements for development"
	@$(BIN)/python -m pip install --quiet --progress-bar on -r requirements-dev.txt
	@touch $@ $(VENV)/.run-time

node_modules/.installed: package-lock.json $(VENV)/.development
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm ci --silent
	@touch $@
