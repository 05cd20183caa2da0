#!/usr/bin/env bash
# make gen: writes the generated files anew, from a database that has just been migrated and from the handlers.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/rust.sh"
. "$ROOT/scripts/test-database.sh"
cd "$ROOT"

use_rust || die "no Rust $RUST_CHANNEL: run scripts/install.sh"
start_test_stack
fresh_database
cargo xtask schema
cargo openapi
