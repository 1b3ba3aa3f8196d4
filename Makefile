# Each target does its own set-up and can be run again.
PYTHON ?= python3
HOST := 127.0.0.1
PORT ?= 8501
VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install -q --disable-pip-version-check -c requirements.lock

.PHONY: app test lint report bench results lock clean

app: $(VENV)/.app ## open Lensbook in the browser
	@echo "== the default model (93 MB, fetched and converted once)"
	@$(PY) -m interp_core models --fetch SmolLM2-135M-Instruct > /dev/null
	@echo "== Lensbook on http://localhost:$(PORT)"
	@test $(HOST) = 127.0.0.1 || echo "== HOST=$(HOST): without a password, everyone who reaches this machine" \
		"can read these pages, and fetch and run models here"
	@$(PY) streamlit_app --server.address $(HOST) --server.port $(PORT)

test: $(VENV)/.app $(VENV)/.test lint ## run every test, browser included
	@$(PY) -m interp_core models --fetch SmolLM2-135M-Instruct > /dev/null
	@sh scripts/install_browser.sh $(PY)
	@sh scripts/install_qemu.sh
	@$(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

lint: $(VENV)/.test
	@echo "== ruff"
	@$(VENV)/bin/ruff check
	@echo "== mypy"
	@$(VENV)/bin/mypy

report: $(VENV)/.app $(VENV)/.report ## build the static site into reports/_site
	@LENSBOOK_APP_URL=$${LENSBOOK_APP_URL:-http://localhost:$(PORT)} $(PY) reports/build.py

bench: .venv-bench/.installed .venv-bench-sae/.installed ## measure against PyTorch and TransformerLens
	@.venv-bench/bin/python benchmarks/blas.py
	@.venv-bench/bin/python benchmarks/logit_lens.py
	@.venv-bench/bin/python benchmarks/causal_tracing.py
	@.venv-bench/bin/python benchmarks/induction_heads.py
	@.venv-bench/bin/python benchmarks/lens_training.py
	@.venv-bench/bin/python benchmarks/steering.py
	@.venv-bench-sae/bin/python benchmarks/sae_training.py

results: $(VENV)/.app ## compute again the results that ship, their digests, and the README's numbers
	@$(PY) scripts/ship_results.py
	@$(PY) scripts/digests.py
	@$(PY) scripts/readme.py

lock: | $(VENV)/bin/python ## pin what requirements*.txt ask for; remove requirements.lock first for newer versions
	@$(PY) -m pip install -q --disable-pip-version-check uv
	@$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --custom-compile-command "make lock" \
		-o requirements.lock requirements.txt reports/requirements.txt tests/requirements.txt

clean:
	rm -rf $(VENV) .venv-bench .venv-bench-sae reports/_site

$(VENV)/bin/python:
	@echo "== creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.app: requirements.txt requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "== installing Lensbook"
	@$(INSTALL) -r requirements.txt -e .
	@touch $@

$(VENV)/.report: reports/requirements.txt | $(VENV)/.app
	@echo "== installing what reports need"
	@$(INSTALL) -r reports/requirements.txt
	@touch $@

$(VENV)/.test: tests/requirements.txt | $(VENV)/.app $(VENV)/.report
	@echo "== installing what tests need"
	@$(INSTALL) -r tests/requirements.txt
	@touch $@

.venv-bench/.installed: requirements.txt benchmarks/requirements.txt
	@echo "== creating .venv-bench"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install -q --disable-pip-version-check -r benchmarks/requirements.txt -r requirements.txt -e .
	@.venv-bench/bin/python -m pip install -q --disable-pip-version-check --no-deps steering-vectors==0.12.2
	@touch $@

.venv-bench-sae/.installed: requirements.txt benchmarks/requirements-sae.txt
	@echo "== creating .venv-bench-sae"
	@$(PYTHON) -m venv .venv-bench-sae
	@.venv-bench-sae/bin/python -m pip install -q --disable-pip-version-check -r benchmarks/requirements-sae.txt -r requirements.txt -e .
	@.venv-bench-sae/bin/python -m pip install -q --disable-pip-version-check --no-deps sae-lens==6.54.12 dictionary-learning==0.1.0 \
		transformer-lens==3.9.0
	@touch $@
