// Runs the tests/*.test.ts of every chapter inside workerd, against the chapter's built Worker.
//
//   npx vitest run --project ch02                 one chapter
//   EXERCISES=1 npx vitest run --project ch02     what its page asks you to try
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

const chapters = readdirSync("chapters-code").filter((name) => /^ch\d\d$/.test(name));
const workers = [...chapters.map((name) => ({ name, root: `chapters-code/${name}` })), { name: "traps", root: "traps" }];
// Where the tests of the whole book have a build of each that nothing changes meanwhile.
const main = (name: string) => (process.env.BUILT ? join(process.env.BUILT, name, "index.js") : "build/index.js");
const include = process.env.EXERCISES ? ["tests/exercises.ts"] : ["tests/*.test.ts"];

export default defineConfig({
  test: {
    projects: workers.map(({ name, root }) => ({
      root,
      plugins: [cloudflareTest({ main: main(name), wrangler: { configPath: "wrangler.toml" } })],
      // A machine that is busy is no failure.
      test: { name, include, testTimeout: 30_000 },
    })),
  },
});
