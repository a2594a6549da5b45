#!/usr/bin/env node
// `npx wrangler dev` in a chapter calls `worker-build`, and finds this file first.
// It starts the real program with the helpers of this repository, so that nothing has to be exported
// by hand and nothing is downloaded. A chapter that was copied out of the repository never sees it.

const { spawnSync } = require("node:child_process");
const { existsSync, realpathSync } = require("node:fs");
const { delimiter, join, resolve } = require("node:path");

const root = resolve(realpathSync(__dirname), "../..");
const exe = process.platform === "win32" ? ".exe" : "";

/** The first folder that holds the program: the set-up's own, then those of PATH without npm's. */
function find(program) {
  const onPath = (process.env.PATH ?? "").split(delimiter).filter((folder) => !folder.includes("node_modules"));
  return [join(root, ".tools/bin"), ...onPath]
    .map((folder) => join(folder, program + exe))
    .find((file) => existsSync(file));
}

const program = find("worker-build");
if (!program) {
  console.error("worker-build is not set up yet: run `cargo xtask setup` once, then try again.");
  process.exit(1);
}

const helpers = {
  WASM_BINDGEN_BIN: join(root, ".tools/bin/wasm-bindgen" + exe),
  WASM_OPT_BIN: join(root, "node_modules/.bin/wasm-opt"),
  ESBUILD_BIN: join(root, "node_modules/.bin/esbuild"),
};
const env = { ...process.env };
for (const [name, file] of Object.entries(helpers)) {
  if (!env[name] && existsSync(file)) env[name] = file;
}

const { status, error } = spawnSync(program, process.argv.slice(2), { stdio: "inherit", env });
if (error) console.error(`cannot start ${program}: ${error.message}`);
process.exit(status ?? 1);
