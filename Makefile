.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install run demo test check lint types fmt bench requirements clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with the `dispatcher` command (every other target does this by itself)

$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Dispatcher needs Python 3.11 or newer; try: make PYTHON=python3.12 install"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Could not make .venv; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (once; about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: install ## Start the service with its own Postgres, Redis, etcd and a sample receiver
	@exec $(BIN)/dispatcher serve --sandbox

demo: install ## See it all in under a minute: two replicas, exact ticks, live retuning
	@$(BIN)/dispatcher demo

test: install ## Run every test, against real servers
	@$(BIN)/python -m pytest

check: lint types test ## Lint, types and tests: what CI runs

lint: install ## Style, imports between rooms, formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

types: install ## Strict type check of source, tests and benchmarks
	@$(BIN)/mypy

fmt: install ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: install ## Throughput of the whole beside the bare client, measured in one run
	@$(BIN)/python -m bench.dispatch

PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

requirements: install ## Pin every dependency anew, with hashes and without registry addresses
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/$(PIN) pyproject.toml -o requirements/runtime.txt
	@$(BIN)/$(PIN) pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	@$(BIN)/$(PIN) --group build -c requirements/dev.txt -o requirements/build.txt

clean: ## Remove what make and the embedded servers made here
	rm -rf $(VENV) .dispatcher
