# Every target sets itself up: Python 3.11, 3.12 or 3.13 with pip is all that must be there. uv is used when it is.
# Name another Python with `make PYTHON=/path/to/python3.12 up`.

.DEFAULT_GOAL := help
.PHONY: help install up demo test chaos lint bench docs lock clean
.NOTPARALLEL:
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH
export PYTHON
PY := .venv/bin/python

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

.venv/.installed: requirements.lock scripts/install.sh
	@scripts/install.sh
	@touch $@

install: .venv/.installed ## Make .venv from requirements.lock

up: .venv/.installed ## Start everything on 127.0.0.1; Ctrl-C stops it
	@exec $(PY) manage.py up

demo: .venv/.installed ## Run one scripted trading session on a stack of its own
	@exec $(PY) manage.py demo

test: .venv/.installed ## Run every test; again on PostgreSQL and Redis when they are there
	@exec $(PY) -m tests

chaos: .venv/.installed ## Run orders while everything goes wrong, as make test does; CHAOS="--long" for the long run
	@exec $(PY) -m tests.chaos $(CHAOS)

lint: .venv/.installed ## Check style, types, import directions and migrations
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .
	$(PY) .venv/bin/lint-imports --no-cache
	$(PY) manage.py makemigrations --check --dry-run
	$(PY) manage.py check

bench: .venv/.installed ## Measure the cost of an order
	@exec $(PY) -m benchmarks

docs: .venv/.installed ## Write the documents that are made from the code, and the index of decisions
	$(PY) scripts/write_docs.py

LOCK := uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

lock: ## Resolve requirements.lock anew, and of it what an image needs (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	$(LOCK) --group dev --output-file requirements.lock
	$(LOCK) --constraint requirements.lock --output-file requirements-run.lock

clean: ## Remove .venv and caches; data in var/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
