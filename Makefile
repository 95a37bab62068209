# The developer's interface.  Each target does all of its own set-up.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := shepherd authenticator spawner hub-config testbed tests bench docs

.PHONY: help check format lint types unit postgresql test test-long soak demo bench docs lock clean chromium
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): requirements/dev.txt pyproject.toml
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Roost needs Python 3.11 or newer; $(PYTHON) is older. Say which with: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --require-hashes --requirement requirements/dev.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

check: lint types unit  ## format, lint, types, import contract, unit tests: before each commit

format: $(READY)  ## put the code in the project's form
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

lint: $(READY)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --violations --target=3.6- spawner/roost_spawner/agent.py

types: $(READY)
	$(BIN)/mypy

postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { echo "installing PostgreSQL ..."; apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; }

unit: $(READY) postgresql
	$(BIN)/pytest -m unit

chromium:
	@command -v chromium >/dev/null || { echo "installing Chromium ..."; apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-liberation; }

test: lint types docs chromium postgresql  ## everything: all tiers, on the testbed (root, Linux)
	$(BIN)/pytest --numprocesses=3

test-long: $(READY) chromium postgresql  ## what is slow and rarely broken, on the testbed; before each release
	$(BIN)/pytest -m long

soak: $(READY)  ## the long faults, two hours on the testbed (ROOST_SOAK_MINUTES=60 of them at random); `make test` leaves them out
	$(BIN)/pytest -m soak

demo: $(READY)  ## the testbed up, the main job flown once, then kept serving (ONCE=1: exit after the flight)
	$(BIN)/python -m testbed.demo $(if $(ONCE),--once)

bench: $(READY)  ## click-to-ready against the peers, on the testbed; writes bench/results.json
	$(BIN)/python -m bench

docs: $(READY)  ## the documentation, warnings as errors
	$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build

lock: $(READY)  ## write the lock files anew
	PATH="$(CURDIR)/$(BIN):$$PATH" requirements/compile

clean:  ## take down the testbed and remove all that set-up made
	-$(PYTHON) -m testbed down
	$(PYTHON) -m testbed purge
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache tests/artefacts
