// Each trap of ch07 still bites. When a new `worker` mends one, its test fails, and the page gets better.
// T5, T57, T58 and T59 reset the whole isolate, T60 and T64 want a real line, T65 takes its time: they are in tools/outside/tests/ch07.rs.
import { evictDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeEach, expect, test } from "vitest";

const fetch = (path: string, headers = {}) => exports.default.fetch(new Request(`http://traps/ch07/${path}`, { headers }));
const said = async (path: string) => (await fetch(path)).text();

/** A socket, and what it hears. */
async function open(path = "socket") {
  const socket = (await fetch(path, { Upgrade: "websocket" })).webSocket!;
  const heard: string[] = [];
  socket.addEventListener("message", ({ data }) => heard.push(data as string));
  socket.addEventListener("close", ({ code, reason }) => heard.push(`closed ${code} ${reason}`));
  socket.accept();
  const next = () => expect.poll(() => heard.length).toBeGreaterThan(0).then(() => heard.shift()!);
  return { socket, heard, next };
}

// Nobody is left over from the test before: a socket that its test has closed takes a moment to go.
beforeEach(async () => {
  await said("sockets");
  await evictDurableObject(env.CH07_TRAP.getByName("trap"), { webSockets: "close" });
});

// proves: trap T19
test("an attachment holds 16 KiB as the runtime writes them", async () => {
  const lines = (await said("attachment")).trim().split("\n");
  expect(lines).toHaveLength(6);
  expect(lines[0]).toBe("16379 x: fits");
  expect(lines[1]).toContain("cannot be larger than 16384 bytes");
  expect(lines[2]).toContain("cannot be larger than 16384 bytes"); // two bytes each
  expect(lines[3]).toContain("cannot be larger than 16384 bytes"); // an array of numbers
  expect(lines[4]).toBe("16000 bytes in a ByteBuf: fits");
  expect(lines[5]).toContain("can't be represented as a JavaScript number");
});

// proves: trap T61
test("a code that was received cannot always be sent", async () => {
  const { socket, next } = await open();
  for (const code of ["999", "1004", "1005", "1006", "1015", "5000"]) {
    socket.send(code);
    expect(await next(), code).toContain("Invalid WebSocket close code");
  }
  socket.send("long reason");
  expect(await next()).toContain("must not be longer than 123 bytes");
  const other = await open("echo");
  other.socket.close(); // without a code: the handler is given 1005, and sends it back
  expect(await next()).toMatch(/^1005: .*Invalid WebSocket close code: 1005/);
  socket.send("4000");
  expect(await next()).toBe("closed 4000 so there");
});

// An object of its own: with such a guest it cannot be evicted.
// proves: trap T62
test("a socket that is accepted and not returned stays", async () => {
  const stub = env.CH07_TRAP.getByName("haunted");
  const sockets = async () => (await stub.fetch("http://traps/ch07/sockets")).text();
  expect(await sockets()).toBe("0\n");
  await expect(stub.fetch("http://traps/ch07/ghost")).rejects.toThrow("no ticket");
  expect(await sockets()).toBe("1\n");
});

// proves: trap T63
test("messages of one socket overtake each other at an await", async () => {
  const { socket, next } = await open();
  socket.send("slow");
  socket.send("fast");
  expect(await next()).toBe("fast");
  expect(await next()).toBe("slow");
  socket.close();
});

// proves: trap T66
test("an Err of a handler is told to nobody", async () => {
  const { socket, next } = await open();
  socket.send("refuse");
  socket.send("still there?");
  expect(await next()).toBe("still there?");
  socket.close();
});
