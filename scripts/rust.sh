# shellcheck shell=bash
# Finds the Rust toolchain that rust-toolchain.toml asks for. Sourced by everything that calls cargo.

PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
RUST_CHANNEL=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../rust-toolchain.toml")

# version_at_least HAVE WANT
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

rustc_version() { "$@" --version 2>/dev/null | cut -d' ' -f2; }

# Succeeds when cargo will use a fitting compiler without downloading one. The pinned version may be installed under
# another name ("stable"): then rustup is pointed at it, because it would fetch the same version once more.
use_rust() {
  local name names
  [[ -n ${RUSTUP_TOOLCHAIN:-} ]] && return
  if ! command -v rustup >/dev/null; then
    command -v cargo rustc >/dev/null && version_at_least "$(rustc_version rustc)" "$RUST_CHANNEL"
    return
  fi
  names=$(rustup toolchain list | cut -d' ' -f1)
  [[ $'\n'$names == *$'\n'"$RUST_CHANNEL"* ]] && return
  for name in $names; do
    if [[ $(rustc_version rustup run "$name" rustc) == "$RUST_CHANNEL" ]]; then
      export RUSTUP_TOOLCHAIN=$name
      return
    fi
  done
  return 1
}

# Where cargo puts a build's programs; PROFILE=release for the optimised ones.
bin_dir() {
  local profile=${PROFILE:-dev}
  [[ $profile == dev ]] && profile=debug
  echo "${CARGO_TARGET_DIR:-target}/$profile"
}
