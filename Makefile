# Everything sets itself up: `make demo` and `make test` need Python 3.11 or later with its venv module, and nothing installed by hand.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help venv demo tour test check test-deep bench bench-reconcile bench-training bench-planner lock clean

# the first interpreter that is new enough; override with `make PYTHON=…`
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
BIN := .venv/bin
CONNECTOR5 := .cache/connector5
# DeepSpeed is pure Python here: no operator is compiled, neither at install nor at run
export DS_BUILD_OPS := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# tests share the cores with the processes that they start: one thread each, else an oversubscribed step is many times slower
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false SNOWCAT_CONNECTOR5_PYTHON=$(CURDIR)/$(CONNECTOR5)/bin/python
WORKERS ?= 2

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

venv: .venv/.ready ## the virtual environment, made new when the dependencies change

.venv/.ready: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "no Python 3.11 or later with the venv module found; install one or say make PYTHON=/path/to/python" >&2; exit 1; fi
	echo "setting up .venv, about two minutes and 2 GB"
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[local,models,qlora,workspace,otel]' --group dev
	touch $@

# the same wire tests run with the other generation of Snowflake's driver, which cannot live beside the first
$(CONNECTOR5)/.ready: Makefile
	$(PYTHON) -m venv $(CONNECTOR5)
	$(CONNECTOR5)/bin/python -m pip install --quiet 'snowflake-connector-python[pandas]==5.2.0'
	touch $@

demo: .venv/.ready ## the lab from YAML on this machine: fine-tune, deploy, compare by SQL
	$(BIN)/python demo/run.py

tour: .venv/.ready ## the same on a quick path, with four things broken that heal by themselves
	$(BIN)/python demo/tour.py

check: .venv/.ready ## lint, format, types, import rules (seconds)
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: check $(CONNECTOR5)/.ready ## check, then every test
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --max-worker-restart=0

test-deep: .venv/.ready $(CONNECTOR5)/.ready ## properties and random kills, over and over: SEED=n BUDGET=minutes
	$(TEST_ENV) $(BIN)/python tests/deep.py $(if $(SEED),--seed $(SEED)) $(if $(BUDGET),--budget $(BUDGET)) --workers $(WORKERS)

bench: .venv/.ready ## statements of a cycle and time of a plan, over growing projects
	$(BIN)/python benchmarks/plan.py

bench-reconcile: .venv/.ready ## the reconciler at 10 to 4,000 objects, 100 ms a statement: JSON and a table (a quarter of an hour; SIZES=10,100 for less)
	$(BIN)/python benchmarks/reconcile.py $(if $(SIZES),--sizes $(SIZES) --add)

bench-training: .venv/.ready ## our training against HF Trainer, the lab's recipe and TRL: JSON and a table (10 minutes; PARTS=checks,contest,deepspeed)
	$(BIN)/python benchmarks/fine_tuning.py $(if $(PARTS),--parts $(PARTS)) $(if $(SIZE),--size $(SIZE)) $(if $(ONLY),--only $(ONLY))

bench-planner: .venv/.ready ## predicted against measured memory of a training over twelve settings: JSON and a table (a few minutes)
	$(BIN)/python benchmarks/planner.py

lock: .venv/.ready ## write constraints.txt from this environment
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[^+]*)\+.*/\1/'; } > constraints.tmp
	mv constraints.tmp constraints.txt

clean: ## remove environments, caches and the demo's account
	rm -rf .venv .cache .snowcat .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
