# Everything runs in a virtual environment of its own, made from the Python given in PYTHON.
PYTHON ?= python3
VENV ?= .venv
# Options of the interpreter that the tests run on: make test DEV="-X dev"
DEV ?=
BIN := $(VENV)/bin
# The tests start a thousand interpreters; without bytecode each would compile pytest and all plugins.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help test engine engine-tests oldest demo bench soak soak-short corpus schedules downstream mutants screenshots plots lint types docs clean

help:
	@echo "make demo   the story, run for real: four revisions of one application"
	@echo "make test   all tests"
	@echo "make engine those that depend on the interpreter: rules, schedules, canary, corpus, ..."
	@echo "make oldest the tests beside other plugins, with the oldest of them (Python 3.11 or 3.12)"
	@echo "make bench  what it costs, as ratios measured side by side"
	@echo "make soak   endurance and faults as a table: kills, full disks, signals, bugs; 15 minutes"
	@echo "make corpus who finds the bugs of public reports: loopsafe, asyncio.run, debug mode, ..."
	@echo "make schedules the corpus with recycled ids and in threads: what comes out otherwise"
	@echo "make downstream what an audit changes in public test suites; ARGS=httpx for one of them"
	@echo "make mutants whether the tests notice a changed rule; ARGS=ls208 for one of them"
	@echo "make screenshots the documentation's pictures of the HTML page (needs Chromium)"
	@echo "make plots  the plots of the documentation's page on costs (Matplotlib)"
	@echo "make lint | types | docs | clean"

$(VENV)/ready: pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pytest-loopsafe needs Python 3.11 or later; try make PYTHON=python3.12"; exit 1; }
	@echo "Preparing $(VENV) (once; a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group test --editable ".[all]"
	@touch $@

$(VENV)/ready-lint: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group lint
	@touch $@

$(VENV)/ready-docs: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@

demo: $(VENV)/ready
	@$(BIN)/python examples/roadmap/demo.py

# Three at once on two cores: now and then all a test does is wait, for a process or a deadline.
test: $(VENV)/ready
	@$(BIN)/python $(DEV) -m pytest -n 3 $(ARGS)

# What a user sees of the plugin is the same on each interpreter; what it sees of asyncio is not.
SURFACE := audit audit_phases audited_kinds baseline beside_other_plugins celery celery_safe \
  documentation files_are_whole fixtures_per_pass github_annotations help_texts html_page ini_options \
  json_report kinds_of_tests marked_tests marker_arguments neighbours nothing_is_lost live_terminal \
  redis_fixture reporting sarif secrets service_example xdist

engine: $(VENV)/ready engine-tests

engine-tests:
	@$(BIN)/python $(DEV) -m pytest -n 3 tests $(SURFACE:%=--ignore=tests/test_%.py) $(ARGS)

oldest:
	@for group in oldest oldest-asyncio; do \
	  echo "Preparing .venv-$$group ..."; \
	  python=.venv-$$group/bin/python; \
	  install="$$python -m pip install --quiet --disable-pip-version-check"; \
	  $(PYTHON) -m venv .venv-$$group && $$install --upgrade "pip>=25.1" && \
	  $$install --group $$group --editable . && \
	  PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $$python -m pytest -q -ra -c /dev/null --rootdir=. \
	    -o pythonpath=tests -p pytester $(ARGS) tests/test_neighbours.py || exit 1; \
	done

bench: $(VENV)/ready
	@$(BIN)/python bench/bench.py

soak: $(VENV)/ready
	@$(BIN)/python bench/soak $(ARGS)

soak-short: $(VENV)/ready
	@$(BIN)/python bench/soak --short $(ARGS)

corpus: $(VENV)/ready
	@$(BIN)/python bench/corpus.py $(ARGS)

schedules: $(VENV)/ready
	@$(BIN)/python bench/schedules.py

downstream: $(VENV)/ready
	@$(BIN)/python bench/downstream.py $(ARGS)

mutants: $(VENV)/ready
	@$(BIN)/python bench/mutants.py $(ARGS)

screenshots: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group pictures
	@$(BIN)/python bench/screenshots.py

plots: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group pictures
	@$(BIN)/python bench/plots.py

lint: $(VENV)/ready-lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/ready-lint
	@$(BIN)/mypy

docs: $(VENV)/ready-docs
	@$(BIN)/sphinx-build -q -W -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache build dist
