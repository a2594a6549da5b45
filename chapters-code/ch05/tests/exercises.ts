// What the page of ch05 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch05
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = async (method: string, path: string, body?: string) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, body }));
  return { status: answer.status, text: await answer.text() };
};
const letters = async (name: string) => JSON.parse((await worker("GET", `/mailboxes/${name}`)).text).length;
const until = async (what: () => Promise<boolean>) => {
  for (let i = 0; i < 40; i++) if (await what()) return;
    else await new Promise((done) => setTimeout(done, 50));
  throw new Error("it did not come to that within 2 s");
};

test("1. POST now posts what waits at once", async () => {
  await worker("POST", "/batches/hurry", "bread");
  expect(await worker("POST", "/batches/hurry/now")).toEqual({ status: 200, text: '{"queued":1}' });
  await until(async () => (await letters("hurry")) === 1);
  expect((await worker("GET", "/batches/hurry/now")).status).toBe(405);
});

test("2. a dead timer gets five more tries", async () => {
  const again = () => worker("POST", "/schedules/phoenix/tea");
  expect((await again()).status).toBe(404);
  await worker("PUT", "/schedules/phoenix/tea", '{"in": 60000, "say": "tea"}');
  expect((await again()).status).toBe(409);
  await worker("POST", "/mailboxes/phoenix/closed", "5");
  for (let i = 0; i < 5; i++) {
    await runInDurableObject(env.SCHEDULERS.getByName("phoenix"), (_, state) =>
      state.storage.sql.exec("UPDATE timers SET next = 1000"));
    await runDurableObjectAlarm(env.SCHEDULERS.getByName("phoenix"));
  }
  expect(await letters("phoenix")).toBe(0);
  expect(await again()).toEqual({ status: 200, text: "tries again\n" });
  await until(async () => (await letters("phoenix")) === 1);
});
