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

test("2. whoever asks is told how many guests there are", async () => {
  const [ada, bob, cleo] = [await open("/ws/guests"), await open("/ws/guests"), await open("/ws/guests")];
  await expect.poll(() => cleo.heard.length).toBe(1);
  ada.socket.send("guests");
  await expect.poll(() => ada.heard.at(-1)).toBe("guests: 3");
  cleo.socket.close(1000, "bye");
  await cleo.closed;
  bob.socket.send("guests");
  await expect.poll(() => bob.heard.at(-1)).toBe("guests: 2");
  // Nobody else has heard of it, and the number is what it was.
  ada.socket.send("increment");
  await expect.poll(() => [ada.heard, bob.heard]).toEqual([
    ["new value: 0", "guests: 3", "new value: 1"],
    ["new value: 0", "guests: 2", "new value: 1"],
  ]);
});
