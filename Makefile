# The two commands of the README are `make demo` and `make test`; each gets what it lacks first (scripts/prepare).
# What the tests need beside system packages lies in $(TIDEGATE_TOOLS), outside the checkout.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO := scripts/cargo

export TIDEGATE_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tidegate

# What lands is decided by the same cases every day; `make unit PROPTEST_RNG_SEED=4711` looks at others.
export PROPTEST_RNG_SEED ?= 20261129

.PHONY: help demo test chaos fmt-check lint deny doc unit quiet check bench fmt clean-home

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## Build, then watch the nightly retrain run up to its approval
	@scripts/prepare demo
	@$(CARGO) run --locked --bin tidegate -- demo

test: ## Everything CI runs
	@scripts/prepare test
	@$(MAKE) --no-print-directory fmt-check lint deny doc unit quiet

chaos: ## Ten minutes of faults against real processes, then the auditor; STORM=seconds, SEED=n for another
	@scripts/prepare test
	TIDEGATE_CHAOS_SECONDS=$(or $(STORM),600) $(if $(SEED),TIDEGATE_CHAOS_SEED=$(SEED)) \
	  $(CARGO) nextest run --locked --workspace --profile chaos --no-capture

fmt-check:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny: # no advisories: their database lies outside the package registries (deny.toml)
	$(CARGO) deny --log-level error check --hide-inclusion-graph bans licenses sources

doc:
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc --locked --workspace --no-deps --quiet

unit: # the tests alone; FILTER='browser::' for some
	$(CARGO) nextest run --locked --workspace $(FILTER)

quiet: # what goes by several processes, once more without NOTIFY
	TIDEGATE_DATABASE__NOTIFY=false $(CARGO) nextest run --locked --workspace --profile quiet $(FILTER)

check: ## The quick look while writing: does it compile
	$(CARGO) check --locked --workspace --all-targets

bench: ## The README's performance table, measured here: an optimised program without the ML steps, and a PostgreSQL of its own
	$(CARGO) run --locked --profile fast --no-default-features --bin tidegate -- bench $(BENCH)

fmt: ## Format
	$(CARGO) fmt --all

clean-home: ## Remove the demo's state: runs, models, its private PostgreSQL
	rm -rf .tidegate
