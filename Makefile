# Every target sets up .venv itself, the first time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: check test lint deep fuzz mutants sanitize honest kill-matrix diagnosis suite-profile peers peers-page copies bench bench-heavy bench-save bench-cpu \
        standing history first-minute claims gpu compare tracker-power examples exports readme vectors pictures clean

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
	$(MUTANTS)
	$(MAKE) fuzz

NUMBER ?= 300
SEED ?= 0
MUTANTS = PYTHONPATH=properties $(BIN)/python -m studies.mutants --number $(NUMBER) --seed $(SEED)
mutants: .venv/installed      ## small edits of the oracle: laws break each, or a committed list says why none does
	$(MUTANTS)

fuzz: .venv/installed         ## 5000 damaged and odd inputs, by seed: no traceback, no silent pass, no hang
	PYTHONPATH=properties $(BIN)/python -m studies.fuzz

sanitize: .venv/installed     ## the C under the address and undefined-behaviour sanitizers: no report
	$(BIN)/python properties/studies/sanitize.py

honest: .venv/installed       ## honest code in every precision against the budget: writes docs/honest.md
	PYTHONPATH=properties OMP_NUM_THREADS=1 $(BIN)/python -m studies.honest --jobs 2 --write docs/honest.md

# One thread: threads that wait for each other measure the machine's other load.  Goals are those of two.
TIMED := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python
STANDING := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/python -m benchmarks.standing
CASES := -m pytest benchmarks/tests/test_cases.py --benchmark-enable --benchmark-only --benchmark-columns=min,median,rounds \
         $(if $(K),-k "$(K)")

bench: .venv/installed        ## every case once over: under 10 minutes on two cores; K="attention and timm" for some
	$(TIMED) $(CASES) -m "not heavy"

bench-heavy: .venv/installed  ## the large ones: more than half an hour
	$(TIMED) $(CASES) -m heavy

bench-save: .venv/installed   ## make bench, kept in benchmarks/results
	$(TIMED) -m benchmarks.history.results -m "not heavy"

standing: .venv/installed     ## ours beside every peer, against the goals: the table and plot of benchmarks/README.md
	$(STANDING)

bench-cpu: .venv/installed    ## the part of standing that a CPU can measure, printed
	$(STANDING) cpu

GPU_RUN ?= build/gpu
gpu: .venv/installed          ## all that is measured on a GPU: benchmarks/gpu.md; without one, a rehearsal that is not kept
	$(BIN)/python -m benchmarks.gpu --out $(GPU_RUN); code=$$?; \
	$(BIN)/python -m benchmarks.gpu.page $(GPU_RUN) && exit $$code

history: .venv/installed      ## the trend of every case over benchmarks/results
	$(TIMED) -m benchmarks.history

first-minute: .venv/installed ## what a user meets first, in fresh processes: import, first image, training step, memory
	$(STANDING:benchmarks.standing=benchmarks.standing.first_minute)

claims: .venv/installed       ## the paper's table 5, and cost as the image grows, measured again
	$(TIMED) -m benchmarks.claims

examples: .venv/installed     ## trains a network, and gradients over two processes: the oracle judges both
	$(BIN)/python examples/train_digits.py
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc-per-node 2 examples/distributed.py

BASE ?= HEAD
compare: .venv/installed      ## is a case slower than in BASE (default: the last commit)?  also HEAD=..., K='attention and not stage1'
	$(BIN)/swin-oracle compare "$(BASE)" $(HEAD) $(if $(K),-k "$(K)")

tracker-power: .venv/installed  ## what compare catches: writes benchmarks/tracker-power.md
	$(BIN)/python -m benchmarks.tracker_power --write benchmarks/tracker-power.md

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

kill-matrix: .venv/installed  ## which law kills which planted bug: slow
	$(BIN)/python properties/studies/kill_matrix.py

diagnosis: .venv/installed    ## is the cause that a report tells true?  planted bugs, judged: writes docs/diagnosis.md
	PYTHONPATH=properties OMP_NUM_THREADS=1 $(BIN)/python -m studies.diagnosis --jobs 2 --write docs/diagnosis.md

suite-profile: .venv/installed ## where the time of a check goes, by phase and law: writes docs/suite-profile.md
	OMP_NUM_THREADS=1 $(BIN)/python properties/studies/suite_profile.py swin_torch examples/functions_nchw.py \
	  --machine "$$($(BIN)/python -c 'from benchmarks.machine import description; print(description.make_sentence())')" \
	  --write docs/suite-profile.md

PEERS = PYTHONPATH=properties:. $(BIN)/python -m studies.peers
peers: .venv/installed        ## what the laws find in public implementations: writes docs/peers.md and docs/peers.html: slow
	$(PEERS) $(foreach checkout,$(CHECKOUTS),--checkout $(checkout))

peers-page: .venv/installed   ## draws docs/peers.html and docs/peers.md anew from the kept results; NAMES="monai birder" judges these first
	$(PEERS) $(or $(NAMES),--page)

copies: .venv/installed       ## judges public copies of Swin in CHECKOUTS, a folder with LIST.tsv: writes docs/copies.md
	OMP_NUM_THREADS=1 $(BIN)/python properties/studies/copies_table.py $(CHECKOUTS)

exports: .venv/installed      ## exports each implementation and judges the files: writes docs/exports.md
	OMP_NUM_THREADS=1 $(BIN)/python properties/studies/exports_table.py

readme: .venv/installed       ## prints anew what the README and docs show
	$(BIN)/python properties/studies/readme.py

vectors: .venv/installed      ## golden vectors, with their SHA-256, in dist/
	rm -rf build/vectors && mkdir -p build dist
	$(BIN)/swin-oracle vectors write build/vectors
	tar -czf dist/swin-oracle-vectors.tar.gz -C build vectors
	cd dist && sha256sum swin-oracle-vectors.tar.gz > swin-oracle-vectors.tar.gz.sha256

pictures: .venv/installed     ## draws anew what the documentation shows
	mkdir -p docs/pictures
	$(BIN)/swin-oracle show regions --size 8x8 --window 4 --shift 2 -o docs/pictures/regions.svg
	$(BIN)/swin-oracle show mask --size 8x8 --window 4 --shift 2 -o docs/pictures/mask.svg
	-$(BIN)/swin-oracle locate examples/two_faults.py:make --config examples/small.json --image examples/pattern.png --svg docs/pictures/depth.svg
	$(BIN)/swin-oracle show receptive-field --size 16x16 --window 4 --shift 2 -o docs/pictures/receptive-field.svg

clean:
	rm -rf .venv dist
