# `make serve` and `make test` are all a newcomer needs; `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: serve test proto fmt check unit integration e2e chart rolling image fuzz bench soak seams kills redis prometheus helm train clean help

# Python 3.11 comes first: for newer ones pip may fetch the CUDA build of torch, which is gigabytes.
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
endif
STAMP := .venv/.installed-$(shell $(or $(PYTHON),false) -c 'import hashlib; print(hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest()[:12])' 2>/dev/null)
RUN := .venv/bin/python -m
PACKAGES := poselift service training
RECIPE ?= pstmo-tiny-27
IMAGE ?= service
TAG ?= 0.1.0
WHEELS ?= $(PIP_FIND_LINKS)
export WHEELS
CRDS := @kubernetes-models/gateway-api@2 @kubernetes-models/keda@2 @kubernetes-models/prometheus-operator@6 yaml@2
BUF ?= npx --yes @bufbuild/buf@1.75.0
ARGS ?=

serve: $(STAMP) ## start the server with the shipped model (ARGS="--port 9000" for others)
	@$(RUN) poselift serve $(ARGS)

test: check redis helm unit integration e2e ## look at the code, then run every test

proto: $(STAMP) ## generate poselift/pb from proto/lifter.proto, after checking it with buf (from npm)
	$(BUF) lint proto
	$(BUF) breaking proto --against proto/lifter.binpb
	$(RUN) grpc_tools.protoc -Iposelift/pb=proto --python_out=. --pyi_out=. --grpc_python_out=. poselift/pb/lifter.proto

fmt: $(STAMP) ## format the code and mend what can be mended
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

check: $(STAMP) ## formatting, rules and types; changes nothing
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy

unit: $(STAMP) ## tests of single modules
	$(RUN) pytest -q tests/unit $(ARGS)

integration: $(STAMP) ## tests of the server in this process
	$(RUN) pytest -q tests/integration $(ARGS)

e2e: $(STAMP) ## tests of the commands as a user runs them
	$(RUN) pytest -q tests/e2e $(ARGS)

chart: helm redis prometheus ## look at the Helm chart, the alerts and the Dockerfiles with the real tools
	.venv/bin/yamllint --strict -c .yamllint helm/poselift/values.yaml helm/poselift/Chart.yaml docker
	.venv/bin/hadolint --failure-threshold info docker/*.Dockerfile
	@mkdir -p build/crds && { command -v npm >/dev/null && npm install --silent --no-save --prefix build/crds $(CRDS); } || \
		echo "The schemas of CRDs cannot be had from npm here: the test that needs them is skipped."
	$(RUN) pytest -q tests/chart $(ARGS)
	$(RUN) helm.package

image: $(STAMP) ## build the server's image and try it (IMAGE=training for the other; docker/build says what else)
	docker/build $(IMAGE) poselift/$(IMAGE):$(TAG)
	IMAGE=poselift/$(IMAGE):$(TAG) $(RUN) pytest -q tests/image/test_$(IMAGE).py $(ARGS)

rolling: helm redis ## replace servers under load, as the chart's Deployment says (ARGS="--seconds 60" for longer)
	$(RUN) tests.integration.rolling_replacement $(ARGS)

fuzz: $(STAMP) ## send the server noise for a quarter of an hour, other noise each time
	FUZZ_EFFORT=30 $(RUN) pytest -q tests/integration/test_fuzz.py $(ARGS)

bench: $(STAMP) redis ## measure against plain baselines; judges nothing
	$(RUN) tests.benchmarks.clip_forward
	$(RUN) tests.benchmarks.data_pipeline
	$(RUN) tests.benchmarks.serving
	$(RUN) tests.benchmarks.sessions

soak: $(STAMP) redis ## half an hour of everything at once (ARGS="--minutes 3" for less)
	$(RUN) tests.benchmarks.soak $(ARGS)

seams: $(STAMP) ## how smooth poses are where windows meet (ARGS="--model DIR --root DATA")
	$(RUN) tests.benchmarks.seams $(ARGS)

kills: $(STAMP) redis ## kill a hundred servers while they stream (ARGS="--kills 6" for less)
	$(RUN) tests.integration.kill_replicas $(ARGS)

redis: ## install redis-server for the tests, where it is missing and that is allowed
	@command -v redis-server >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		echo "Installing redis-server ..." && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null; } || \
		echo "There is no redis-server, and it cannot be installed from here: the tests that need it are skipped." \
		"Debian and Ubuntu: apt install redis-server."

prometheus: ## install Prometheus for the tests, where it is missing and that is allowed
	@command -v promtool >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		echo "Installing prometheus ..." && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null; } || \
		echo "There is no promtool, and it cannot be installed from here: the tests that need it are skipped." \
		"Debian and Ubuntu: apt install prometheus."

helm: $(STAMP) ## install what the tests of the chart need, where that can be had
	@$(RUN) pip install -q --disable-pip-version-check $(PIP_FLAGS) -e '.[chart]' || \
		echo "The tools for the Helm chart cannot be installed here: the tests that need them are skipped."

train: $(STAMP) ## pretrain, then fine-tune (RECIPE=name)
	$(RUN) poselift pretrain $(RECIPE)-pretrain $(ARGS)
	$(RUN) poselift finetune $(RECIPE) $(ARGS)

clean: ## remove the environment and everything that tools left behind
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile | expand -t 14

# The stamp is named after pyproject.toml's content, so the environment follows it.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with the venv module is needed (up to 3.13; Debian and Ubuntu: apt install python3-venv)."; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (a minute or two) ..."
	@$(RUN) pip install -q --disable-pip-version-check $(PIP_FLAGS) -e '.[dev]' || { \
		echo "pip could not install what pyproject.toml names; its message is above. A newer pip may help:" \
		"$(RUN) pip install --upgrade pip. Options for pip go into PIP_FLAGS."; exit 1; }
	@rm -f .venv/.installed-*; touch $@
