#!/bin/sh
# build.sh WIT COMPONENT: compiles drop_zero.ts, and turns the module into a component. Requires `asc` of npm's
# assemblyscript and `wasm-tools` on the path.
set -eu
package=nephometer:metering version=0.2.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
asc "$(dirname "$0")/drop_zero.ts" -O --runtime minimal --use abort= -o "$work/module.wasm"
# AssemblyScript exports identifiers only; the canonical ABI has names such as PACKAGE/INTERFACE@VERSION#FUNCTION.
wasm-tools print "$work/module.wasm" | sed -E \
  -e "s|\(export \"(describe\|configure)\"|(export \"$package/component@$version#\1\"|" \
  -e "s|\(export \"learn\"|(export \"$package/dictionary@$version#learn\"|" \
  -e "s|\(export \"transform\"|(export \"$package/transform@$version#transform\"|" \
  -e "s|\(export \"transformed\"|(export \"cabi_post_$package/transform@$version#transform\"|" > "$work/module.wat"
wasm-tools component embed "$1" "$work/module.wat" --world transformer -o "$work/embedded.wasm"
wasm-tools component new "$work/embedded.wasm" -o "$2"
