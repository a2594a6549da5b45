// What the page of ch06 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch06
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { get, open, refused } from "./client";

const ticket = async (room: string) =>
  (await get(`/tickets/${room}`, { Authorization: `Bearer ${env.MEMBERS_KEY}` }, "POST")).text();
const abort = (room: string) =>
  runInDurableObject(env.ROOMS.getByName(room), (_, state) => state.abort("reset by the test")).catch(() => {});

test("1. a ticket opens the door once", async () => {
  const [first, second] = [await ticket("once"), await ticket("once")];
  expect(first).not.toBe(second);
  const enter = (ticket: string) => `/members/once?ticket=${ticket}`;
  expect(await (await open(enter(first))).next()).toBe("new value: 0");
  expect((await refused(enter(first), { Upgrade: "websocket" }))[0]).toBe(401);
  expect(await (await open(enter(second))).next()).toBe("new value: 0");
  await abort("members/once");
  for (const used of [first, second]) expect((await refused(enter(used), { Upgrade: "websocket" }))[0]).toBe(401);
  expect(await (await open(enter(await ticket("once")))).next()).toBe("new value: 0");
});

test("2. whoever says more than 20 messages in a second is shown the door", async () => {
  const [calm, hasty] = [await open("/ws/hasty"), await open("/ws/hasty")];
  for (let round = 0; round < 2; round++) {
    for (let n = 0; n < 10; n++) calm.socket.send(n % 2 ? "increment" : "decrement");
    await expect.poll(() => calm.heard.length).toBe(10 * round + 11);
    await new Promise((done) => setTimeout(done, 1_500));
  }
  for (let n = 0; n < 100; n++) hasty.socket.send("increment");
  const goodbye = await Promise.race([hasty.closed, new Promise<string[]>((done) => setTimeout(done, 5_000, ["still open"]))]);
  expect(goodbye[0]).toBe(1008);
  await expect.poll(() => calm.heard.at(-1)).toBe("new value: 20");
  calm.socket.send("increment");
  await expect.poll(() => calm.heard.at(-1)).toBe("new value: 21");
  expect(await (await open("/ws/hasty")).next()).toBe("new value: 21");
});
