# Everything runs in .venv, made on first use from Python alone. PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(VENV)/.installed-torch
OUT ?= analytic-report

.PHONY: verify test test-browser test-python test-thorough test-unpinned coverage lint format figures bench bench-full clean

verify: $(STAMP)  ## check the theory on digits, two moons and 8 Gaussians, and say where the report is
	$(BIN)/analytic verify --out $(OUT)

test: $(TORCH)  ## all tests; installs PyTorch, diffusers, Dask and zarr, which nothing else here needs
	$(BIN)/python -m pytest -n 2 --dist worksteal

# kernels as Python: overflows that they make in silence are warnings there, and some tests take hours
PLAIN := NUMBA_DISABLE_JIT=1 OMP_NUM_THREADS=1
PLAIN_TESTS := -n 2 -W ignore::RuntimeWarning tests/test_leaves.py tests/test_cells.py \
	tests/test_closed.py tests/test_collapse.py tests/test_exact.py tests/test_tree.py \
	tests/test_blas.py tests/test_scale.py -k "not ((test_tree and not (fifty or ties or geometry \
	or power)) or (test_blas and (wide or no_matrix or certified or identical)) \
	or (test_scale and (memory or digits or patches)))"

test-python: $(STAMP)  ## kernels as plain Python, which debuggers can follow; two minutes
	$(PLAIN) $(BIN)/python -m pytest $(PLAIN_TESTS)

coverage: $(TORCH)  ## branches taken by all tests, kernels compiled and as Python; ten minutes
	$(BIN)/python -m coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -n 2 --dist worksteal -k "not interrupt"
	$(PLAIN) $(BIN)/python -m coverage run -m pytest $(PLAIN_TESTS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage json --quiet
	$(BIN)/python -c "import json; t = json.load(open('coverage.json'))['totals']; print(t)"

test-browser: $(STAMP)  ## the interactive page in a real headless Chromium; skipped where there is none
	$(BIN)/python -m pytest -m browser

lint: $(STAMP)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

figures: $(STAMP)  ## every figure, as PDF and PNG with its numbers as CSV, into figures/out
	$(BIN)/analytic figures --out figures/out

bench: $(STAMP)  ## a short table of the denoiser beside whatever else is installed
	$(BIN)/python -m benchmarks.run --group short

bench-full: $(STAMP)  ## everything, beside torch, KeOps and JAX, which this installs; hours
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[bench]
	$(BIN)/python -m benchmarks.run --group full

test-thorough: $(TORCH)  ## the property tests alone, on over 50,000 examples; three minutes
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n 2 --dist worksteal -m hypothesis

test-unpinned:  ## install the newest versions of everything but PyTorch, without constraints, and try it
	$(PYTHON) -m venv --clear .venv-unpinned
	.venv-unpinned/bin/python -m pip install --quiet .[testing,data]
	.venv-unpinned/bin/python -P -m pytest -q tests/test_readme.py tests/test_exact.py \
		tests/test_geometry.py tests/test_learned.py tests/test_targets.py tests/test_without_torch.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[testing,data,lint]
	touch $(STAMP)

$(TORCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[testing,data,lint,torch,peers,dask,zarr]
	touch $(TORCH)

clean:
	rm -rf $(VENV) .venv-unpinned analytic-report figures/out .pytest_cache .mypy_cache .ruff_cache
