// ch06 in the runtime: a room, those who speak text in it, and those who speak frames.
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { binary, frame, get, open, refused } from "./client";

const sql = (room: string, query: string) =>
  runInDurableObject(env.ROOMS.getByName(room), (_, state) => state.storage.sql.exec(query).toArray());

// proves: api 96, api 97, api 100
test("a newcomer is told the number, and each change is told to all", async () => {
  const ada = await open("/ws/all");
  expect(await ada.next()).toBe("new value: 0");
  ada.socket.send("increment");
  expect(await ada.next()).toBe("new value: 1");
  const bob = await open("/ws/all");
  expect(await bob.next()).toBe("new value: 1");
  bob.socket.send("decrement");
  ada.socket.send("decrement");
  for (const { next } of [ada, bob]) expect([await next(), await next()]).toEqual(["new value: 0", "new value: -1"]);
});

test("/ws is room 1, and rooms are apart", async () => {
  const [one, also, other] = [await open("/ws"), await open("/ws/1"), await open("/ws/2")];
  for (const { next } of [one, also, other]) expect(await next()).toBe("new value: 0");
  one.socket.send("increment");
  expect(await also.next()).toBe("new value: 1");
  other.socket.send("decrement");
  expect(await other.next()).toBe("new value: -1");
});

test("whatever else is said is ignored", async () => {
  const ada = await open("/ws/noise");
  for (const noise of ["", "Increment", "increment ", "increment\n", "{}", "x".repeat(1024), "\u0000", "\ud83d\ude00"])
    ada.socket.send(noise);
  ada.socket.send("increment");
  expect([await ada.next(), await ada.next()]).toEqual(["new value: 0", "new value: 1"]);
});

// proves: api 98, api 101
test("text and frames share a room, and each hears its own kind", async () => {
  const [text, frames] = [await open("/ws/both"), await open("/ws/both", binary)];
  expect([text.protocol, frames.protocol]).toEqual([null, "counter.v1"]);
  expect([await text.next(), await frames.next()]).toEqual(["new value: 0", [1, 0, 0]]);
  frames.socket.send(frame(1, 1));
  expect([await text.next(), await frames.next()]).toEqual(["new value: -1", [1, 0, 1]]);
  text.socket.send("increment");
  frames.socket.send(frame(1, 0));
  for (const value of [0, 1]) expect(await text.next()).toBe(`new value: ${value}`);
  expect([await frames.next(), await frames.next()]).toEqual([[1, 0, 0], [1, 0, 2]]);
});

test("the client offers protocols, and the room chooses", async () => {
  const list = { "Sec-WebSocket-Protocol": "counter.v2, counter.v1" };
  expect((await open("/ws/offer", list)).protocol).toBe("counter.v1");
  const upgrade = { Upgrade: "websocket", "Sec-WebSocket-Protocol": "counter.v2, chat" };
  expect(await refused("/ws/offer", upgrade)).toEqual([400, "offer the protocol counter.v1, or none for text\n"]);
});

// proves: api 99
test("who breaks the rules is told why, and the others go on", async () => {
  const stays = await open("/ws/door");
  await stays.next();
  const cases: [Record<string, string>, string | Uint8Array, number, string][] = [
    [{}, frame(1), 1003, "this socket speaks text"],
    [{}, frame(), 1003, "this socket speaks text"],
    [{}, "x".repeat(1025), 1009, "a message is at most 1024 bytes long"],
    [{}, "ä".repeat(513), 1009, "a message is at most 1024 bytes long"],
    [{}, "x".repeat(5_000_000), 1009, "a message is at most 1024 bytes long"],
    [{}, new Uint8Array(5_000_000), 1009, "a message is at most 1024 bytes long"],
    [binary, "increment", 1003, "this socket speaks counter.v1, in binary"],
    [binary, frame(2, 0), 1002, "a frame of version 2; this is version 1"],
    [binary, frame(), 1007, "no message of counter.v1"],
    [binary, frame(1), 1007, "no message of counter.v1"],
    [binary, frame(1, 2), 1007, "no message of counter.v1"],
    [binary, frame(1, 0, 0), 1007, "no message of counter.v1"],
    [binary, new Uint8Array(100).fill(1), 1009, "a frame of 100 bytes; at most 12 are right"],
  ];
  for (const [headers, message, code, reason] of cases) {
    const bad = await open("/ws/door", headers);
    await bad.next();
    bad.socket.send(message);
    expect(await bad.closed).toEqual([code, reason]);
  }
  stays.socket.send("increment");
  expect(await stays.next()).toBe("new value: 1");
});

test("after the goodbye nothing that was sent behind it counts", async () => {
  const bad = await open("/ws/behind");
  bad.socket.send(frame(1));
  bad.socket.send("increment");
  expect((await bad.closed)[0]).toBe(1003);
  expect(await (await open("/ws/behind")).next()).toBe("new value: 0");
});

test("the runtime answers a close with the client's own words", async () => {
  for (const [code, reason] of [[1000, "bye"], [4321, "my own"]] as const) {
    const ada = await open("/ws/bye");
    ada.socket.close(code, reason);
    expect(await ada.closed).toEqual([code, reason]);
  }
});

test("who leaves makes room: one socket too many is told to come back later", async () => {
  const sockets: WebSocket[] = [];
  for (let n = 0; n < 1000; n++) sockets.push((await open("/ws/crowd", n % 2 ? binary : {})).socket);
  const crowded = [503, "1000 are in this room already; come back later\n"];
  expect(await refused("/ws/crowd", { Upgrade: "websocket" })).toEqual(crowded);
  sockets[0].close(1000, "bye");
  sockets[1].send("not a frame");
  for (let n = 0; n < 2; n++) {
    await expect.poll(async () => {
      const answer = await get("/ws/crowd", { Upgrade: "websocket" });
      if (answer.webSocket) answer.webSocket.accept();
      else await answer.text();
      return answer.status;
    }).toBe(101);
  }
  expect(await refused("/ws/crowd", { Upgrade: "websocket" })).toEqual(crowded);
}, 60_000);

const abort = (room: string) =>
  runInDurableObject(env.ROOMS.getByName(room), (_, state) => state.abort("reset by the test")).catch(() => {});

// proves: claim plain-awake
test("an open socket keeps the object in memory: there is no eviction", async () => {
  const ada = await open("/ws/awake");
  await ada.next();
  await expect(evictDurableObject(env.ROOMS.getByName("awake"))).rejects.toThrow("still has active references");
  ada.socket.send("increment");
  expect(await ada.next()).toBe("new value: 1");
}, 90_000);

// proves: claim number-evicted
test("the number is there after an eviction", async () => {
  const ada = await open("/ws/evict");
  for (let n = 0; n <= 3; n++) {
    expect(await ada.next()).toBe(`new value: ${n}`);
    if (n < 3) ada.socket.send("increment");
  }
  ada.socket.close(1000, "bye");
  await ada.closed;
  await evictDurableObject(env.ROOMS.getByName("evict"));
  expect(await (await open("/ws/evict")).next()).toBe("new value: 3");
});

// proves: claim number-reset
test("a reset breaks the sockets and keeps the number", async () => {
  const ada = await open("/ws/reset");
  await ada.next();
  ada.socket.send("increment");
  expect(await ada.next()).toBe("new value: 1");
  await abort("reset");
  expect(await ada.closed).toEqual([1006, "WebSocket disconnected without sending Close frame."]);
  expect(await (await open("/ws/reset")).next()).toBe("new value: 1");
});

test("a number is exact to both ends of an i64, and stops there", async () => {
  for (const [room, end, message, back, before] of [
    ["max", "9223372036854775807", "increment", "decrement", "9223372036854775806"],
    ["min", "-9223372036854775808", "decrement", "increment", "-9223372036854775807"],
  ]) {
    const first = await open(`/ws/${room}`);
    first.socket.send("increment");
    expect([await first.next(), await first.next()]).toEqual(["new value: 0", "new value: 1"]);
    await sql(room, `UPDATE number SET value = ${end}`);
    await abort(room);
    const ada = await open(`/ws/${room}`);
    expect(await ada.next()).toBe(`new value: ${end}`);
    ada.socket.send(message);
    ada.socket.send(back);
    expect(await ada.next()).toBe(`new value: ${before}`);
  }
});

test("a number that cannot be written down is told to nobody", async () => {
  const [ada, bob] = [await open("/ws/broken"), await open("/ws/broken")];
  await Promise.all([ada.next(), bob.next()]);
  await sql("broken", "ALTER TABLE number RENAME TO lost");
  ada.socket.send("increment");
  expect(await ada.closed).toEqual([1011, "the number could not be written down; come again"]);
  await sql("broken", "ALTER TABLE lost RENAME TO number");
  bob.socket.send("increment");
  expect(await bob.next()).toBe("new value: 1");
  expect(bob.heard).toEqual([]);
});
