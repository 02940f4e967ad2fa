# make demo      the runtime alone, and 15 seconds of tokens
# make test      lint, types and the whole suite
# make quick     lint, types and what takes a minute of the suite
# make install   everything for tests and training
# make lock      ask again which versions are the newest, and write them to constraints.txt
# make test-newest   the suite with the newest of everything, in an environment of its own
# make bench     latency and load of the live system on this machine
# make drills    what the stream promises, put to the test: kills, cuts, floods; an hour and more, some of it needs root

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := -m pip install --quiet --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL) --constraint constraints.txt

.PHONY: demo test quick test-newest install lock bench drills clean

demo: $(VENV)/runtime
	$(BIN)/python -m stream.demo

test: $(VENV)/everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

quick: $(VENV)/everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow"

test-newest:
	$(PYTHON) -m venv --clear $(VENV)-newest
	$(VENV)-newest/bin/python $(INSTALL) --upgrade --editable '.[test]'
	$(VENV)-newest/bin/python -m pip freeze --exclude-editable
	$(VENV)-newest/bin/python -m pytest

# No hashes: one version of torch comes as several files, for CPUs alone and with CUDA, and each of them is right.
lock: $(VENV)/everything
	$(BIN)/python $(INSTALL) uv
	$(BIN)/uv pip compile pyproject.toml --extra test --universal --upgrade --no-annotate --no-emit-index-url \
		--custom-compile-command 'make lock' --quiet --output-file constraints.txt

install: $(VENV)/everything

bench: $(VENV)/runtime
	$(BIN)/python -m stream.bench

drills: $(VENV)/everything
	$(BIN)/python -m tests.drills

$(VENV)/runtime: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kinetoken needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/everything: $(VENV)/runtime
	$(PIP) --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-newest build *.egg-info
