# Every target sets up .venv itself, the first time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: check test lint deep honest kill-matrix peers bench examples readme pictures clean

check: .venv/installed        ## the main job: our PyTorch Swin, judged by the oracle
	$(BIN)/swin-oracle check swin_torch

test: .venv/installed         ## what CI runs
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: .venv/installed         ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

deep: .venv/installed         ## heavy and random: run it before a change is called done
	SWIN_ORACLE_PROFILE=deep $(BIN)/python -m pytest properties -n auto --dist worksteal

honest: .venv/installed       ## honest code in every precision against the budget: writes properties/honest.md
	$(BIN)/python -m swin_properties.honest --write properties/honest.md

bench: .venv/installed        ## pytest-benchmark cases
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

examples: .venv/installed     ## trains a network, and gradients over two processes: the oracle judges both
	$(BIN)/python examples/train_digits.py
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc-per-node 2 examples/distributed.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

kill-matrix: .venv/installed  ## which law kills which planted bug: slow
	$(BIN)/python properties/kill_matrix.py

peers: .venv/installed        ## what the laws find in timm, torchvision, transformers and microsoft's: slow
	$(BIN)/python properties/peers_table.py $(CHECKOUTS)

readme: .venv/installed       ## prints anew what the README shows
	$(BIN)/python properties/readme.py

pictures: .venv/installed     ## draws anew what the documentation shows
	mkdir -p docs/pictures
	$(BIN)/swin-oracle show regions --size 8x8 --window 4 --shift 2 -o docs/pictures/regions.svg
	$(BIN)/swin-oracle show mask --size 8x8 --window 4 --shift 2 -o docs/pictures/mask.svg
	$(BIN)/swin-oracle show receptive-field --size 16x16 --window 4 --shift 2 -o docs/pictures/receptive-field.svg

clean:
	rm -rf .venv dist
