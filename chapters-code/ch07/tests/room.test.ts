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

const room = (name: string) => env.ROOMS.getByName(name);
const rows = (name: string, query: string) =>
  runInDurableObject(room(name), (_, state) => state.storage.sql.exec(query).toArray());

test("before his name nobody hears anything, and everybody with no name is anonymous", async () => {
  const ada = await join("door", "Ada");
  const shy = await enter("door");
  ada.say({ message: "Who is there?" });
  await ada.next();
  shy.say({});
  expect((await shy.until(ready)).map((frame) => Object.keys(frame)[0])).toEqual(["joined", "name", "joined", "ready"]);
  const shyer = await join("door", "  ");
  expect(shyer.past.filter((frame) => frame.joined === "anonymous").length).toBe(2);
  expect(await ada.until((frame) => "joined" in frame)).toEqual([{ joined: "anonymous" }]);
});

test("a newcomer hears the last hundred messages, in order", async () => {
  await join("long", "Ada");
  await runInDurableObject(room("long"), (_, { storage }) => storage.sql.exec(
    "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 150) INSERT INTO messages SELECT n, n, 'Ada', 'm' || n, NULL FROM n"));
  const { past } = await join("long", "Bob");
  expect(past.filter((frame) => frame.message).map((frame) => frame.timestamp)).toEqual(Array.from({ length: 100 }, (_, n) => n + 51));
});

test("messages that come at once keep their order and get times of their own", async () => {
  const ada = await join("rush", "Ada");
  for (let n = 0; n < 4; n++) ada.say({ message: `${n}` });
  const said = [await ada.next(), await ada.next(), await ada.next(), await ada.next()];
  expect(said.map((frame) => frame.message)).toEqual(["0", "1", "2", "3"]);
  for (let n = 1; n < 4; n++) expect(said[n].timestamp).toBeGreaterThan(said[n - 1].timestamp);
  // A clock that is put back changes nothing.
  const ahead = Date.now() + 3_600_000;
  await runInDurableObject(room("rush"), (_, { storage }) => storage.sql.exec("INSERT INTO messages VALUES (?, 5, 'Ada', 'later', NULL)", ahead));
  await evictDurableObject(room("rush"));
  const bob = await join("rush", "Bob");
  for (const n of [1, 2]) {
    bob.say({ message: `${n}` });
    expect((await bob.next()).timestamp).toBe(ahead + n);
  }
});

test("a private room has an id that no one else can guess, and wrong ids are refused", async () => {
  const made = await worker("POST", "/api/room");
  expect([made.status, made.headers.get("Access-Control-Allow-Origin")]).toEqual([200, "*"]);
  expect(made.text).toMatch(/^[0-9a-f]{64}$/);
  const ada = await join(made.text, "Ada");
  const bob = await join(made.text, "Bob");
  ada.say({ message: "psst" });
  expect((await bob.next()).message).toBe("psst");
  const headers = { Upgrade: "websocket" };
  for (const id of ["0".repeat(64), env.LIMITERS.idFromName("x").toString()]) {
    expect(await worker("GET", `/api/room/${id}/websocket`, headers)).toMatchObject({ status: 404, text: "no such room: POST /api/room makes an id\n" });
  }
});

test("bad requests get a 4xx and one line that says why", async () => {
  const upgrade = { Upgrade: "websocket" };
  const cases: [string, string, HeadersInit | undefined, number, string][] = [
    ["GET", "/api/room", undefined, 405, "this path takes POST"],
    ["DELETE", "/api/room/tea/websocket", undefined, 405, "this path takes GET, HEAD"],
    ["GET", "/api/room/tea/websocket", undefined, 400, "expected websocket"],
    ["GET", `/api/room/${"x".repeat(33)}/websocket`, upgrade, 404, "Name too long"],
    ["GET", "/api/room//websocket", upgrade, 404, "no such path"],
    ["GET", "/api/rooms", undefined, 404, "no such path"],
    ["GET", "/lab/inside/memory", undefined, 404, "no such path"],
    ["GET", "/lab/websocket/red", undefined, 426, "Upgrade: websocket"],
    ["GET", `/lab/websocket/${"x,".repeat(10)}x`, upgrade, 400, "1 to 10 tags"],
    ["GET", "/websocket", undefined, 426, "expected Upgrade: websocket"],
  ];
  for (const [method, path, headers, status, line] of cases) {
    const answer = await worker(method, path, headers);
    expect([answer.status, answer.text.trim().split("\n").length], path).toEqual([status, 1]);
    expect(answer.text).toContain(line);
  }
});

// proves: api 34, api 35, api 103, api 104, claim room-evicted
test("a room of a hundred is evicted, and nobody notices", async () => {
  const guests: Guest[] = [];
  for (let n = 0; n < 100; n++) guests.push(await join("sleepers", `guest ${n}`));
  const late = await enter("sleepers");
  const tags = () => runInDurableObject(room("sleepers"), (_, state) =>
    state.getWebSockets().map((socket) => [socket.deserializeAttachment(), ...state.getTags(socket)]).sort((a, b) => a[0] - b[0]));
  const before = await tags();
  expect(before.length).toBe(101);
  for (const [id, tag] of before) expect(tag).toBe(`guest-${id}`);
  const memory = await runInDurableObject(room("sleepers"), (instance: any) => { instance.mark = true; });
  expect(memory).toBeUndefined();
  await evictDurableObject(room("sleepers"));
  expect(await runInDurableObject(room("sleepers"), (instance: any) => "mark" in instance)).toBe(false);
  expect(await tags()).toEqual(before);
  for (const guest of guests) guest.heard.length = 0;
  guests[7].say({ message: "good morning" });
  for (const guest of guests) expect(await guest.next()).toMatchObject({ name: "guest 7", message: "good morning" });
  expect(late.heard).toEqual([]);
  late.say({ name: "Late" });
  const past = await late.until(ready);
  expect(past.filter((frame) => frame.joined).map((frame) => frame.joined).sort()).toEqual([...guests.map((_, n) => `guest ${n}`), "Late"].sort());
  guests[99].socket.close(1000, "bye");
  expect(await guests[0].until((frame) => "quit" in frame)).toEqual([{ joined: "Late" }, { quit: "guest 99" }]);
});

test("guests whose sockets are gone are struck out when the room starts", async () => {
  const ada = await join("ghosts", "Ada");
  await runInDurableObject(room("ghosts"), (_, { storage }) => storage.sql.exec("INSERT INTO guests (joined, name) VALUES (1, 'Ghost'), (2, NULL)"));
  await evictDurableObject(room("ghosts"));
  const ghost = await join("ghosts", "Ghost");
  expect(ghost.past).toEqual([{ joined: "Ada" }, { joined: "Ghost" }, { ready: true }]);
  expect((await rows("ghosts", "SELECT name FROM guests ORDER BY id")).map((row) => row.name)).toEqual(["Ada", "Ghost"]);
  expect(await ada.next()).toEqual({ joined: "Ghost" });
});

// proves: api 37, api 40, claim ping-asleep
test("the runtime answers pings, and the room sleeps on", async () => {
  const ada = await join("ping", "Ada");
  await evictDurableObject(room("ping"));
  ada.say("ping");
  expect(await ada.next()).toEqual({ pong: true });
  // Had the constructor run, it would have struck this one out.
  const ghosts = "SELECT count(*) AS n FROM guests WHERE name = 'Ghost'";
  await runInDurableObject(room("ping"), (instance: any, { storage }) => {
    instance.mark = true;
    storage.sql.exec("INSERT INTO guests (joined, name) VALUES (1, 'Ghost')");
  });
  ada.say("ping");
  expect(await ada.next()).toEqual({ pong: true });
  expect(await rows("ping", ghosts)).toEqual([{ n: 1 }]);
});

// proves: claim resume
test("a client that says the last time it saw misses nothing and sees nothing twice", async () => {
  const ada = await join("resume", "Ada");
  const bob = await join("resume", "Bob", { key: "b" });
  ada.say({ message: "one" });
  const one = await bob.until((frame) => frame.message === "one");
  const since = one.at(-1)!.timestamp;
  bob.socket.close(1000, "bye");
  await ada.until((frame) => frame.quit === "Bob");
  ada.say({ message: "two" });
  ada.say({ message: "three" });
  await ada.until((frame) => frame.message === "three");
  const again = await join("resume", "Bob", { since, key: "b" });
  expect(again.past.map((frame) => frame.message ?? Object.keys(frame)[0])).toEqual(["joined", "two", "three", "joined", "ready"]);
  expect((await join("resume", "Cleo", { since: again.past[2].timestamp })).past.some((frame) => frame.message)).toBe(false);
});

test("the back-log comes in one frame to a client that can unpack it", async () => {
  const ada = await join("batch", "Ada");
  for (const message of ["one", "two"]) ada.say({ message });
  await ada.until((frame) => frame.message === "two");
  const { past } = await join("batch", "Bob", { batch: true });
  expect(past.length).toBe(3);
  expect(past[0].batch.map((frame: Frame) => frame.message ?? frame.joined)).toEqual(["Ada", "one", "two"]);
  expect(past.slice(1)).toEqual([{ joined: "Bob" }, { ready: true }]);
});

// proves: claim said-once
test("a message that is sent twice under one id is said once", async () => {
  const ada = await join("once", "Ada", { key: "a" });
  const bob = await join("once", "Bob");
  await ada.next();
  ada.say({ message: "hello", id: "a-1" });
  const said = await ada.next();
  expect(said).toMatchObject({ name: "Ada", message: "hello", id: "a-1" });
  expect(await bob.next()).toEqual(said);
  // The line breaks before the echo has come; or so the client believes.
  const again = await join("once", "Ada", { key: "a", since: said.timestamp });
  await evictDurableObject(room("once"));
  again.say({ message: "hello", id: "a-1" });
  expect(await again.next()).toEqual(said);
  again.say({ message: "next", id: "a-2" });
  expect(await bob.next()).toMatchObject({ message: "next" });
  expect(await rows("once", "SELECT id FROM messages")).toEqual([{ id: "a-1" }, { id: "a-2" }]);
  // The same id from somebody else is another message.
  bob.say({ message: "mine", id: "a-1" });
  expect(await bob.next()).toMatchObject({ name: "Bob", message: "mine" });
});

test("who comes again with his key takes over, and nobody hears him go", async () => {
  const bob = await join("twice", "Bob");
  const ada = await join("twice", "Ada", { key: "secret" });
  await bob.until((frame) => frame.joined === "Ada");
  const again = await join("twice", "Ada", { key: "secret" });
  expect(await ada.closed()).toEqual([4000, "opened elsewhere"]);
  expect(again.past).toEqual([{ joined: "Bob" }, { joined: "Ada" }, { ready: true }]);
  again.say({ message: "me again" });
  expect(await bob.next()).toMatchObject({ name: "Ada", message: "me again" });
  expect(await rows("twice", "SELECT name FROM guests ORDER BY id")).toEqual([{ name: "Bob" }, { name: "Ada" }]);
  for (const key of [undefined, "guess"]) {
    const thief = await enter("twice");
    thief.say({ name: "Ada", key });
    expect(await thief.next()).toEqual({ error: "Name is taken." });
    expect(await thief.closed()).toEqual([1008, "name is taken"]);
  }
  const keyless = await enter("twice");
  keyless.say({ name: "Bob", key: "new" });
  expect(await keyless.closed()).toEqual([1008, "name is taken"]);
});

test("what cannot be understood gets a sentence, and nothing else happens", async () => {
  const say = `A message looks like {"message":"Hello"}`;
  const begin = `Begin with your name: {"name":"Ada"}`;
  const mark = "A key, and the id of a message, is 1 to 64 characters long.";
  const atTheDoor: [unknown, string][] = [
    ["Ada", begin], ["", begin], ["[]", begin], ["null", begin], [{ name: 7 }, begin], [{ name: "A", since: "x" }, begin],
    [{ name: "A", since: -1 }, begin], [{ name: "A", since: 2 ** 53 }, begin], [{ name: "A", key: "" }, mark],
    [{ name: "A", key: "k".repeat(65) }, mark], [{ name: "A\nB" }, "A name has no line breaks or other control characters."],
  ];
  const stranger = await enter("odd");
  for (const [words, error] of atTheDoor) {
    stranger.say(words);
    expect(await stranger.next(), JSON.stringify(words)).toEqual({ error });
  }
  const ada = await join("odd", "ä".repeat(32));
  const inside: [unknown, string][] = [
    ["hello", say], [{}, say], [{ message: 7 }, say], [{ name: "Ada" }, say], [[1], say],
    [{ message: "x".repeat(257) }, "Message too long."], [{ message: "x", id: "" }, mark], [{ message: "x", id: "i".repeat(65) }, mark],
  ];
  for (const [words, error] of inside) {
    ada.say(words);
    expect(await ada.next(), JSON.stringify(words)).toEqual({ error });
  }
  expect(await rows("odd", "SELECT * FROM messages")).toEqual([]);
  ada.say({ message: "ä".repeat(256) });
  expect((await ada.next()).message).toBe("ä".repeat(256));
});

test("what cannot be mended closes the socket, with a code that says why", async () => {
  const ada = await join("shut", "Ada");
  const cases: [(guest: Guest) => void, string, number][] = [
    [(guest) => guest.say({ name: "x".repeat(33) }), "Name too long.", 1009],
    [(guest) => guest.say({ name: "Ada" }), "Name is taken.", 1008],
    [(guest) => guest.socket.send(new Uint8Array([1, 2])), "Text only, please.", 1003],
    [(guest) => guest.say(`{"name":"${"x".repeat(8192)}"}`), "At most 8192 bytes at once, please.", 1009],
  ];
  for (const [act, error, code] of cases) {
    const guest = await enter("shut");
    act(guest);
    expect(await guest.next()).toEqual({ error });
    expect((await guest.closed())[0]).toBe(code);
  }
  const pest = await join("shut", "Pest");
  for (let n = 0; n < 200; n++) pest.say("nonsense");
  expect(await pest.closed()).toEqual([1008, "too many messages"]);
  expect(pest.heard.length).toBe(50);
  expect(await ada.until((frame) => "quit" in frame)).toEqual([{ joined: "Pest" }, { quit: "Pest" }]);
  expect(await rows("shut", "SELECT name FROM guests")).toEqual([{ name: "Ada" }]);
});

// proves: api 6
test("a close is answered with its own code", async () => {
  const ada = await join("bye", "Ada");
  for (const [code, back] of [[1000, 1000], [4321, 4321], [undefined, 1005]] as const) {
    const bob = await join("bye", "Bob");
    if (code) bob.socket.close(code, "bye"); else bob.socket.close();
    expect((await bob.closed())[0]).toBe(back);
    expect((await ada.until((frame) => "quit" in frame)).at(-1)).toEqual({ quit: "Bob" });
  }
});

// proves: api 7
test("a socket that breaks is a guest who leaves", async () => {
  const ada = await join("broken", "Ada");
  const bob = await join("broken", "Bob");
  await ada.next();
  await runInDurableObject(room("broken"), async (instance: any, state) => {
    const [socket] = state.getWebSockets("guest-2");
    await instance.webSocketError(socket, new Error("the line broke"));
    await instance.webSocketClose(socket, 1006, "", false);
  });
  expect(await ada.next()).toEqual({ quit: "Bob" });
  await bob.closed();
  const cleo = await join("broken", "Cleo");
  expect(cleo.past[0]).toEqual({ joined: "Ada" });
  expect(await ada.next()).toEqual({ joined: "Cleo" });
});

test("an address that talks too much has to wait, in every room", async () => {
  const ada = await join("fast", "Ada", {}, "10.9.9.9");
  const bob = await join("fast", "Bob", {}, "10.9.9.8");
  let taken = 0;
  const limited = async (guest: Guest) => {
    for (let n = 0; n < 20; n++) {
      guest.say({ message: `${n}`, id: `id-${n}` });
      const [answer] = (await guest.until((frame) => frame.id === `id-${n}`)).slice(-1);
      if (answer.error) return answer;
      taken += 1;
    }
  };
  const error = { error: "Your IP is being rate-limited, please try again later.", id: expect.any(String) };
  expect(await limited(ada)).toEqual(error);
  // Twenty seconds of grace are four messages, and the fifth has to be paid for.
  expect(taken).toBeGreaterThanOrEqual(5);
  expect(taken).toBeLessThan(9);
  const elsewhere = await join("other", "Ada", {}, "10.9.9.9");
  taken = 0;
  expect(await limited(elsewhere)).toEqual(error);
  expect(taken).toBeLessThan(5);
  bob.say({ message: "I may" });
  expect((await bob.until((frame) => frame.name === "Bob")).at(-1)!.message).toBe("I may");
});

test("a limiter that is broken silences nobody", async () => {
  await runInDurableObject(env.LIMITERS.getByName("10.9.9.7"), (instance: any) => { instance.fetch = () => { throw new Error("broken"); }; });
  const ada = await join("open", "Ada", {}, "10.9.9.7");
  for (let n = 0; n < 12; n++) {
    ada.say({ message: `${n}` });
    expect(await ada.next()).toMatchObject({ message: `${n}` });
    await new Promise((done) => setTimeout(done, 50));
  }
});

test("who does not say his name is shown out when the alarm rings", async () => {
  const shy = await enter("shy");
  const ada = await join("shy", "Ada");
  expect(await runInDurableObject(room("shy"), (_, state) => state.storage.getAlarm())).toBeGreaterThan(Date.now() + 20_000);
  await runInDurableObject(room("shy"), (_, { storage }) => storage.sql.exec("UPDATE guests SET joined = joined - 30000"));
  await evictDurableObject(room("shy"));
  expect(await runDurableObjectAlarm(room("shy"))).toBe(true);
  expect(await shy.closed()).toEqual([1008, "say your name"]);
  expect(await rows("shy", "SELECT name FROM guests")).toEqual([{ name: "Ada" }]);
  // He had no name, so nobody hears that he is gone.
  ada.say({ message: "well?" });
  expect(await ada.next()).toMatchObject({ message: "well?" });
  // Ada may still turn out to be one who pings, so there is another look to come; and then no more.
  expect(await runInDurableObject(room("shy"), (_, state) => state.storage.getAlarm())).toBeGreaterThan(Date.now() + 20_000);
  await runInDurableObject(room("shy"), (_, { storage }) => storage.sql.exec("UPDATE guests SET joined = joined - 60000"));
  await evictDurableObject(room("shy"));
  expect(await runDurableObjectAlarm(room("shy"))).toBe(true);
  expect(await runInDurableObject(room("shy"), (_, state) => state.storage.getAlarm())).toBeNull();
});

test("a newcomer does not move the alarm away from somebody who came before", async () => {
  const alarm = () => runInDurableObject(room("clock"), (_, state) => state.storage.getAlarm());
  await enter("clock");
  const first = await alarm();
  expect(first).toBeGreaterThan(Date.now());
  for (const asleep of [false, true]) {
    if (asleep) await evictDurableObject(room("clock"));
    await new Promise((done) => setTimeout(done, 20));
    await enter("clock");
    expect(await alarm()).toBe(first);
  }
});

test("the number of a guest is never given twice", async () => {
  const ada = await join("numbers", "Ada");
  ada.socket.close(1000, "bye");
  await ada.closed();
  await expect.poll(() => rows("numbers", "SELECT id FROM guests"), { timeout: 10_000 }).toEqual([]);
  await evictDurableObject(room("numbers"));
  await join("numbers", "Bob");
  expect(await rows("numbers", "SELECT id, name FROM guests")).toEqual([{ id: 2, name: "Bob" }]);
});

test("who used to ping and does no more is half open, and closed", async () => {
  const ada = await join("half", "Ada");
  const bob = await join("half", "Bob");
  await ada.next();
  bob.say("ping");
  await bob.next();
  await runDurableObjectAlarm(room("half"));
  expect(await runInDurableObject(room("half"), (_, state) => state.storage.getAlarm())).toBeLessThanOrEqual(Date.now() + 90_000);
  await runInDurableObject(room("half"), (_, state: any) => {
    const truth = state.getWebSocketAutoResponseTimestamp.bind(state);
    state.getWebSocketAutoResponseTimestamp = (socket: WebSocket) => truth(socket) && new Date(truth(socket).getTime() - 90_000);
  });
  await runDurableObjectAlarm(room("half"));
  expect(await bob.closed()).toEqual([1001, "no ping for 90 seconds"]);
  expect(await ada.next()).toEqual({ quit: "Bob" });
});

test("the alarm trims what is too much, and who has missed it is told", async () => {
  const ada = await join("trim", "Ada");
  await runInDurableObject(room("trim"), (_, { storage }) => storage.sql.exec(
    "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10050) INSERT INTO messages SELECT n, n, 'Ada', 'm' || n, NULL FROM n"));
  await evictDurableObject(room("trim"));
  ada.say({ message: "one too many" });
  await ada.next();
  await expect.poll(() => runInDurableObject(room("trim"), (_, state) => state.storage.getAlarm()), { timeout: 10_000 }).not.toBeNull();
  expect(await runDurableObjectAlarm(room("trim"))).toBe(true);
  const kept = await rows("trim", "SELECT count(*) AS n, min(timestamp) AS first, max(number) AS last FROM messages");
  expect(kept).toEqual([{ n: 10_000, first: 52, last: 10_051 }]);
  const resume = async (since: number) => (await join("trim", `${since}`, { since, batch: true })).past.flatMap((frame) => frame.batch ?? []).filter((frame) => !frame.joined);
  expect((await resume(50)).slice(0, 2)).toEqual([{ gap: true }, { name: "Ada", message: "m52", timestamp: 52 }]);
  const whole = await resume(51);
  expect([whole.length, whole[0].timestamp]).toEqual([10_000, 52]);
  expect((await resume(10_049)).map((frame) => frame.message)).toEqual(["m10050", "one too many"]);
});

test("one guest too many hears that the room is full", async () => {
  const guests: Guest[] = [];
  for (let n = 0; n < 2000; n++) guests.push(await enter("full"));
  const late = await enter("full");
  expect(await late.next()).toEqual({ error: "The room is full: 2000 are in it. Please try again later." });
  expect(await late.closed()).toEqual([1013, "the room is full"]);
  guests[0].socket.close(1000, "bye");
  await guests[0].closed();
  expect((await join("full", "Ada")).past.at(-1)).toEqual({ ready: true });
}, 60_000);
