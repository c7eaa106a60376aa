# Every recipe is one line; what is longer stands in scripts/. `make help` lists them.
.DEFAULT_GOAL := help
ARGS ?=

.PHONY: help
help: ## list the recipes
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build target/release/pgweir
	cargo build --release --locked

.PHONY: release
release: ## build target/guided/pgweir, laid out by a profile of itself at work: the fastest
	scripts/release.sh

.PHONY: demo
demo: ## start a throwaway PostgreSQL and pgweir and send a burst through (ARGS=--once: and end)
	scripts/demo.sh $(ARGS)

.PHONY: test
test: ## install what the tests need and run them all (ARGS=NAME: only those)
	scripts/test.sh $(ARGS)

.PHONY: search
search: ## run the random tests with new random numbers and more cases (ARGS=10: ten rounds)
	scripts/search.sh $(ARGS)

.PHONY: oracle
oracle: ## compare sessions through pgweir with sessions on PostgreSQL (docs/transparency.md)
	scripts/oracle.sh $(ARGS)

.PHONY: oracle-proof
oracle-proof: ## turn off each handling of session state and see the comparison notice
	ORACLE_TEST=oracle::proof::each_handling_that_is_turned_off_is_noticed scripts/oracle.sh $(ARGS)

.PHONY: regress
regress: ## run PostgreSQL's own regression scripts on PostgreSQL and through pgweir (docs/transparency.md)
	scripts/regress.sh $(ARGS)

.PHONY: drivers
drivers: ## run client drivers through pgweir and count their unpinned transactions (docs/transparency.md)
	scripts/drivers.sh $(ARGS)

.PHONY: versions
versions: ## run the tests on PostgreSQL 13 to 18, into docs/postgresql-versions.md (ARGS="13 18": only those)
	scripts/versions.sh $(ARGS)

.PHONY: lint
lint: ## check format, lints, and licences, sources and versions of dependencies
	scripts/lint.sh

.PHONY: fmt
fmt: ## format the code
	cargo fmt --all

.PHONY: check
check: ## check a configuration and print it as it holds (ARGS="--config pgweir.toml")
	cargo run --quiet --locked -- check $(ARGS)

.PHONY: bench
bench: ## measure pgweir beside PgBouncer, HAProxy and PostgreSQL alone, into docs/benchmarks.md (ONLY=idle,tail: those parts)
	scripts/bench.sh $(ARGS)

.PHONY: storm
storm: ## send storms through pgweir, PgBouncer and to PostgreSQL alone, into docs/storms.md (ONLY=burst,...: only those)
	scripts/storms.sh $(ARGS)

.PHONY: micro
micro: ## measure framing, flow and slots alone
	cargo bench --locked $(ARGS)

.PHONY: up
up: ## start PostgreSQL, pgweir and Prometheus in containers
	docker compose up --build --detach --wait

.PHONY: down
down: ## stop the containers and remove their data
	docker compose down --volumes

.PHONY: ci
ci: ## run what the pipeline runs
	.ci/run
