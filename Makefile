# Two commands: `make demo` runs Checxray on this machine, `make test` checks everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make requirements"
# Three processes on two cores, because many tests wait for servers and children.
RUN_TESTS = $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PORT DIMSE_PORT CHECXRAY_HOME DEMO_EMPTY FILMS

.PHONY: demo test lint js viewer migration-lint types migrations unit all-tests faults networks bench format messages conformance peers hooks requirements release-migrations clean

# Without its viewer the demo starts too: reading pages then show the server's picture.
demo: $(VENV)/.run-time
	@$(MAKE) --no-print-directory viewer || echo "$$NO_VIEWER"
	@exec $(BIN)/python -m config.demo

define NO_VIEWER

The viewer could not be built: see the lines above. It needs Node.js from the Python package index and packages of the npm
registry (or of the one that npm's configuration names). Checxray starts without it and shows films with 8 bits, as the server
renders them. `make viewer` tries again.

endef
export NO_VIEWER

# The three checks use one core each, so they run side by side.
test: $(VENV)/.development
	$(MAKE) -j3 lint types migrations viewer
	$(MAKE) all-tests

viewer: build/viewer/manifest.json

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
	$(BIN)/pytest tests -m long --ignore tests/faults $(PYTEST)

# A network of every kind: learns, resumes exactly, is served as it was trained.
networks: $(VENV)/.development
	$(RUN_TESTS) tests/ml/networks -m networks $(PYTEST)

bench: $(VENV)/.development
	@$(BIN)/python -m benchmarks

format: $(VENV)/.development node_modules/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/node node_modules/@biomejs/biome/bin/biome check --write

# Collect the texts that are marked for translation into locale/; fails while one lacks its translation.
messages: $(VENV)/.development
	DJANGO_SETTINGS_MODULE=config.settings.embedded CHECXRAY_HOME="$$(mktemp -d)" $(BIN)/python -m config.messages

# Write the tables of docs/conformance.md from those of the code.
conformance: $(VENV)/.development
	DJANGO_SETTINGS_MODULE=config.settings.embedded CHECXRAY_HOME="$$(mktemp -d)" $(BIN)/python -m config.conformance

# Run the tests with programs of others, and write docs/peers.md from their results.
peers: $(VENV)/.development
	$(RUN_TESTS) -m peer --junitxml $(VENV)/peers.xml $(PYTEST)
	$(BIN)/python -m tests.peers_page $(VENV)/peers.xml

# What CI checks quickly, before each commit.
hooks: $(VENV)/.development
	$(BIN)/pre-commit install
	$(BIN)/pre-commit run --all-files

# Resolve the versions that requirements.in and requirements-dev.in name; what is pinned already stays.
requirements: $(VENV)/.development
	$(COMPILE) requirements.in --output-file requirements.txt
	$(COMPILE) requirements-build.in --output-file requirements-build.txt
	$(COMPILE) requirements-dev.in --output-file requirements-dev.txt

.PHONY: openapi release-openapi
# The OpenAPI document in the repository, for reviews and for clients that are generated.
openapi: $(VENV)/.development
	CHECXRAY_HOME="$$(mktemp -d)" $(BIN)/python manage.py spectacular --file docs/openapi.yaml --validate --fail-on-warn

# A release ships the document of today: a test compares later ones with it.
release-openapi: openapi
	cp docs/openapi.yaml config/released_openapi.yaml

# A release ships the migrations of today: the lint examines those that come after them.
release-migrations: $(VENV)/.development
	CHECXRAY_HOME="$$(mktemp -d)" $(BIN)/python -m config.migration_lint --release

clean:
	rm -rf $(VENV) node_modules build .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Checxray needs Python 3.11 or newer: make demo PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { echo "Python cannot make virtual environments: sudo apt-get install -y python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.run-time: requirements.txt | $(BIN)/python
	@echo "Installing the pinned requirements (PyTorch is large; the first time takes minutes)"
	@$(BIN)/python -m pip install --quiet --no-compile --progress-bar on -r requirements.txt
	@touch $@

$(VENV)/.node: requirements-build.txt | $(BIN)/python
	@echo "Installing Node.js, which builds the viewer"
	@$(BIN)/python -m pip install --quiet --no-compile --progress-bar on -r requirements-build.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt | $(BIN)/python
	@echo "Installing the pinned requirements for development"
	@$(BIN)/python -m pip install --quiet --no-compile --progress-bar on -r requirements-dev.txt
	@touch $@ $(VENV)/.run-time $(VENV)/.node

node_modules/.installed: package-lock.json package.json | $(VENV)/.node
	@echo "Installing the packages of the viewer"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm ci --silent || { echo "npm could not install the packages of package-lock.json. Is the npm registry reachable? (.venv/bin/npm ci says more)"; exit 1; }
	@touch $@

build/viewer/manifest.json: $(wildcard viewer/*.js) node_modules/.installed
	@echo "Building the viewer"
	@$(BIN)/node node_modules/vite/bin/vite.js build --config viewer/vite.config.js --logLevel error
	@touch $@
