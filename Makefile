# make deps   installs what the next two need and this machine lacks
# make run    everything on this machine: builds, starts, prints a curl line
# make test   every check there is; starts its own tritonserver, redis-server and PostgreSQL
# make help   the other targets

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Go where go.dev's archive and Debian's versioned packages put it, too. Tests
# run it by its name.
PREREQUISITES := internal/prerequisites/prerequisites.sh
ifeq ($(origin GO),undefined)
export PATH := $(shell go=$$($(PREREQUISITES) go) && printf '%s:' "$${go%/*}"; printf '%s' "$$PATH")
endif
GO ?= go
PYTHON ?=
export GO PYTHON
export CGO_ENABLED ?= 0

# What the binary says of itself: the commit, its date and whether it is a release.
STAMP = -X github.com/agiqa/agiqa/internal/version.stamp=$(shell internal/version/stamp.sh)

# SQLite is C, here translated to Go. The race detector leaves it out, as it does every
# C library; the driver around it is watched. With it, tests of stores take four times
# as long.
RACE := -race -gcflags=modernc.org/sqlite/lib=-race=false

# A compiler lives for seconds: below 1 GiB collecting its garbage only costs time.
COMPILE := GOGC=off GOMEMLIMIT=1GiB

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

.PHONY: deps
deps: ## install what make run and make test need, after printing how
	@$(PREREQUISITES) install

# Everything that is missing is reported at once, before anything is built.
.PHONY: need
need:
	@$(PREREQUISITES) check $(if $(filter test test-go test-traces test-crash lint generated-clients,$(MAKECMDGOALS)),test,$(if \
	  $(filter-out build generate fuzz,$(MAKECMDGOALS)),run,build))

build venv venv-test lint collector generated-clients corpus: | need

# Without the default encoder the server starts with the small one.
.PHONY: run
run: build venv ## build, install Python packages and the default encoder, and run the server on 127.0.0.1:8080
	@encoder/models.sh optional
	@exec bin/agiqa up

.PHONY: models
models: build venv ## download and convert the default encoder into .cache/models (GPU=1: with the graph for GPUs)
	@encoder/models.sh

.PHONY: demo-experiment
demo-experiment: build venv ## a whole A/B test with simulated raters, ending with a promotion, and one that rightly ends without (under two minutes; DEMO_IMAGES=DIR)
	@bin/agiqa experiment demo $(if $(DEMO_IMAGES),--images $(DEMO_IMAGES))

.PHONY: build
build: ## build bin/agiqa
	@mkdir -p bin
	$(COMPILE) $(GO) build -trimpath -buildvcs=false -ldflags="$(STAMP)" -o bin/agiqa ./cmd/agiqa

.PHONY: venv
venv: ## make the Python environment of the embedded Triton
	@embedded/venv.sh "$$PYTHON" .venv

.PHONY: venv-test
venv-test:
	@embedded/venv.sh "$$PYTHON" .venv embedded/requirements.lock embedded/requirements-test.lock

.PHONY: test
test: lint test-python test-go test-chart ## every check there is

# Compiled as test-go compiles, so that one compilation of everything serves
# vet, staticcheck and the tests.
.PHONY: lint
lint: ## gofmt, length of lines, vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi
	@long=$$(git ls-files '*.go' ':!*.pb.go' ':!*_test.go' | xargs awk 'length($$0) > 120 && !/`/ && !/^\/\/go:/ {print FILENAME ":" FNR}'); \
	if [ -n "$$long" ]; then echo "longer than 120 columns:"; echo "$$long"; exit 1; fi
	$(COMPILE) CGO_ENABLED=1 $(GO) vet $(RACE) ./...
	$(COMPILE) $(GO) build -trimpath -modfile=tools/gotools.mod -o .cache/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(COMPILE) CGO_ENABLED=1 GOFLAGS="$$($(GO) env GOFLAGS) $(RACE)" .cache/staticcheck ./...

# Built once for each go.sum, without the race detector: a minute on two cores.
.PHONY: collector
collector: ## the OpenTelemetry Collector for tests of traces, in .cache
	@out="$$PWD/.cache/otelcol-$$(sha256sum tools/otelcol/go.sum | cut -c1-16)"; \
	test -x "$$out" || { mkdir -p .cache && echo "building the collector (a minute)" && \
	  cd tools/otelcol && $(COMPILE) CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o "$$out.new" . && mv "$$out.new" "$$out"; }

# Built once for each go.sum. The version is what the server tells clients: its own
# build takes it from git.
KUBERNETES = .cache/kubernetes-$$(sha256sum tools/kubernetes/go.sum | cut -c1-16)
define tool
@out="$$PWD/$(KUBERNETES)"; \
test -x "$$out/$(1)" || { mkdir -p "$$out" && echo "building $(1) ($(3))" && cd tools/kubernetes && \
  version=$$($(GO) list -m -f '{{.Version}}' k8s.io/kubernetes) && minor=$${version#v1.} && \
  $(COMPILE) CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$$version \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$${minor%%.*}" \
    -o "$$out/$(1).new" $(2) && mv "$$out/$(1).new" "$$out/$(1)"; }
endef

.PHONY: helm
helm:
	$(call tool,helm,helm.sh/helm/v4/cmd/helm,two minutes)

.PHONY: kubernetes
kubernetes: helm
	$(call tool,etcd,go.etcd.io/etcd/server/v3,a minute)
	$(call tool,kube-apiserver,k8s.io/kubernetes/cmd/kube-apiserver,four minutes)

.PHONY: generated-clients
generated-clients: ## the generators of clients for tests, in .cache
	@tools/generated-clients/install.sh "$$PYTHON"

.PHONY: test-traces
test-traces: venv-test collector ## every request traced: 10,000 of every outcome, a real collector, killed half way
	$(GO) test ./cmd/agiqa -run TestEveryRequestIsTraced -timeout 10m -v -traces 10000

# The race detector needs cgo; nothing that is shipped does. Vet is lint's. The
# packages that start most servers come first, and one more than the machine has
# cores runs at a time: they mostly wait. GORACE: a program under the detector
# would sleep for a second before it ends, and tests run hundreds.
.PHONY: test-go
test-go: venv-test models build collector generated-clients ## Go tests with the race detector, integration tests included
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(GO) test $(RACE) -vet=off -p $$(($$(nproc) + 1)) -timeout 20m ./cmd/agiqa ./embedded ./...

.PHONY: test-chart
test-chart: helm ## the Helm chart without a cluster: lint, every example, strict decoding, restricted pods
	cd tools/kubernetes && $(GO) vet . && $(GO) test .

.PHONY: test-kubernetes
test-kubernetes: kubernetes ## the Helm chart in a real API server: install, upgrade, roll back, uninstall (the first time builds it: seven minutes)
	cd tools/kubernetes && $(GO) test -count=1 -timeout 10m . -server

# Paths are relative to here. A Triton on a TCP port has to ask for a key.
.PHONY: test-triton
test-triton: ## does the Triton at ADDRESS, host:port or unix:///PATH, do what the gateway needs? (CONTROL_KEY_FILE, CA, CERT, KEY: files)
	@test -n "$(ADDRESS)" || { echo "make test-triton ADDRESS=HOST:PORT, or unix:///PATH"; exit 2; }
	AGIQA_TEST_TRITON="$(ADDRESS)" AGIQA_TEST_TRITON_CONTROL_KEY_FILE="$(abspath $(CONTROL_KEY_FILE))" AGIQA_TEST_TRITON_CA="$(abspath $(CA))" \
	  AGIQA_TEST_TRITON_CERT="$(abspath $(CERT))" AGIQA_TEST_TRITON_KEY="$(abspath $(KEY))" \
	  $(GO) test -count=1 -v -run '^TestTriton$$' ./tritonclient/contracttest

# Not part of make test: minutes of load on all processors.
.PHONY: test-several
test-several: venv-test models ## three gateways, two Tritons, Redis and PostgreSQL under load: changes, kill -9 of each and by chance (STORM=1m SEED=1), a new encoder (NEIGHBOUR=PROGRAM: one gateway of another version); prints a table
	$(GO) test ./cmd/agiqa -count=1 -timeout 60m -v -run TestSeveralGatewaysUnderFaults -several -storm $(or $(STORM),1m) -storm-seed $(or $(SEED),1) $(if $(NEIGHBOUR),-neighbour "$(abspath $(NEIGHBOUR))")

.PHONY: test-crash
test-crash: ## kill -9 the gateway 20 times under feedback, and 20 times around a start: nothing is lost or left over
	AGIQA_TEST_CRASH_ROUNDS=20 $(GO) test -count=1 -run TestAcknowledgedFeedbackSurvivesKill -v ./cmd/agiqa
	AGIQA_TEST_CRASH_ROUNDS=20 $(GO) test -count=1 -run TestKillsOfAgiqaWithARealTriton -v ./embedded

.PHONY: test-python
test-python: venv-test models ## Python tests of the Triton models (no torch)
	.venv/bin/python -m pytest -q training/tests_triton

.PHONY: test-short
test-short: ## Go tests that need neither Triton nor Redis nor PostgreSQL
	$(GO) test -short ./...

# It needs two databases, so it isn't part of make test. What can't be reached is
# skipped with a line; REQUIRED=1 makes that a failure.
.PHONY: audit
audit: ## look for known vulnerabilities in Go modules, Python and npm packages (REQUIRED=1, GOVULNDB, OSV_URL)
	@$(GO) run ./tools/audit $(if $(REQUIRED),-required)

# A release isn't made of what nobody could check, unless AUDIT=optional.
.PHONY: release
release: ## archives, static binaries, bills of materials and checksums of HEAD, in dist (AUDIT=optional)
	@$(GO) run ./tools/audit $(if $(filter optional,$(AUDIT)),,-required)
	@tools/release/release.sh dist

.PHONY: bench
bench: build venv ## run one benchmark: make bench NAME=overload (without NAME: the list)
	@benchmarks/run.sh "$(NAME)"

.PHONY: vit-b-16
vit-b-16: build training ## an encoder of ViT-B/16's shape with random weights, for benchmarks, in .cache (installs torch)
	@test -d .cache/vit-b-16/model_repository || { cd training && PYTHONPATH=tests .venv/bin/python -m fidelity.vit --out ../.cache/vit-b-16; }

.PHONY: fuzz
fuzz: ## run each fuzz target for TIME, 1m by default, and print its executions (PACKAGES=./imageprep/...)
	@tools/fuzz.sh "$(or $(TIME),1m)" $(PACKAGES)

# docs/preprocessing.md says where folders of such files come from.
.PHONY: corpus
corpus: ## compare pixels with Pillow 12 and 13 over every image file in folders (DIR="a b")
	@test -n "$(DIR)" || { echo 'make corpus DIR="FOLDER..."'; exit 2; }
	@embedded/venv.sh "$$PYTHON" .cache/pillow12 benchmarks/requirements-pillow12.lock
	@embedded/venv.sh "$$PYTHON" .cache/pillow benchmarks/requirements-pillow.lock
	@$(GO) run ./tools/corpus -pillow .cache/pillow12/bin/python -pillow .cache/pillow/bin/python $(DIR)

.PHONY: generate
generate: build ## write what is generated: reference pages, notices, models of the demo checkpoints
	bin/agiqa config reference > docs/configuration.md
	bin/agiqa openapi > docs/openapi.json
	bin/agiqa metrics reference > docs/metrics.md
	$(GO) run ./tools/notices
	$(GO) run ./tools/dashboards
	$(GO) run ./tools/helmchart
	$(GO) run ./tools/drawreport docs/examples
	rm -rf model_repository/prompt_head_* model_repository/clip_agiqa_*
	digest=$$(sed -n 's/^  "digest": "\(.*\)",$$/\1/p' model_repository/encoder.json); \
	for bundle in $$(grep -l "$$digest" demo/checkpoints/*/manifest.json | xargs -n1 dirname); do bin/agiqa checkpoint materialize "$$bundle" --out model_repository; done

.PHONY: training
training: ## make training/.venv with the command agiqa-train
	@test -x training/.venv/bin/python || "$$($(PREREQUISITES) python)" -m venv training/.venv
	training/.venv/bin/python -m pip install $(if $(CI),-q) --no-compile --require-hashes -r training/requirements.lock
	training/.venv/bin/python -m pip install --no-deps --no-build-isolation -e training

.PHONY: test-training
test-training: training build ## tests of the trainer and the GPU benchmark (installs torch), those of recipes with Pillow 13 too
	training/.venv/bin/python -m pytest -q training/tests
	embedded/venv.sh "$$($(PREREQUISITES) python)" .cache/pillow benchmarks/requirements-pillow.lock
	PYTHONPATH="$$(.cache/pillow/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	  training/.venv/bin/python -m pytest -q $(addprefix training/tests/test_, views.py bundle.py export_checkpoint.py)

.PHONY: quality-page
quality-page: training ## write the results in docs/quality/ into docs/quality.md and README.md
	training/.venv/bin/python -m agiqa_train.human.page

.PHONY: test-fidelity
test-fidelity: build venv training ## proof on true ViT-B/16 shapes against transformers and open_clip; writes docs/fidelity.md
	cd training && PYTHONPATH=tests .venv/bin/python -m fidelity --out ../docs/fidelity.md

.PHONY: clean
clean: ## remove what was built and installed here
	rm -rf bin .venv .agiqa training/.venv
