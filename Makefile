# Everything runs in a virtual environment of its own, made from the Python given in PYTHON.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help test oldest demo bench soak corpus downstream mutants lint types docs clean

help:
	@echo "make demo   the story, run for real: four revisions of one application"
	@echo "make test   all tests"
	@echo "make oldest the tests beside other plugins, with the oldest of them (Python 3.11 or 3.12)"
	@echo "make bench  what it costs, as ratios measured side by side"
	@echo "make soak   2,000 tasks through one child of a real Celery worker"
	@echo "make corpus who finds the bugs of public reports: loopsafe, asyncio.run, debug mode, ..."
	@echo "make downstream what an audit changes in public test suites; ARGS=httpx for one of them"
	@echo "make mutants whether the tests notice a changed rule; ARGS=ls208 for one of them"
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

test: $(VENV)/ready
	@$(BIN)/python -X dev -m pytest -n 2 $(ARGS)

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
	@$(BIN)/python bench/soak.py $(ARGS)

corpus: $(VENV)/ready
	@$(BIN)/python bench/corpus.py $(ARGS)

downstream: $(VENV)/ready
	@$(BIN)/python bench/downstream.py $(ARGS)

mutants: $(VENV)/ready
	@$(BIN)/python bench/mutants.py $(ARGS)

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
