# make demo   an environment, and a first conversion with its report
# make test   a fresh environment, and the tests; TORCH=2.12 or 2.13 takes an older torch
# make test-oldest  the tests that depend on torch, on the oldest torch
# make check  tests, lint, types, generated docs
# make wheel  dist/fxconv-*.whl, installed into an environment of its own and tried there
# make mutants  faults planted one at a time, and the tests that see them (10 minutes)
# make benchmarks PHOTOGRAPHS=DIR   the tables under docs/, on a machine with nothing else to do (2 hours)

PYTHON ?= python3
TORCH ?= 2.14
OLDEST = 2.12
PIP = -m pip --disable-pip-version-check --quiet install --constraint constraints/torch-$(TORCH).txt
TEST = .venv-test/bin/python
PYTEST = -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-oldest zoo lint docs check wheel mutants benchmarks clean

demo: .venv/torch-$(TORCH)
	.venv/bin/fxconv convert mobilenet_v3 --report

# A file that names the torch, so that another TORCH makes another environment.
.venv/torch-$(TORCH): pyproject.toml constraints/all.txt constraints/torch-$(TORCH).txt
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python $(PIP) --editable .
	touch .venv/torch-$(TORCH)

.venv-test/fresh: FORCE
	$(PYTHON) -m venv --clear .venv-test
	$(TEST) $(PIP) --editable ".[test,lint]"

test: .venv-test/fresh
	$(TEST) $(PYTEST)

# The tests of what torch itself decides: kernels, tracing, packing, TorchScript, its errors; and a network of each kind.
ON_TORCH = tests/rewrites/test_kernel_table.py tests/rewrites/test_engine_releases.py tests/rewrites/test_networks.py \
	tests/rewrites/test_tracing.py tests/rewrites/test_emit.py tests/fxconv/targets/mobile tests/fxconv/targets/executorch \
	tests/fxconv/targets/qdq/proof tests/fxconv/targets/qdq/rules \
	tests/fxconv/quantization \
	tests/fxconv/verification tests/fxconv/diagnostics tests/fxconv/inspection/test_inspection.py \
	tests/fxconv/conversion/test_writes_int8.py tests/fxconv/cli/test_cli.py tests/fxconv/cli/test_startup.py \
	tests/fxconv/targets/proof/test_prove.py tests/fxconv/report/test_report.py tests/fxconv/test_environment.py \
	tests/fxconv/test_conversion.py tests/fxconv/test_replay.py

test-oldest: override TORCH = $(OLDEST)
test-oldest: FORCE
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python $(PIP) --editable ".[test,lint]"
	.venv-oldest/bin/python $(PYTEST) $(ON_TORCH)

# Those below use the environment that `make test` leaves behind.
lint:
	$(TEST) -m ruff check .
	$(TEST) -m ruff format --check .
	$(TEST) -m mypy
	.venv-test/bin/lint-imports
	$(TEST) docs/generate.py --check

docs:
	$(TEST) docs/generate.py

zoo:
	$(TEST) -m pytest -m zoo

mutants:
	$(TEST) benchmarks/mutants.py

wheel:
	rm -rf dist
	$(TEST) -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir dist .
	$(TEST) scripts/try_wheel.py dist/fxconv-*.whl

check: test lint

# The stock flow, beside which they measure, ends in optimize_for_mobile, which needs a torch with XNNPACK.
BENCHMARKS = .venv-benchmarks/bin/python

.venv-benchmarks/done: override TORCH = $(OLDEST)
.venv-benchmarks/done: pyproject.toml constraints/all.txt constraints/torch-$(OLDEST).txt
	$(PYTHON) -m venv --clear .venv-benchmarks
	$(BENCHMARKS) $(PIP) --editable ".[benchmark]"
	touch .venv-benchmarks/done

# Without photographs, which cannot be shipped, accuracy is left as it is; and so are training and detectors, whose commands
# docs/training.md and docs/detectors.md begin with: they want CIFAR-10 and photographs of litter, too; the torches
# beside one another (benchmarks/torches.py), which wants an interpreter for each; and .pte files beside .ptl
# (benchmarks/targets.py, benchmarks/zoo.py --pte), which want ExecuTorch.
benchmarks: .venv-benchmarks/done
	$(BENCHMARKS) benchmarks/size.py
	$(BENCHMARKS) benchmarks/latency.py
	$(BENCHMARKS) benchmarks/arithmetic.py
	$(BENCHMARKS) benchmarks/robustness.py
	$(BENCHMARKS) benchmarks/fuzz.py
	$(BENCHMARKS) benchmarks/adversary.py
	$(BENCHMARKS) benchmarks/zoo.py
	$(BENCHMARKS) benchmarks/others.py
	$(if $(PHOTOGRAPHS),$(BENCHMARKS) benchmarks/accuracy.py --photographs $(PHOTOGRAPHS))
	$(BENCHMARKS) benchmarks/conversion_time.py $(if $(PHOTOGRAPHS),--photographs $(PHOTOGRAPHS))

clean:
	rm -rf .venv .venv-test .venv-oldest .venv-benchmarks .pytest_cache .mypy_cache .ruff_cache dist

FORCE:
