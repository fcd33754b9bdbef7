# Two commands do all the set-up: `make bench` and `make test`. Everything they need goes into .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SHIM   := .cuda-shim
BINDINGS := .trt-bindings
PYTEST ?= -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help bench families plans int8-report docs docs-pages results-digest test test-full test-cuda-shim test-contract check format clean

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

bench: $(VENV)/.demo ## Set up, then ResNet-50 in PyTorch, ONNX Runtime and TensorRT, FP32, FP16 and INT8, side by side
	$(BIN)/deploykit bench resnet50 --backends torch,ort,trt --precision fp32,fp16,int8

families: $(VENV)/.demo ## Set up, then the same for one network of every family; the table goes to docs/results/families.md
	$(BIN)/python benchmarks/families.py --output docs/results/families.md

plans: $(VENV)/.dev ## Set up, then compile the whole zoo beside a naive conversion; the table goes to docs/results/plans.md
	$(BIN)/python benchmarks/plans.py --output docs/results/plans.md

int8-report: $(VENV)/.demo ## Set up, train small networks on Fashion-MNIST, then the INT8 matrix; it goes to docs/results/int8.md
	PYTHONPATH=$(CURDIR) $(BIN)/python benchmarks/int8.py --output docs/results/int8.md

docs: $(VENV)/.docs ## Set up, then build the documentation into build/site; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs-pages: $(VENV)/.dev ## Write again the reference pages that are generated from the zoo's cards, the error classes and the result types
	$(BIN)/python docs/generate.py
	$(BIN)/python -m deploykit.results.schema > docs/reference/json-schema.json

results-digest: $(VENV)/.dev ## Record in results pages whose code has changed what was rerun: NOTE="..." [PAGES="plans.md ..."]
	$(BIN)/python benchmarks/sources.py --note "$(NOTE)" $(PAGES)

test: $(VENV)/.dev ## Set up, then every test but those of `make test-full`: minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST)

test-full: $(VENV)/.dev ## Set up, then the whole zoo and real trainings; resumed where it stopped (FULL=--again: anew)
	$(BIN)/python -m pytest -m full -n 1 $(FULL)

test-cuda-shim: $(VENV)/.dev ## Build pycuda and the host-memory CUDA driver, then run the TensorRT session on them
	bash tests/cuda_shim/setup.sh $(BIN)/python $(SHIM)
	LD_PRELOAD=$(CURDIR)/$(SHIM)/libcuda.so.1 PYTHONPATH=$(CURDIR)/$(SHIM)/site $(BIN)/python -m pytest -m cuda_shim tests/cuda_shim

test-contract: $(VENV)/.dev ## Fetch the Python bindings of three releases of TensorRT, then check every call against them
	bash tests/trt_contract/setup.sh $(BIN)/python $(BINDINGS)
	$(BIN)/python -m pytest tests/trt_contract

check: $(VENV)/.dev ## Format, lint and types, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST)

format: $(VENV)/.dev ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment, caches and built artifacts (tracked files stay)
	rm -rf $(VENV) $(SHIM) $(BINDINGS) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	git clean -fdXq engines calibration

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@
