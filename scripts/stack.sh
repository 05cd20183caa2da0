#!/usr/bin/env bash
# Private Postgres, Redis and RabbitMQ on loopback, from the distribution's packages, for one data folder.
#
#   scripts/stack.sh up [postgres|redis|rabbitmq …]   start what is not running and wait until it answers
#   scripts/stack.sh down [server …]                  stop them
#   scripts/stack.sh kill [server …]                  end them as a power cut would
#   scripts/stack.sh status
#   scripts/stack.sh fresh                            drop and create the database
#   scripts/stack.sh template                         copy it, so that tests can have databases of their own
#   scripts/stack.sh wipe                             stop and delete the data
#
# STACK=dev (default) keeps its data under .local, STACK=test under .local/test without fsync.
# STACK_DIR changes the folder. STACK_BASE (the Postgres port) shifts all ports and is remembered until wipe.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${STACK:-dev} in
  dev) default_dir=$ROOT/.local default_base=15432 ;;
  test) default_dir=$ROOT/.local/test default_base=25432 ;;
  *) die "STACK must be dev or test" ;;
esac
STACK_DIR=$(realpath -m "${STACK_DIR:-$default_dir}")
remembered_base=$(cat "$STACK_DIR/base" 2>/dev/null || true)
STACK_BASE=${STACK_BASE:-${remembered_base:-$default_base}}

# The usual ports, all shifted by the same distance (15432 -> 16379). AMQP counts from 5673 because 15672 is where a
# system-wide RabbitMQ has its management page.
# shellcheck disable=SC2034  # used by the files below
{
  shift_by=$((STACK_BASE - 5432))
  POSTGRES_PORT=$STACK_BASE
  REDIS_PORT=$((6379 + shift_by))
  AMQP_PORT=$((5673 + shift_by))
  MANAGEMENT_PORT=$((AMQP_PORT + 1))
  ERLANG_PORT=$((AMQP_PORT + 2))
  EPMD_PORT=$((AMQP_PORT + 3))
  PORT_ADVICE="Stop it, or choose other ports with STACK_BASE, for example STACK_BASE=$((STACK_BASE + 1000))."

  SERVERS=(postgres redis rabbitmq)
}

. "$ROOT/scripts/stack/folder.sh"
. "$ROOT/scripts/stack/postgres.sh"
. "$ROOT/scripts/stack/redis.sh"
. "$ROOT/scripts/stack/rabbitmq.sh"
locate_data

write_env() {
  local host=127.0.0.1
  (
    umask 077
    cat >"$STACK_DIR/env" <<ENV
DATABASE_URL=postgres://aisha_login:$LOGIN_PASSWORD@$host:$POSTGRES_PORT/aisha
DATABASE_OWNER_URL=postgres://aisha_owner:$OWNER_PASSWORD@$host:$POSTGRES_PORT/aisha
DATABASE_ADMIN_URL=postgres://aisha_admin:$ADMIN_PASSWORD@$host:$POSTGRES_PORT/aisha
REDIS_URL=redis://default:$REDIS_PASSWORD@$host:$REDIS_PORT/0
AMQP_URL=amqp://aisha:$AMQP_PASSWORD@$host:$AMQP_PORT/%2f
ENV
  )
}

# Servers that run keep their ports, so the addresses must not be written with others.
remember_base() {
  local server
  if [[ -n $remembered_base && $remembered_base != "$STACK_BASE" ]]; then
    for server in "${SERVERS[@]}"; do
      ! alive "$RUN/$server.pid" || die "the stack runs with STACK_BASE=$remembered_base: stop it first (make down)"
    done
  fi
  echo "$STACK_BASE" >"$STACK_DIR/base"
}

up() {
  local server started=()
  remember_base
  for server in "$@"; do
    alive "$RUN/$server.pid" && continue
    "${server}_start"
    started+=("$server")
  done
  ((${#started[@]} == 0)) || say "starting ${started[*]} (${STACK:-dev} stack)"
  for server in "$@"; do "${server}_wait"; done
  write_env
  for server in "${started[@]}"; do note "$server ready on port $("${server}_port")"; done
}

down() {
  local server
  for server in "$@"; do "${server}_stop" & done
  wait
}

# Everything a server consists of ends at once, and nothing is told before: the children of Postgres, which have process
# groups of their own, too.
kill_servers() {
  local server pid children
  for server in "$@"; do
    alive "$RUN/$server.pid" || continue
    pid=$(pid_of "$RUN/$server.pid")
    read -ra children < <(cat "/proc/$pid/task"/*/children) || true
    kill -KILL -- "-$pid" "${children[@]}" 2>/dev/null || true
    while alive "$RUN/$server.pid"; do sleep 0.01; done
    rm -f "$RUN/$server.pid"
    note "$server killed"
  done
}

known_servers() {
  local server
  for server in "$@"; do
    [[ " ${SERVERS[*]} " == *" $server "* ]] || die "there is no server called $server"
  done
}

status() {
  local server state
  for server in "${SERVERS[@]}"; do
    if alive "$RUN/$server.pid"; then state=running; else state=stopped; fi
    printf '%-10s %-8s 127.0.0.1:%s\n' "$server" "$state" "$("${server}_port")"
  done
}

command=${1:-}
shift || true
known_servers "$@"
(($#)) || set -- "${SERVERS[@]}"
case $command in
  up)
    prepare_folder
    up "$@"
    ;;
  fresh)
    prepare_folder
    alive "$RUN/postgres.pid" || die "Postgres is not running: scripts/stack.sh up"
    postgres_recreate_database
    ;;
  template)
    prepare_folder
    postgres_make_template
    ;;
  status) status ;;
  down | kill | wipe)
    if [[ -d $DATA ]]; then
      lock "$STACK_DIR/.lock"
      # A clean stop takes RabbitMQ six seconds; data that is about to go does not need it.
      # shellcheck disable=SC2034
      if [[ $command == wipe ]]; then
        RABBITMQ_SIGNAL=KILL
        set -- "${SERVERS[@]}"
      fi
      if [[ $command == kill ]]; then kill_servers "$@"; else down "$@"; fi
    fi
    if [[ $command == wipe ]]; then wipe_folder; fi
    ;;
  *) die "usage: scripts/stack.sh up | down | kill [server …] | status | fresh | template | wipe" ;;
esac
