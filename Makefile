# The one place where people type. The recipes are in scripts/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help up down status logs reset test test-n8n chaos bench gen fmt

help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

up: ## install, build and start everything; run again after a change (DEMO=1 demo data, PROFILE=release)
	@scripts/up.sh

down: ## stop the services, then the local servers
	@scripts/services.sh down
	@scripts/stack.sh down

status: ## what runs, where, and whether it is ready
	@scripts/services.sh status
	@scripts/stack.sh status

logs: ## follow the logs of all services, or of one: make logs s=gateway
	@scripts/services.sh logs $(s)

reset: ## stop everything and delete the local data (asks first; YES=1 does not)
	@[[ "$(YES)" == 1 ]] || { read -rp 'Delete all local data? Type yes: ' answer && [[ $$answer == yes ]]; }
	@scripts/services.sh down
	@scripts/stack.sh wipe
	@rm -rf .local/run .local/log .local/mail

test: ## all checks and tests, on a test stack of their own
	@scripts/test.sh

test-n8n: ## docs/n8n in a real n8n, which the first run installs under .local/n8n (2.8 GB from npm)
	@scripts/test-n8n.sh

chaos: ## kill services and servers at random under load, then see that nothing got lost (SECONDS=1800 SEED=…)
	@chaos/run.sh "$(or $(SECONDS),1800)" $(SEED)

bench: ## measure the running services
	@bench/run.sh

gen: ## write the generated files anew: database schema, API descriptions
	@scripts/gen.sh

fmt: ## format the code
	@. scripts/rust.sh && use_rust && cargo fmt --all
