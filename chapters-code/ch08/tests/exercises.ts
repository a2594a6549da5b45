// What the page of ch08 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch08
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

// An eviction waits for answers that are not read to their end.
const worker = async (method: string, path: string, body?: unknown) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, body: body && JSON.stringify(body) }));
  return { status: answer.status, text: await answer.text() };
};
const sign = async (book: string) => JSON.parse((await worker("POST", `/books/${book}`, { name: "Ada", text: "Hello." })).text).number;
const numbers = async (book: string, query = "") =>
  JSON.parse((await worker("GET", `/books/${book}${query}`)).text).map((line: any) => line.number);
const evict = (book: string) => evictDurableObject(env.GUEST_BOOKS.getByName(book));

test("1. a line can be struck out, and its number is never given again", async () => {
  for (let n = 1; n <= 4; n++) await sign("STRIKE");
  expect(await worker("DELETE", "/books/STRIKE/2")).toEqual({ status: 200, text: "line 2 is struck out\n" });
  expect(await worker("DELETE", "/books/STRIKE/4")).toEqual({ status: 200, text: "line 4 is struck out\n" });
  for (const nothing of ["2", "5", "0", "x"]) expect((await worker("DELETE", `/books/STRIKE/${nothing}`)).status, nothing).toBe(404);
  await evict("STRIKE");
  expect(await numbers("STRIKE")).toEqual([1, 3]);
  expect(await sign("STRIKE")).toBe(5);
  // A page is as full as it can be.
  expect(await numbers("STRIKE", "?after=1&limit=2")).toEqual([3, 5]);
  expect((await worker("GET", "/books/STRIKE/1")).status).toBe(405);
  // A book that is on disk already learns it too: by a step that it has not taken yet.
  const steps = await runInDurableObject(env.GUEST_BOOKS.getByName("STRIKE"), (_, state) =>
    state.storage.sql.exec("SELECT max(version) AS steps FROM migrations").one().steps);
  expect(steps).toBeGreaterThan(1);
});

test("2. the cellar knows how often its object has awoken", async () => {
  const awoken = async (book: string) => JSON.parse((await worker("GET", `/books/${book}/where`)).text).cellar.awoken;
  expect(await awoken("AWAKE")).toBe(1);
  await sign("AWAKE");
  expect(await awoken("AWAKE")).toBe(1);
  for (const times of [2, 3]) {
    await evict("AWAKE");
    await numbers("AWAKE");
    expect(await awoken("AWAKE")).toBe(times);
  }
  expect(await awoken("ANOTHER")).toBe(1);
});
