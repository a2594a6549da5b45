#!/bin/sh
# `npx wrangler dev` in a chapter calls `worker-build`, and finds this file first.
# It starts the real program with the helpers of this repository, so that nothing has to be exported
# by hand and nothing is downloaded. A chapter that was copied out of the repository never sees it.

# This file is called as node_modules/.bin/worker-build, and a copied chapter of a test has a link to node_modules.
root=$(cd -P -- "$(dirname -- "$0")/../.." && pwd) || exit
tools=$root/.tools/bin

# The set-up's own, or the first of PATH, without npm's folders: there this file would find itself.
others=$(printf %s "$PATH" | tr : '\n' | grep -v node_modules | paste -sd: -)
program=$(PATH=$tools:$others && command -v worker-build) || {
  echo "worker-build is not set up yet: run \`cargo xtask setup\` once, then try again." >&2
  exit 1
}

if [ -e "$tools/wasm-bindgen" ]; then : "${WASM_BINDGEN_BIN:=$tools/wasm-bindgen}"; fi
: "${WASM_OPT_BIN:=$root/node_modules/.bin/wasm-opt}" "${ESBUILD_BIN:=$root/node_modules/.bin/esbuild}"
export WASM_OPT_BIN ESBUILD_BIN ${WASM_BINDGEN_BIN+WASM_BINDGEN_BIN}

exec "$program" "$@"
