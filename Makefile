# What people type; `make` alone prints it.
PYTHON ?= python3
# one more than the cores of a small machine: tests of processes wait for half of their time
JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVE_ENV = $(if $(PORT),SLIDELANE_SERVICES__PORT=$(PORT)) $(if $(DATA),SLIDELANE_BROKER__DATA=$(DATA)) \
	$(if $(FLOWER_PORT),FLOWER_PORT=$(FLOWER_PORT))

.DEFAULT_GOAL := help
.PHONY: help setup demo test serve check format bench faults

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv and install everything, pinned

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[api,worker,viewer,watch,s3,dev]'
	@touch $(READY)

demo: $(READY) ## order a real slide over HTTP and watch its results arrive, then clean up
	@$(BIN)/python -m demo.run

test: $(READY) ## every test, on a real Redis, real slides and real processes; JOBS=1 runs one file at a time
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

serve: $(READY) ## the whole service until Ctrl-C, and a sample slide in DATA/sample; PORT, FLOWER_PORT and DATA override
	@$(SERVE_ENV) exec $(BIN)/python -m demo.sample_slide
	@$(SERVE_ENV) exec $(BIN)/slidelane serve

bench: $(READY) ## every benchmark against its yardstick, as a table of ratios; BENCH=--quick takes a minute
	@$(BIN)/python -m benchmarks.run $(BENCH)

faults: $(READY) ## orders while everything is killed at random, and damaged slides: none lost; ORDERS, FILES and SEED choose
	@$(BIN)/python -m tests.faults.run $(if $(ORDERS),--orders $(ORDERS)) $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.support.fuzz $(if $(FILES),--files $(FILES)) $(if $(SEED),--seed $(SEED))

check: $(READY) ## format, lint, strict types, import contracts, Kubernetes schemas; what CI runs first
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.deploy.schemas

format: $(READY) ## put every file into the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
