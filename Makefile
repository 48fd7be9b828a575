# make demo   an environment, and a first conversion with its report
# make test   a fresh environment, and the tests
# make check  tests, lint, types, generated docs
# make wheel  dist/fxconv-*.whl, installed into an environment of its own and tried there
# make mutants  faults planted one at a time, and the tests that see them (10 minutes)
# make benchmarks PHOTOGRAPHS=DIR   the tables under docs/, on a machine with nothing else to do (2 hours)

PYTHON ?= python3
PIP = -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
TEST = .venv-test/bin/python

.PHONY: demo test zoo lint docs check wheel mutants benchmarks clean

demo: .venv/done
	.venv/bin/fxconv convert mobilenet_v3 --report

.venv/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python $(PIP) --editable .
	touch .venv/done

.venv-test/fresh: FORCE
	$(PYTHON) -m venv --clear .venv-test
	$(TEST) $(PIP) --editable ".[test,lint]"

test: .venv-test/fresh
	$(TEST) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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

# Without photographs, which cannot be shipped, accuracy is left as it is; and so are training and detectors, whose commands
# docs/training.md and docs/detectors.md begin with: they want CIFAR-10 and photographs of litter, too.
benchmarks: .venv/done
	.venv/bin/python $(PIP) --editable ".[benchmark]"
	.venv/bin/python benchmarks/size.py
	.venv/bin/python benchmarks/latency.py
	.venv/bin/python benchmarks/arithmetic.py
	.venv/bin/python benchmarks/robustness.py
	.venv/bin/python benchmarks/fuzz.py
	.venv/bin/python benchmarks/adversary.py
	.venv/bin/python benchmarks/zoo.py
	.venv/bin/python benchmarks/others.py
	$(if $(PHOTOGRAPHS),.venv/bin/python benchmarks/accuracy.py --photographs $(PHOTOGRAPHS))
	.venv/bin/python benchmarks/conversion_time.py $(if $(PHOTOGRAPHS),--photographs $(PHOTOGRAPHS))

clean:
	rm -rf .venv .venv-test .pytest_cache .mypy_cache .ruff_cache dist

FORCE:
