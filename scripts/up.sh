#!/usr/bin/env bash
# make up: from a fresh checkout to running services. Run again, it starts what is not running and restarts what
# changed. DEMO=1 also loads the demo data, PROFILE=release builds optimised programs, BIN_DIR=… takes built ones.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/dotenv.sh"
. "$ROOT/scripts/rust.sh"
cd "$ROOT"

# is_local VARIABLE SERVER: the address is unset, or the one of the local stack
is_local() {
  local value recorded=
  value=$(env_value "$1")
  [[ -f .local/env ]] && recorded=$(file_value .local/env "$1")
  [[ -z $value || $value == "$recorded" || $value == *"@127.0.0.1:$(local_port "$2")/"* ]]
}

local_port() { scripts/stack.sh status | sed -n "s/^$1 .*://p"; }

# Starts the servers that .env does not place elsewhere, and writes their addresses into .env.
start_stack() {
  local servers=() variables=() variable
  if is_local DATABASE_URL postgres; then
    servers+=(postgres)
    variables+=(DATABASE_URL DATABASE_OWNER_URL)
  elif [[ -z $(env_value DATABASE_OWNER_URL) ]]; then
    die "DATABASE_URL names a database of your own, so DATABASE_OWNER_URL (a role that may migrate it) must be set too"
  fi
  if is_local REDIS_URL redis; then servers+=(redis) variables+=(REDIS_URL); fi
  if is_local AMQP_URL rabbitmq; then servers+=(rabbitmq) variables+=(AMQP_URL); fi
  ((${#servers[@]})) || return 0
  scripts/stack.sh up "${servers[@]}"
  for variable in "${variables[@]}"; do
    [[ -n ${!variable+set} || $(file_value "$ENV_FILE" "$variable") == "$(file_value .local/env "$variable")" ]] ||
      env_set "$variable" "$(file_value .local/env "$variable")"
  done
}

build() {
  local options=()
  [[ ${PROFILE:-dev} == dev ]] || options=(--profile "$PROFILE")
  say "building the services"
  cargo build "${options[@]}" --bin gateway --bin crm-core --bin tenant-resolver
}

prepare_database() {
  say "migrating the database"
  "$BIN_DIR/gateway" migrate
  "$BIN_DIR/gateway" create-superadmin
}

summary() {
  local address=${GATEWAY_LISTEN:-127.0.0.1:4001}
  address=http://${address/#0.0.0.0:/127.0.0.1:}
  say "Aisha CRM is up"
  note "API         $address"
  note "API docs    $address/api-docs"
  note "superadmin  ${SUPERADMIN_EMAIL:-} / ${SUPERADMIN_PASSWORD:-}"
  if [[ ${DEMO:-0} == 1 ]]; then note "demo        admin@northwind-demo.example / ${DEMO_PASSWORD:-}"; fi
  [[ ${SMTP_HOST:-} ]] || note "e-mail      ${MAIL_DIR:-.local/mail}/*.eml"
  note "make status, make logs, make down"
}

(umask 022 && mkdir -p .local)
lock .local/up.lock
scripts/install.sh
use_rust || die "no Rust $RUST_CHANNEL: run scripts/install.sh"
ensure_env
start_stack
if [[ -z ${BIN_DIR:-} ]]; then
  build
  BIN_DIR=$(bin_dir)
fi
"$BIN_DIR/gateway" rotate-keys --only-missing --env-file "$ENV_FILE"
load_env
prepare_database
say "starting the services"
BIN_DIR=$BIN_DIR scripts/services.sh up
if [[ ${DEMO:-0} == 1 ]]; then scripts/demo.sh; fi
summary
