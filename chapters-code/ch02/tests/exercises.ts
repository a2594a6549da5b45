// What the page of ch02 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch02
import { evictDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

// An eviction waits for answers that are not read to their end.
const worker = async (method: string, path: string) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method }));
  return { status: answer.status, text: await answer.text() };
};

test("1. DELETE sets a counter back to 0", async () => {
  await worker("POST", "/counters/reset");
  const answer = await worker("DELETE", "/counters/reset");
  expect(answer).toEqual({ status: 200, text: "0\n" });
  expect((await worker("GET", "/counters/reset")).text).toBe("0\n");
  expect((await worker("DELETE", "/")).status).toBe(405);
});

test("2. about tells how many requests the object has answered", async () => {
  await worker("POST", "/counters/busy");
  await worker("GET", "/counters/busy");
  const about = async () => JSON.parse((await worker("GET", "/counters/busy/about")).text);
  expect((await about()).requests).toBe(3);
  await evictDurableObject(env.COUNTER.getByName("busy"));
  expect((await about()).requests).toBe(1);
});
