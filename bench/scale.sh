#!/usr/bin/env bash
# What other tenants' rows cost: the list of a tenant with 10,000 contacts, as administrator and as employee, while other
# tenants hold 10,000 contacts and while they hold ROWS (10 million by default: an hour and 15 GB). The promise is a
# ratio of at most 1.3. Servers and data of its own under .local/scale.
#
#   ROWS=1000000 bench/scale.sh
#   bench/scale.sh wipe         delete the data
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
. "$ROOT/scripts/rust.sh"
cd "$ROOT"

export STACK=dev STACK_DIR=$ROOT/.local/scale
if [[ ! -f $STACK_DIR/base ]]; then export STACK_BASE=${STACK_BASE:-28432}; fi
if [[ ${1:-} == wipe ]]; then
  scripts/stack.sh wipe
  exit
fi
ROWS=${ROWS:-10000000}
SMALL=10000
PER_TENANT=100000

use_rust || die "no Rust $RUST_CHANNEL: run scripts/install.sh"
cargo build -q --bin gateway
scripts/stack.sh up postgres
trap 'scripts/stack.sh down >/dev/null' EXIT
scripts/stack.sh fresh
address() { sed -n "s/^$1=//p" "$STACK_DIR/env"; }
env DATABASE_OWNER_URL="$(address DATABASE_OWNER_URL)" target/debug/gateway migrate >/dev/null
sql() { psql "$(address DATABASE_ADMIN_URL)" -XqAt -v ON_ERROR_STOP=1 "$@"; }

# tenant N ROWS: a tenant with one employee and so many contacts; triggers are off, so the copies are written here
tenant() {
  sql -v n="$1" -v rows="$2" <<'SQL'
SET session_replication_role = replica;
SET synchronous_commit = off;
SELECT lpad(to_hex(:n), 8, '0') || '-0000-7000-8000-000000000000' AS tenant,
       lpad(to_hex(:n), 8, '0') || '-0001-7000-8000-000000000000' AS person \gset
INSERT INTO tenant (id, name, slug) VALUES (:'tenant', 'Scale ' || :n, 'scale-' || :n) ON CONFLICT DO NOTHING;
INSERT INTO employees (tenant_id, id, first_name, last_name) VALUES (:'tenant', :'person', 'A', 'B') ON CONFLICT DO NOTHING;
INSERT INTO contacts (tenant_id, id, first_name, last_name, email, assigned_to, created_by, created_at)
SELECT :'tenant', gen_random_uuid(), 'Contact', n::text, 'contact' || n || '@mail.example',
       CASE WHEN n % 10 = 0 THEN :'person'::uuid END, gen_random_uuid(), now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n;
SQL
}

# median ROLE CONDITION: of the list's transaction, in microseconds, as a service runs it
median() {
  local script=$STACK_DIR/list.sql log=$STACK_DIR/latency
  local tenant=00000001-0000-7000-8000-000000000000 person=00000001-0001-7000-8000-000000000000
  cat >"$script" <<SQL
BEGIN READ ONLY;
SELECT set_config('app.current_tenant_id', '$tenant', true), set_config('app.current_user_id', '$person', true),
       set_config('app.current_employee_id', '$person', true), set_config('role', '$1', true);
SELECT * FROM contacts WHERE tenant_id = '$tenant' AND deleted_at IS NULL $2 ORDER BY created_at DESC, id DESC LIMIT 51;
COMMIT;
SQL
  rm -f "$log".*
  "$(find /usr/lib/postgresql/*/bin -name pgbench | sort -V | tail -n 1)" "$(address DATABASE_URL)" -n -M prepared -T 10 \
    -f "$script" --log --log-prefix="$log" >/dev/null 2>&1
  cut -d' ' -f3 "$log".* | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

measure() {
  sql -c "VACUUM ANALYZE contacts" >/dev/null
  all=$(median aisha_all "")
  own=$(median aisha_own "AND assigned_to = '00000001-0001-7000-8000-000000000000'")
}

say "10,000 contacts in one tenant, $SMALL elsewhere"
tenant 1 10000
tenant 2 "$SMALL"
measure
few_all=$all few_own=$own
say "10,000 contacts in one tenant, $ROWS elsewhere"
for ((n = 3, left = ROWS - SMALL; left > 0; n++, left -= PER_TENANT)); do
  tenant "$n" $((left < PER_TENANT ? left : PER_TENANT))
done
measure
awk -v fa="$few_all" -v fo="$few_own" -v ma="$all" -v mo="$own" -v rows="$ROWS" 'BEGIN {
  printf "list of 50, median, us        %d elsewhere   %d elsewhere   ratio\n", 10000, rows
  printf "administrator                 %15d %15d %7.2f\n", fa, ma, ma / fa
  printf "employee                      %15d %15d %7.2f\n", fo, mo, mo / fo }'
