// ch07 in the runtime: the official example, and the lab with the rest of the hibernation API.
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = async (method: string, path: string, body?: BodyInit) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, body }));
  return answer.text();
};

async function open(path: string) {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { headers: { Upgrade: "websocket" } }));
  expect(answer.status).toBe(101);
  const socket = answer.webSocket!;
  const heard: string[] = [];
  socket.addEventListener("message", (event) => { heard.push(event.data as string); });
  socket.accept();
  const next = async () => {
    await expect.poll(() => heard.length, { timeout: 10_000 }).toBeGreaterThan(0);
    return heard.shift()!;
  };
  return { socket, heard, next };
}

// proves: api 5, api 33
test("the official example: to the sender, to all, to all others, also after an eviction", async () => {
  const [ada, bob] = [await open("/websocket"), await open("/websocket")];
  for (const asleep of [false, true]) {
    if (asleep) await evictDurableObject(env.HIBERNATION_SERVER.getByName("village"));
    ada.socket.send("hello");
    const line = await ada.next();
    expect(line).toMatch(/^\[Durable Object\] message: hello, from: [0-9a-f-]{36}. Total connections: 2$/);
    expect([await ada.next(), await bob.next(), await bob.next()]).toEqual([line, line, line]);
  }
  ada.socket.send("ping");
  expect(await ada.next()).toBe("pong");
  ada.socket.send(new Uint8Array([1]));
  expect(await ada.next()).toContain("message: [object ArrayBuffer], from");
  ada.socket.close(1000, "bye");
  await expect.poll(async () => {
    bob.heard.length = 0;
    bob.socket.send("alone?");
    return bob.next();
  }, { timeout: 10_000 }).toContain("Total connections: 1");
});

// proves: api 36, api 44, api 41
test("sockets are found by their tags, and tell who has pinged", async () => {
  const [red, both] = [await open("/lab/websocket/red"), await open("/lab/websocket/red,round")];
  expect(await worker("POST", "/lab/tell/round", "to the round")).toBe("1 have heard it\n");
  expect(await both.next()).toBe("to the round");
  expect(await worker("POST", "/lab/tell/red", "to the red")).toBe("2 have heard it\n");
  expect([await red.next(), await both.next()]).toEqual(["to the red", "to the red"]);
  expect(await worker("POST", "/lab/tell/blue", "to nobody")).toBe("0 have heard it\n");
  red.socket.send("ping");
  expect(await red.next()).toBe("pong");
  both.socket.send("one");
  expect(await both.next()).toBe("message 1, start 1");
  await evictDurableObject(env.LAB.getByName("lab"));
  both.socket.send("two");
  expect(await both.next()).toBe("message 2, start 2");
  const sockets = (await worker("GET", "/lab/sockets")).trim().split("\n");
  expect(sockets[0]).toBe("start 2");
  expect(sockets.slice(1).sort()).toEqual(["tags red,round: 2 messages, has never pinged", "tags red: 0 messages, has pinged"]);
});

// proves: api 38, api 39
test("an auto-response can be read, taken away and set again", async () => {
  expect(await worker("GET", "/lab/auto-response")).toBe("ping -> pong\nnone\nping -> pong\n");
});

test("without an auto-response a ping is a message like any other", async () => {
  const { socket, next } = await open("/lab/websocket/quiet");
  await runInDurableObject(env.LAB.getByName("lab"), (_, state) => state.setWebSocketAutoResponse());
  socket.send("ping");
  expect(await next()).toMatch(/^message 1/);
});

// proves: api 42, api 43
test("the event timeout can be set, read and taken away", async () => {
  expect(await worker("GET", "/lab/timeout")).toBe("None\nSome(5000)\nError: Event timeout should not exceed 604800000 ms.\nNone\n");
});

test("every limit is where the docs say", async () => {
  const lines = (await worker("GET", "/lab/limits")).trim().split("\n").map((line) => [line.slice(0, 28).trim(), line.slice(29)]);
  const said = Object.fromEntries(lines);
  expect(Object.keys(said).length).toBe(10);
  for (const fine of ["10 tags", "a tag of 256 characters", "attach 16379 letters", "auto-response of 2048"]) expect(said[fine], fine).toBe("ok");
  expect(said["again"]).toContain("already accepted");
  expect(said["accept() as well"]).toContain("after enabling hibernation");
  expect(said["11 tags"]).toContain("more than 10 tags");
  expect(said["a tag of 257 characters"]).toContain("max tag length (256 characters)");
  expect(said["attach 16380 letters"]).toContain("cannot be larger than 16384 bytes");
  expect(said["auto-response of 2049"]).toContain("cannot be larger than 2048 bytes");
});

test("a socket does not tell how much of what was sent is still waiting", async () => {
  await open("/lab/websocket/curious");
  await runInDurableObject(env.LAB.getByName("lab"), (_, state) => {
    const [socket] = state.getWebSockets("curious");
    expect(["readyState" in socket, "bufferedAmount" in socket]).toEqual([true, false]);
  });
});

// proves: trap T68
test("a handler that outlasts the event timeout is given up in the middle, and the object hears no socket any more", async () => {
  const lab = env.LAB.getByName("lab");
  const [one, other] = [await open("/lab/websocket/slow"), await open("/lab/websocket/slow")];
  let closed = false;
  one.socket.addEventListener("close", () => { closed = true; });
  await runInDurableObject(lab, (instance: any) => {
    instance.webSocketMessage = async (socket: WebSocket, text: string) => {
      socket.send(`${text} begun`);
      await new Promise((done) => setTimeout(done, 500));
      socket.send(`${text} done`);
    };
    instance.webSocketError = instance.webSocketClose = () => { instance.told = true; };
  });
  one.socket.send("first");
  expect([await one.next(), await one.next()]).toEqual(["first begun", "first done"]);
  await runInDurableObject(lab, (_, state) => state.setHibernatableWebSocketEventTimeout(100));
  one.socket.send("second");
  expect(await one.next()).toBe("second begun");
  await new Promise((done) => setTimeout(done, 2000));
  // Nobody is told: no close, no error, and the object remembers.
  await runInDurableObject(lab, (instance: any, state) => {
    expect(instance.told).toBeUndefined();
    state.setHibernatableWebSocketEventTimeout();
  });
  const fresh = await open("/lab/websocket/slow");
  for (const { socket } of [one, other, fresh]) socket.send("hello?");
  await new Promise((done) => setTimeout(done, 2000));
  expect([one.heard, other.heard, fresh.heard, closed, one.socket.readyState]).toEqual([[], [], [], false, WebSocket.OPEN]);
  // The runtime itself still answers.
  other.socket.send("ping");
  expect(await other.next()).toBe("pong");
});
