# shellcheck shell=bash
# The data folder of a stack: who owns it, where it lives, and the passwords kept beside it. Sourced by stack.sh.
#
#   $STACK_DIR/env, secrets   belong to whoever calls, mode 0600
#   $STACK_DIR/data           belongs to the user the servers run as; a link when that user cannot reach the place

# Postgres refuses to run as root, so root hands the servers to an unprivileged user.
SERVER_USER=$(id -un)
if ((EUID == 0)); then SERVER_USER=postgres; fi

# as_server COMMAND…: with a clean environment, so that settings of the caller (PGDATA, RABBITMQ_…) do not leak in
as_server() { "${RUN_AS[@]}" "$@"; }

# put FILE: writes standard input to a private file of the server user
# shellcheck disable=SC2016
put() { as_server sh -c 'umask 077; cat >"$1"' put "$1"; }

locate_data() {
  DATA=$(realpath -m "$STACK_DIR/data")
  LOG=$DATA/log
  RUN=$DATA/run
}

prepare_folder() {
  RUN_AS=(env -i LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
  if ((EUID == 0)); then
    id "$SERVER_USER" >/dev/null 2>&1 || die "there is no user $SERVER_USER: run scripts/install.sh"
    RUN_AS=(setpriv --reuid "$SERVER_USER" --regid "$(id -g "$SERVER_USER")" --init-groups "${RUN_AS[@]}")
  fi
  (umask 022 && mkdir -p "$STACK_DIR") || die "cannot write to $STACK_DIR: choose another folder with STACK_DIR"
  lock "$STACK_DIR/.lock"
  make_data_folder
  load_secrets
  cd / # a folder every server may stand in
}

make_data_folder() {
  if [[ ! -e $DATA ]]; then
    make_for_server "$DATA"
    as_server test -w "$DATA" || move_data_folder
  fi
  as_server test -w "$DATA" ||
    die "user $SERVER_USER cannot write to $DATA, made by $(stat -c %U "$DATA"): run as that user, or remove it"
  as_server mkdir -p "$RUN" "$LOG" "$DATA/home"
}

make_for_server() {
  (umask 022 && mkdir -p "$1")
  if ((EUID == 0)); then chown "$SERVER_USER": "$1"; fi
}

# Below a closed home folder only its owner gets in, so the data goes to a public place, one folder per checkout.
move_data_folder() {
  local target
  target=/var/lib/aisha-crm/$(printf %s "$STACK_DIR" | cksum | cut -d' ' -f1)
  rmdir "$DATA"
  make_for_server "$target"
  ln -s "$target" "$STACK_DIR/data"
  locate_data
  say "user $SERVER_USER cannot reach $STACK_DIR (a folder above it is closed), so the data lives in $DATA"
}

# shellcheck disable=SC1090
load_secrets() {
  local file=$STACK_DIR/secrets name
  if [[ ! -f $file ]]; then
    [[ ! -d $DATA/postgres ]] || die "$file is missing but its data is there: put it back, or make reset"
    (
      umask 077
      for name in ADMIN OWNER LOGIN REDIS AMQP; do echo "${name}_PASSWORD=$(random_hex 24)"; done >"$file"
    )
  fi
  . "$file"
}

wipe_folder() {
  rm -rf "$DATA" "$STACK_DIR/data" "$STACK_DIR/base" "$STACK_DIR/env" "$STACK_DIR/secrets" "$STACK_DIR/.lock"
  note "data of the ${STACK:-dev} stack deleted"
}
