# Every target sets up .venv itself, the first time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: check test lint deep honest bench readme clean

check: .venv/installed        ## the main job: our PyTorch Swin, judged by the oracle
	$(BIN)/swin-oracle check swin_torch

test: .venv/installed         ## what CI runs
	$(BIN)/python -m pytest

lint: .venv/installed         ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

deep: .venv/installed         ## heavy and random: run it before a change is called done
	SWIN_ORACLE_PROFILE=deep $(BIN)/python -m pytest properties

honest: .venv/installed       ## honest code in every precision against the budget: writes properties/honest.md
	$(BIN)/python -m swin_properties.honest --write properties/honest.md

bench: .venv/installed        ## pytest-benchmark cases
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

readme: .venv/installed       ## prints anew what the README shows
	$(BIN)/python properties/readme.py

clean:
	rm -rf .venv dist
