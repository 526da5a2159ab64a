# `make` lists every task.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Tests run beside each other, a file at a time; the longest files begin first. They wait for servers a quarter of their
# time: TOGETHER='-n 3 --dist loadfile …' is quicker on two cores. TOGETHER= runs one after another.
TOGETHER ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# A hundred servers are started by the tests: compiled modules are kept, even where the machine is told not to.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-soak soak-serving soak-resume soak-import test-unit test-contract test-e2e test-outsiders check format docs bench bench-client \
        bench-gateway bench-dataset clean

help: ## list the tasks
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# TORCH picks the build, e.g. TORCH='torch==2.13.0 --index-url …' for one made for your GPU.
$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[platform,train,images,dataset,s3,dev]'
	@touch $(READY)

setup: $(READY) ## make .venv with everything for development

demo: $(READY) ## fine-tune, publish, deploy and ask a model on this machine
	@$(BIN)/qianfan demo

test: $(READY) ## the default test suite
	@$(BIN)/python -m pytest $(TOGETHER)

test-unit: $(READY) ## the quick tests
	@$(BIN)/python -m pytest $(TOGETHER) tests/unit tests/architecture

test-contract: $(READY) ## the SDK against the platform
	@$(BIN)/python -m pytest $(TOGETHER) tests/contract

test-e2e: $(READY) ## train, publish, deploy, chat
	@$(BIN)/python -m pytest tests/e2e

test-outsiders: $(READY) ## published clients of others against the platform
	@$(BIN)/python -m pytest tests/contract/outsiders

test-soak: $(READY) ## the long tests that `make test` leaves out
	@$(BIN)/python -m pytest -m soak

soak-resume: $(READY) ## kill the trainer at a hundred random moments; KILLS=104
	@SOAK_KILLS=$(or $(KILLS),104) nice $(BIN)/python -m pytest tests/soak/test_resume.py -m soak -s

soak-import: $(READY) ## kill the server at sixty moments of imports; KILLS=60
	@SOAK_KILLS=$(or $(KILLS),60) nice $(BIN)/python -m pytest tests/soak/test_soak_import.py -m soak -s

soak-serving: $(READY) ## kill engines and the server under load; SECONDS=600
	@SOAK_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest tests/soak/test_soak_serving.py -m soak -s

check: $(READY) ## format, lint, types, architecture
	@$(BIN)/ruff format --check src tests examples benchmarks docs
	@$(BIN)/ruff check src tests examples benchmarks docs
	@$(BIN)/mypy
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python -m pytest tests/architecture

bench: bench-client bench-gateway bench-dataset ## all benchmarks: also import, size, training loop
	@$(BIN)/python benchmarks/import_time.py
	@$(BIN)/python benchmarks/base_size.py
	@$(BIN)/python benchmarks/training.py --model SmolLM2-135M-Instruct

bench-client: $(READY) ## CPU of the SDK for a call and an event, beside others
	@$(BIN)/python benchmarks/client.py

bench-gateway: $(READY) ## CPU of the platform for a request and an event, beside nginx
	@$(BIN)/python benchmarks/gateway.py

bench-dataset: $(READY) ## CPU and memory of a pipeline of the Dataset, beside a plain loop; ROWS=200000
	@$(BIN)/python benchmarks/dataset.py --rows $(or $(ROWS),200000) --near 100000,1000000

docs: $(READY) ## write the generated tables of docs/reference
	@$(BIN)/python docs/generate.py

format: $(READY) ## format the code and mend what can be mended
	@$(BIN)/ruff format src tests examples benchmarks docs
	@$(BIN)/ruff check --fix src tests examples benchmarks docs

clean: ## remove .venv and caches
	rm -rf $(VENV) .outsiders .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
