// ch06 in the runtime: a Worker in between.
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, expect, test, vi } from "vitest";
import { binary, frame, open } from "./client";

afterEach(() => vi.restoreAllMocks());

test("through the proxy one is in the same room", async () => {
  const [near, far, frames] = [await open("/ws/proxied"), await open("/proxy/proxied"), await open("/proxy/proxied", binary)];
  expect(frames.protocol).toBe("counter.v1");
  expect([await near.next(), await far.next(), await frames.next()]).toEqual(["new value: 0", "new value: 0", [1, 0, 0]]);
  far.socket.send("increment");
  expect([await near.next(), await far.next(), await frames.next()]).toEqual(["new value: 1", "new value: 1", [1, 0, 2]]);
  frames.socket.send(frame(1, 1));
  expect([await near.next(), await far.next(), await frames.next()]).toEqual(["new value: 0", "new value: 0", [1, 0, 0]]);
});

test("a close goes through the proxy with its code and its reason", async () => {
  for (const [code, reason] of [[1000, "bye"], [4321, "my own"]] as const) {
    const far = await open("/proxy/bye");
    await far.next();
    far.socket.close(code, reason);
    expect(await far.closed).toEqual([code, reason]);
  }
});

test("the proxy shows the door as the room would", async () => {
  for (const [headers, message, code, reason] of [
    [{}, frame(1), 1003, "this socket speaks text"],
    [{}, "x".repeat(1025), 1009, "a message is at most 1024 bytes long"],
    [binary, frame(2, 0), 1002, "a frame of version 2; this is version 1"],
  ] as const) {
    const far = await open("/proxy/door", headers);
    await far.next();
    far.socket.send(message);
    expect(await far.closed).toEqual([code, reason]);
  }
});

test("noise stays outside", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  const send = vi.spyOn(WebSocket.prototype, "send");
  const far = await open("/proxy/noise");
  for (const words of ["hello", "increment", "x".repeat(1024), "decrement", ""]) far.socket.send(words);
  expect([await far.next(), await far.next(), await far.next()]).toEqual(["new value: 0", "new value: 1", "new value: 0"]);
  // Client, proxy and room are in one isolate here: each word is seen wherever it is sent.
  const sent = (words: string) => send.mock.calls.flat().filter((said) => said === words).length;
  expect([sent("hello"), sent("increment"), sent("decrement")]).toEqual([1, 2, 2]);
  far.socket.close(1000, "bye");
  await far.closed;
  await expect.poll(() => log.mock.calls.flat()).toContain("the room was spared 3 messages");
});

test("a close is answered when the room has answered it", async () => {
  const far = await open("/proxy/busy");
  await far.next();
  const busy = runInDurableObject(env.ROOMS.getByName("busy"), (_, state) => state.blockConcurrencyWhile(() => scheduler.wait(5_000)));
  await scheduler.wait(200);
  far.socket.close(4321, "my own");
  expect(await Promise.race([far.closed, scheduler.wait(500).then(() => "not yet")])).toBe("not yet");
  await busy;
  expect(await far.closed).toEqual([4321, "my own"]);
});

test("when the object goes, the proxy tells the client", async () => {
  const far = await open("/proxy/gone");
  await far.next();
  await runInDurableObject(env.ROOMS.getByName("gone"), (_, state) => state.abort("reset by the test")).catch(() => {});
  expect(await Promise.race([far.closed, new Promise((r) => setTimeout(r, 3000, "open"))])).toEqual([1001, "WebSocket disconnected without sending Close frame."]);
});
