# shellcheck shell=bash
# The .env file: reading, changing and loading it. The process environment always wins. Sourced after lib.sh.

ENV_FILE=$ROOT/.env
ENV_EXAMPLE=$ROOT/.env.example

# The value of KEY in FILE, without surrounding quotes; empty when it is not there.
file_value() {
  local value
  value=$(sed -n "s/^$2=//p" "$1" 2>/dev/null | tail -n 1)
  case $value in
    \"*\" | \'*\') value=${value:1:-1} ;;
  esac
  printf '%s' "$value"
}

# What a service would see: the process environment, else .env.
env_value() {
  if [[ -n ${!1+set} ]]; then printf '%s' "${!1}"; else file_value "$ENV_FILE" "$1"; fi
}

# env_set KEY VALUE: changes the line of KEY, or adds one. VALUE must not need quotes.
env_set() {
  local changed
  changed=$(KEY=$1 VALUE=$2 awk 'BEGIN { key = ENVIRON["KEY"]; value = ENVIRON["VALUE"] }
    index($0, key "=") == 1 { if (!done) print key "=" value; done = 1; next }
    { print }
    END { if (!done) print key "=" value }' "$ENV_FILE")
  printf '%s\n' "$changed" >"$ENV_FILE"
}

# Creates .env from the example and fills the passwords that nobody has chosen.
ensure_env() {
  local key
  if [[ ! -f $ENV_FILE ]]; then
    (umask 077 && cp "$ENV_EXAMPLE" "$ENV_FILE" && chmod 600 "$ENV_FILE")
    say "wrote .env from .env.example, with random passwords"
  fi
  for key in SUPERADMIN_PASSWORD DEMO_PASSWORD; do
    [[ $(env_value "$key") ]] || env_set "$key" "$(random_password)"
  done
}

# Exports what .env sets and the process environment does not. Empty means unset: the service's default holds.
load_env() {
  local key value
  while read -r key; do
    [[ -n ${!key+set} ]] && continue
    value=$(file_value "$ENV_FILE" "$key")
    [[ -z $value ]] || export "$key=$value"
  done < <(env_keys)
}

env_keys() { sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "$ENV_FILE" "$ENV_EXAMPLE" 2>/dev/null | sort -u; }

# Changes when any setting of a service changes, wherever it is set.
env_fingerprint() {
  local key
  while read -r key; do
    printf '%s=%s\n' "$key" "${!key-}"
  done < <(env_keys) | sha256sum | cut -d' ' -f1
}
