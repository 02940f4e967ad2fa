# make demo      the runtime alone, and 15 seconds of tokens
# make test      lint, types and the whole suite
# make install   everything for tests and training
# make bench     latency and load of the live system on this machine
# make drills    what the stream promises, put to the test: kills, cuts, floods; an hour and more, some of it needs root

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test install bench drills clean

demo: $(VENV)/runtime
	$(BIN)/python -m stream.demo

test: $(VENV)/everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

install: $(VENV)/everything

bench: $(VENV)/runtime
	$(BIN)/python -m stream.bench

drills: $(VENV)/everything
	$(BIN)/python -m tests.drills

$(VENV)/runtime: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kinetoken needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/everything: $(VENV)/runtime
	$(PIP) --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
