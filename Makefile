# Everything from nothing: a Python (3.11 or newer), a C++ compiler and make. Builds and models are cached outside.
.DEFAULT_GOAL := help
.PHONY: help demo run test lint pictures slow gpu clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## */  make \1\t/' | expand -t 16

demo: $(VENV)/run.stamp  ## from nothing to a chat with a small model; without a terminal, to one answer
	@if [ -t 0 ] && [ -t 1 ] && [ -t 2 ]; then $(BIN)/r1tui demo; \
	else $(BIN)/r1tui chat --variant demo "Write a haiku about the sea."; fi

run: $(VENV)/run.stamp  ## r1tui itself; ARGS="serve demo" for a command
	@$(BIN)/r1tui $(ARGS)

test: $(VENV)/dev.stamp  ## all tests on all cores, against a real llama-server (built first, in minutes; then cached)
	$(BIN)/python -m tests.tools.engine
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/dev.stamp  ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

pictures: $(VENV)/dev.stamp  ## the README's pictures, from the running program
	$(BIN)/python -m tests.tools.pictures

slow: $(VENV)/dev.stamp  ## the tests that take many minutes, such as the CUDA build
	$(BIN)/python -m pytest -m slow

gpu: $(VENV)/dev.stamp  ## what this machine's NVIDIA card does with the plans (9 minutes); ARGS="--only pool,grid"
	$(BIN)/python -m tests.gpu $(ARGS)

clean:  ## remove the environment; engines and models stay in the cache
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/run.stamp: pyproject.toml constraints.txt tests/tools/environment.sh
	@sh tests/tools/environment.sh $(VENV) .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt tests/tools/environment.sh
	@sh tests/tools/environment.sh $(VENV) '.[dev]'
	@touch $@ $(VENV)/run.stamp
