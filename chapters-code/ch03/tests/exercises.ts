// What the page of ch03 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch03
import { runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = async (method: string, path: string, body?: string) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, body }));
  return { status: answer.status, text: await answer.text() };
};

test("1. reset forgets a counter", async () => {
  await worker("GET", "/increment?name=R");
  expect(await worker("POST", "/reset?name=R")).toEqual({ status: 200, text: "Durable Object 'R' count: 0" });
  const left = await runInDurableObject(env.COUNTERS.getByName("R"), (_, state) => state.storage.list());
  expect(left.size).toBe(0);
  expect((await worker("GET", "/increment?name=R")).text).toContain("count: 1");
});

test("2. swap exchanges two people, or nobody", async () => {
  await worker("POST", "/books/swap/people", '[["ada",{"name":"Ada"}],["ben",{"name":"Ben"}]]');
  const names = async () => JSON.parse((await worker("GET", "/books/swap/people")).text).map(([, { name }]: any) => name);
  expect((await worker("POST", "/books/swap/swap?a=ada&b=ben")).status).toBe(200);
  expect(await names()).toEqual(["Ben", "Ada"]);
  expect((await worker("POST", "/books/swap/swap?a=ada&b=nobody")).status).toBe(404);
  expect((await worker("POST", "/books/swap/swap?a=nobody&b=ada")).status).toBe(404);
  expect((await worker("POST", "/books/swap/swap?a=ada")).status).toBe(400);
  expect(await names()).toEqual(["Ben", "Ada"]);
});
