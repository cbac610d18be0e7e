# shellcheck shell=bash
# Shared by the scripts, which source it. Changes to `root`, the repository; paths in arguments are relative to `caller`.
set -euo pipefail

script=${0##*/}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
caller=$PWD
cd "$root"

say() { printf '%s: %s\n' "$script" "$*"; }
die() { printf '%s: %s\n' "$script" "$*" >&2; exit 1; }

# Whether the caller is root or can use sudo without a password.
root_at_hand() { [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif root_at_hand; then
    sudo -n -- "$@"
  else
    die "root is required, and sudo without a password is not available; run as root: ${*@Q}"
  fi
}

# Whether the current toolchain has the wasm target, installed with rustup or otherwise.
has_wasm_target() {
  local libraries
  libraries=$(rustc --print target-libdir --target wasm32-unknown-unknown) || return 1
  compgen -G "$libraries/libstd-*.rlib" >/dev/null
}

rustup_remedy='rustup target add wasm32-unknown-unknown'
