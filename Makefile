# Two commands: `make demo` trains on real handwritten digits and writes a report; `make test` runs the whole suite.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
TYPED := ppl_vae/models ppl_vae/objectives

.PHONY: demo test slow clean
demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/ppl-vae train --data digits --likelihood normal --latent-dim 8 --hidden 256 256 \
		--epochs 300 --patience 25 --out $(DEMO)

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python $(TYPED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=25

slow: .venv/installed-test
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf .venv build dist *.egg-info

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| (echo "ppl_vae needs Python 3.11 to 3.13; say which with make PYTHON=python3.12" >&2; exit 1)
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed: pyproject.toml | .venv/created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-test: pyproject.toml | .venv/created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch .venv/installed $@
