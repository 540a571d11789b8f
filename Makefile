# Each target makes what it needs in .venv, with Python and pip alone. All paths are relative, so that the folder
# may lie anywhere and be called anything.
#
#   make demo                    trace, judge and compare two versions of an agent
#   make test                    all tests                  (ARGS="tests/sdk -k decorator" runs some)
#   make check                   ruff, mypy, who imports whom
#   make bench                   benchmarks
#   make clean                   remove what the others made
#
# PYTHON=python3.12 chooses the interpreter of a new .venv.

PYTHON ?= python3
ARGS ?=
RUN := .venv/bin/python -m

# An environment that was made in another folder installed the code of that folder.
ifneq ($(shell cat .venv/made-in 2>/dev/null || pwd),$(shell pwd))
$(shell rm -rf .venv)
endif

.PHONY: help demo test check bench clean

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/demo
	@.venv/bin/tracekit demo $(ARGS)

test: .venv/dev
	@$(RUN) pytest -n auto --dist loadfile $(ARGS)

check: .venv/dev
	@echo "ruff check" && $(RUN) ruff check .
	@echo "ruff format" && $(RUN) ruff format --check --quiet .
	@echo "mypy --strict" && $(RUN) mypy
	@echo "who imports whom" && $(RUN) pytest -q tests/project/test_architecture.py

bench: .venv/dev
	@for file in benchmarks/[!_]*.py; do echo "$$file" >&2; .venv/bin/python "$$file" $(ARGS) || exit 1; done

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `dev` holds everything that `demo` does. A change in pyproject.toml installs again.
.venv/demo .venv/dev: .venv/%: pyproject.toml | .venv/bin/python
	@echo "Installing tracekit[$*] into .venv (a minute or two the first time) ..."
	@$(RUN) pip install --quiet --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@ $(if $(filter dev,$*),.venv/demo)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "tracekit needs Python 3.10 or newer, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@pwd > .venv/made-in
