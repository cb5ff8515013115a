# gridcast: `make` lists the targets.
EXPERIMENT ?= experiments/retail_daily.yaml
PYTHON ?= python3
BIN := .venv/bin
GRIDCAST := $(BIN)/gridcast

.DEFAULT_GOAL := help
.PHONY: help grid new validate plan report promote serve anomalies doctor bench bench-full bench-forecasting bench-anomalies bench-false-alarms bench-products bench-serving bench-noise mutants notebooks settings storm hosts proofs test lint check format ui docs gallery dependencies wheel sdist lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  EXPERIMENT=path chooses the experiment (default $(EXPERIMENT))"

grid: .venv/.run ## train the experiment's grid and record it in MLflow; resumes where it stopped
	@$(GRIDCAST) run $(EXPERIMENT)

DATA ?=
new: .venv/.run ## look at a table and write an experiment file for it: make new DATA=sales.csv
	@$(GRIDCAST) new $(DATA)

validate: .venv/.run ## check the experiment and its data without training
	@$(GRIDCAST) validate $(EXPERIMENT)

plan: .venv/.run ## list the runs with an estimate of their time
	@$(GRIDCAST) plan $(EXPERIMENT)

report: .venv/.run ## rebuild the experiment's report from MLflow alone
	@$(GRIDCAST) report $(EXPERIMENT)

promote: .venv/.run ## make the best run champion if it passes the gates
	@$(GRIDCAST) promote $(EXPERIMENT)

SERVE ?=
serve: .venv/.run ## serve the champion over HTTP (set GRIDCAST_ADMIN_TOKEN, or SERVE=--insecure-local)
	@$(GRIDCAST) serve $(EXPERIMENT) $(SERVE)

READINGS := http://127.0.0.1:8010/readings
anomalies: .venv/.run ## anomaly detection end to end on simulated data: simulate, train, report, follow a plant
	@test -s data/sensor/sensors.csv || $(GRIDCAST) simulate sensors --kind univariate --folder data/sensor
	@$(GRIDCAST) run experiments/anomaly_univariate.yaml
	@$(GRIDCAST) simulate sensors --serve --kind univariate --speed 1000000 & plant=$$!; trap "kill $$plant" EXIT; \
	until $(BIN)/python -c 'import urllib.request as u; u.urlopen("$(READINGS)")' 2>/dev/null; do sleep 1; done; \
	$(GRIDCAST) detect anomaly-univariate --follow $(READINGS) --once
	@test -s data/sensors/sensors.csv || $(GRIDCAST) simulate sensors
	@$(GRIDCAST) run experiments/anomaly_multivariate.yaml
	@$(GRIDCAST) detect anomaly-multivariate data/sensors/sensors.csv --report reports/anomaly-multivariate.html
	@echo "Open reports/anomaly-univariate/live.html and reports/anomaly-multivariate.html"

doctor: .venv/.run ## check installation, store, cache and disk (FIX=--fix repairs what is safe to repair)
	@$(GRIDCAST) doctor $(FIX)

bench: .venv/.test ## compare a small grid with commonly used loops, and print the recorded result of the full grid
	@$(BIN)/python benchmarks/sweep.py --quick
	@$(BIN)/python benchmarks/blocks.py --recorded

bench-full: .venv/.test ## the same for larger grids; also epochs, memory, large panels and reports (hours)
	@$(BIN)/python benchmarks/sweep.py --medium
	@$(BIN)/python benchmarks/sweep.py --shapes
	@$(BIN)/python benchmarks/fused.py
	@$(BIN)/python benchmarks/memory.py
	@$(BIN)/python benchmarks/panel_scale.py --csv
	@$(BIN)/python benchmarks/report_scale.py
	@$(BIN)/python benchmarks/halving.py
	@$(BIN)/python benchmarks/blocks.py

bench-forecasting: .venv/.test ## compare forecasts of fourteen sets with AutoETS, AutoTheta, LightGBM, N-HiTS, DeepAR (hours; resumes)
	@$(BIN)/python benchmarks/forecasting.py

bench-anomalies: .venv/.test ## compare detectors and baselines on SKAB, NAB and a meteorological mast (minutes; resumes)
	@$(BIN)/python benchmarks/anomalies.py

bench-false-alarms: .venv/.test ## count false alarms on simulated plants without faults, by each threshold (a minute)
	@$(BIN)/python benchmarks/false_alarms.py

bench-products: .venv/.test ## compare 100 products, one network each, with the plain loop
	@$(BIN)/python benchmarks/per_product.py

bench-serving: .venv/.test ## load-test the service against `mlflow models serve`, with ten minutes of swaps and outages
	@$(BIN)/python benchmarks/serving.py --soak 10

bench-noise: .venv/.test ## count what reports claim about simulated sweeps in which nothing is true (minutes)
	@$(BIN)/python benchmarks/noise.py

mutants: .venv/.test ## count the small errors in the modules behind a verdict that their tests find (half an hour)
	@$(BIN)/python benchmarks/mutants.py

ui: .venv/.run ## browse the runs in MLflow at http://127.0.0.1:5000
	@$(BIN)/mlflow ui

test: .venv/.test ## run the tests (at most six minutes on two cores)
	@$(BIN)/python -m pytest

SEED ?= 1
storm: .venv/.test ## kill, disconnect and duplicate a sweep about forty times, compare with an undisturbed one (SEED=1)
	@$(BIN)/python tests/support/storm.py $(SEED)

hosts: .venv/.test ## test sweeps across hosts (network namespaces, needs root), with MLflow on SQLite and PostgreSQL
	@$(BIN)/python -m pytest tests/sweep/test_hosts.py -m "slow or not slow"

proofs: .venv/.test ## run the slow tests: more networks, engines and databases
	@$(BIN)/python -m pytest -m slow

notebooks: .venv/.test ## regenerate notebooks/tour.ipynb from notebooks/tour.py
	@$(BIN)/marimo export ipynb notebooks/tour.py --output notebooks/tour.ipynb --sort top-down --no-include-outputs --force

settings: .venv/.run ## regenerate docs/reference/settings.md, the tables of the keys of an experiment file
	@$(GRIDCAST) schema --markdown > docs/reference/settings.md

lint: .venv/.test ## check style (ruff) and types (mypy)
	@$(BIN)/ruff check src tests
	@$(BIN)/ruff format --check src tests
	@$(BIN)/mypy

check: lint test ## what CI does: run it before a commit

format: .venv/.test ## format the code
	@$(BIN)/ruff check --fix src tests
	@$(BIN)/ruff format src tests

docs: .venv/.test ## build the documentation site into docs/_build/html, and check its links
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@$(BIN)/python docs/check_links.py docs/_build/html
	@echo "open docs/_build/html/index.html"

gallery: .venv/.test ## make the reports of the gallery in docs/ again, from small sweeps (minutes)
	@$(BIN)/python docs/make_gallery.py

dependencies: .venv/.test ## write docs/project/dependencies.md: each dependency with its licence and size
	@$(BIN)/python docs/make_dependencies.py

wheel: .venv/.test ## build the wheel of the package into dist/
	@$(BIN)/python -m hatchling build --target wheel --directory dist

sdist: .venv/.test ## build the source distribution into dist/
	@$(BIN)/python -m hatchling build --target sdist --directory dist

lock: ## update the pinned packages (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header pyproject.toml --extra arima --extra postgres --extra prophet --extra tensorflow -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header pyproject.toml --all-extras --group dev -c requirements.txt -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header pyproject.toml --group lab -c requirements.txt -c requirements-dev.txt -o requirements-lab.txt

# Files by the names that nobody else gives theirs: whatever else lies in these folders may be the only copy.
HEX8 := [0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]
HEX64 := $(HEX8)$(HEX8)$(HEX8)$(HEX8)$(HEX8)$(HEX8)$(HEX8)$(HEX8)
TOOL_CACHES := .mypy_cache/[0-9].[0-9]* .ruff_cache/[0-9]*.[0-9]*.[0-9]* .pytest_cache/v
clean: ## remove caches and builds, which are made again; keeps runs, results, streams, reports, API keys, data and .venv
	rm -f dist/gridcast-*-none-any.whl dist/gridcast-*.tar.gz .gridcast/worker.log
	test ! -d .gridcast/jax || find .gridcast/jax -type f \( -name '*-$(HEX64)-cache' -o -name '*-$(HEX64)-atime' \) -delete
	test ! -d .gridcast/checkpoints || find .gridcast/checkpoints -type f -name '$(HEX64)' -delete
	rm -rf $(TOOL_CACHES) docs/_build/html
	find . -path './.venv' -prune -o -type f -path '*/__pycache__/*.cpython-*.pyc' -exec rm -f {} +
	find . -path './.venv' -prune -o -type d -name __pycache__ -empty -exec rmdir {} +

# The pinned files list every package, so pip does not have to resolve anything: --no-deps saves minutes.
.venv/.run: requirements.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv, once; this takes some minutes"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/.test: requirements-dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv, once; this takes some minutes"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch .venv/.run $@
