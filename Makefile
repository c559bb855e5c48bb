# Nothing is needed but Python >= 3.10 with venv and pip. A stamp in the environment makes repeated calls quick.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint

# The embedded quickstart, to a finished report under results/quickstart.
demo: $(VENV)/.tunelab
	$(BIN)/tunelab run

# Two processes; each test process computes with one thread (see tests/conftest.py).
test: $(VENV)/.tunelab-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -o faulthandler_timeout=300

lint: $(VENV)/.tunelab-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.tunelab: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e .
	touch $@

$(VENV)/.tunelab-dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	touch $@
