// ch07 in the runtime: a room, its guests, and what becomes of them when it sleeps.
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

type Frame = Record<string, any>;

const worker = async (method: string, path: string, headers?: HeadersInit) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, headers }));
  return { status: answer.status, text: await answer.text(), headers: answer.headers };
};

let addresses = 0;

/** A socket into a room. Everybody comes from an address of his own, unless told otherwise. */
async function enter(room: string, ip = `10.0.${addresses >> 8}.${addresses++ & 255}`) {
  const headers = { Upgrade: "websocket", "CF-Connecting-IP": ip };
  const answer = await exports.default.fetch(new Request(`http://village/api/room/${room}/websocket`, { headers }));
  expect(answer.status).toBe(101);
  const socket = answer.webSocket!;
  const heard: Frame[] = [];
  let closed: CloseEvent | undefined;
  socket.addEventListener("close", (event) => { closed = event; });
  socket.addEventListener("message", (event) => { heard.push(event.data === "pong" ? { pong: true } : JSON.parse(event.data as string)); });
  socket.accept();
  return {
    socket,
    heard,
    say: (words: unknown) => socket.send(typeof words === "string" ? words : JSON.stringify(words)),
    next: async (): Promise<Frame> => {
      await expect.poll(() => heard.length, { timeout: 10_000 }).toBeGreaterThan(0);
      return heard.shift()!;
    },
    until: async (last: (frame: Frame) => boolean): Promise<Frame[]> => {
      await expect.poll(() => heard.some(last), { timeout: 10_000 }).toBe(true);
      return heard.splice(0, heard.findIndex(last) + 1);
    },
    closed: async () => {
      await expect.poll(() => closed, { timeout: 10_000 }).toBeDefined();
      return [closed!.code, closed!.reason];
    },
  };
}
type Guest = Awaited<ReturnType<typeof enter>>;

const ready = (frame: Frame) => frame.ready === true;

/** A guest who has said his name and heard all there was. */
async function join(room: string, name: string, more: object = {}, ip?: string): Promise<Guest & { past: Frame[] }> {
  const guest = await enter(room, ip);
  guest.say({ name, ...more });
  return { ...guest, past: await guest.until(ready) };
}

test("two people chat, and a third hears what they said", async () => {
  const ada = await join("tea", "Ada");
  expect(ada.past).toEqual([{ joined: "Ada" }, { ready: true }]);
  const bob = await join("tea", "Bob");
  expect(bob.past).toEqual([{ joined: "Ada" }, { joined: "Bob" }, { ready: true }]);
  expect(await ada.next()).toEqual({ joined: "Bob" });
  ada.say({ message: "Hello" });
  const said = await ada.next();
  expect(said).toEqual({ name: "Ada", message: "Hello", timestamp: expect.any(Number) });
  expect(await bob.next()).toEqual(said);
  const cleo = await join("tea", "Cleo");
  expect(cleo.past).toEqual([{ joined: "Ada" }, { joined: "Bob" }, said, { joined: "Cleo" }, { ready: true }]);
  bob.socket.close(1000, "bye");
  expect(await ada.until((frame) => "quit" in frame)).toEqual([{ joined: "Cleo" }, { quit: "Bob" }]);
});
