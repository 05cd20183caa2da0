# shellcheck shell=bash
# The test stack for checks and generators. Sourced after lib.sh and rust.sh, with the repository as working folder.

# Its addresses replace whatever the caller has set: tests must never reach another database.
start_test_stack() {
  STACK="test" scripts/stack.sh up
  set -a
  # shellcheck disable=SC1091
  . .local/test/env
  set +a
}

fresh_database() {
  STACK="test" scripts/stack.sh fresh
  cargo run -q --bin gateway -- migrate
  STACK="test" scripts/stack.sh template
}
