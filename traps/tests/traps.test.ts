// Each trap still bites. When a new `worker` mends one, its test fails, and the page gets better.
import { exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = (method: string, path: string) => exports.default.fetch(new Request(`http://traps${path}`, { method }));
const text = async (method: string, path: string) => (await worker(method, path)).text();

// proves: trap T20
test("an object has no stub of itself", async () => {
  expect(await text("GET", "/own-stub")).toContain("Cannot get stub from within a Durable Object");
});

// proves: trap T29
test("a method that worker does not know becomes GET", async () => {
  expect(await text("PURGE", "/method")).toBe("PURGE is taken for GET\n");
  expect(await text("PUT", "/method")).toBe("PUT is taken for PUT\n");
});

// proves: trap T31
test("an await between reading and writing loses updates", async () => {
  await Promise.all(Array.from({ length: 10 }, () => text("POST", "/lossy")));
  expect(await text("GET", "/count")).toBe("1\n");
});

// proves: trap T32
test("the router answers 405 without an Allow header", async () => {
  const answer = await worker("POST", "/router");
  expect([answer.status, answer.headers.get("Allow")]).toEqual([405, null]);
});
