# Two commands do all the set-up: `make demo` and `make test`. `make clean` removes all that they made.
#
# CLUSTER=current uses the cluster of the current kubeconfig instead of the testbed; its nodes pull the
# images from REGISTRY, to which they are pushed first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Slow to make and independent of the checkout: the testbed's binary and the images. Safe to delete.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dask-operator
CLUSTER ?= testbed
REGISTRY ?= localhost
export CACHE CLUSTER REGISTRY

RUST_TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
export RUST_TARGET TARGET_DIR

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

.PHONY: demo
demo: prepare images ## Show a plugin's child on a real Dask cluster
	@KEEP=1 testbed/with-cluster.sh node demo/run.sh

.PHONY: test
test: lint unit python examples docs live observability chart e2e takeover ## Run every test
	@echo "all tests passed"

.PHONY: prepare
prepare: ## Install what is missing and build the testbed
	@testbed/prepare.sh

.PHONY: lint
lint: prepare ## Formatting, clippy, generated files, chart, versions, workflows
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	cargo clippy --workspace --all-features --test chaos --locked -- -D warnings
	@for crate in plugin-protocol plugin-server-kit plugin-sanity controller $(dir $(wildcard examples/*/Cargo.toml)); do \
	  echo "checking $$crate alone"; cargo check --quiet --locked --manifest-path $$crate/Cargo.toml; done
	@for feature in "" log metrics signature tls token testing; do \
	  echo "checking dask-plugin-server with [$$feature]"; \
	  cargo clippy --quiet --locked -p dask-plugin-server --no-default-features --features "$$feature" -- -D warnings; done
	gofmt -l testbed charts | (! grep .)
	@testbed/env.sh helm lint --strict charts/dask-operator
	@testbed/env.sh charts/render.sh --check
	@.github/release-check.sh
	@testbed/env.sh go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: deny
deny: ## Licences, sources, duplicates and layers of what is shipped; the first time builds cargo-deny for minutes
	@.github/deny.sh

.PHONY: unit
unit: ## Tests that need no cluster
	cargo test --workspace --all-features --locked
	cargo test -p dask-plugin-server --no-default-features --lib --locked
	@testbed/env.sh go -C testbed test ./...

.PHONY: python
python: ## Tests of the Python package, on the oldest and the newest Python that there are
	python/check.sh

.PHONY: examples
examples: python ## Each example plugin judged from outside and rendered
	examples/check.sh

.PHONY: docs
docs: ## Build the book, follow its links, type its tutorials as printed
	docs/check.sh

.PHONY: live
live: prepare ## Tests against a real API server
	@testbed/with-cluster.sh control-plane cargo test -p dask-operator --locked --no-fail-fast --test 'live_*' -- --ignored $(TESTARGS)

.PHONY: chart
chart: prepare ## Install, upgrade and remove the chart on a real API server, with Helm 4 and Helm 3
ifeq ($(CLUSTER),current)
	@echo "chart: left out, it would remove the definitions of a cluster that others may use"
else
	@testbed/with-cluster.sh chart charts/install-check.sh
endif

.PHONY: observability
observability: prepare ## Metrics, dashboard and alert rules with a real Prometheus
	@testbed/prometheus.sh promtool check rules charts/dask-operator/files/alerts.yaml
	@testbed/prometheus.sh promtool test rules charts/alerts-test.yaml
	@testbed/with-cluster.sh control-plane testbed/prometheus.sh \
	  cargo test -p dask-operator --locked --test observability -- --ignored $(TESTARGS)

.PHONY: e2e
e2e: prepare images ## Tests on real pods with real Dask, the demo among them
	@testbed/with-cluster.sh node $(SHELL) -euc 'demo/run.sh; \
	  [[ $$CLUSTER != testbed ]] || testbed load-image --dir "$$TESTBED_DIR" \
	    "$$IMAGES"/{istio-plugin,networkpolicy-plugin,decorator-plugin,dask-plugin-python}.tar; \
	  cargo test -p dask-operator --locked --test e2e_node --test e2e_examples --test e2e_client --test e2e_job -- \
	    --ignored --test-threads 1 $(TESTARGS)'

.PHONY: takeover
takeover: prepare images ## Test on a node of its own how what upstream's operator made goes on under ours, and the life of a release
ifeq ($(CLUSTER),current)
	@echo "takeover: left out, it would replace the definitions of a cluster that others may use"
else
	@testbed/with-cluster.sh takeover testbed/env.sh $(SHELL) -euc ' \
	  testbed load-image --dir "$$TESTBED_DIR" "$$IMAGES"/{dask,dask-operator}.tar; \
	  export HELM3=$$(testbed/helm3.sh); \
	  cargo test -p dask-operator --locked --test e2e_takeover --test e2e_release -- --ignored'
endif

.PHONY: bench
bench: prepare ## Measure us beside the API server's own speed and dask-kubernetes' operator; BENCHARGS=--quick for less
	cargo build --release --locked -p dask-operator -p dask-operator-bench
	@testbed/bench.sh $(TARGET_DIR)/release/dask-operator-bench $(BENCHARGS)

.PHONY: chaos
chaos: ## Run the controller in bad weather: SEEDS=300 runs, or SEED=7 again
	@testbed/prepare.sh libfaketime
	@testbed/with-cluster.sh chaos cargo test -p dask-operator --locked --test chaos

.PHONY: chaos-smoke
chaos-smoke: SEEDS = 6
chaos-smoke: ## A few of these runs, two minutes
	@$(MAKE) chaos SEEDS=$(SEEDS)

.PHONY: fuzz
fuzz: SECONDS = 300
fuzz: ## Look for inputs that stop or slow down the controller: SECONDS=300 for each of TARGETS (all of them)
	@testbed/prepare.sh g++
	@controller/fuzz/run.sh $(SECONDS) $(TARGETS)

.PHONY: fuzz-smoke
fuzz-smoke: ## The same for a few seconds each; `make unit` runs the inputs that are kept, without a fuzzer
	@$(MAKE) fuzz SECONDS=5

.PHONY: images
images: prepare ## Build the images of Dask, the controller and the example plugins
	@testbed/images/all.sh

.PHONY: generate
generate: prepare ## Write the files that are made from code
	cargo run --quiet --locked -p dask-operator -- crd > charts/dask-operator/files/crds.yaml
	cargo run --quiet --locked -p dask-operator -- schema --dir plugin-protocol/schema
	cargo run --quiet --locked -p dask-operator -- metrics > docs/src/metrics-table.md
	@testbed/env.sh charts/render.sh

.PHONY: clean
clean: ## Remove all that the other targets made, running clusters included
	@testbed/clean.sh
