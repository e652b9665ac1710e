# One command each: `make demo` sets up and runs the main job, `make test` sets up and passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test clean

$(BIN)/scan: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sftscan needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev: $(BIN)/scan
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(BIN)/scan
	$(BIN)/python examples/make_demo.py $(DEMO)
	$(BIN)/scan $(DEMO)/demo.jsonl --out $(DEMO)/demo.scan --epochs 3 --learning-rate 5e-5 --force --fix $(DEMO)/clean.jsonl
	$(BIN)/scan verify $(DEMO)/clean.jsonl $(DEMO)/demo.scan

test: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
