# Two commands matter to a newcomer: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
BENCH_ARGS ?= --rates 200 1000 --loads 0.5 0.9 1.2 --spike
DEMO := build/demo

.PHONY: demo test check lint types bench parity clean

demo: .venv/installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/digits/pack.sh $(DEMO)/model_store
	@echo
	@echo "Once it says 'Model server started.', try in another terminal, from this folder:"
	@echo "  curl http://127.0.0.1:8080/predictions/digits -T examples/digits/samples/7-black-on-white.png"
	@echo "  curl http://127.0.0.1:8081/models/digits"
	@echo "  curl http://127.0.0.1:8082/metrics"
	@echo "Ctrl-C ends it."
	@echo
	@cd $(DEMO) && $(CURDIR)/$(BIN)/torchserve --start --foreground --ncs \
	    --model-store model_store --models digits=digits.mar

test: .venv/installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint types test

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/basedpyright

# Markdown on standard output, JSON and curves in build/bench; about 20 minutes.
bench: .venv/installed-bench
	$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

# Asks the real TorchServe and this server the same things; needs Java 17 and TORCHSERVE_VENV, or makes the environment.
parity: .venv/installed-dev
	$(BIN)/python -m tests.parity record --all $(PARITY_ARGS)
	$(BIN)/python -m pytest -q tests/parity
	$(BIN)/python -m tests.parity report

clean:
	rm -rf build .venv

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/installed-dev: .venv/installed examples/packages.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement examples/packages.txt
	@touch $@

.venv/installed-bench: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@
