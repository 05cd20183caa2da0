#!/usr/bin/env bash
# make bench: the services against pgbench doing the same work, on a million contacts. Everything runs on loopback, on
# servers and data of its own under .local/bench, which stay for the next time (about 3 GB).
#
#   QUICK=1            two minutes instead of ten; the figures are rougher
#   TARGET=crm-core    straight to crm-core, without the gateway
#   ONLY=search        only the paths whose name contains this
#                      (resolve: the tenant resolver alone, which needs none of the data)
#   BIN_DIR=…          take the programs from there instead of building them
#   KEEP=1             leave the servers running at the end
#   STACK_BASE, PORT   other ports: of Postgres (27432; the others follow), of the gateway (27401; the others follow)
#   bench/run.sh wipe  delete the data
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
. "$ROOT/scripts/rust.sh"
cd "$ROOT"

export STACK=dev STACK_DIR=${STACK_DIR:-$ROOT/.local/bench}
if [[ ! -f $STACK_DIR/base ]]; then export STACK_BASE=${STACK_BASE:-27432}; fi
export PROFILE=release
BIN=$(realpath -m "${BIN_DIR:-$(bin_dir)}")

as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

install_wrk() {
  command -v wrk >/dev/null && return
  command -v apt-get >/dev/null || die "wrk is missing: install it and run again"
  say "installing wrk"
  as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends wrk >/dev/null
}

pgbench_program() { find /usr/lib/postgresql/*/bin -name pgbench | sort -V | tail -n 1; }

admin_sql() { psql "$(sed -n 's/^DATABASE_ADMIN_URL=//p' "$STACK_DIR/env")" -XqAt -v ON_ERROR_STOP=1 "$@"; }

# A server of production size: a quarter of the memory, 3 GB at most, and every commit on disk.
tune_postgres() {
  local memory wanted
  memory=$(awk '/^MemTotal/ { print int($2 / 1024 / 4) }' /proc/meminfo)
  wanted=$((memory < 3072 ? memory : 3072))
  [[ $(admin_sql -c "SELECT setting::bigint * 8 / 1024 FROM pg_settings WHERE name = 'shared_buffers'") == "$wanted" ]] &&
    return
  say "giving Postgres $wanted MB of shared buffers"
  admin_sql -c "ALTER SYSTEM SET shared_buffers = '${wanted}MB'" -c "ALTER SYSTEM SET max_wal_size = '8GB'" \
    -c "ALTER SYSTEM SET checkpoint_timeout = '30min'"
  scripts/stack.sh down
  scripts/stack.sh up
}

migrate() {
  env DATABASE_OWNER_URL="$(sed -n 's/^DATABASE_OWNER_URL=//p' "$STACK_DIR/env")" "$BIN/gateway" migrate >/dev/null
}

# Loads the data unless this very data is there.
load_data() {
  local version loaded
  version=$(cat bench/load.sql bench/reports.sql migrations/*/up.sql sql/*.sql | sha256sum | cut -d' ' -f1)
  loaded=$(cat "$STACK_DIR/loaded" 2>/dev/null || true)
  if [[ $loaded == "$version" ]]; then
    note "the data is there"
    return
  fi
  say "loading a million contacts of 50 tenants, once (some minutes)"
  rm -f "$STACK_DIR/loaded"
  scripts/stack.sh fresh
  migrate
  admin_sql -f bench/load.sql >/dev/null
  say "loading the tenant of the reports"
  admin_sql -f bench/reports.sql >/dev/null
  echo "$version" >"$STACK_DIR/loaded"
}

if [[ ${1:-} == wipe ]]; then
  scripts/stack.sh wipe
  rm -rf "$STACK_DIR/run" "$STACK_DIR/loaded"
  exit
fi

install_wrk
use_rust || die "no Rust $RUST_CHANNEL: run scripts/install.sh"
say "building with the release profile"
# In two steps, so that the services are the very ones that make up PROFILE=release builds.
[[ ${BIN_DIR:-} ]] || cargo build --release -q --bin gateway --bin crm-core --bin tenant-resolver
cargo build --release -q -p aisha-bench
scripts/stack.sh up
[[ ${KEEP:-0} == 1 ]] || trap 'scripts/stack.sh down >/dev/null' EXIT
tune_postgres
if [[ ${ONLY:-} == resolve ]]; then
  migrate
else
  load_data
  # Reports read indexes alone where vacuum has seen the pages; right after loading, other sessions may have held it back.
  admin_sql -c "VACUUM accounts, contacts, leads, opportunities, opportunity_stage_history, activities, cash_flow"
fi
options=(--target "${TARGET:-gateway}" --port "${PORT:-27401}" --only "${ONLY:-}")
[[ ${QUICK:-0} == 1 ]] && options+=(--quick)
"$(bin_dir)/aisha-bench" --stack-dir "$STACK_DIR" --bin-dir "$BIN" --pgbench "$(pgbench_program)" --lua bench/wrk.lua \
  "${options[@]}" | tee "$STACK_DIR/report.txt"
note "also in $STACK_DIR/report.txt"
