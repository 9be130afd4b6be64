# Builds, tests and demonstrates the operator. `make demo` and `make test` install and build whatever they need, and
# `make clean` removes it again. `make` lists all targets.
#
# With CLUSTER=current, the cluster of the current kubeconfig is used instead of the testbed. Images are pushed to REGISTRY,
# from which its nodes pull them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Holds what takes long to build and does not depend on the checkout, such as the testbed and the images. Safe to delete.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dask-operator
CLUSTER ?= testbed
REGISTRY ?= localhost
export CACHE CLUSTER REGISTRY

RUST_TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
export RUST_TARGET TARGET_DIR

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

.PHONY: demo
demo: prepare images ## Show the operator and a plugin on a real Dask cluster
	@KEEP=1 testbed/with-cluster.sh node demo/run.sh

.PHONY: showcase
showcase: PICTURE ?= .cache/dashboard.png
showcase: prepare ## Show the Istio plugin with real Istio and cert-manager, and a dashboard in a browser; docs: PICTURE=docs/src/showcase.png
ifeq ($(CLUSTER),current)
	@echo "showcase: skipped, because it would install Istio and cert-manager on the current cluster"
else
	@testbed/prepare.sh chromium libnss3-tools
	@$(MAKE) --no-print-directory -o prepare images
	@testbed/mesh/build.sh
	@KEEP=1 testbed/with-cluster.sh showcase demo/showcase/run.sh $(abspath $(PICTURE))
endif

.PHONY: test
test: ## Run all tests, stage by stage
	@MAKE="$(MAKE)" testbed/stages.sh prepare lint unit python examples docs live observability chart images e2e takeover mesh

.PHONY: prepare
prepare: ## Install missing packages and build the testbed
	@testbed/prepare.sh

.PHONY: lint
lint: prepare ## Check formatting, clippy, generated files, the chart, versions and workflows
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	cargo clippy --workspace --all-features --test chaos --locked -- -D warnings
	@for crate in plugin-protocol plugin-server-kit plugin-sanity kubectl-dask controller $(dir $(filter-out controller/fuzz/%,$(wildcard controller/*/Cargo.toml))) \
	  $(dir $(wildcard examples/*/Cargo.toml)); do \
	  echo "checking that $$crate builds on its own"; cargo check --quiet --locked --manifest-path $$crate/Cargo.toml; done
	@for feature in "" log metrics signature tls token testing; do \
	  echo "checking dask-plugin-server with [$$feature]"; \
	  cargo clippy --quiet --locked -p dask-plugin-server --no-default-features --features "$$feature" -- -D warnings; done
	gofmt -l testbed charts docs | (! grep .)
	@testbed/env.sh helm lint --strict charts/dask-operator
	@testbed/env.sh charts/render.sh --check
	@docs/includes.py check
	@.github/release-check.sh
	@.github/words.py
	@testbed/env.sh go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: deny
deny: ## Check licences, sources, duplicates and layers of dependencies; builds cargo-deny the first time
	@.github/deny.sh

.PHONY: words
words: ## Check for words and phrases that must not be used
	@.github/words.py

.PHONY: unit
unit: ## Run the tests that need no cluster
	cargo test --workspace --all-features --locked
	cargo test -p dask-plugin-server --no-default-features --lib --locked
	@testbed/env.sh go -C testbed test ./...

.PHONY: python
python: ## Test the Python package with the oldest and the newest Python on this machine
	python/check.sh

.PHONY: examples
examples: python ## Check each example plugin and render its children
	examples/check.sh

.PHONY: docs
docs: ## Build the book, check its links and run its tutorials
	docs/check.sh

# Tests mostly wait for watches and timers, so that more of them run at the same time than there are cores.
.PHONY: live
live: LIVE_THREADS ?= 4
live: prepare ## Run the tests that need an API server
	cargo build --quiet --locked -p kubectl-dask
	@testbed/with-cluster.sh control-plane controller/tests/slowest.sh \
	  cargo test -p dask-operator --locked --test live -- --ignored --test-threads $(LIVE_THREADS) $(TESTARGS)

.PHONY: chart
chart: prepare ## Install, apply, upgrade and uninstall the chart on an API server, with Helm 4 and Helm 3
ifeq ($(CLUSTER),current)
	@echo "chart: skipped, because it would delete CustomResourceDefinitions of the current cluster"
else
	cargo build --quiet --locked -p dask-operator
	@DASK_OPERATOR=$(abspath $(TARGET_DIR))/debug/dask-operator testbed/with-cluster.sh chart charts/install-check.sh
endif

.PHONY: observability
observability: prepare ## Test metrics, dashboard and alert rules with Prometheus
	@testbed/prometheus.sh promtool check rules charts/dask-operator/files/alerts.yaml
	@testbed/prometheus.sh promtool test rules charts/alerts-test.yaml
	@testbed/prometheus.sh charts/scrape-check.py
	@testbed/with-cluster.sh control-plane testbed/prometheus.sh \
	  cargo test -p dask-operator --locked --test integration -- --ignored $(TESTARGS)

.PHONY: pages
pages: prepare images ## Type the listings of README, book and examples on a node; PAGES="README.md ..." for some
	@testbed/with-cluster.sh node docs/pages.sh $(PAGES)

.PHONY: pictures
pictures: prepare ## Draw the dashboard's panels for the book, from scrapes of a controller at work
	@testbed/with-cluster.sh control-plane testbed/prometheus.sh docs/pictures.sh

.PHONY: e2e
e2e: prepare images ## Type the pages, run the demo and the tests that need a node, with real Dask
	cargo build --quiet --locked -p kubectl-dask
	@testbed/with-cluster.sh node $(SHELL) -euc 'docs/pages.sh; demo/run.sh; \
	  [[ $$CLUSTER != testbed ]] || testbed load-image --dir "$$TESTBED_DIR" \
	    "$$IMAGES"/{istio-plugin,networkpolicy-plugin,decorator-plugin,dask-plugin-python}.tar; \
	  controller/tests/slowest.sh cargo test -p dask-operator --locked --test e2e -- --ignored --test-threads 1 $(TESTARGS)'

.PHONY: takeover
takeover: prepare images ## Test the migration from dask-kubernetes, and a release from installation to removal
ifeq ($(CLUSTER),current)
	@echo "takeover: skipped, because it would replace CustomResourceDefinitions of the current cluster"
else
	@testbed/with-cluster.sh takeover testbed/env.sh $(SHELL) -euc ' \
	  testbed load-image --dir "$$TESTBED_DIR" "$$IMAGES"/{dask,dask-operator}.tar; \
	  export HELM3=$$(testbed/helm3.sh); \
	  controller/tests/slowest.sh cargo test -p dask-operator --locked --test takeover -- --ignored --test-threads 1'
endif

.PHONY: mesh
mesh: prepare images ## Test the Istio and ingress plugins with real Istio, cert-manager and Envoy on a node
ifeq ($(CLUSTER),current)
	@echo "mesh: skipped, because it would install Istio and cert-manager on the current cluster"
else
	@testbed/mesh/build.sh
	cargo test --quiet --locked -p dask-operator --test mesh --no-run
	@testbed/with-cluster.sh mesh $(SHELL) -euc '. testbed/mesh/env.sh; \
	  testbed/mesh/install.sh "$$IMAGES/ingress-plugin.tar"; \
	  cargo test -p dask-operator --locked --test mesh -- --ignored --test-threads 4 --nocapture $(TESTARGS)'
endif

.PHONY: upstream-tests
upstream-tests: prepare images ## Run the tests of dask-kubernetes itself on a node with this operator; TESTARGS are pytest's
	cargo build --locked -p dask-operator
	@testbed/with-cluster.sh node testbed/upstream-tests.sh $(TARGET_DIR)/debug/dask-operator $(TESTARGS)

.PHONY: bench
bench: prepare ## Measure the operator, the API server and dask-kubernetes; BENCHARGS=--quick for small numbers
	cargo build --release --locked -p dask-operator -p dask-operator-bench
	@testbed/bench.sh $(TARGET_DIR)/release/dask-operator-bench $(BENCHARGS)

.PHONY: chaos
chaos: ## Run the controller under random faults: SEEDS=300 runs, or SEED=7 to repeat one
	@testbed/prepare.sh libfaketime
	@testbed/with-cluster.sh chaos cargo test -p dask-operator --locked --test chaos

.PHONY: chaos-smoke
chaos-smoke: SEEDS = 6
chaos-smoke: ## A few runs of chaos, about two minutes
	@$(MAKE) chaos SEEDS=$(SEEDS)

.PHONY: fuzz
fuzz: SECONDS = 300
fuzz: ## Search for inputs that crash or slow down the controller: SECONDS=300 per target, TARGETS="..." for some
	@testbed/prepare.sh g++
	@controller/fuzz/run.sh $(SECONDS) $(TARGETS)

.PHONY: fuzz-smoke
fuzz-smoke: ## Run each fuzz target for five seconds; `make unit` runs the saved inputs without a fuzzer
	@$(MAKE) fuzz SECONDS=5

.PHONY: images
images: prepare ## Build the images of Dask, the controller and the example plugins
	@testbed/images/all.sh

.PHONY: generate
generate: prepare ## Write the generated files
	cargo run --quiet --locked -p dask-operator -- crd > charts/dask-operator/files/crds.yaml
	cargo run --quiet --locked -p dask-operator -- schema --dir plugin-protocol/schema
	cargo run --quiet --locked -p dask-operator -- metrics > docs/src/metrics-table.md
	@docs/includes.py write
	UPDATE_TESTDATA=1 cargo test --quiet --locked -p dask-operator -p dask-plugin-engine --lib tools_understand
	UPDATE_TESTDATA=1 cargo test --quiet --locked -p dask-operator --test integration argo_cd_shows
	@testbed/env.sh charts/render.sh

.PHONY: clean
clean: ## Remove everything that the other targets created, including running clusters
	@testbed/clean.sh
