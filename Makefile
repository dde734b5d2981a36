# `make serve` and `make test` are all that a newcomer needs; `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: serve test proto fmt check unit integration e2e packaging wheel chart rolling image gpu fuzz bench cost soak seams \
	tracking irregular known motion rig kills flaky chaos attack simulate redis prometheus web browser blender helm train \
	clean help

# The oldest version first: every release of torch that pyproject.toml takes has a build for it.
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
endif
# Where torch comes from. On Linux, pip's usual index has the build for CUDA, which is 2.7 GB with its libraries: without
# an NVIDIA GPU the build for CPUs is taken. Empty leaves the choice to pip.
ifndef TORCH_INDEX
TORCH_INDEX := $(shell test "$$(uname -s)" = Linux && ! nvidia-smi -L >/dev/null 2>&1 && echo https://download.pytorch.org/whl/cpu)
endif
TORCH_VERSION ?= 2.13.0
# Named with its build (torch==2.13.0+cpu), because another index may have a newer version of another build.
TORCH := torch==$(TORCH_VERSION)+$(notdir $(TORCH_INDEX))
# One environment with two stamps: what the server needs, and besides what tests and training need. The stamps are named
# after the content of pyproject.toml, so the environment follows it.
HASH := $(shell $(or $(PYTHON),false) -c 'import hashlib; print(hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest()[:12])' 2>/dev/null)
SERVING := .venv/.serving-$(HASH)
DEVELOPMENT := .venv/.development-$(HASH)
RUN := .venv/bin/python -m
# Two files of tests at a time, however many cores there are: each starts servers, which have threads of their own.
# A process of pytest-xdist that dies is not replaced: after that, files handed out whole can leave the others waiting
# for ever (pytest-xdist issue 1378). So the run ends, and names the test in which the process died.
IN_PARALLEL ?= -n 2 --dist loadfile --max-worker-restart 0
EXPLAIN := echo "pip could not install what pyproject.toml names; its message is above. A newer pip may help:" \
	".venv/bin/python -m pip install --upgrade pip. Options for pip go into PIP_FLAGS."
# Without compiling: Python compiles the modules that are used when they are first used.
INSTALL := $(RUN) pip install --disable-pip-version-check --no-compile $(PIP_FLAGS)
# Tests start hundreds of servers and commands. Where Python may not keep what it has compiled, each compiles all that it
# imports, which takes 3 s.
export PYTHONDONTWRITEBYTECODE :=
PACKAGES := poselift service training
RECIPE ?= pstmo-tiny-27
IMAGE ?= service
TAG ?= 0.1.0
BUILDER ?= $(shell for tool in docker podman buildah; do command -v $$tool && break; done)
# What is named on the command line (TORCH_INDEX, TORCH_VERSION, EXTRAS, BASE_IMAGE) is handed to the build. Only the
# format of docker has health checks.
BUILD_FLAGS ?= $(if $(findstring docker,$(BUILDER)),,--format docker) \
	$(foreach name,BASE_IMAGE EXTRAS TORCH_INDEX TORCH_VERSION,$(if $(findstring command,$(origin $(name))),--build-arg $(name)="$($(name))"))
CRDS := @kubernetes-models/gateway-api@2 @kubernetes-models/keda@2 @kubernetes-models/prometheus-operator@6 yaml@2
PLAYWRIGHT := playwright>=1.49,<2
# What shows and checks the files of motion on a rig. Blender comes as a package for one version of Python each.
RIG_READERS := three@0.187.0 gltf-validator@2.0.0-dev.3.10
BLENDER := bpy==4.5.15
# Contains its own model files. The 12 MB below are what browsers of these years ask for.
DETECTOR := @mediapipe/pose@0.5.1675469404
DETECTOR_FILES := pose.js pose_web.binarypb pose_landmark_lite.tflite pose_solution_packed_assets.data \
	pose_solution_packed_assets_loader.js pose_solution_simd_wasm_bin.js pose_solution_simd_wasm_bin.wasm
BUF ?= npx --yes @bufbuild/buf@1.75.0
ARGS ?=

serve: $(SERVING) ## start the server with the default model (options: ARGS="--port 9000")
	@$(RUN) poselift serve $(ARGS)

test: check redis helm browser unit integration e2e packaging ## run all checks and tests

proto: $(DEVELOPMENT) ## generate poselift/pb from proto/lifter.proto, which buf (from npm) checks first
	$(BUF) lint proto
	$(BUF) breaking proto --against proto/lifter.binpb
	$(RUN) grpc_tools.protoc -Iposelift/pb=proto --python_out=. --pyi_out=. --grpc_python_out=. poselift/pb/lifter.proto

fmt: $(DEVELOPMENT) ## format the code, apply automatic fixes and write the generated documents
	$(RUN) ruff format .
	$(RUN) ruff check --fix .
	.venv/bin/python docs/generate.py

check: $(DEVELOPMENT) ## check formatting, lint rules, types and generated documents; changes nothing
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	.venv/bin/python docs/generate.py --check

unit: $(DEVELOPMENT) ## run the unit tests, and a thousand simulated schedules
	$(RUN) pytest -q $(IN_PARALLEL) tests/unit tests/simulation $(ARGS)

integration: $(DEVELOPMENT) ## run the tests of the whole server, with a real Redis
	$(RUN) pytest -q $(IN_PARALLEL) tests/integration tests/gpu $(ARGS)

e2e: $(DEVELOPMENT) ## run the tests of the commands, those of the documents included
	$(RUN) pytest -q tests/e2e tests/docs $(ARGS)

packaging: $(DEVELOPMENT) ## test the wheel, installed outside of the checkout
	$(RUN) pytest -q tests/packaging $(ARGS)

wheel: $(DEVELOPMENT) ## build dist/*.whl and dist/*.tar.gz, and test the wheel with all its dependencies
	$(RUN) build
	INSTALL_FROM_INDEX=1 $(RUN) pytest -q tests/packaging $(ARGS)

chart: helm redis prometheus ## check and package the Helm chart; check alerts, Dockerfiles and workflows
	.venv/bin/yamllint --strict -c .yamllint helm/poselift/values.yaml helm/poselift/Chart.yaml docker \
		.github .pre-commit-config.yaml
	.venv/bin/hadolint --failure-threshold info docker/*.Dockerfile
	@mkdir -p build/crds && { command -v npm >/dev/null && npm install --silent --no-save --prefix build/crds $(CRDS); } || \
		echo "npm cannot install the schemas of CRDs here: the test that needs them is skipped."
	$(RUN) pytest -q tests/chart $(ARGS)
	$(RUN) helm.package

image: $(DEVELOPMENT) web ## build and test the image of the server (IMAGE=training: of the training jobs)
	@test -n "$(BUILDER)" || { echo "An image is built with docker, podman or buildah, and none of them is installed."; exit 1; }
	$(BUILDER) build --file docker/$(IMAGE).Dockerfile --tag poselift/$(IMAGE):$(TAG) $(BUILD_FLAGS) .
	IMAGE=poselift/$(IMAGE):$(TAG) CONTAINER_TOOL=$(if $(findstring docker,$(BUILDER)),docker,podman) \
		$(RUN) pytest -q tests/image/test_$(IMAGE).py $(ARGS)

rolling: helm redis ## replace servers under load, as the chart's Deployment does (longer: ARGS="--seconds 60")
	$(RUN) tests.integration.rolling_replacement $(ARGS)

gpu: $(DEVELOPMENT) ## prove and measure on a GPU what only a GPU can show, in eight minutes
	$(RUN) tests.gpu.prove $(ARGS)

fuzz: $(DEVELOPMENT) ## send a million messages that are almost good, then look for worse ones (ARGS="--messages 2000")
	$(RUN) tests.integration.fuzz $(ARGS)
	FUZZ_EFFORT=30 $(RUN) pytest -q tests/integration/test_fuzz.py tests/unit/formats/readers/test_fuzz.py

bench: $(DEVELOPMENT) redis ## run the benchmarks, which print numbers and have no thresholds
	$(RUN) tests.benchmarks.clip_forward
	$(RUN) tests.benchmarks.data_pipeline
	$(RUN) tests.benchmarks.json_reader
	$(RUN) tests.benchmarks.lift_file
	$(RUN) tests.benchmarks.serving
	$(RUN) tests.benchmarks.sessions

cost: $(DEVELOPMENT) ## measure what a pose costs with two models (ARGS="--models NAME@VERSION NAME@VERSION")
	$(RUN) tests.benchmarks.serving.models $(ARGS)

soak: $(DEVELOPMENT) redis ## run a mixed load for half an hour (shorter: ARGS="--minutes 3")
	$(RUN) tests.benchmarks.soak $(ARGS)

seams: $(DEVELOPMENT) ## measure how smooth poses are where windows meet (ARGS="--model DIR --root DATA")
	$(RUN) tests.benchmarks.seams $(ARGS)

tracking: $(DEVELOPMENT) ## measure how well people are told apart over time (ARGS="DATA")
	$(RUN) tests.benchmarks.tracking $(ARGS)

irregular: $(DEVELOPMENT) ## measure what a wandering frame rate with drops does to poses (ARGS="DATA")
	$(RUN) tests.benchmarks.irregular_times $(ARGS)

known: $(DEVELOPMENT) ## measure what it is worth to tell focal length, gravity and stature (ARGS="DATA")
	$(RUN) tests.benchmarks.known $(ARGS)

motion: $(DEVELOPMENT) ## measure motion in the world against the truth (ARGS="DATA")
	$(RUN) tests.benchmarks.motion $(ARGS)

rig: $(DEVELOPMENT) ## measure constant bones and rotations of a rig (ARGS="DATA")
	$(RUN) tests.benchmarks.rig $(ARGS)

kills: $(DEVELOPMENT) redis ## kill a hundred servers while they stream (ARGS="--kills 6 --client javascript")
	$(RUN) tests.integration.kill_replicas $(ARGS)

flaky: $(DEVELOPMENT) ## stream through a bad network for five minutes, with both client libraries (ARGS="--seconds 20")
	$(RUN) tests.integration.client.flaky_proxy $(ARGS)

chaos: $(DEVELOPMENT) redis ## kill and suspend servers and Redis for an hour (ARGS="--kind single --minutes 3 --seed 7")
	$(RUN) tests.integration.chaos $(ARGS)

attack: $(DEVELOPMENT) ## attack servers on the loopback while others are served (ARGS="--only WebSocket", "--list")
	$(RUN) tests.attacks $(ARGS)

simulate: $(DEVELOPMENT) ## simulate a million schedules on all cores (ARGS="--schedules 1000", "--seed 7")
	$(RUN) tests.simulation $(ARGS)

redis: ## install redis-server for the tests, if it is missing and apt-get may be used
	@command -v redis-server >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		echo "Installing redis-server ..." && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null; } || \
		echo "redis-server is missing and cannot be installed from here: the tests that need it are skipped." \
		"Debian and Ubuntu: apt install redis-server."

prometheus: ## install Prometheus for the tests, if it is missing and apt-get may be used
	@command -v promtool >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		echo "Installing prometheus ..." && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null; } || \
		echo "promtool is missing and cannot be installed from here: the tests that need it are skipped." \
		"Debian and Ubuntu: apt install prometheus."

web: ## fetch the detector for webcams on the page from npm, into service/poselift_service/web/mediapipe
	@mkdir -p build/web service/poselift_service/web/mediapipe
	@{ command -v npm >/dev/null && npm install --silent --no-save --prefix build/web $(DETECTOR) && \
		cd build/web/node_modules/@mediapipe/pose && install -m 644 $(DETECTOR_FILES) \
		"$(CURDIR)/service/poselift_service/web/mediapipe/" && \
		echo "The page has a webcam now; reload it."; } || \
		echo "npm cannot install $(DETECTOR) here: the page has no webcam, and everything else."

browser: $(DEVELOPMENT) ## install Chromium and what it tests (Playwright, axe-core, three.js), if they are missing
	@$(INSTALL) -q '$(PLAYWRIGHT)' || echo "pip cannot install Playwright here: the tests of the page are skipped."
	@mkdir -p build/axe && { command -v npm >/dev/null && npm install --silent --no-save --prefix build/axe axe-core@4; } || \
		echo "npm cannot install axe-core here: the test of accessibility is skipped."
	@mkdir -p build/rig && { command -v npm >/dev/null && npm install --silent --no-save --prefix build/rig $(RIG_READERS); } || \
		echo "npm cannot install $(RIG_READERS) here: the tests of BVH and GLB in them are skipped."
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { test "$$(id -u)" = 0 && \
		command -v apt-get >/dev/null && echo "Installing chromium ..." && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		echo "Chromium is missing and cannot be installed from here: the tests of the page are skipped." \
		"Debian: apt install chromium."

blender: $(DEVELOPMENT) ## read BVH and GLB with Blender itself, a package of 370 MB that needs Python 3.11
	@test -x build/blender/bin/python || python3.11 -m venv build/blender
	@build/blender/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) '$(BLENDER)'
	$(RUN) tests.e2e.blender build/blender/bin/python

helm: $(DEVELOPMENT) ## install the Python packages that test the Helm chart
	@$(INSTALL) -q -e '.[chart]' || \
		echo "pip cannot install the tools for the Helm chart here: the tests that need them are skipped."

train: $(DEVELOPMENT) ## pretrain and fine-tune a model (RECIPE=name)
	$(RUN) poselift pretrain $(RECIPE)-pretrain $(ARGS)
	$(RUN) poselift finetune $(RECIPE) $(ARGS)

clean: ## remove the environment and all generated files
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile | expand -t 14

$(SERVING): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with the venv module is needed (up to 3.13; Debian and Ubuntu: apt install python3-venv)."; exit 1; }
	@test -x .venv/bin/python || { echo "Creating .venv ..."; $(PYTHON) -m venv .venv; }
	@test -z "$(TORCH_INDEX)" || { echo "Installing $(TORCH) into .venv ..." && \
		$(INSTALL) --no-deps --index-url $(TORCH_INDEX) --timeout 15 --retries 1 '$(TORCH)'; } || \
		echo "$(TORCH) cannot be had from $(TORCH_INDEX): pip chooses a build of torch from its usual index."
	@echo "Installing what the server needs into .venv ..."
	@$(INSTALL) -e '.[serve,openvino,client]' || { $(EXPLAIN); exit 1; }
	@rm -f .venv/.serving-*; touch $@

$(DEVELOPMENT): $(SERVING)
	@echo "Installing what tests and training need into .venv ..."
	@$(INSTALL) -e '.[dev]' || { $(EXPLAIN); exit 1; }
	@rm -f .venv/.development-*; touch $@
