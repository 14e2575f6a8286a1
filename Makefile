# The two commands: `make reproduce` and `make test`. Both build .venv from requirements.lock when it is missing or older.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PRESET ?= laptop
TARGET ?=
JOBS ?= 1
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help reproduce test test-notebooks site readme lab clean .venv
.DEFAULT_GOAL := help

help: ## what there is
	@grep -hE '^[a-z.]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12
	@echo "            PRESET=smoke|laptop|long|paper, TARGET='a chapter, paper, figure or claim', JOBS=notebooks side by side"

reproduce: .venv ## run every notebook, or TARGET, and print the ledger of claims
	$(BIN)/deepstruct reproduce $(TARGET) --preset $(PRESET) --jobs $(JOBS)

test: test-notebooks ## library notebooks as tests, every notebook at smoke, pytest
	$(BIN)/python -m pytest -q tests

test-notebooks: .venv
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --skip_file_re '^(paper_|[_.])'
	$(BIN)/deepstruct reproduce --preset smoke --jobs 2

site: .venv ## the searchable, offline site, in _site/
	$(BIN)/deepstruct site

readme: .venv ## README.md from nbs/index.ipynb and what is recorded
	$(BIN)/deepstruct site --readme

lab: .venv ## JupyterLab on the notebooks
	$(BIN)/jupyter lab nbs

.venv: $(READY) ## the environment, from requirements.lock

# Marked ready last: an environment whose making was interrupted is made anew, one that is older than the lock is brought up to date.
$(READY): requirements.lock settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11")'
	@echo "building .venv from requirements.lock, a minute or two"
	test -e $@ || $(PYTHON) -m venv --clear .venv
	rm -f $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean: ## forget runs, caches, the site and the environment
	rm -rf out .cache _site _proc _docs build .venv
