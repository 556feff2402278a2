# make demo   own virtual environment, install, the main job
# make test   the test suite (make test-slow: the long ones)
# make lint   ruff, import-linter and pyright
# EXTRA=gpu   CUDA jax instead of CPU jax, EXTRA=tpu likewise

EXTRA ?=
JOBS ?= 2
# The newest Python from 3.11 to 3.13 that runs: a version manager's shim may be there and fail.
PYTHON ?= $(shell for p in python3.13 $(HOME)/.pyenv/versions/3.13*/bin/python \
	python3.12 $(HOME)/.pyenv/versions/3.12*/bin/python \
	python3.11 $(HOME)/.pyenv/versions/3.11*/bin/python python3; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
COMMA := ,
EXTRAS = $(if $(EXTRA),[$(EXTRA)])
DEV_EXTRAS = [dev$(if $(EXTRA),$(COMMA)$(EXTRA))]

.PHONY: demo test test-slow lint clean

demo: .venv/installed
	$(BIN)/python launch.py sweep --config=experiments/sandwich.py --cells='k[03]' --name=demo --fresh --executor=processes

test: .venv/installed-dev
	$(BIN)/python -m pytest -q -n $(JOBS)

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -q -m slow

lint: .venv/installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/pyright

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python from 3.11 to 3.13 runs here; install one, or say PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.$(EXTRAS)'
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.$(DEV_EXTRAS)'
	@touch $@ .venv/installed

clean:
	rm -rf .venv runs
