# Two commands matter to a newcomer: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
DEMO := build/demo

.PHONY: demo test check lint types bench clean

demo: .venv/installed
	@mkdir -p $(DEMO)/model_store
	@cd examples/digits && $(CURDIR)/$(BIN)/torch-model-archiver --model-name digits --version 1.0 \
	    --model-file model.py --serialized-file digits.pt --handler handler.py --extra-files index_to_name.json \
	    --config-file model-config.yaml --export-path $(CURDIR)/$(DEMO)/model_store --force
	@echo
	@echo "Once it says 'Model server started.', try in another terminal:"
	@echo "  curl http://127.0.0.1:8080/predictions/digits -T examples/digits/samples/$$(ls examples/digits/samples | head -1)"
	@echo "  curl http://127.0.0.1:8081/models/digits"
	@echo "  curl http://127.0.0.1:8082/metrics"
	@echo "Ctrl-C ends it."
	@echo
	@cd $(DEMO) && $(CURDIR)/$(BIN)/torchserve --start --foreground --ncs --model-store model_store --models digits.mar

test: .venv/installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint types test

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/basedpyright

bench: .venv/installed-dev
	$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

clean:
	rm -rf build .venv

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
