# The two commands: `make reproduce` and `make test`. Both build .venv from requirements.lock when it is missing or older.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PRESET ?= laptop
TARGET ?=
JOBS ?= 1
RECORD ?=
BIN := .venv/bin
READY := .venv/.ready

# What a user says is data: make expands nothing in it, and recipes read it from the environment, in quotes.
override PRESET := $(value PRESET)
override TARGET := $(value TARGET)
override JOBS := $(value JOBS)
override RECORD := $(value RECORD)
export PRESET TARGET JOBS

.PHONY: help reproduce test test-notebooks mutations bench site readme lab clean .venv
.DEFAULT_GOAL := help

help: ## what there is
	@grep -hE '^[a-z.]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12
	@echo "            PRESET=smoke|laptop|long|paper, JOBS=pages side by side,"
	@echo "            TARGET='a chapter, paper, place, figure or claim', several with commas: TARGET='cslc, 2208.05003 Fig. 2'"

reproduce: .venv ## run every notebook, or TARGET, and print the ledger of claims
	@set -f; TARGET=$$(printf '%s' "$$TARGET" | sed 's/ *, */,/g'); IFS=,; \
	$(BIN)/deepstruct reproduce --preset "$$PRESET" --jobs "$$JOBS" -- $$TARGET

test: test-notebooks ## library notebooks as tests, the papers' pages at smoke, pytest
	$(PYTEST)

# Two at a time, with a thread each where the environment says nothing else.
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -n 2 --dist loadfile tests

test-notebooks: .venv
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --skip_file_re '^(paper_|[_.])'
	$(BIN)/deepstruct reproduce --preset smoke --jobs 2 $(notdir $(wildcard nbs/*/paper_*.ipynb))

mutations: .venv ## plant each fault of tests/mutations.toml and name the test that turns red; minutes to an hour
	$(BIN)/python tests/mutate.py --jobs "$$JOBS"

bench: .venv build/bench ## time all core operations beside other software, on one core, or TARGET=wavelets; RECORD=1 keeps it
	@set -f; TARGET=$$(printf '%s' "$$TARGET" | sed 's/ *, */ /g'); \
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python tests/bench.py $(if $(value RECORD),--record) -- $$TARGET

# Where a peer cannot be fetched the benchmark says that it is absent, and goes on.
build/bench: tests/bench_requirements.txt | .venv
	-@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade --target $@ -r $<
	@mkdir -p $@ && touch $@

site: .venv ## the searchable, offline site, in _site/
	$(BIN)/deepstruct site

readme: .venv ## README.md, ledger and gallery from nbs/index.ipynb, the papers' files and what is recorded
	$(BIN)/deepstruct site --readme

lab: .venv ## JupyterLab, at the table of contents
	$(BIN)/jupyter lab nbs/index.ipynb

.venv: $(READY) ## the environment, from requirements.lock

# Marked ready last: an environment whose making was interrupted is made anew, one that is older than the lock is brought up to date.
$(READY): requirements.lock settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11")'
	@echo "Building .venv from requirements.lock: 2 GB, a few minutes."
	@test -e $@ || $(PYTHON) -m venv --clear .venv
	@rm -f $@
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean: ## forget runs, caches, the site and the environment
	rm -rf out .cache _site _proc _docs build .venv
