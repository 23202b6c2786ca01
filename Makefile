# Every command of the project. `make` alone lists them; each does its own set-up and skips what is done.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules

# Python 3.11 or 3.12; chosen when an environment is built.
PYTHON ?= $(or $(shell sh toolchain/choose-python.sh),$(error no usable Python, see above))

# Tools come from the project itself, never from what the machine happens to have under the same name.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
export SOLCX_BINARY_PATH := $(CURDIR)/.cache/solcx
export HYPOTHESIS_PROFILE ?= ci
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
# Download caches belong into the user's home, if there is one to write to.
ifneq ($(shell test -d "$(HOME)" -a -w "$(HOME)" && echo writable),writable)
export HOME := $(CURDIR)/.cache/home
endif

PY := .venv/bin/python
BROWNIE := $(PY) -m toolchain.brownie
ENVIRONMENT := .venv/.ready
BROWNIE_ENVIRONMENT := .venv-brownie/.ready
ANALYSIS_ENVIRONMENT := .venv-analysis/.ready
LITELLM_ENVIRONMENT := .venv-litellm/.ready
SCALE_ENVIRONMENT := .venv-scale/.ready
NODE_PACKAGES := node_modules/.ready
SOLC := .cache/solcx/.ready

##@ Start here

.PHONY: help
help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(ENVIRONMENT) $(NODE_PACKAGES) ## Python and npm packages: all that the demo needs

.PHONY: demo
demo: setup ## The whole money path, live, in under 90 seconds (DEMO_ARGS="--json out.json")
	$(PY) -m scripts.demo $(DEMO_ARGS)

##@ Work on it

# Brownie compiles and tests on one core, beside the rest.
.PHONY: test
test: ## Everything that CI runs, except lint: about 12 minutes on two cores
	$(MAKE) test-processes
	$(MAKE) -j2 --output-sync=target test-main test-brownie
	$(MAKE) test-scale

# What starts programs mostly waits for them, so three files at a time keep two cores busy; the rest uses all
# cores. Within a file, tests stay in order: some tell one story. The longest files come first.
PROCESS_TESTS := tests/e2e tests/integration
PROCESS_WORKERS ?= 3

.PHONY: test-main
test-main: setup $(SOLC)
	$(PY) -m pytest -n auto --dist worksteal $(PROCESS_TESTS:%=--ignore=%) $(TEST_ARGS)

.PHONY: test-processes
test-processes: setup $(SOLC)
	$(PY) -m pytest -n $(PROCESS_WORKERS) --dist loadfile --no-loadscope-reorder $(PROCESS_TESTS) $(TEST_ARGS)

.PHONY: test-brownie
test-brownie: setup-brownie
	$(BROWNIE) test tests/contracts/functional $(BROWNIE_TEST_ARGS)

.PHONY: test-fast
test-fast: setup $(SOLC) ## Unit tests alone
	$(PY) -m pytest tests/unit $(TEST_ARGS)

.PHONY: test-litellm
test-litellm: setup $(LITELLM_ENVIRONMENT) ## The hook inside a real LiteLLM proxy (600 MB of its own, a minute)
	$(PY) -m pytest tests/integration/test_meter_litellm.py $(TEST_ARGS)

.PHONY: test-scale
test-scale: $(SCALE_ENVIRONMENT) $(NODE_PACKAGES) ## The archive, and its sums on ClickHouse (1.4 GB of its own, half a minute)
	.venv-scale/bin/python -m pytest tests/scale $(TEST_ARGS)

.PHONY: lint
lint: setup ## Style, types, import directions, Solidity rules
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --cache-dir .cache/import-linter
	$(PY) -m toolchain.node run solhint --disc --noPoster --max-warnings 0 'contracts/**/*.sol'

.PHONY: format
format: setup ## Apply the formatter and the safe fixes
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

.PHONY: bench
bench: setup ## Speed and gas against a floor or a peer measured in the same run (BENCH_ARGS="--only epoch")
	$(PY) -m benchmarks $(BENCH_ARGS)

.PHONY: bench-record
bench-record: setup ## The same at full size, an hour on a quiet machine; writes docs/benchmarks.md
	$(PY) -m benchmarks --full --record $(BENCH_ARGS)

.PHONY: soak
soak: setup ## Three million recorded-shape receipts through a node's HTTP (SOAK_ARGS="--receipts 10000000")
	$(PY) -m benchmarks.soak $(SOAK_ARGS)

.PHONY: replay
replay: setup ## The same path on recorded usage (USAGE= PEOPLE= ATTRIBUTION= MAPPING=)
	$(PY) -m scripts.replay $(if $(USAGE),--usage '$(USAGE)') $(if $(PEOPLE),--people '$(PEOPLE)') \
	  $(if $(ATTRIBUTION),--attribution '$(ATTRIBUTION)') $(if $(MAPPING),--mapping '$(MAPPING)') $(REPLAY_ARGS)

.PHONY: prove
prove: setup $(SOLC) $(ANALYSIS_ENVIRONMENT) ## Prove what tests/proofs says, for all inputs
	$(PY) -m toolchain.prove $(PROVE_ARGS)

.PHONY: slither
slither: setup $(SOLC) $(ANALYSIS_ENVIRONMENT) ## Static analysis; docs/security.md answers each finding
	$(PY) -m toolchain.slither

# What whole nodes do, once more with every node on PostgreSQL.
NODE_TESTS := disputes epochs handover

.PHONY: nightly
nightly: setup $(SOLC) prove test-litellm $(SCALE_ENVIRONMENT) ## Long profiles: every artifact, proofs, random histories, 1,200,000 bent calls, 40 faulty epochs, PostgreSQL, 20 M rows
	$(PY) -m toolchain.compile --check --all
	USUFRUCT_ABUSE_CALLS=1200000 HYPOTHESIS_PROFILE=nightly $(PY) -m pytest -n auto --dist worksteal \
	  tests/contracts/evm $(TEST_ARGS)
	USUFRUCT_E2E=long $(PY) -m pytest tests/e2e/test_oracle_kills.py tests/e2e/test_oracle_faults.py $(TEST_ARGS)
	$(PY) -m pytest -p tests.on_postgres $(NODE_TESTS:%=tests/integration/test_oracle_%.py) $(TEST_ARGS)
	USUFRUCT_ARCHIVE_ROWS=20000000 .venv-scale/bin/python -m pytest -s tests/scale/test_agreement.py $(TEST_ARGS)

.PHONY: mutation
mutation: setup $(SOLC) $(ANALYSIS_ENVIRONMENT) ## Share of planted faults that the tests notice (MUTATION_ARGS=)
	$(PY) -m toolchain.mutation $(or $(MUTATION_ARGS),RoyaltySplitter UsageSettlement)

##@ Now and then

.PHONY: compile
compile: setup $(SOLC) ## Rebuild the contract artifacts that ship in usufruct_chain (NAMES="TestUSDC ...")
	$(PY) -m toolchain.compile $(NAMES)

.PHONY: setup-brownie
setup-brownie: setup $(SOLC) $(BROWNIE_ENVIRONMENT) ## What `make test` needs besides: compiler and Brownie

.PHONY: console
console: setup-brownie ## Brownie's console on a fresh dev chain
	$(BROWNIE) console

.PHONY: locks
locks: setup ## Resolve requirements/*.lock and package-lock.json again (LOCK_ARGS=--upgrade)
	$(PY) -m toolchain.locks $(LOCK_ARGS)

.PHONY: clean
clean: ## Remove environments, caches and build results
	rm -rf .venv .venv-brownie .venv-analysis .venv-litellm .venv-scale node_modules .cache build

# Set-up: each part carries a stamp that is older than its lock file when it has to be brought up to date

$(ENVIRONMENT): requirements/dev.lock requirements/bootstrap.lock pyproject.toml toolchain/environments.py
	$(PYTHON) toolchain/environments.py .venv requirements/dev.lock
	@touch $@

$(BROWNIE_ENVIRONMENT): requirements/brownie.lock pyproject.toml toolchain/environments.py | $(ENVIRONMENT)
	$(PY) toolchain/environments.py .venv-brownie requirements/brownie.lock --uv .venv/bin/uv
	@touch $@

$(ANALYSIS_ENVIRONMENT): requirements/analysis.lock toolchain/environments.py | $(ENVIRONMENT)
	$(PY) toolchain/environments.py .venv-analysis requirements/analysis.lock --uv .venv/bin/uv
	@touch $@

$(LITELLM_ENVIRONMENT): requirements/litellm.lock toolchain/environments.py | $(ENVIRONMENT)
	$(PY) toolchain/environments.py .venv-litellm requirements/litellm.lock --uv .venv/bin/uv
	@touch $@

$(SCALE_ENVIRONMENT): requirements/scale.lock pyproject.toml toolchain/environments.py | $(ENVIRONMENT)
	$(PY) toolchain/environments.py .venv-scale requirements/scale.lock --uv .venv/bin/uv
	@touch $@

$(NODE_PACKAGES): package-lock.json package.json toolchain/node.py | $(ENVIRONMENT)
	$(PY) -m toolchain.node ci
	@touch $@

$(SOLC): toolchain/solc.py package-lock.json | $(NODE_PACKAGES)
	$(PY) -m toolchain.solc
	@touch $@
