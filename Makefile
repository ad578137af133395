# Every target sets up what it needs by itself; nothing has to be installed or activated first.

PORT    ?= 8000
WORKERS ?= 2
TEST_WORKERS ?= 2
ARGS    ?=
SEEDS   ?= 200000

VENV   := .venv
PYTHON := $(VENV)/bin/python
UV     := $(VENV)/bin/uv

# The caller's own Python set-up must not leak into the project's; where packages come from (proxy, mirror) stays the caller's.
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONWARNINGS
unexport PYTHONDONTWRITEBYTECODE
unexport DJANGO_SETTINGS_MODULE PYTEST_ADDOPTS PYTEST_PLUGINS PYTEST_DISABLE_PLUGIN_AUTOLOAD
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_REQUIRE_VIRTUALENV PIP_NO_DEPS PIP_CONSTRAINT PIP_REQUIREMENT
unexport PIP_DRY_RUN PIP_NO_BINARY PIP_ONLY_BINARY PIP_BREAK_SYSTEM_PACKAGES
unexport UV_PYTHON UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX UV_NO_DEPS UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE UV_EXCLUDE_NEWER UV_RESOLUTION
unexport UV_PRERELEASE UV_NO_BINARY UV_NO_BUILD UV_MANAGED_PYTHON UV_PYTHON_PREFERENCE UV_BREAK_SYSTEM_PACKAGES UV_PROJECT_ENVIRONMENT
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
# Trust what the machine trusts, a company's own authority included, as pip does.
export UV_SYSTEM_CERTS := 1
endif

# Tools that import the settings but need no service get throw-away values.
CHECK_ENVIRONMENT := SECRET_KEY=check SIGNALBOX_API_KEY_PEPPER=Y2hlY2s= SIGNALBOX_ENCRYPTION_KEY=Y2hlY2s= \
  DATABASE_URL=postgres://check@127.0.0.1/check SIGNALBOX_STATE_DIR=var/check

.DEFAULT_GOAL := help
.PHONY: help up test check lint format types imports bench simulate faults chaos matrix mutants screenshots requirements clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(VENV)/runtime.stamp ## Set up and serve on http://127.0.0.1:8000 (PORT=, WORKERS=)
	@exec $(PYTHON) -m routerproject.embedded.up --port $(PORT) --workers $(WORKERS)

test: $(VENV)/development.stamp $(VENV)/browser.stamp ## Set up and run the whole suite (ARGS="tests/sandbox -k name", TEST_WORKERS=)
	@$(PYTHON) -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile $(ARGS)

check: lint types imports ## Lint, type check and import rules, as CI runs them

lint: $(VENV)/development.stamp ## Lint and check the format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(CHECK_ENVIRONMENT) $(PYTHON) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

format: $(VENV)/development.stamp ## Format the code and apply the linter's fixes
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: $(VENV)/development.stamp ## Type check
	$(CHECK_ENVIRONMENT) $(VENV)/bin/mypy

imports: $(VENV)/development.stamp ## Check which package may import which
	PYTHONPATH=. $(VENV)/bin/lint-imports

bench: $(VENV)/development.stamp ## Measure what a dispatch costs (ARGS="--only ledger", var/bench/bench.json)
	@$(PYTHON) -m routerproject.embedded.run var/bench/services $(PYTHON) -m bench $(ARGS)

faults: $(VENV)/development.stamp ## Play every fault in every strategy, an outage, 50,000 cancellations (var/bench/faults.json)
	@$(PYTHON) -m routerproject.embedded.run var/bench/services $(PYTHON) -m tests.faults

chaos: $(VENV)/development.stamp ## Kill everything under load and count the money (ARGS="--only budgets --trials 20", var/bench/chaos.json)
	@$(PYTHON) -m tests.chaos $(ARGS)

matrix: $(VENV)/development.stamp ## Try every client with every vendor, feature by feature (var/bench/matrix.json)
	@$(PYTHON) -m routerproject.embedded.run var/bench/services $(PYTHON) -m tests.matrix

mutants: $(VENV)/development.stamp ## Plant faults into a copy of the code and see whether the suite notices (ARGS="name", JOBS=2)
	@$(PYTHON) -m tests.mutants $(ARGS)

simulate: $(VENV)/development.stamp ## Run the executor in many simulated worlds of trouble (SEEDS=, var/bench/simulate.json)
	@$(PYTHON) -m tests.simulation --seeds $(SEEDS) $(ARGS)

screenshots: $(VENV)/development.stamp $(VENV)/browser.stamp ## Take the README's pictures again
	@$(PYTHON) -m routerproject.embedded.run var/screenshots $(PYTHON) docs/take_screenshots.py

requirements: $(VENV)/uv.stamp ## Lock the dependencies again, from requirements/*.in, to releases at least a week old
	for name in uv runtime development; do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links --exclude-newer "$$(date -u -d '7 days ago' +%FT00:00:00Z)" \
	    requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done

clean: ## Remove the virtual environment and all state, data included
	rm -rf $(VENV) var staticfiles

# A bare Debian has python3 without the venv module; root may add it, others are told how.
$(VENV)/bin/python:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Signalbox needs Python 3.11 or newer as python3." >&2; exit 1; }
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; \
	  else echo "python3 has no venv module. Install it first: sudo apt install python3-venv" >&2; exit 1; fi; }
	@rm -rf $(VENV)
	@python3 -m venv $(VENV)

$(VENV)/uv.stamp: requirements/uv.txt | $(VENV)/bin/python
	@$(PYTHON) -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/runtime.stamp: requirements/runtime.txt $(VENV)/uv.stamp
	@echo "Installing what Signalbox runs on…"
	@$(UV) pip install --quiet --python $(PYTHON) --require-hashes -r requirements/runtime.txt
	@touch $@

$(VENV)/development.stamp: requirements/development.txt $(VENV)/uv.stamp
	@echo "Installing what the suite needs…"
	@$(UV) pip install --quiet --python $(PYTHON) --require-hashes -r requirements/development.txt
	@touch $@

# The browser tests drive Debian's Chromium where it is or can be installed, else Playwright's own. Its shell without windows opens a
# page with a fifth of the CPU; not every release of Debian has it.
$(VENV)/browser.stamp: $(VENV)/development.stamp
	@if [ -x /usr/bin/chromium-headless-shell ] || [ -x /usr/bin/chromium ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing Chromium for the browser tests…"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && { apt-get install -y -qq chromium-headless-shell >/dev/null || apt-get install -y -qq chromium >/dev/null; }; \
	else $(VENV)/bin/playwright install chromium; fi
	@touch $@
