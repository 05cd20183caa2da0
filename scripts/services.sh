#!/usr/bin/env bash
# The services as background processes: pid files in .local/run, logs in .local/log.
#
#   scripts/services.sh up         start what is not running, restart what was rebuilt or configured anew
#   scripts/services.sh down | status
#   scripts/services.sh logs [service]
#
# Settings come from the process environment, then .env. BIN_DIR names the folder with the programs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/dotenv.sh"
. "$ROOT/scripts/rust.sh"
cd "$ROOT"

# In the order of starting; the gateway is the door and opens last.
SERVICES=(crm-core tenant-resolver gateway)
RUN=$ROOT/.local/run
LOG=$ROOT/.local/log
BIN_DIR=${BIN_DIR:-$(bin_dir)}

# Prints the variable that holds a service's address, and the default.
listen_setting() {
  case $1 in
    gateway) echo GATEWAY_LISTEN 127.0.0.1:4001 ;;
    crm-core) echo CRM_CORE_LISTEN 127.0.0.1:4010 ;;
    tenant-resolver) echo TENANT_RESOLVER_LISTEN 127.0.0.1:4011 ;;
  esac
}

address_of() {
  local variable default
  read -r variable default < <(listen_setting "$1")
  default=${!variable:-$default}
  echo "${default/#0.0.0.0:/127.0.0.1:}"
}

# What a running service was started with: the program file and the settings.
fingerprint() { echo "$(stat -Lc '%i %s %Y' "$BIN_DIR/$1") $(env_fingerprint)"; }

is_ready() { curl -fsS -m 2 -o /dev/null "http://$(address_of "$1")/ready" 2>/dev/null; }

start_service() {
  local service=$1 variable
  read -r variable _ < <(listen_setting "$service")
  [[ -x $BIN_DIR/$service ]] || die "there is no $BIN_DIR/$service: run make up, which builds it"
  if alive "$RUN/$service.pid"; then
    [[ $(cat "$RUN/$service.started" 2>/dev/null) == "$(fingerprint "$service")" ]] && return
    note "$service: program or settings changed"
    stop "$service" "$RUN/$service.pid" TERM 30
  fi
  need_port "$(address_of "$service" | sed 's/.*://')" "Stop it, or set $variable in .env."
  spawn "$RUN/$service.pid" "$LOG/$service.log" "$BIN_DIR/$service"
  fingerprint "$service" >"$RUN/$service.started"
  note "$service started, log in .local/log/$service.log"
}

up() {
  local service
  mkdir -p "$RUN" "$LOG"
  lock "$RUN/.lock"
  load_env
  for service in "${SERVICES[@]}"; do start_service "$service"; done
  for service in "${SERVICES[@]}"; do
    wait_ready "$service" "$RUN/$service.pid" "$LOG/$service.log" 60 is_ready "$service"
    note "$service ready at http://$(address_of "$service")"
  done
}

down() {
  local i
  for ((i = ${#SERVICES[@]} - 1; i >= 0; i--)); do
    stop "${SERVICES[i]}" "$RUN/${SERVICES[i]}.pid" TERM 30
  done
}

status() {
  local service state
  if [[ -f $ENV_FILE ]]; then load_env; fi
  for service in "${SERVICES[@]}"; do
    state=stopped
    if alive "$RUN/$service.pid"; then
      state="not ready"
      if is_ready "$service"; then state=ready; fi
    fi
    printf '%-15s %-9s http://%s\n' "$service" "$state" "$(address_of "$service")"
  done
}

logs() {
  local files=("$LOG"/*.log)
  if (($#)); then files=("$LOG/$1.log"); fi
  [[ -f ${files[0]} ]] || die "there is no log yet: ${files[0]}"
  exec tail -n 50 -F "${files[@]}"
}

case ${1:-} in
  up | down | status) "$1" ;;
  logs) logs ${2:+"$2"} ;;
  *) die "usage: scripts/services.sh up | down | status | logs [service]" ;;
esac
