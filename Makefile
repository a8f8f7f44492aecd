# `make help` lists the targets. Everything happens in .venv, from the pinned requirements.lock.

.DEFAULT_GOAL := help
.PHONY: help demo paper paper-quick sweep-beta bench benchmark benchmark-quick batches labels sparsity faults docs test pipelines ray r coverage lint types lock wheel clean

# The first Python that hydra-core and torch run on; another with `make demo PYTHON=...`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$p; break; }; done)
BIN := .venv/bin
# pip compiles every module, one after another, for minutes; Python compiles what is imported,
# and keeps it also where the environment says not to.
unexport PYTHONDONTWRITEBYTECODE
QUIETLY := --quiet --disable-pip-version-check --no-compile
INSTALL := $(BIN)/python -m pip install $(QUIETLY)

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.13 found; give one with PYTHON=..."; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(INSTALL) -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

demo: .venv/ready  ## train, map and score beta-VSC on 700 real PBMCs
	$(BIN)/scvae train model=vsc beta=2.0

# Seurat's own labels, to score against too, where the data folder has them.
LABELS = $(addprefix --labels ,$(wildcard $(SCVAE_DATA_DIR)/pbmc3k/seurat_labels.csv))

paper: .venv/ready  ## reproduce the report from raw counts; interrupted, it continues
	$(BIN)/scvae paper --to docs $(LABELS) threads=1

paper-quick: .venv/ready  ## the same with one seed, in minutes
	$(BIN)/scvae paper --quick $(LABELS)

SWEEP := outputs/sweep-beta
sweep-beta: .venv/ready  ## beta of VAE and VSC on PBMC3k, three seeds; interrupted, it continues
	@if [ -f $(SWEEP)/sweep.json ]; then $(BIN)/scvae train resume=$(SWEEP); else \
	$(BIN)/scvae train -m data=pbmc3k model=vae,vsc,pca beta=0.5,1,2,4 'seed=range(0,3)' \
	  map_3d=false threads=1 hydra.sweep.dir=$(SWEEP); fi
	cp $(SWEEP)/figures/scores_by_beta.png docs/sweep_beta.png
	cp $(SWEEP)/results.csv docs/sweeps/beta.csv

bench: .venv/ready  ## measure training side by side with plain loops; writes docs/performance.md
	$(BIN)/python -m benchmarks.training

benchmark: .venv/ready  ## compare latent spaces and scVI, judge `scvae choose`; interrupted, it continues
	$(INSTALL) --no-build-isolation -c requirements.lock -e '.[peer]'
	$(BIN)/python -m benchmarks.latents

benchmark-quick: .venv/ready  ## the candidates of `scvae choose` on two small sets, into outputs/
	$(BIN)/python -m benchmarks.latents --quick --to outputs/benchmark-quick

batches: .venv/ready  ## compare how models join batches, beside Harmony and scVI; interrupted, it continues
	$(INSTALL) --no-build-isolation -c requirements.lock -e '.[peer]'
	$(BIN)/python -m benchmarks.batches

labels: .venv/ready  ## measure the types that `scvae embed --labels` gives; interrupted, it continues
	$(BIN)/python -m benchmarks.labels

sparsity: .venv/ready  ## whether latents of the VSC are programmes of genes; writes docs/sparsity.md
	$(BIN)/python -m benchmarks.sparsity

test: .venv/ready  ## run the tests; SOME='-m "not slow"' leaves out those that have a quicker one like them
	$(BIN)/python -m pytest $(SOME)

PIPELINES := .venv-pipelines/bin
.venv-pipelines/ready: requirements-pipelines.lock
	$(PYTHON) -m venv --clear .venv-pipelines
	$(PIPELINES)/python -m pip install $(QUIETLY) -r requirements-pipelines.lock
	@touch $@

pipelines: .venv/ready .venv-pipelines/ready  ## run MultiQC, Snakemake and hadolint on what is made for them
	SCVAE_PIPELINES=$(abspath $(PIPELINES)) $(BIN)/python -m pytest tests/test_pipelines.py

# A folder that PYTHONPATH puts before .venv.
.venv-ray/ready: requirements-ray.lock .venv/ready
	rm -rf .venv-ray
	$(INSTALL) --no-deps --target .venv-ray -r requirements-ray.lock
	@touch $@

ray: .venv-ray/ready  ## run a sweep on Ray, with the older libraries that its launcher wants
	PYTHONPATH=$(abspath .venv-ray) $(BIN)/python -m pytest tests/test_sweep.py -k ray

r: .venv/ready  ## run docs/r-and-seurat.md where R and Seurat are
	$(BIN)/python -m pytest tests/test_r.py

coverage: .venv/ready  ## run the tests and report the lines that none of their processes reached
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=cover

faults: .venv/ready  ## kill, fill and spoil runs, and see what is lost; writes docs/reliability.md
	$(BIN)/python -m benchmarks.faults

docs: .venv/ready  ## build the site in docs/_build/html; runs its tutorials less NOT_RUN='A B', warnings are errors
	$(BIN)/python -m sphinx -q -E -W --keep-going -n -j 2 -b html docs docs/_build/html

lint: types  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready  ## check types
	$(BIN)/mypy scvae_cli hydra_plugins benchmarks tests

lock: .venv/ready  ## pin what pyproject.toml newly asks for; pins that still fit stay
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --fork-strategy fewest --no-annotate --custom-compile-command 'make lock' \
	  $(addprefix --no-emit-package ,$(TORCH_OWN)) --output-file requirements.lock
	$(BIN)/uv pip compile --group pyproject.toml:pipelines --universal --python-version 3.11 \
	  --fork-strategy fewest --no-annotate --custom-compile-command 'make lock' \
	  --output-file requirements-pipelines.lock
	$(BIN)/uv pip compile --group pyproject.toml:ray --universal --python-version 3.11 \
	  --fork-strategy fewest --no-annotate --custom-compile-command 'make lock' \
	  --output-file requirements-ray.lock

# torch pins these itself, where its build for the platform needs them.
TORCH_OWN := triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti \
  nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand \
  nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
  nvidia-nvshmem-cu13 nvidia-nvtx

wheel: .venv/ready  ## build dist/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## remove .venv and what was built; outputs/ stays
	rm -rf .venv .venv-pipelines .venv-ray build dist docs/_build .mypy_cache .pytest_cache .ruff_cache
