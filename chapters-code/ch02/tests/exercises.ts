// What the page of ch02 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch02
import { evictDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = (method: string, path: string) => exports.default.fetch(new Request(`http://village${path}`, { method }));

test("1. DELETE sets a counter back to 0", async () => {
  await worker("POST", "/counters/reset");
  const answer = await worker("DELETE", "/counters/reset");
  expect([answer.status, await answer.text()]).toEqual([200, "0\n"]);
  expect(await (await worker("GET", "/counters/reset")).text()).toBe("0\n");
  expect((await worker("DELETE", "/")).status).toBe(405);
});

test("2. about tells how many requests the object has answered", async () => {
  await worker("POST", "/counters/busy");
  await worker("GET", "/counters/busy");
  const about = async () => (await worker("GET", "/counters/busy/about")).json<any>();
  expect((await about()).requests).toBe(3);
  await evictDurableObject(env.COUNTER.getByName("busy"));
  expect((await about()).requests).toBe(1);
});
