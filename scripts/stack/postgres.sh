# shellcheck shell=bash
# The private Postgres: cluster, settings, roles and the database. Sourced by stack.sh.

postgres_port() { echo "$POSTGRES_PORT"; }

# An existing cluster needs the version that made it, a new one gets the newest installed.
postgres_bin() {
  local version
  if [[ -f $DATA/postgres/PG_VERSION ]]; then
    version=$(as_server cat "$DATA/postgres/PG_VERSION")
  else
    version=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort -V | tail -n 1)
  fi
  [[ -x /usr/lib/postgresql/$version/bin/postgres ]] || die "Postgres ${version:-15 or newer} is not installed"
  echo "/usr/lib/postgresql/$version/bin"
}

postgres_settings() {
  local shared_buffers=512MB
  [[ ${STACK:-dev} == test ]] && shared_buffers=256MB
  cat <<CONF
listen_addresses = '127.0.0.1'
port = $POSTGRES_PORT
unix_socket_directories = ''
max_connections = 300
shared_buffers = $shared_buffers
max_wal_size = 2GB
shared_preload_libraries = 'pg_stat_statements'
timezone = 'UTC'
log_timezone = 'UTC'
jit = off
CONF
  # A test database may be lost with the machine, so it need not wait for the disk.
  if [[ ${STACK:-dev} == test ]]; then printf '%s = off\n' fsync synchronous_commit full_page_writes; fi
}

postgres_create_cluster() {
  local bin=$1
  put "$DATA/home/admin-password" <<<"$ADMIN_PASSWORD"
  as_server rm -rf "$DATA/postgres.new"
  as_server "$bin/initdb" -D "$DATA/postgres.new" -U aisha_admin -E UTF8 --locale=C.UTF-8 --auth=scram-sha-256 \
    --pwfile="$DATA/home/admin-password" --no-instructions >/dev/null
  as_server rm "$DATA/home/admin-password"
  as_server sh -c "echo \"include_if_exists = 'aisha.conf'\" >>'$DATA/postgres.new/postgresql.conf'"
  as_server mv "$DATA/postgres.new" "$DATA/postgres"
}

postgres_start() {
  local bin
  bin=$(postgres_bin)
  need_port "$POSTGRES_PORT" "$PORT_ADVICE"
  [[ -d $DATA/postgres ]] || postgres_create_cluster "$bin"
  postgres_settings | put "$DATA/postgres/aisha.conf"
  postgres_await_reaping
  spawn "$RUN/postgres.pid" "$LOG/postgres.log" "$bin/postgres" -D "$DATA/postgres"
}

# After a kill -9 the dead postmaster can stay a zombie for a second or two, and Postgres takes it for a living owner
# of the data folder.
postgres_await_reaping() {
  local pid
  pid=$(as_server head -n 1 "$DATA/postgres/postmaster.pid" 2>/dev/null) || return 0
  for _ in {1..100}; do
    grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null || return 0
    sleep 0.05
  done
}

admin_psql() {
  PGPASSWORD=$ADMIN_PASSWORD PGCONNECT_TIMEOUT=5 \
    psql -XqAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$POSTGRES_PORT" -U aisha_admin "$@"
}

postgres_wait() {
  wait_ready postgres "$RUN/postgres.pid" "$LOG/postgres.log" 60 admin_psql -d postgres -c 'SELECT 1'
  OWNER_PASSWORD=$OWNER_PASSWORD LOGIN_PASSWORD=$LOGIN_PASSWORD \
    admin_psql -d postgres -f "$ROOT/scripts/stack/database.sql"
}

postgres_recreate_database() {
  admin_psql -d postgres -c 'DROP DATABASE IF EXISTS aisha WITH (FORCE)'
  postgres_wait
  note "database aisha is empty"
}

# Copies the migrated database as a template, from which a test makes one of its own in no time; removes what earlier tests
# have left.
postgres_make_template() {
  local old
  for old in $(admin_psql -At -d postgres -c "SELECT datname FROM pg_database WHERE datname ~ '^aisha_(template|own_)'"); do
    admin_psql -d postgres -c "DROP DATABASE $old WITH (FORCE)"
  done
  admin_psql -d postgres -c 'CREATE DATABASE aisha_template TEMPLATE aisha OWNER aisha_owner'
}

# SIGINT is Postgres' fast shutdown: it ends sessions instead of waiting for them.
postgres_stop() { stop postgres "$RUN/postgres.pid" INT 60; }
