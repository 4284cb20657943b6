# make demo    set up and run the digits demo: pictures and numbers in out/demo (under 8 minutes on 2 CPU cores)
# make test    set up and run the whole test suite
# make bench   set up and measure the speed of all operators beside other libraries (6 minutes): benchmarks/results, README.md
# make gpu-check   for a machine with a GPU, nvcc and torch with CUDA (no network needed; at most 9 minutes): build for the card,
#                  the tests marked cuda, compute-sanitizer, the benchmarks -> benchmarks/results/gpu.md; takes PYTHON as it is
# make lint    the linters: ruff, mypy, clang-format, clang-tidy (what the CI runs before the tests)
# make cross-check   the CPU kernels for aarch64 (NEON): compiled without a warning, run under qemu; needs the Debian packages
#                    g++-aarch64-linux-gnu and, to run them, qemu-user-static
# make docs    the site with the API reference, into build/site: warnings are errors, nothing is fetched
# make wheels  sdist and wheels, CPU and CUDA, for each Python of 3.10 to 3.14 that is here: built, checked, installed, used
# make venv    only set up: .venv with the package, the training extra and the development tools
# make clean   remove .venv, build products and caches; out/ and runs/ stay
#
# PYTHON=python3.12 make demo   takes another Python: 3.11 or newer for the versions of constraints.txt (the package itself runs on 3.10)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# what an installed package is made of: when one of these changes, the next target installs again
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc softdiff_ext -type f -not -name '*.pyc' -not -name '*.so')

.PHONY: demo test bench gpu-check lint cross-check docs wheels venv clean

demo: $(VENV)/.installed-train
	@echo "== demo: train both processes on the digit scans, sample, measure -> out/demo"
	$(BIN)/python docs/examples/digits_demo.py

test: $(VENV)/.installed-dev
	@echo "== test: the whole suite"
	$(BIN)/pytest

bench: $(VENV)/.installed-bench
	@echo "== bench: every operator beside its peers -> benchmarks/results, docs/images/speed.png, README.md"
	$(BIN)/python benchmarks/bench.py

gpu-check:
	$(PYTHON) benchmarks/gpu_check.py

lint: $(VENV)/.installed-dev
	BIN=$(BIN) .ci/lint

cross-check:
	python_tests/native/cross_check.sh build/cross

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

wheels: $(VENV)/.installed-dist
	$(BIN)/python .ci/wheels

venv: $(VENV)/.installed-dev

clean:
	rm -rf $(VENV) build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@echo "== a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)

# constraints.txt pins torch and all else to what was tested; the C++ extension is compiled here, in an isolated build
$(VENV)/.installed-train: $(SOURCES) | $(BIN)/python
	@echo "== install the package and its training extra (compiles the C++ extension; minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ".[train]"
	@touch $@

$(VENV)/.installed-dev: $(SOURCES) | $(BIN)/python
	@echo "== install the package, its training extra and the development tools (compiles the C++ extension; minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ".[train,dev]"
	@touch $@ $(VENV)/.installed-train

$(VENV)/.installed-docs: $(SOURCES) | $(BIN)/python
	@echo "== install the package and what builds the site (compiles the C++ extension; minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ".[docs]"
	@touch $@

$(VENV)/.installed-dist: $(SOURCES) | $(BIN)/python
	@echo "== install the package and what builds and checks its wheels (compiles the C++ extension; minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ".[dist]"
	@touch $@

$(VENV)/.installed-bench: $(SOURCES) | $(BIN)/python
	@echo "== install the package and the libraries it is compared with (compiles the C++ extension; minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ".[bench]"
	@touch $@
