#!/usr/bin/env bash
# Two demo tenants with users, accounts, contacts and a pipeline, made through the gateway's API alone; also an example of its use.
# What exists already is left as it is. Settings: .env (SUPERADMIN_EMAIL, SUPERADMIN_PASSWORD, DEMO_PASSWORD).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/dotenv.sh"
load_env

listen=${GATEWAY_LISTEN:-127.0.0.1:4001}
API=${API:-http://${listen/#0.0.0.0:/127.0.0.1:}}

# call METHOD PATH [CURL OPTION…]: prints the answer's body; ends with the server's message when it is an error
call() {
  local answer code
  answer=$(curl -sS -m 60 -w '\n%{http_code}' -X "$1" "$API$2" -H "Authorization: Bearer ${TOKEN:-}" "${@:3}") ||
    die "no answer from $API"
  code=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  [[ $code == 2* ]] || die "$1 $2 answered $code: $(jq -r '.message // .' <<<"$answer" 2>/dev/null || echo "$answer")"
  printf '%s' "$answer"
}

# post PATH JQ-PROGRAM [JQ OPTION…]: a JSON body made by jq, so that values are quoted correctly
post() {
  local body
  body=$(jq -nc "${@:3}" "$2")
  call POST "$1" -H 'Content-Type: application/json' -d "$body"
}

# sign_in EMAIL PASSWORD
sign_in() {
  TOKEN=
  local answer
  # shellcheck disable=SC2016
  answer=$(post /api/auth/login '{email: $email, password: $password}' --arg email "$1" --arg password "$2")
  TOKEN=$(jq -r .token <<<"$answer")
}

# tenant NAME SLUG: prints the tenant's id
tenant() {
  local answer id
  answer=$(call GET "/api/tenants?limit=200")
  id=$(jq -r --arg slug "$2" 'first(.data.tenants[] | select(.slug == $slug) | .id) // empty' <<<"$answer")
  if [[ -z $id ]]; then
    # shellcheck disable=SC2016
    answer=$(post /api/tenants '{name: $name, slug: $slug}' --arg name "$1" --arg slug "$2")
    id=$(jq -r .data.id <<<"$answer")
    note "tenant $1 created" >&2
  fi
  printf '%s' "$id"
}

# user TENANT-ID EMAIL ROLE FIRST-NAME LAST-NAME
user() {
  local answer
  answer=$(call GET "/api/users?tenant_id=$1&limit=200")
  if jq -e --arg email "$2" 'any(.data.users[]; .email == $email)' <<<"$answer" >/dev/null; then return; fi
  # shellcheck disable=SC2016
  post /api/users '{tenant_id: $tenant, email: $email, role: $role, password: $password} +
    {first_name: $first, last_name: $last}' \
    --arg tenant "$1" --arg email "$2" --arg role "$3" --arg first "$4" --arg last "$5" \
    --arg password "$DEMO_PASSWORD" >/dev/null
  note "user $2 ($3) created"
}

# count_of COLLECTION: how many records the signed-in user sees
count_of() {
  local answer
  answer=$(call GET "/api/$1?limit=1")
  jq .data.total <<<"$answer"
}

import_accounts() {
  local answer id count
  count=$(count_of accounts)
  [[ $count == 0 ]] || return 0
  answer=$(call POST /api/accounts/import -F "file=@$ROOT/demo/sp500-companies.csv;type=text/csv" -F on_duplicate=skip \
    -F 'mapping={"Security":"name","GICS Sector":"industry","Headquarters Location":"city","Symbol":"legacy_id"}')
  id=$(jq -r .data.id <<<"$answer")
  for _ in {1..60}; do
    answer=$(call GET "/api/imports/$id")
    case $(jq -r .data.status <<<"$answer") in
      completed) break ;;
      failed) die "the import of accounts failed: $answer" ;;
    esac
    sleep 1
  done
  [[ $(jq -r .data.status <<<"$answer") == completed ]] || die "the import of accounts is not done after a minute"
  count=$(count_of accounts)
  note "$count accounts imported"
}

# contact FIRST-NAME LAST-NAME EMAIL JOB-TITLE
contact() {
  # shellcheck disable=SC2016
  post /api/contacts '{first_name: $first, last_name: $last, email: $email, job_title: $title}' \
    --arg first "$1" --arg last "$2" --arg email "$3" --arg title "$4" >/dev/null
}

add_contacts() {
  local count
  count=$(count_of contacts)
  [[ $count == 0 ]] || return 0
  contact Purchasing Desk purchasing@customer.example "Head of Purchasing"
  contact Service Desk service@customer.example "Service Lead"
  contact Accounts Payable payable@customer.example "Accountant"
  note "3 contacts created"
}

# lead FIRST-NAME LAST-NAME COMPANY SOURCE VALUE: prints its id
lead() {
  local answer
  # shellcheck disable=SC2016
  answer=$(post /api/leads '{first_name: $first, last_name: $last, company: $company, source: $source} +
    {estimated_value: ($value | tonumber), assigned_to: $owner}' --arg first "$1" --arg last "$2" --arg company "$3" \
    --arg source "$4" --arg value "$5" --arg owner employee@northwind-demo.example)
  jq -r .data.id <<<"$answer"
}

# activity TYPE SUBJECT LEAD-ID DAYS-FROM-NOW
activity() {
  # shellcheck disable=SC2016
  post /api/activities '{type: $type, subject: $subject, due_date: $due, related_type: "lead", related_id: $lead}' \
    --arg type "$1" --arg subject "$2" --arg lead "$3" --arg due "$(date -d "$4 days" +%F)" >/dev/null
}

# A small pipeline: a lead that waits, one that is worked on, one that became a deal, and one that was won.
add_pipeline() {
  local count id answer
  count=$(count_of leads)
  [[ $count == 0 ]] || return 0
  lead Reception Desk "Harbour Freight Lines" website 2000 >/dev/null
  id=$(lead Purchasing Office "Green Valley Farms" referral 8000)
  activity call "First call" "$id" -2
  activity meeting "Visit" "$id" 5
  id=$(lead Technical Office "Northern Rail Works" trade_show 15000)
  activity demo "Show the product" "$id" 1
  post "/api/leads/$id/convert" '{create_account: true, create_opportunity: true}' >/dev/null
  id=$(lead Managing Office "Bluewater Hotels" cold_call 12000)
  answer=$(post "/api/leads/$id/convert" '{create_account: true, create_opportunity: true}')
  post "/api/opportunities/$(jq -r .data.opportunity.id <<<"$answer")/win" '{}' >/dev/null
  note "4 leads created, 2 of them converted, 1 deal won"
}

# demo_tenant NAME SLUG: a tenant with an admin and an employee
demo_tenant() {
  local id
  id=$(tenant "$1" "$2")
  user "$id" "admin@$2.example" admin Demo Admin
  user "$id" "employee@$2.example" employee Demo Employee
}

[[ ${SUPERADMIN_PASSWORD:-} && ${DEMO_PASSWORD:-} ]] ||
  die "SUPERADMIN_PASSWORD and DEMO_PASSWORD must be set (make up writes them into .env)"
say "demo data"
sign_in "${SUPERADMIN_EMAIL:-admin@aisha.local}" "$SUPERADMIN_PASSWORD"
demo_tenant "Northwind Demo" northwind-demo
demo_tenant "Contoso Demo" contoso-demo
sign_in admin@northwind-demo.example "$DEMO_PASSWORD"
import_accounts
add_contacts
add_pipeline
note "users: admin@ and employee@ northwind-demo.example and contoso-demo.example, password: DEMO_PASSWORD in .env"
