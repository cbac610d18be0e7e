# `make help` lists what there is. cargo runs as the caller; only apt and the lab's daemons go through sudo.

export CARGO_TARGET_DIR ?= $(CURDIR)/target
AGENT  := $(CARGO_TARGET_DIR)/release/nephometer
DENY   := target/tools/bin/cargo-deny
MDBOOK := target/tools/bin/mdbook
FUZZ   := target/tools/bin/cargo-fuzz
DEB    := target/tools/bin/cargo-deb
AUDIT  := target/tools/bin/cargo-auditable
SBOM   := target/tools/bin/cargo-cyclonedx
FUZZ_SECONDS ?= 60
GUESTS := --manifest-path guest-examples/Cargo.toml --target-dir guest-examples/target/host
LAB    := .lab

# Steps depend on the output of earlier ones; cargo itself uses all cores.
.NOTPARALLEL:

# What `make build` compiles. `make test` compiles the tests together with the programs: one after the other, half of all packages
# would be compiled twice, because tests need other features of them.
PROGRAMS := -p nephometer -p nephometer-collector
test soak: PROGRAMS := --workspace --exclude nephometer-bench --bins --tests

.PHONY: build
build: ## build the agent and the collector (target/release/), and the shipped components (target/components/)
	scripts/install build
	cargo build --release --locked $(PROGRAMS)
	scripts/wasm-build

.PHONY: agent
agent: ## build the agent without author tools, the collector, and the shipped transformers, as `make run` needs them
	scripts/install build
	cargo build --release --locked -p nephometer -p nephometer-collector --no-default-features
	scripts/wasm-build transformers

.PHONY: run
# AMQP_URL is passed in the environment: `AMQP_URL=... make run` keeps it out of every command line.
run: agent ## run a demo of agent and collector until Ctrl-C; optional: SECONDS=20, LIBVIRT_URI=..., AMQP_URL=...
	@exec "$(AGENT)" demo --components target/components --folder target/demo --file target/demo.ndjson $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(LIBVIRT_URI),--libvirt "$$LIBVIRT_URI")

.PHONY: components
components: build ## build the example components in every language
	-scripts/install languages
	scripts/components

.PHONY: test-languages
test-languages: build ## test the example components in languages other than Rust
	scripts/install languages
	scripts/languages-build
	scripts/languages-test

.PHONY: test
test: install-test build fmt lint doc contract ceilometer ceilometerclient openstack axe duckdb oras schemathesis test-languages guide docs instructions ## run all checks that a change must pass
	cargo test --locked $(GUESTS)
	cargo test --release --locked --workspace --exclude nephometer-bench
	@if [ -x $(DENY) ]; then $(MAKE) --no-print-directory deny; else echo 'cargo-deny is not installed: `make deny` installs and runs it'; fi

.PHONY: instructions
instructions: ## count the instructions of small benchmarks and compare them with tests/instructions.json
	scripts/instructions

.PHONY: contract
contract: ## check that wit/ is compatible with its released versions
	scripts/contract

.PHONY: ceilometer
ceilometer: # install a real Ceilometer for tests
	scripts/ceilometer

.PHONY: oracles
oracles: build ceilometer ## compare with real services that are too large for `make test`: Gnocchi, Ceilometer's collector and API
	scripts/install oracles
	scripts/gnocchi
	scripts/ceilometer-api

.PHONY: axe
axe: # install axe-core for the test of the page
	scripts/axe

.PHONY: duckdb
duckdb: # install DuckDB for the test of exports
	scripts/duckdb

.PHONY: oras
oras: # install oras for tests of registries
	scripts/oras

.PHONY: schemathesis
schemathesis: build ## compare the answers of the collector's API with its OpenAPI document
	scripts/schemathesis

.PHONY: ceilometerclient
ceilometerclient: # install python-ceilometerclient for tests of the collector
	scripts/ceilometerclient

.PHONY: openstack
openstack: # install a real Keystone, Nova and Glance for tests
	scripts/openstack install

.PHONY: soak
soak: install-test build ceilometer ceilometerclient openstack axe duckdb oras ## run the tests with full counts
	NEPHOMETER_TEST_SCALE=full cargo test --release --locked --workspace --exclude nephometer-bench

.PHONY: bench
bench: install-test build ## measure component calls, the whole path, the agent's cycle, reloads and memory; print all figures and goals
	cargo bench --locked -p nephometer-bench
	scripts/memory
	scripts/bench-instances
	scripts/bench-reload
	scripts/bench-cycle
	scripts/bench-server
	scripts/bench-collector
	scripts/bench-report

.PHONY: bench-cycle
bench-cycle: install-test build ## measure the agent from outside with 20 to 5,000 simulated domains
	scripts/bench-cycle
	scripts/bench-report

.PHONY: bench-audit
bench-audit: install-test build ## measure an audit of a project's month: 10 hosts, 100 resources, 10 meters
	scripts/bench-audit

.PHONY: bench-scale
bench-scale: install-test build ceilometer ## measure the load of many agents on a broker and a collector, and check the formulas of docs/scale.md
	scripts/bench-scale
	scripts/bench-report

.PHONY: bench-agents
bench-agents: install-test build ceilometer ## compare with Ceilometer, collectd and an exporter on real guests; DOMAINS=100
	scripts/install agents
	scripts/bench-agents $(or $(DOMAINS),20)
	scripts/bench-report

.PHONY: bench-libvirt
bench-libvirt: install-test ## measure libvirt's bulk statistics with 1 to 500 paused guests, with and without a stuck one
	scripts/install agents
	scripts/bench-libvirt
	scripts/bench-report

.PHONY: bench-delivery
bench-delivery: install-test build ceilometer ## measure delivery to a real broker, with and without spool, and oslo.messaging
	scripts/bench-delivery
	scripts/bench-report

.PHONY: bench-languages
bench-languages: build ## measure transformers in every language
	scripts/install languages
	scripts/languages-build
	scripts/bench-languages
	scripts/bench-report

.PHONY: bench-stores
bench-stores: ## compare the store with alternatives (docs/store.md)
	cargo run --release --locked --manifest-path host/benches/stores/Cargo.toml --target-dir target/bench-stores -- target

.PHONY: lab
lab: install-test ## start a private libvirtd with real guests and a private RabbitMQ for manual tests
	scripts/lab up $(LAB)
	@. $(LAB)/env; echo "try: AMQP_URL='$$AMQP_URL' make run LIBVIRT_URI='$$LIBVIRT_URI'"

.PHONY: lab-down
lab-down: ## stop the lab
	scripts/lab down $(LAB)

.PHONY: install-test
install-test:
	scripts/install test

.PHONY: fmt
fmt: ## check formatting (`cargo fmt` formats)
	cargo fmt --check
	cargo fmt --manifest-path guest-examples/Cargo.toml --all --check
	cargo fmt --manifest-path guest-examples/componentize/Cargo.toml --check
	cargo fmt --manifest-path host/benches/stores/Cargo.toml --check

.PHONY: lint
lint: ## run clippy, and check names, phrases and spelling; a warning is an error
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo clippy --release --locked -p nephometer --no-default-features -- -D warnings
	cargo clippy --locked $(GUESTS) --workspace --all-targets -- -D warnings
	scripts/words

.PHONY: doc
doc: ## build the code documentation; a warning is an error
	RUSTDOCFLAGS=-Dwarnings cargo doc --release --locked --workspace --exclude nephometer-bench --no-deps --document-private-items

.PHONY: docs
docs: ## write the contract reference and all documents to target/docs
	scripts/docs

.PHONY: docs-site
docs-site: $(MDBOOK) ## build the documentation as a site in target/site/book, and check its links
	scripts/docs-site

$(MDBOOK):
	cargo install --locked --root target/tools --target-dir target/tools/build mdbook --version 0.5.4 --no-default-features --features search
	rm -rf target/tools/build

.PHONY: guide
guide: ## run the commands of docs/authoring.md for each language in an empty folder
	scripts/guide

.PHONY: tutorial
tutorial: install-test build ## run the commands of docs/tutorial.md in an empty folder
	scripts/tutorial

.PHONY: fuzz
fuzz: $(FUZZ) build ## fuzz each parser, then hostile components, FUZZ_SECONDS=60 each; the first build takes long
	for target in amqp answer options component xml statistics yaml oslo url spool control http message query; do \
	  RUSTC_BOOTSTRAP=1 PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo fuzz run --fuzz-dir host/fuzz --target-dir target/fuzz \
	    --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 || exit 1; \
	done
	NEPHOMETER_TEST_SECONDS=$(FUZZ_SECONDS) NEPHOMETER_TEST_SEED=$$(date +%s) \
	  cargo test --release --locked -p nephometer --test integration generated_components_never_harm -- --nocapture

$(FUZZ):
	cargo install --locked --root target/tools --target-dir target/tools/build cargo-fuzz
	rm -rf target/tools/build

.PHONY: deny
deny: $(DENY) ## check dependencies: duplicates, licences, sources (deny.toml)
	$(DENY) --locked check bans licenses sources
	$(DENY) --locked --manifest-path guest-examples/Cargo.toml --config deny.toml check licenses sources

.PHONY: advisories
advisories: $(DENY) ## check dependencies for known vulnerabilities; needs the network, not part of `make test`
	$(DENY) --locked check advisories
	$(DENY) --locked --manifest-path guest-examples/Cargo.toml --config deny.toml check advisories

$(DENY):
	cargo install --locked --root target/tools --target-dir target/tools/build cargo-deny
	rm -rf target/tools/build

.PHONY: package
package: $(DEB) $(AUDIT) ## build the Debian packages in target/package/debian
	scripts/install build
	scripts/wasm-build
	scripts/package

.PHONY: package-test
package-test: package ## try the packages in a container that systemd boots: install, reload, watchdog, upgrade, purge; needs root
	scripts/install package
	scripts/package-before
	scripts/package-test

.PHONY: reproduce
reproduce: package ## build the packages of this commit once more, in another folder, and compare them
	scripts/reproduce

.PHONY: sbom
sbom: $(SBOM) ## write what the programs consist of to target/sbom (CycloneDX)
	scripts/sbom

$(DEB) $(AUDIT) $(SBOM):
	cargo install --locked --root target/tools --target-dir target/tools/build $(@F)
	rm -rf target/tools/build

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | expand -t 18
