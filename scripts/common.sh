# shellcheck shell=bash
# What the scripts share. Sourced; sets `root` and moves there: paths in scripts are relative to it, those that people give to `caller`.
set -euo pipefail

script=${0##*/}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
caller=$PWD
cd "$root"

say() { printf '%s: %s\n' "$script" "$*"; }
die() { printf '%s: %s\n' "$script" "$*" >&2; exit 1; }

# Root is who runs this, or sudo gives it without asking for a password.
root_at_hand() { [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif root_at_hand; then
    sudo -n -- "$@"
  else
    die "this needs root, and sudo without a password is not available; as root, run: ${*@Q}"
  fi
}

# The wasm target of the toolchain in use, installed with rustup or by other means.
has_wasm_target() {
  local libraries
  libraries=$(rustc --print target-libdir --target wasm32-unknown-unknown) || return 1
  compgen -G "$libraries/libstd-*.rlib" >/dev/null
}

rustup_remedy='rustup target add wasm32-unknown-unknown'
