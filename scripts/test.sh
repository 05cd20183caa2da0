#!/usr/bin/env bash
# make test: every check of the project, in order, stopping at the first that fails. Uses a test stack of its own,
# never the services or the database of make up.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/rust.sh"
. "$ROOT/scripts/test-database.sh"
cd "$ROOT"

step() {
  say "$1"
  "${@:2}"
}

xtask() { cargo xtask "$@"; }
documentation() { RUSTDOCFLAGS="-D rustdoc::broken_intra_doc_links" cargo doc -q --workspace --no-deps; }

scripts/install.sh --tests
use_rust || die "no Rust $RUST_CHANNEL: run scripts/install.sh"
if [[ ${CI:-} == true ]]; then trap 'STACK=test scripts/stack.sh down' EXIT; fi
start_test_stack

step "fresh database" fresh_database
step "formatting" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets -- -D warnings
step "licences, bans, sources" cargo deny check licenses bans sources
step "architecture" xtask check-arch
step "file lengths" xtask check-lengths
step "database schema is current" xtask schema --check
step "API descriptions are current" cargo openapi --check
step "documentation" documentation
step "tests" cargo nextest run --workspace --no-tests=fail
step "crash test" chaos/run.sh 180 20251128
