# The habits of this project. `make` alone lists them.

PYTHON ?= python3
BIN := .venv/bin
# Where the demo keeps its store, catalogue and a sample poster.
DEMO ?= demo

.DEFAULT_GOAL := help
.PHONY: help setup servers demo test faults drills check fmt bench docs dashboards lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .venv/.complete ## install everything into .venv, from the lock; quick when nothing changed

.venv/.complete: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "onesheet needs Python 3.11 to 3.13; say which with make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing into .venv (a few minutes the first time) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

servers: ## what the tests drive from outside, an S3 server and a browser (Debian, Ubuntu; asks sudo where not root)
	@$(if $(filter 0,$(shell id -u)),,sudo) sh -c 'export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends \
		swift-proxy swift-account swift-container swift-object memcached chromium >/dev/null'

demo: setup ## the main job, from catalogue to endpoint (CATALOG= POSTERS= WEIGHTS= STORE= EPOCHS= PORT= WORKERS=)
	@$(BIN)/onesheet demo --folder "$(DEMO)" \
		$(if $(CATALOG),--catalog "$(CATALOG)") $(if $(POSTERS),--posters "$(POSTERS)") \
		$(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(STORE),--store "$(STORE)") \
		$(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(PORT),--port $(PORT)) $(if $(WORKERS),--workers $(WORKERS))

test: setup ## all tests but the slow faults
	$(BIN)/python -m pytest -m "not fault"

faults: setup ## the slow tests: fleets, kills, outages, and what takes long
	$(BIN)/python -m pytest -m "fault and not drill"

drills: setup ## the slowest tests: nodes of a cluster and whole pipelines, killed, cut off and starved (ONLY=)
	$(BIN)/python -m pytest -m drill $(if $(ONLY),-k "$(ONLY)")

check: setup ## format, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fmt: setup ## format and mend what a tool can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## what the README says of speed, measured here
	$(BIN)/python -m benchmarks.main_job
	$(BIN)/python -m benchmarks.crawl
	$(BIN)/python -m benchmarks.crawl_memory
	$(BIN)/python -m benchmarks.crawl_s3
	$(BIN)/python -m benchmarks.dataset formats
	$(BIN)/python -m benchmarks.dataset memory
	$(BIN)/python -m benchmarks.parallel workers
	$(BIN)/python -m benchmarks.parallel step
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.runtimes
	$(BIN)/python -m benchmarks.batching
	$(BIN)/python -m benchmarks.serving

docs: setup ## the documentation as a site, in build/docs
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

dashboards: setup ## infra/grafana/dashboards/*.json from their source
	$(BIN)/python infra/grafana/generate.py

lock: setup ## choose new versions for requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --upgrade --output-file requirements.lock

clean: ## remove the environment, caches and the demo's data
	rm -rf .venv build docs/reference demo onesheet-data .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
