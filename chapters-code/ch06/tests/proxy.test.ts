// ch06 in the runtime: a Worker in between.
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { binary, frame, open } from "./client";

test("through the proxy one is in the same room", async () => {
  const [near, far, frames] = [await open("/ws/proxied"), await open("/proxy/proxied"), await open("/proxy/proxied", binary)];
  expect(frames.protocol).toBe("counter.v1");
  expect([await near.next(), await far.next(), await frames.next()]).toEqual(["new value: 0", "new value: 0", [1, 0, 0]]);
  far.socket.send("increment");
  expect([await near.next(), await far.next(), await frames.next()]).toEqual(["new value: 1", "new value: 1", [1, 0, 2]]);
  frames.socket.send(frame(1, 1));
  expect([await near.next(), await far.next(), await frames.next()]).toEqual(["new value: 0", "new value: 0", [1, 0, 0]]);
});

test("a close goes through the proxy, and the room has a place again", async () => {
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

test("when the object goes, the proxy tells the client", async () => {
  const far = await open("/proxy/gone");
  await far.next();
  await runInDurableObject(env.ROOMS.getByName("gone"), (_, state) => state.abort("reset by the test")).catch(() => {});
  expect(await Promise.race([far.closed, new Promise((r) => setTimeout(r, 3000, "open"))])).toEqual([1001, "the other side is gone"]);
});
