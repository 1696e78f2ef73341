.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install run demo test check lint types fmt bench bench-chat bench-ingest bench-lateness bench-scale bench-peers chaos requirements clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

WORKERS ?= 3

test: install ## Run every test, against real servers: side by side, then those that measure time, alone
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not alone"; side_by_side=$$?; \
	[ $$side_by_side -le 1 ] || exit $$side_by_side; \
	$(BIN)/python -m pytest -m alone; alone=$$?; \
	[ $$side_by_side -eq 0 ] || echo "There were failures before these, among the tests side by side: see above"; \
	exit $$((side_by_side || alone))

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

bench: install bench-ingest ## Throughput of the whole beside the bare client, measured in one run; and the cost of doing nothing
	@$(BIN)/python -m bench.dispatch
	@$(BIN)/python -m bench.idle

bench-lateness: install ## How late a message's line is, at the loads that are promised, as a table and a picture (six minutes)
	@$(BIN)/python -m bench.lateness --json .dispatcher-lateness.json
	@$(BIN)/python -m bench.picture .dispatcher-lateness.json docs/images/bench-lateness.svg
	@rm .dispatcher-lateness.json

bench-scale: install ## Cost of a claim among 60,000,000 messages, and throughput under a held snapshot (20 minutes, 30 GB)
	@$(BIN)/python -m bench.flat_cost
	@$(BIN)/python -m bench.held_snapshot --json .dispatcher-held.json
	@$(BIN)/python -m bench.picture .dispatcher-held.json docs/images/bench-held-snapshot.svg
	@rm .dispatcher-held.json

PEERS := .peers

bench-peers: install $(PEERS)/.installed ## Throughput beside its peers (installs them into .peers), as a table and a picture
	@$(BIN)/python -m bench.peers --json $(PEERS)/result.json
	@$(BIN)/python -m bench.picture $(PEERS)/result.json docs/images/bench-peers.svg

$(PEERS)/.installed: bench/peers/requirements.txt bench/peers/requirements-node.txt bench/peers/package.json
	@echo "Installing the peers into $(PEERS) (once; about a minute) ..."
	@test -x $(PEERS)/venv/bin/python || $(PYTHON) -m venv $(PEERS)/venv
	@$(PEERS)/venv/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements.txt
	@$(PEERS)/venv/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements-node.txt || echo "No wheel of Node.js for this machine; the one of the PATH is taken if there is one"
	@cp bench/peers/package.json $(PEERS)
	@PATH="$(CURDIR)/$(PEERS)/venv/bin:$$PATH"; if cd $(PEERS) && npm install --silent --no-package-lock --no-audit --no-fund; then touch .installed; else echo "npm is missing, or has failed: graphile-worker is left out"; fi

chaos: install ## Kills, stops, cuts and outages under load; counts what was lost (ten minutes; ROUNDS=20 SEED=1 for less)
	@$(BIN)/python -m tests.chaos $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

bench-chat: install ## Chat: from one person's screen to the other's, history among 20,000,000 messages, sends (10 minutes, 8 GB)
	@$(BIN)/python -m bench.chat_live
	@$(BIN)/python -m bench.chat_core
	@$(BIN)/python -m bench.chat_tail

bench-ingest: install ## Putting messages in, beside an empty route of the same process
	@$(BIN)/python -m bench.ingest

PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

requirements: install ## Pin every dependency anew, with hashes and without registry addresses
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/$(PIN) pyproject.toml -o requirements/runtime.txt
	@$(BIN)/$(PIN) pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	@$(BIN)/$(PIN) --group build -c requirements/dev.txt -o requirements/build.txt

clean: ## Remove what make and the embedded servers made here
	rm -rf $(VENV) .dispatcher $(PEERS)
