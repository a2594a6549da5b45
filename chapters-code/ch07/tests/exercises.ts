// What the page of ch07 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch07
import { evictDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

type Frame = Record<string, any>;

async function join(room: string, name: string) {
  const headers = { Upgrade: "websocket", "CF-Connecting-IP": `10.1.0.${name.length}` };
  const answer = await exports.default.fetch(new Request(`http://village/api/room/${room}/websocket`, { headers }));
  const socket = answer.webSocket!;
  const heard: Frame[] = [];
  socket.addEventListener("message", (event) => { heard.push(JSON.parse(event.data as string)); });
  socket.accept();
  const say = (words: object) => socket.send(JSON.stringify(words));
  const until = async (last: (frame: Frame) => boolean) => {
    await expect.poll(() => heard.some(last), { timeout: 10_000 }).toBe(true);
    return heard.splice(0, heard.findIndex(last) + 1);
  };
  say({ name });
  return { say, heard, until, past: await until((frame) => frame.ready) };
}

test("1. everybody else sees who is typing", async () => {
  const ada = await join("typing", "Ada");
  const bobby = await join("typing", "Bobby");
  await ada.until((frame) => frame.joined === "Bobby");
  // It costs nothing, and comes more often than anybody may talk.
  for (let n = 0; n < 20; n++) ada.say({ typing: true });
  ada.say({ message: "Hello" });
  const heard = await bobby.until((frame) => "message" in frame);
  expect(heard.slice(0, -1)).toEqual(Array.from({ length: 20 }, () => ({ typing: "Ada" })));
  expect((await ada.until((frame) => "message" in frame)).length).toBe(1);
  ada.say({ typing: 7 });
  expect(Object.keys((await ada.until((frame) => "error" in frame))[0])).toContain("error");
  const cleo = await join("typing", "Cleopatra");
  expect(cleo.past.some((frame) => "typing" in frame)).toBe(false);
});

test("2. a room has a topic, which newcomers hear first", async () => {
  const ada = await join("topic", "Ada");
  expect(ada.past).toEqual([{ joined: "Ada" }, { ready: true }]);
  const bobby = await join("topic", "Bobby");
  ada.say({ topic: "Tea" });
  expect((await bobby.until((frame) => "topic" in frame)).at(-1)).toEqual({ topic: "Tea" });
  expect((await ada.until((frame) => "topic" in frame)).at(-1)).toEqual({ topic: "Tea" });
  bobby.say({ topic: "x".repeat(257) });
  expect(Object.keys((await bobby.until((frame) => "error" in frame)).at(-1)!)).toContain("error");
  await evictDurableObject(env.ROOMS.getByName("topic"));
  const cleo = await join("topic", "Cleopatra");
  expect(cleo.past[0]).toEqual({ topic: "Tea" });
});
