// Each trap of ch06 still bites. When a new `worker` mends one, its test fails, and the page gets better.
// T49, T50, T52 and T54 want a client that misbehaves, and some of them reset the isolate: they are in
// tools/outside/tests/ch06.rs, with servers of their own.
import { exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const fetch = (trap: string, headers = {}) =>
  exports.default.fetch(new Request(`http://traps/ch06/${trap}`, { headers }));
const notes = async () => (await (await fetch("notes")).text()).split("\n").filter((line) => line !== "");
const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Opens a socket, and collects what it hears. */
async function open(trap: string) {
  const { webSocket } = await fetch(trap, { Upgrade: "websocket" });
  const socket = webSocket!;
  const heard: unknown[] = [];
  socket.addEventListener("message", ({ data }) => void heard.push(data));
  const closed = new Promise<[number, string]>((done) =>
    socket.addEventListener("close", ({ code, reason }) => done([code, reason])));
  socket.accept();
  return { socket, heard, closed };
}

// proves: trap T47
test("bytes of a binary message are empty, unless the socket was told to use ArrayBuffer", async () => {
  for (const [trap, bytes] of [["bytes", 0], ["array-buffer", 3]] as const) {
    const { socket, heard, closed } = await open(trap);
    socket.send(new Uint8Array([1, 2, 3]));
    await expect.poll(() => heard).toEqual([`Some(${bytes}) bytes`]);
    socket.close(1000);
    await closed;
  }
});

// proves: trap T48
test("a socket that hibernates refuses accept, and its stream of events stays empty", async () => {
  const { socket } = await open("hibernate-then-accept");
  socket.send("hello");
  const seen: string[] = [];
  await expect.poll(async () => (seen.push(...(await notes())), seen)).toHaveLength(3);
  await sleep(300);
  expect([...seen, ...(await notes())]).toEqual(["true", "there is a stream", "the handler heard it"]);
  socket.close(1000);
});

// proves: trap T51
test("what comes before the stream of events is lost, and what comes after it is dropped as well", async () => {
  const ears = "I am all ears";
  const converse = async (trap: string) => {
    const { socket, heard, closed } = await open(trap);
    if (trap === "dropped") await expect.poll(() => heard).toEqual([ears]);
    for (const word of ["one", "two"]) socket.send(word);
    const before = heard.length;
    await expect.poll(() => heard.slice(before), { timeout: 20_000 }).toContain(ears);
    socket.send("three");
    await expect.poll(() => heard).toContain("heard three");
    socket.close(1000);
    await closed;
    return heard.filter((words) => words !== ears);
  };
  expect(await converse("late")).toEqual(["heard three"]);
  expect(await converse("early")).toEqual(["heard one", "heard two", "heard three"]);
  expect(await converse("dropped")).toEqual(["heard one", "heard three"]);
});

// proves: trap T53
test("a client that closes without a code cannot be given its code back", async () => {
  for (const [code, note] of [[undefined, "1005: false"], [1000, "1000: true"], [4000, "4000: true"]] as const) {
    const { socket } = await open("same-code");
    await notes();
    socket.close(code);
    const seen: string[] = [];
    await expect.poll(async () => (seen.push(...(await notes())), seen)).toEqual([note]);
  }
});

// proves: trap T55
test("a reason without a code is left out", async () => {
  const { closed } = await open("reason-only");
  expect(await closed).toEqual([1005, ""]);
});
