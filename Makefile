# gridcast: `make` lists what there is.
EXPERIMENT ?= experiments/retail_daily.yaml
PYTHON ?= python3
BIN := .venv/bin
GRIDCAST := $(BIN)/gridcast

.DEFAULT_GOAL := help
.PHONY: help grid validate plan report promote serve anomalies doctor bench bench-full bench-forecasting bench-anomalies bench-products bench-serving notebooks storm hosts proofs test lint format ui lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  EXPERIMENT=path chooses the experiment (default $(EXPERIMENT))"

grid: .venv/.run ## train the experiment's grid and record it in MLflow; goes on where it stopped
	@$(GRIDCAST) run $(EXPERIMENT)

validate: .venv/.run ## check the experiment and its data, train nothing
	@$(GRIDCAST) validate $(EXPERIMENT)

plan: .venv/.run ## list the runs with their estimated time
	@$(GRIDCAST) plan $(EXPERIMENT)

report: .venv/.run ## build the experiment's report again, from MLflow alone
	@$(GRIDCAST) report $(EXPERIMENT)

promote: .venv/.run ## make the best run champion, if it passes the gates
	@$(GRIDCAST) promote $(EXPERIMENT)

SERVE ?=
serve: .venv/.run ## answer forecasts of the champion over HTTP (GRIDCAST_ADMIN_TOKEN set, or SERVE=--insecure-local)
	@$(GRIDCAST) serve $(EXPERIMENT) $(SERVE)

READINGS := http://127.0.0.1:8010/readings
anomalies: .venv/.run ## detectors end to end on made-up data: simulate, train, report, follow what a plant delivers
	@test -s data/sensor/sensors.csv || $(GRIDCAST) simulate sensors --kind univariate --folder data/sensor
	@$(GRIDCAST) run experiments/anomaly_univariate.yaml
	@$(GRIDCAST) simulate plant --kind univariate --speed 1000000 & plant=$$!; trap "kill $$plant" EXIT; \
	until $(BIN)/python -c 'import urllib.request as u; u.urlopen("$(READINGS)")' 2>/dev/null; do sleep 1; done; \
	$(GRIDCAST) detect anomaly-univariate --follow $(READINGS) --once

doctor: .venv/.run ## check installation, store, cache and disk (FIX=--fix mends what is safe)
	@$(GRIDCAST) doctor $(FIX)

bench: .venv/.test ## measure a small grid against the loops people use, and tell what the whole grid showed (no test)
	@$(BIN)/python benchmarks/sweep.py --quick
	@$(BIN)/python benchmarks/blocks.py --recorded

bench-full: .venv/.test ## the same on larger grids, and epochs, memory, large panels and reports (hours)
	@$(BIN)/python benchmarks/sweep.py --medium
	@$(BIN)/python benchmarks/sweep.py --shapes
	@$(BIN)/python benchmarks/fused.py
	@$(BIN)/python benchmarks/memory.py
	@$(BIN)/python benchmarks/panel_scale.py --csv
	@$(BIN)/python benchmarks/report_scale.py
	@$(BIN)/python benchmarks/halving.py
	@$(BIN)/python benchmarks/blocks.py

bench-forecasting: .venv/.test ## probabilistic forecasts against DeepAR, AutoETS, Prophet, seasonal naive (an hour; goes on where it stopped)
	@$(BIN)/python benchmarks/forecasting.py

bench-anomalies: .venv/.test ## detectors and baselines on SKAB, NAB and a meteorological mast (minutes; goes on where it stopped)
	@$(BIN)/python benchmarks/anomalies.py

bench-products: .venv/.test ## 100 products, a network each, against the plain loop
	@$(BIN)/python benchmarks/per_product.py

bench-serving: .venv/.test ## the service under load, against `mlflow models serve`, and ten minutes of swaps and outages
	@$(BIN)/python benchmarks/serving.py --soak 10

ui: .venv/.run ## browse the runs at http://127.0.0.1:5000
	@$(BIN)/mlflow ui

test: .venv/.test ## run the tests (at most six minutes on two cores)
	@$(BIN)/python -m pytest

SEED ?= 1
storm: .venv/.test ## kill, cut off and double a sweep some forty times, compare with an undisturbed one (SEED=1)
	@$(BIN)/python tests/support/storm.py $(SEED)

hosts: .venv/.test ## sweeps over hosts of their own (network namespaces, needs root), MLflow on SQLite and PostgreSQL
	@$(BIN)/python -m pytest tests/sweep/test_hosts.py -m "slow or not slow"

proofs: .venv/.test ## the tests that are too slow for every day: more networks, engines and databases
	@$(BIN)/python -m pytest -m slow

notebooks: .venv/.test ## make the Jupyter twin of notebooks/tour.py anew
	@$(BIN)/marimo export ipynb notebooks/tour.py --output notebooks/tour.ipynb --sort top-down --no-include-outputs --force

lint: .venv/.test ## check style (ruff) and types (mypy)
	@$(BIN)/ruff check src tests
	@$(BIN)/ruff format --check src tests
	@$(BIN)/mypy

format: .venv/.test ## put the code into shape
	@$(BIN)/ruff check --fix src tests
	@$(BIN)/ruff format src tests

lock: ## pin every package anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header pyproject.toml --extra postgres --extra prophet -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header pyproject.toml --group lab -c requirements.txt -c requirements-dev.txt -o requirements-lab.txt

clean: ## remove what can be made again; runs (mlflow.db, mlruns), results on their way there, keys of the service, data and .venv stay
	rm -rf reports .mypy_cache .ruff_cache .pytest_cache
	test ! -d .gridcast || find .gridcast -mindepth 1 -maxdepth 1 -not -name spool -not -name serving -exec rm -rf {} +
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The pinned files name every package, so pip need not resolve anything: --no-deps saves minutes.
.venv/.run: requirements.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv, once; some minutes"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/.test: requirements-dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv, once; some minutes"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch .venv/.run $@
