#!/usr/bin/env bash
# Installs what is missing on Debian 12, Ubuntu 24.04 or newer; does nothing when all is there.
#
#   scripts/install.sh           servers, compiler, Rust: what `make up` needs
#   scripts/install.sh --tests   also the cargo tools of `make test`, and the library that receivers verify webhooks with
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/rust.sh"

NEXTEST_VERSION=0.9.143
DENY_VERSION=0.20.2
STANDARDWEBHOOKS_VERSION=1.1.0
TESTS=$([[ ${1:-} == --tests ]] && echo yes || true)
POLICY=/usr/sbin/policy-rc.d

as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

missing_packages() {
  local command
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
  compgen -G '/usr/share/postgresql/*/extension/pg_trgm.control' >/dev/null || echo postgresql-contrib
  [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || echo rabbitmq-server
  [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
  [[ -e /usr/include/stdio.h ]] || echo libc6-dev
  [[ -z $TESTS ]] || python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  for command in redis-server curl jq gcc make pkg-config; do
    command -v "$command" >/dev/null || echo "$command"
  done
}

# Debian starts a server as soon as it is installed. Ours run from the data folder, so new system-wide ones stay down;
# servers that were there before are left as they are.
install_packages() {
  local own_policy='' units
  ((EUID == 0)) || command -v sudo >/dev/null || die "missing: $*. Install them as root: apt-get install $*"
  command -v apt-get >/dev/null || die "missing: $*. This script knows only apt-get; install them and run it again"
  say "installing $*"
  mapfile -t units < <(units_of "$@")
  if [[ ! -e $POLICY ]]; then
    own_policy=yes
    trap 'as_root rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
  fi
  as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >/dev/null
  if [[ $own_policy ]]; then
    as_root rm -f "$POLICY"
    trap - EXIT
  fi
  keep_down "${units[@]}"
}

# The system services that installing a package would bring.
units_of() {
  local package
  for package in "$@"; do
    case $package in
      postgresql | redis-server) echo "$package" ;;
      rabbitmq-server)
        echo rabbitmq-server
        command -v epmd >/dev/null || printf '%s\n' epmd.socket epmd.service
        ;;
    esac
  done
}

# keep_down UNIT…: the new servers must not come up with the next boot either
keep_down() {
  local unit
  command -v systemctl >/dev/null || return 0
  for unit in "$@"; do
    as_root systemctl disable "$unit" >/dev/null 2>&1 || true
    if [[ -d /run/systemd/system ]]; then as_root systemctl stop "$unit" || true; fi
  done
}

check_postgres() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | cut -d/ -f5 | sort -n | tail -n 1)
  ((newest >= 15)) || die "Postgres $newest is too old: 15 or newer is needed (Debian 12, Ubuntu 24.04)"
}

install_rust() {
  use_rust && return
  if ! command -v rustup >/dev/null; then
    say "installing rustup"
    curl --proto '=https' --tlsv1.2 -fsS https://sh.rustup.rs |
      sh -s -- -y --no-modify-path --profile minimal --default-toolchain none
  fi
  say "installing Rust $RUST_CHANNEL"
  rustup toolchain install "$RUST_CHANNEL" --profile minimal --component rustfmt --component clippy --no-self-update
}

# cargo_tool NAME VERSION [OPTION…]
cargo_tool() {
  command -v "$1" >/dev/null && return
  say "installing $1 $2 (built from source, once: several minutes)"
  (cd "$ROOT" && use_rust && cargo install --locked "$1" --version "$2" "${@:3}")
}

# What PyPI has for receivers of webhooks, in an environment of its own.
install_standardwebhooks() {
  local python=$ROOT/.local/python
  [[ $("$python/bin/pip" list --format=freeze 2>/dev/null) == *standardwebhooks==$STANDARDWEBHOOKS_VERSION* ]] && return
  say "installing standardwebhooks $STANDARDWEBHOOKS_VERSION from PyPI"
  python3 -m venv "$python"
  "$python/bin/pip" install -q --disable-pip-version-check "standardwebhooks==$STANDARDWEBHOOKS_VERSION"
}

mapfile -t packages < <(missing_packages)
((${#packages[@]} == 0)) || install_packages "${packages[@]}"
check_postgres
install_rust
if [[ $TESTS ]]; then
  cargo_tool cargo-nextest "$NEXTEST_VERSION" --no-default-features
  # The features left out serve the advisory database, which the tests do not ask.
  cargo_tool cargo-deny "$DENY_VERSION" --no-default-features
  install_standardwebhooks
fi
