PYTHON ?= python

.PHONY: check lint types imports test test-fast

check: lint types imports test

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

imports:
	lint-imports

test:
	$(PYTHON) -m pytest -n 2 --cov --cov-report=term --cov-fail-under=90

test-fast:
	$(PYTHON) -m pytest -n 2 -m "not slow and not gpu and not network"
