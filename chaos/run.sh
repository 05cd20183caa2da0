#!/usr/bin/env bash
# make chaos: kills services and servers at random while people work, then asks whether anything got lost. Everything runs on
# loopback, on servers and data of its own under .local/chaos, which are deleted before each run, and after one that passed.
#
#   chaos/run.sh [SECONDS [SEED]]   how long faults happen (180), what they are drawn from (random; printed)
#   BIN_DIR=…                       take the services and the program chaos from there instead of building them
#   STACK_BASE=…                    other ports: of Postgres (29432; all others follow)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
. "$ROOT/scripts/rust.sh"
cd "$ROOT"

length=${1:-180}
seed=${2:-$RANDOM}
[[ $length =~ ^[1-9][0-9]*$ ]] || die "SECONDS must be a number: $length"
[[ $seed =~ ^[0-9]+$ ]] || die "SEED must be a number: $seed"

# The stack of development, with fsync: without it, killing Postgres or RabbitMQ would prove nothing.
export STACK=dev STACK_DIR=$ROOT/.local/chaos STACK_BASE=${STACK_BASE:-29432}
# Setup, waiting and checks take minutes even on a busy machine, not more.
limit=$((length + 600))
BIN=$(realpath -m "${BIN_DIR:-$(bin_dir)}")
tool=

# Everything the program has started is in its process group; the servers are not.
finish() {
  local code=$?
  if [[ $tool ]]; then kill -KILL -- "-$tool" 2>/dev/null || true; fi
  if ((code == 0)); then
    scripts/stack.sh wipe >/dev/null
  else
    scripts/stack.sh down >/dev/null
    note "data and logs of the servers stay in .local/chaos, logs of the services in .local/chaos/run"
  fi
}

if [[ -z ${BIN_DIR:-} ]]; then
  use_rust || die "no Rust $RUST_CHANNEL: run scripts/install.sh"
  say "building"
  # The whole workspace, as make test does, so that it is not built twice with other features.
  cargo build -q --workspace --bins
fi
mkdir -p "$STACK_DIR"
exec 8>"$STACK_DIR/.run"
flock -n 8 || die "another run is under way"
trap finish EXIT
trap 'exit 130' INT TERM
scripts/stack.sh wipe >/dev/null
rm -rf "$STACK_DIR/run"
mkdir "$STACK_DIR/run"
scripts/stack.sh up 8>&-

SUPERADMIN_EMAIL=root@chaos.example
SUPERADMIN_PASSWORD=$(random_password)
export SUPERADMIN_EMAIL SUPERADMIN_PASSWORD
set -a
# shellcheck disable=SC1091
. "$STACK_DIR/env"
set +a
"$BIN/gateway" migrate >/dev/null
"$BIN/gateway" create-superadmin >/dev/null

setsid timeout -k 10 "$limit" "$BIN/chaos" --stack-dir "$STACK_DIR" --bin-dir "$BIN" --stack-script scripts/stack.sh \
  --port $((STACK_BASE - 31)) --seed "$seed" --seconds "$length" > >(tee "$STACK_DIR/run/report.txt") 8>&- &
tool=$!
code=0
wait "$tool" || code=$?
((code != 124)) || die "the run did not come to its end within $limit s; seed $seed"
exit "$code"
