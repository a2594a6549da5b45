// ch06 in the runtime: the official example, and what a socket says of itself.
import { expect, test } from "vitest";
import { open, refused } from "./client";

const counted = (n: number) => `[Durable Object] currentlyConnectedWebSockets: ${n}`;

test("the official example counts the sockets, and tells whoever says anything", async () => {
  const ada = await open("/websocket");
  ada.socket.send("hello");
  expect(await ada.next()).toBe(counted(1));
  const bob = await open("/websocket");
  bob.socket.send(new Uint8Array([1, 2]));
  expect(await bob.next()).toBe(counted(2));
  ada.socket.close(4001, "bye");
  expect(await ada.closed).toEqual([4001, "Durable Object is closing WebSocket"]);
  await expect.poll(async () => {
    bob.socket.send("and now?");
    return bob.next();
  }).toBe(counted(1));
  expect(ada.heard).toEqual([]);
});

// proves: api 102
test("what a socket says of itself while it is closed", async () => {
  const [status, seen] = await refused("/lab/states");
  expect(status).toBe(200);
  const early = "send: TypeError: You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages.";
  expect((seen as string).split("\n")).toEqual([
    "OPEN    a new pair",
    `OPEN    ${early}`,
    "OPEN    accepted",
    'CLOSED  heard 4000, "bye"',
    "CLOSED  send: TypeError: Can't call WebSocket send() after close().",
    "CLOSED  close: Ok",
    "OPEN    a new pair",
    `OPEN    ${early}`,
    "OPEN    accepted, half-open",
    'CLOSING heard 4000, "bye"',
    "CLOSING send: Ok",
    "CLOSED  close: Ok",
    "",
  ]);
});
