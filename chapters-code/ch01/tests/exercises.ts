// What the page of ch01 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch01
import { exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = (method: string, path: string, body?: string) =>
  exports.default.fetch(new Request(`http://hello${path}`, { method, body }));

test("1. a greeting without a name is for the world", async () => {
  const answer = await worker("GET", "/hello");
  expect([answer.status, await answer.text()]).toEqual([200, "Good day, world!\n"]);
  expect((await worker("POST", "/hello")).status).toBe(405);
});

test("2. a guest may choose the words", async () => {
  const answer = await worker("POST", "/greetings", '{"name":"Ada","words":"Ahoy"}');
  expect(await answer.json()).toEqual({ greeting: "Ahoy, Ada!", length: 10 });
  expect((await worker("POST", "/greetings", '{"name":"Ada"}')).status).toBe(200);
});
