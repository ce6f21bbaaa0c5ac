# Two commands for users: `make demo`, `make test`. Each sets up all it needs, in .uv and .venv beside this file.
.DEFAULT_GOAL := help
.PHONY: help demo test test-all slicer-test slicer-package soak lint page-check types setup lock clean
SHELL := /bin/bash
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy
UV := .uv/bin/uv
BIN := .venv/bin
NODE := $(BIN)/node
# Two tests at a time, each with one thread: most of them wait for a process that starts.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

help:  ## say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: setup  ## run the whole loop on synthetic stacks; report in runs/demo
	@$(BIN)/minivess demo --out runs/demo

test: setup lint types slicer-test tests/viewers/node_modules/.installed  ## lint, types and the tests that take seconds
	$(PYTEST) -m "not slow" --requirements runs/requirements.json

test-all: setup lint types slicer-test tests/viewers/node_modules/.installed  ## every test, also the slow ones
	$(PYTEST) --requirements runs/requirements.json

slicer-test: setup .venv-slicer/.installed  ## the Slicer extension, over Slicer's C++ core
	cd slicer_plugin && ../.venv-slicer/bin/python -m pytest -q

slicer-package: .venv-slicer/.installed  ## the extension as an archive, dist/MinIVessReview.zip
	.venv-slicer/bin/python tools/slicer_package.py

soak: setup  ## eight clients at one server for an hour: memory flat, no error
	$(BIN)/python benchmarks/soak.py

lint: setup page-check  ## style, the floors of the house, stale locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/deptry --no-ansi src maps monailabel_app
	$(BIN)/python tools/docstrings.py
	$(BIN)/python tools/locks.py check
	$(BIN)/python tools/vendor_page.py check
	$(BIN)/python tools/page_texts.py --check

page-check: setup tests/page/node_modules/.installed  ## the page in the browser: type check and unit tests, by Node from .venv
	$(NODE) tests/page/node_modules/typescript/bin/tsc -p tests/page
	$(NODE) --disable-warning=MODULE_TYPELESS_PACKAGE_JSON --test --test-reporter=dot tests/page/unit/*.test.mjs

types: setup  ## mypy strict on the library
	$(BIN)/mypy

setup: .venv/.installed  ## install the locked environment

# The first interpreter that can create a virtual environment is used; another one: make test PYTHON=python3.12
.uv/.installed: requirements/uv.txt
	@rm -rf .uv; for python in $(PYTHON) python3.11 python3.12 python3 /usr/bin/python3.11 /usr/bin/python3; do \
	  if $$python -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	    && $$python -m venv .uv 2>/dev/null; then break; fi; rm -rf .uv; done; \
	test -x .uv/bin/python || { echo "No Python 3.11 or 3.12 with venv was found. Install one (Debian: python3.11-venv)."; exit 1; }
	@echo "installing uv ..."
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/uv.txt
	@touch $@

.venv/.installed: .uv/.installed requirements/dev.txt pyproject.toml
	@echo "installing the environment (about 3 GB to download, 8 GB on disk) ..."
	@$(UV) venv --quiet --allow-existing --python .uv/bin/python .venv
	$(UV) pip sync --quiet --python .venv --require-hashes --compile-bytecode requirements/dev.txt
	@$(UV) pip install --quiet --python .venv --no-deps --editable .
	@touch $@

# Slicer's core owns the package name `slicer` and brings another numpy: an environment of its own.
.venv-slicer/.installed: .uv/.installed requirements/slicer.txt
	@echo "installing Slicer's core for the tests of the extension (about 1.5 GB on disk) ..."
	@$(UV) venv --quiet --allow-existing --python .uv/bin/python .venv-slicer
	$(UV) pip sync --quiet --python .venv-slicer --require-hashes requirements/slicer.txt
	@touch $@

# For tests only: TypeScript, and OHIF's reader of DICOM SEG. The page itself needs neither npm nor a build. Node is a Python package
# of .venv; it is told to trust the certificates that the machine trusts, as pip and uv do.
tests/%/node_modules/.installed: tests/%/package-lock.json | setup
	cd tests/$* && PATH="$(CURDIR)/$(BIN):$$PATH" NODE_USE_SYSTEM_CA=1 NODE_EXTRA_CA_CERTS="$${NODE_EXTRA_CA_CERTS:-$$SSL_CERT_FILE}" \
	  npm ci --ignore-scripts --loglevel=error
	@touch $@

lock: .uv/.installed  ## write requirements/*.txt again after a change of pyproject.toml (newer versions: OPTIONS=--upgrade)
	.uv/bin/python tools/locks.py write $(UV) $(OPTIONS)

clean:  ## remove environments and caches, not runs/
	rm -rf .uv .venv .venv-slicer tests/*/node_modules .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
