# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets everything up first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check docs clean

demo: $(VENV)/.all
	$(BIN)/carrousel demo -o runs/demo

test: check
	@# One thread a worker: two workers with two threads each would only wait for each other.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.all: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing Carrousel with everything it trains and reports with (some minutes the first time) ..."
	$(PIP) -e ".[all]"
	@touch $@

$(VENV)/.dev: $(VENV)/.all
	@echo "Installing what the tests compare it with ..."
	$(PIP) -e ".[all,dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist site runs
