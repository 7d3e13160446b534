PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check format fixtures docs bench fuzz charts clean

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/.runtime ## set up and audit a bundled checkpoint
	.venv/bin/regaudit inspect fixtures/keras_model/model.keras

test: .venv/.dev ## set up and run the tests
	$(PY) -m pytest

check: .venv/.dev ## format, lint, types, tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	$(PY) -m pytest

format: .venv/.dev ## format and fix what can be fixed
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

fixtures: .venv/.dev ## rebuild the bundled checkpoints from their seeds
	$(PIP) onnx onnxscript
	KERAS_BACKEND=torch $(PY) fixtures/make.py

docs: .venv/.dev ## rebuild the generated pages of docs/
	$(PY) docs/generate.py

bench: .venv/.dev ## measure start-up, memory and throughput, as ratios
	$(PY) benchmarks/run.py

fuzz: .venv/.dev ## audit 20,000 broken models: no crash, no hang, no code run
	$(PY) tests/hostile/fuzz.py

CHARTS ?= 4.6.1
VENDOR := regaudit/reports/page_html/vendor
charts: ## fetch the chart library of the HTML report from npm: make charts CHARTS=4.6.1
	cd $(VENDOR) && npm pack --silent chart.js@$(CHARTS) && tar -xzf chart.js-$(CHARTS).tgz package/dist/chart.umd.min.js package/LICENSE.md
	mv $(VENDOR)/package/dist/chart.umd.min.js $(VENDOR)/
	mv $(VENDOR)/package/LICENSE.md $(VENDOR)/chart.LICENSE.md
	rm -r $(VENDOR)/package $(VENDOR)/chart.js-$(CHARTS).tgz
	sha256sum $(VENDOR)/chart.umd.min.js

clean: ## remove the environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "regaudit needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.runtime: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[readers]'
	@touch $@

.venv/.dev: .venv/.runtime
	$(PIP) --editable '.[all,dev]'
	@touch $@
