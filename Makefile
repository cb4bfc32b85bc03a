# Everything a fresh machine needs is set up by the targets themselves.

OUT ?= out/$(shell date -u +%Y-%m-%dT%H%M%SZ)
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
REHEARSE = $(TARGET_DIR)/debug/qbindctl rehearse --target lab --topology standard-tri-region

.PHONY: help setup test test-verifier verifier-agreement verdict-power build rehearse rehearse-full bench-latency bench-catch-up bench-execution bench-state bench-verify growth lint docs

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what a build needs; build RocksDB once for this machine (about 20 minutes)
	@scripts/setup.sh

test: setup ## Run every test of the workspace, T234's long form too
	@scripts/test.sh

test-verifier: ## Tests of the second verifier, in Python (fetches its packages from PyPI)
	@python3 -m venv $(TARGET_DIR)/verifier
	@$(TARGET_DIR)/verifier/bin/pip install -q -r docs/verifier/requirements.txt
	@cd docs/verifier && $(abspath $(TARGET_DIR))/verifier/bin/python -m unittest

build: setup ## Build the node and the operator binary
	@cargo build -p qbind-node -p qbindctl

rehearse: build ## Short dress rehearsal on this machine; evidence goes to OUT (out/<date>)
	@mkdir -p $(dir $(OUT))
	$(REHEARSE) --quick --out $(OUT)

rehearse-full: build ## Whole dress rehearsal on this machine
	@mkdir -p $(dir $(OUT))
	$(REHEARSE) --out $(OUT)

bench-latency: ## Commit latency of the protocol alone over three regions, in virtual time
	@cargo run -q -p qbind-sim --example commit_latency

bench-catch-up: build ## How long a node that was away for ten minutes at 200 transfers a second takes to catch up
	@cargo build -q -p qbind-rehearsal --example catch_up
	$(TARGET_DIR)/debug/examples/catch_up 10 200 tri-region $(TARGET_DIR)/debug/qbind-node

bench-execution: setup ## Stage B beside serial execution, part by part, signatures excluded, on two threads
	@cargo run -q -p qbind-ledger --example execution 2

bench-state: setup ## What a state of 1,000,000 accounts costs: times, memory, disk; snapshot, fast sync, pruning
	@cargo run -q -p qbind-storage --example state_at_scale

bench-verify: setup ## Verify and recompute the bundle of an hour with a hundred nodes: time and memory (20 minutes, 10 GB to make it)
	@cargo build -q -p qbindctl -p qbind-specimen --bin qbindctl --example hour
	$(TARGET_DIR)/debug/examples/hour out/hour $(TARGET_DIR)/debug/qbindctl

verifier-agreement: setup test-verifier ## Both verifiers over 200 generated bundles, good, faulty, tampered and hostile: about four minutes
	@cargo build -q -p qbind-specimen --example bundles
	@rm -rf $(TARGET_DIR)/bundles
	$(TARGET_DIR)/debug/examples/bundles $(TARGET_DIR)/bundles
	$(TARGET_DIR)/verifier/bin/python docs/verifier/agree.py $(TARGET_DIR)/bundles

verdict-power: build ## Faults planted in live rehearsals, and 20 clean ones: about three hours; goes on where it was
	@cargo build -q -p qbind-rehearsal --example verdict_power
	$(TARGET_DIR)/debug/examples/verdict_power out/verdict-power

growth: ## Bytes and signature checks by the number of validators, counted in the simulator
	@cargo run -q -p qbind-sim --example growth

lint: setup ## Formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

docs: build ## Write the generated references again
	$(TARGET_DIR)/debug/qbindctl docs cli >docs/cli.md.new && mv docs/cli.md.new docs/cli.md
	$(TARGET_DIR)/debug/qbindctl docs manifest-schema >docs/manifest.schema.json.new && mv docs/manifest.schema.json.new docs/manifest.schema.json
	$(TARGET_DIR)/debug/qbind-node --metrics-docs >docs/metrics.md.new && mv docs/metrics.md.new docs/metrics.md
