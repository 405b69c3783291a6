# Two commands are all a newcomer needs: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Most tests wait for servers, forks and signals: more of them at once than there are cores. 0 runs them in one process.
WORKERS ?= 4
TYPED  := queued config daemon drivers grafana jobs web
# The suite starts a thousand Pythons: with this set, each of them compiles all of queued anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run test test-all chaos bench lint types coverage format dashboard build docs clean

help: ## what can be done here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The stamps follow the packaging files: a changed dependency is installed at the next make.
$(VENV)/.run: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "queued needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "installing queued into $(VENV) (once; a minute or less)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[example]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

run: $(VENV)/.run ## start the daemon with the shipped queue.yaml and a first load of example jobs
	@exec $(BIN)/python -m examples.weather

test: $(VENV)/.dev ## the whole suite (tests of servers that are not installed are skipped, and say so)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

test-all: ## the suite on every Python that this machine has, each in a venv of its own
	@for version in 3.11 3.12 3.13; do \
	  if python$$version -c '' 2>/dev/null; then \
	    $(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON=python$$version || exit 1; \
	  else echo "python$$version: not on this machine"; fi; \
	done

chaos: $(VENV)/.dev ## break a daemon at random and see that nothing is lost: make chaos SECONDS=600 [SEED=1]
	$(BIN)/python -m tests.chaos.soak --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(CHAOS_ARGS)

$(VENV)/.bench: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

# Each peer gets a venv of its own in benchmarks/.venvs.
bench: $(VENV)/.bench ## queued beside its peers: make bench [PEERS=huey,saq] [SCENARIOS=drain,latency] [QUICK=1]
	$(BIN)/python -m benchmarks $(if $(PEERS),--peers $(PEERS)) $(if $(SCENARIOS),--scenario $(SCENARIOS)) $(if $(QUICK),--quick) $(BENCH_ARGS)

lint: $(VENV)/.dev ## ruff, checks and format
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# mypy does not follow the editable install's finder, so it is shown the package as a tree of links.
types: $(VENV)/.dev ## mypy --strict over every module
	@rm -rf .types && mkdir -p .types/queued
	@for path in queued/*; do ln -s ../../$$path .types/$$path; done
	@for folder in $(filter-out queued,$(TYPED)); do ln -s ../../$$folder .types/queued/$$folder; done
	@ln -s ../benchmarks ../tools .types/
	cd .types && "$(abspath $(BIN))/mypy" --strict --config-file ../pyproject.toml -p queued -p benchmarks -p tools.dashboard

coverage: $(VENV)/.dev ## the suite with branch coverage, children included
	$(BIN)/python -m pytest -p no:queued -n $(WORKERS) --dist loadgroup $(foreach d,$(TYPED),--cov=$(d)) --cov-report=term $(PYTEST_ARGS)

format: $(VENV)/.dev ## rewrite in the project's format
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

dashboard: $(VENV)/.dev ## grafana/queued.json anew, after a change in tools/dashboard
	$(BIN)/python -m tools.dashboard

build: $(VENV)/.dev ## wheel and sdist in dist/
	rm -rf build dist && $(BIN)/python -m build --quiet

docs: $(VENV)/.dev ## the documentation in site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove what the targets above made
	rm -rf .venv .venv-* benchmarks/.venvs .types build dist site *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache queued.db*
