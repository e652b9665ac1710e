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

# One process of tests a core, for few of them keep two busy: 4 at most, as each takes up to 1.5 GB of memory. A file's
# tests stay together, since they share what is costly: runs and trained models.
test: $(VENV)/dev
	$(BIN)/python -m compileall -q cli.py rules scanner  # PYTHONDONTWRITEBYTECODE may keep each process from it
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
