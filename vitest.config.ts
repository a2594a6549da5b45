// Runs the tests/*.test.ts of every chapter inside workerd, against the chapter's built Worker.
// One chapter alone: `npx vitest run --project ch02`.
import { readdirSync } from "node:fs";
import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

const chapters = readdirSync("chapters-code").filter((name) => /^ch\d\d$/.test(name));

export default defineConfig({
  test: {
    projects: chapters.map((name) => ({
      root: `chapters-code/${name}`,
      plugins: [cloudflareTest({ main: "build/index.js", wrangler: { configPath: "wrangler.toml" } })],
      test: { name, include: ["tests/*.test.ts"] },
    })),
  },
});
