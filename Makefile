# Two commands for a fresh machine: `make demo` and `make test`. The loop itself is plain snakemake.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := demo_workspace
SNAKEMAKE := $(BIN)/snakemake
WORKSPACE ?= demo_workspace
ARGS ?=
SECONDS ?= 600
OUT ?= bundle
WORLD ?= .world
PYTHON_VERSION ?= 3.12

# What a person typed reaches a recipe's shell through the environment, where no character of it
# means anything; $(value) keeps make itself from reading a `$` in it. ARGS is meant to be words.
resume bundle: export TYPED_WORKSPACE := $(value WORKSPACE)
bundle scaffold: export TYPED_OUT := $(value OUT)
scaffold: export TYPED_NAME := $(value NAME)
gpu-kit: export TYPED_PRESENT := $(value PRESENT)
gpu-kit: export TYPED_PYTHON := $(value PYTHON_VERSION)

.PHONY: setup demo test test-long test-all test-slurm test-podman test-interop test-explore-world fuzz docs lint format logic envs bundle gpu-kit resume scaffold clean-demo help

help:
	@grep -E '^## ' Makefile | sed 's/^## //'

$(VENV)/.installed: envs/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	@touch $@

$(VENV)/.installed-dev: envs/requirements-dev.txt envs/requirements-tao.txt $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r envs/requirements-tao.txt
	@touch $@

## make setup     install the pinned packages into .venv
setup: $(VENV)/.installed
	@echo "installed in $(VENV)"

## make demo      set up, draw the demo workspace, run the whole loop to its report
demo: $(VENV)/.installed
	@test -f $(DEMO)/workspace_source.json || $(SNAKEMAKE) demo_workspace --configfile config/demo.yaml
	$(SNAKEMAKE) --configfile config/demo.yaml
	@echo "Report: $(CURDIR)/$(DEMO)/results/$$(cat $(DEMO)/results/current_run)/DEFT_Loop_Report.html"

## make test      set up and pass the tests (fast rings and the tiny end-to-end run)
test: $(VENV)/.installed-dev
	$(BIN)/pytest -q -m "not long and not slow and not benchmark" -n 2

## make test-long  what `make test` leaves out and CI runs: whole networks, many runs of the loop, fuzzing
test-long: $(VENV)/.installed-dev
	$(BIN)/pytest -q -m "long and not slow and not benchmark" -n 2

## make test-all  the slow suites too
test-all: $(VENV)/.installed-dev
	$(BIN)/pytest -q -n 2

## make test-slurm  on a real SLURM, which it installs (apt, root) and starts on this machine, and stops
##                ARGS="-k name" picks cases; a machine with a SLURM of its own is refused
test-slurm: $(VENV)/.installed-dev
	$(BIN)/pytest -v -n 0 tests/slurm --slurm $(ARGS)

## make test-podman  in real containers: installs podman (apt, root), keeps its images in a folder of its own, removes it
test-podman: $(VENV)/.installed-dev
	$(BIN)/pytest -v -n 0 tests/podman --podman $(ARGS)

## make test-interop  run NVIDIA's own scripts on our files (TAO_SKILLS=folder that holds ea/ and cur/: docs/interop.md)
test-interop: $(VENV)/.installed-dev
	$(BIN)/pytest -v -n 0 tests/interop $(ARGS)

## make test-explore-world  download models of others (PyPI, npm) and explore them (WORLD=folder that keeps them, ARGS="--only silero")
test-explore-world: $(VENV)/.installed-dev
	$(BIN)/python tests/support/explore_world.py --folder $(WORLD) $(ARGS)

## make fuzz      feed spoiled files to every reader (SECONDS=600, ARGS="--only state log --seed 7")
fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) $(ARGS)

## make docs      the documentation as a site in site/; a broken link is an error (mkdocs.yml)
docs: $(VENV)/.installed-dev
	env NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

## make lint      ruff, import-linter, snakefmt, mypy, hadolint, snakemake --lint
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	env PYTHONPATH=scripts $(BIN)/lint-imports --no-cache
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(SNAKEMAKE) --lint --config workspace=.

## make format    rewrite Python and Snakemake files in the house style
format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

## make logic     record that the logic versions fit the code (see CONTRIBUTING)
logic: $(VENV)/.installed-dev
	$(BIN)/python tests/logic/logic_fingerprints.py

## make envs      write the pip lists and conda files from envs/packages.yaml
envs: $(VENV)/.installed
	$(BIN)/python scripts/make_envs.py

## make bundle    pack wheels, code and weights for an air gap (OUT=dir [WORKSPACE=dir] [ARGS="--configfile FILE"])
bundle: $(VENV)/.installed
	$(BIN)/python scripts/make_bundle.py --out="$$TYPED_OUT" $(if $(filter file,$(origin WORKSPACE)),,--workspace="$$TYPED_WORKSPACE") $(ARGS)

## make gpu-kit   pack what a bare machine with a CUDA PyTorch lacks for gpu_check.sh, into gpu_kit/
##                (PYTHON_VERSION=3.12 PRESENT=file with what `pip list` prints there, ARGS="--fresh NAME")
gpu-kit: $(VENV)/.installed
	$(BIN)/python benchmarks/gpu_check/kit.py --python-version="$$TYPED_PYTHON" $(if $(PRESENT),--present="$$TYPED_PRESENT") $(ARGS)

## make resume    after a crash: end orphaned jobs, unlock, go on (WORKSPACE=dir ARGS="--cores 4")
resume: $(VENV)/.installed
	$(BIN)/python scripts/resume.py --workspace="$$TYPED_WORKSPACE" --go-on -- $(ARGS)

## make scaffold  start a research project with the lab record (OUT=dir NAME=name)
scaffold: $(VENV)/.installed
	@test "$(origin OUT)" != file -a -n "$$TYPED_NAME" || { echo 'usage: make scaffold OUT=DIR NAME=NAME'; exit 2; }
	$(BIN)/python scripts/bin/dl_lab_scaffold.py --out="$$TYPED_OUT" --name="$$TYPED_NAME"

## make clean-demo  remove the demo workspace
clean-demo:
	rm -rf $(DEMO)
