// ch05 in the runtime: the built Worker inside workerd, with a look inside its objects.
//
// `runDurableObjectAlarm` rings an alarm at once. It calls the handler with no `alarmInfo`, and does not try again:
// what depends on that is tested from outside.
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = (method: string, path: string, body?: BodyInit, headers?: HeadersInit) =>
  exports.default.fetch(new Request(`http://village${path}`, { method, body, headers }));
const text = async (method: string, path: string, body?: BodyInit, headers?: HeadersInit) =>
  (await worker(method, path, body, headers)).text();
const json = async (method: string, path: string, body?: BodyInit) => JSON.parse(await text(method, path, body));
const timer = (name: string, id: string, timer: object) => json("PUT", `/schedules/${name}/${id}`, JSON.stringify(timer));
const letters = (name: string) => json("GET", `/mailboxes/${name}`);
const bodies = async (name: string) => (await letters(name)).map((letter: any) => letter.body);
const alarm = (stub: DurableObjectStub) => runInDurableObject(stub, (_, state) => state.storage.getAlarm());
const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
const until = async (what: () => Promise<boolean>) => {
  for (let i = 0; i < 100; i++) if (await what()) return;
    else await sleep(50);
  throw new Error("it did not come to that");
};

const guest = (name: string) => env.GUESTS.getByName(name);
const batcher = (name: string) => env.BATCHERS.getByName(name);
const scheduler = (name: string) => env.SCHEDULERS.getByName(name);

// ---- Guest

// proves: api 3, api 86
test("a guest is forgotten when the alarm rings", async () => {
  expect(await text("POST", "/guests/ada")).toBe("visit 1\n");
  expect(await text("POST", "/guests/ada")).toBe("visit 2\n");
  expect((await json("GET", "/guests/ada")).visits).toBe(2);
  expect(await runDurableObjectAlarm(guest("ada"))).toBe(true);
  expect(await json("GET", "/guests/ada")).toEqual({ visits: 0, forgotten_in_ms: null });
  expect(await runInDurableObject(guest("ada"), async (_, state) => (await state.storage.list()).size)).toBe(0);
});

// proves: api 85
test("every visit pushes the end ahead", async () => {
  await text("POST", "/guests/eva");
  const first = (await alarm(guest("eva")))!;
  await sleep(50);
  await text("POST", "/guests/eva");
  const second = (await alarm(guest("eva")))!;
  expect(second - first).toBeGreaterThanOrEqual(50);
  expect((await json("GET", "/guests/eva")).forgotten_in_ms).toBeGreaterThan(4_000);
  await sleep(50);
  await text("PUT", "/guests/eva/wave");
  expect((await alarm(guest("eva")))! - second).toBeGreaterThanOrEqual(50);
  expect((await json("GET", "/guests/eva")).visits).toBe(2);
});

// proves: api 87
test("an alarm that is deleted does not ring", async () => {
  await text("POST", "/guests/uma");
  expect(await text("PUT", "/guests/uma/stay")).toBe("stays\n");
  expect(await runDurableObjectAlarm(guest("uma"))).toBe(false);
  expect(await json("GET", "/guests/uma")).toEqual({ visits: 1, forgotten_in_ms: null });
});

test("delete_all takes the alarm along", async () => {
  await text("POST", "/guests/ida");
  expect(await alarm(guest("ida"))).not.toBeNull();
  expect(await text("DELETE", "/guests/ida")).toBe("forgotten\n");
  expect(await alarm(guest("ida"))).toBeNull();
});

// proves: api 88
test("the options arrive under the names that the runtime reads", async () => {
  await text("POST", "/guests/otto");
  // What the runtime itself reads from its options ...
  const read: string[] = [];
  await runInDurableObject(guest("otto"), async (_, state) => {
    const options = new Proxy({}, { get: (_, name) => void read.push(String(name)) });
    await state.storage.setAlarm(Date.now() + 9_000, options);
    await state.storage.getAlarm(options);
  });
  expect(read).toContain("allowConcurrency");
  expect(read).toContain("allowUnconfirmed");
  read.length = 0;
  await runInDurableObject(guest("otto"), async (_, state) => {
    await state.storage.deleteAlarm(new Proxy({}, { get: (_, name) => void read.push(String(name)) }));
  });
  expect(read).toContain("allowConcurrency");
  expect(read).toContain("allowUnconfirmed");
  // ... and what the object sends.
  const sent: unknown[] = [];
  await runInDurableObject(guest("otto"), async (object, state) => {
    const storage = state.storage as any;
    const { getAlarm, setAlarm } = storage;
    storage.getAlarm = (options: unknown) => (sent.push(options), getAlarm.call(storage, options));
    storage.setAlarm = (at: number, options: unknown) => (sent.push(options), setAlarm.call(storage, at, options));
    await (await object.fetch!(new Request("http://village/wave", { method: "PUT" }))).text();
    await (await object.fetch!(new Request("http://village/"))).text();
    Object.assign(storage, { getAlarm, setAlarm });
  });
  expect(sent).toEqual([
    { allowConcurrency: false, allowUnconfirmed: true },
    { allowConcurrency: true, allowUnconfirmed: false },
  ]);
});

// ---- Batcher

test("a batch is posted in one letter, in order", async () => {
  const items = Array.from({ length: 12 }, (_, n) => `item ${n + 1}`);
  for (const [n, item] of items.entries()) expect(await json("POST", "/batches/shop", item)).toEqual({ queued: n + 1 });
  expect(await runDurableObjectAlarm(batcher("shop"))).toBe(true);
  expect(await letters("shop")).toEqual([{ letter: 1, came: 1, key: "batch/shop/1-12", body: JSON.stringify(items) }]);
  expect(await json("GET", "/batches/shop")).toEqual({ queued: 0, posted: 12, tries: 0, alarm: null });
});

test("the alarm is set with the first item and not pushed ahead by the next", async () => {
  await json("POST", "/batches/steady", "one");
  const at = await alarm(batcher("steady"));
  await sleep(50);
  await json("POST", "/batches/steady", "two");
  expect(await alarm(batcher("steady"))).toBe(at);
});

test("many items at once are all queued", async () => {
  await Promise.all(Array.from({ length: 250 }, (_, n) => json("POST", "/batches/crowd", `${n}`)));
  expect((await json("GET", "/batches/crowd")).queued).toBe(250);
  await runDurableObjectAlarm(batcher("crowd"));
  await until(async () => (await json("GET", "/batches/crowd")).queued === 0);
  const posted = (await bodies("crowd")).map((body: string) => JSON.parse(body));
  expect(posted.map((batch: string[]) => batch.length)).toEqual([100, 100, 50]);
  expect(new Set(posted.flat()).size).toBe(250);
});

// proves: claim batch-sealed
test("what is queued after a failed post is in the next batch", async () => {
  await json("POST", "/batches/late", "early");
  await text("POST", "/mailboxes/late/mute", "1");
  await expect(runDurableObjectAlarm(batcher("late"))).rejects.toThrow("503");
  await json("POST", "/batches/late", "late");
  await runInDurableObject(batcher("late"), (_, state) => state.storage.setAlarm(Date.now() + 60_000));
  await runDurableObjectAlarm(batcher("late"));
  await until(async () => (await json("GET", "/batches/late")).queued === 0);
  expect((await letters("late")).map(({ came, key, body }: any) => [came, key, body])).toEqual([
    [2, "batch/late/1-1", '["early"]'],
    [1, "batch/late/2-2", '["late"]'],
  ]);
});

test("what is queued while a batch is posted is not lost", async () => {
  const items = Array.from({ length: 100 }, (_, n) => `${n}`);
  await json("POST", "/batches/busy", "first");
  const ring = runDurableObjectAlarm(batcher("busy"));
  await Promise.all(items.map((item) => json("POST", "/batches/busy", item)));
  await ring;
  while ((await json("GET", "/batches/busy")).queued > 0) await runDurableObjectAlarm(batcher("busy"));
  const posted = (await bodies("busy")).flatMap((body: string) => JSON.parse(body));
  expect(posted.sort()).toEqual(["first", ...items].sort());
});

test("numbers go on when the queue is empty, so no key comes twice", async () => {
  for (const item of ["one", "two"]) {
    await json("POST", "/batches/again", item);
    await runDurableObjectAlarm(batcher("again"));
  }
  expect((await letters("again")).map(({ key }: any) => key)).toEqual(["batch/again/1-1", "batch/again/2-2"]);
});

// proves: api 4
test("alarmInfo tells which try it is, and the last one gives up nothing", async () => {
  await json("POST", "/batches/stuck", "one");
  await text("POST", "/mailboxes/stuck/closed", "2");
  const ring = (info: object) => runInDurableObject(batcher("stuck"), async (object: any, state) => {
    await state.storage.deleteAlarm();
    const outcome = await object.alarm(info).then(() => "ok", String);
    return [outcome, await state.storage.getAlarm()] as const;
  });
  const [early, unset] = await ring({ retryCount: 5, isRetry: true, scheduledTime: Date.now() });
  expect(early).toContain("503, the mailbox is closed");
  expect(unset).toBeNull();
  const [last, again] = await ring({ retryCount: 6, isRetry: true, scheduledTime: Date.now() });
  expect(last).toBe("ok");
  expect(again! - Date.now()).toBeGreaterThan(10_000);
  expect(await json("GET", "/batches/stuck")).toEqual({ queued: 1, posted: 0, tries: 2, alarm: again });
  await runDurableObjectAlarm(batcher("stuck"));
  expect(await bodies("stuck")).toEqual(['["one"]']);
});

test("a full queue says so and takes nothing", async () => {
  await json("POST", "/batches/full", "one");
  await runInDurableObject(batcher("full"), (_, state) =>
    state.storage.put("book", { last: 10_000, sealed: 0, sent: 0, tries: 0 }));
  const answer = await worker("POST", "/batches/full", "more");
  expect([answer.status, await answer.text()]).toEqual([
    429,
    "the queue holds 10000 items; try again when it has been posted\n",
  ]);
  expect((await json("GET", "/batches/full")).queued).toBe(10_000);
  await runInDurableObject(batcher("full"), (_, state) => state.storage.deleteAll());
});

// proves: claim evicted-delivered
test("what was queued and set is delivered after an eviction", async () => {
  await json("POST", "/batches/away", "bread");
  await timer("away", "tea", { in: 700, say: "tea" });
  await runInDurableObject(batcher("away"), (_, state) => state.storage.setAlarm(Date.now() + 700));
  await evictDurableObject(batcher("away"));
  await evictDurableObject(scheduler("away"));
  await until(async () => (await letters("away")).length === 2);
  expect((await bodies("away")).sort()).toEqual(['["bread"]', "tea"]);
  expect((await json("GET", "/schedules/away")).timers).toEqual([]);
});

// ---- Scheduler

test("one alarm serves many timers, the soonest first", async () => {
  await timer("day", "noon", { in: 900, say: "noon" });
  await timer("day", "dawn", { in: 300, say: "dawn" });
  await timer("day", "never", { in: 500, say: "never" });
  await timer("day", "night", { in: 60_000, say: "night" });
  const { alarm, timers } = await json("GET", "/schedules/day");
  expect(timers.map(({ id }: any) => id)).toEqual(["dawn", "never", "noon", "night"]);
  expect(alarm).toBe(timers[0].due);
  expect(await text("DELETE", "/schedules/day/never")).toBe("cancelled\n");
  await until(async () => (await letters("day")).length === 2);
  expect(await bodies("day")).toEqual(["dawn", "noon"]);
  const left = await json("GET", "/schedules/day");
  expect(left.timers.map(({ id }: any) => id)).toEqual(["night"]);
  expect(left.alarm).toBe(left.timers[0].due);
  await text("DELETE", "/schedules/day/night");
  expect(await json("GET", "/schedules/day")).toEqual({ alarm: null, timers: [] });
});

test("a time of the clock is taken as it is, and one that is over rings at once", async () => {
  const at = Date.now() + 3_600_000;
  await timer("clock", "later", { at, say: "later" });
  expect(await alarm(scheduler("clock"))).toBe(at);
  await timer("clock", "over", { at: Date.now() - 5_000, say: "over" });
  await until(async () => (await letters("clock")).length === 1);
  expect(await bodies("clock")).toEqual(["over"]);
  expect(await alarm(scheduler("clock"))).toBe(at);
});

test("a timer that is set anew takes the place of the old one, under a new key", async () => {
  await timer("anew", "tea", { in: 60_000, say: "tea" });
  await timer("anew", "tea", { in: 0, say: "green tea" });
  await until(async () => (await letters("anew")).length === 1);
  await timer("anew", "tea", { in: 0, say: "black tea" });
  await until(async () => (await letters("anew")).length === 2);
  expect(await bodies("anew")).toEqual(["green tea", "black tea"]);
  const keys = (await letters("anew")).map(({ key }: any) => key.split("/")[2]);
  expect(keys).toEqual(["2", "3"]);
});

// proves: claim missed-turns
test("a repeating timer that missed a hundred turns rings once and keeps its rhythm", async () => {
  const { due } = await timer("sleepy", "tick", { in: 60_000, every: 60_000, say: "tick" });
  const first = due - 101 * 60_000;
  await runInDurableObject(scheduler("sleepy"), (_, state) =>
    state.storage.sql.exec("UPDATE timers SET due = ?1, next = ?1", first));
  await runDurableObjectAlarm(scheduler("sleepy"));
  expect(await letters("sleepy")).toEqual([{ letter: 1, came: 1, key: `timer/sleepy/1/${first}`, body: "tick" }]);
  const { alarm, timers } = await json("GET", "/schedules/sleepy");
  expect([alarm, timers[0].due, timers[0].next]).toEqual([due, due, due]);
});

test("a timer that fails does not hold up the others", async () => {
  await text("POST", "/mailboxes/two/closed", "1");
  await timer("two", "first", { in: 60_000, say: "first" });
  await timer("two", "second", { in: 60_000, say: "second" });
  await runInDurableObject(scheduler("two"), (_, state) => state.storage.sql.exec("UPDATE timers SET due = 1000, next = 1000"));
  await runDurableObjectAlarm(scheduler("two"));
  expect(await bodies("two")).toEqual(["second"]);
  const { timers } = await json("GET", "/schedules/two");
  expect(timers.map(({ id, due, tries }: any) => [id, due, tries])).toEqual([["first", 1000, 1]]);
  await until(async () => (await letters("two")).length === 2);
  expect((await letters("two"))[1].key).toBe("timer/two/1/1000");
});

// proves: claim dead-letters
test("a timer that failed five times is dead and not forgotten", async () => {
  await text("POST", "/mailboxes/dead/closed", "10");
  await timer("dead", "once", { in: 60_000, say: "once" });
  await timer("dead", "often", { in: 60_000, every: 3_600_000, say: "often" });
  for (let i = 0; i < 5; i++) {
    await runInDurableObject(scheduler("dead"), (_, state) => state.storage.sql.exec("UPDATE timers SET next = 1000"));
    await runDurableObjectAlarm(scheduler("dead"));
  }
  const { alarm, timers } = await json("GET", "/schedules/dead");
  expect(timers.map(({ id, tries, next }: any) => [id, tries, next === null])).toEqual([["often", 0, false], ["once", 5, true]]);
  expect(alarm).toBe(timers[0].due);
  expect(await letters("dead")).toEqual([]);
  expect(await text("DELETE", "/schedules/dead/once")).toBe("cancelled\n");
});

// proves: claim alarm-lost
test("an alarm that was lost comes back with the next who asks", async () => {
  const { due } = await timer("lost", "tea", { in: 60_000, say: "tea" });
  await runInDurableObject(scheduler("lost"), (_, state) => state.storage.deleteAlarm());
  await evictDurableObject(scheduler("lost"));
  expect((await json("GET", "/schedules/lost")).alarm).toBe(due);
});

test("a schedule holds a thousand timers", async () => {
  await timer("full", "tea", { in: 60_000, say: "tea" });
  await runInDurableObject(scheduler("full"), (_, state) => {
    for (let n = 1; n < 1_000; n++) {
      state.storage.sql.exec("INSERT INTO timers (id, due, next, say) VALUES (?1, ?2, ?2, '')", `t${n}`, Date.now() + 3_600_000);
    }
  });
  const answer = await worker("PUT", "/schedules/full/more", '{"in": 1, "say": "more"}');
  expect([answer.status, await answer.text()]).toEqual([409, "a schedule holds 1000 timers; cancel one first\n"]);
  expect((await worker("PUT", "/schedules/full/tea", '{"in": 60000, "say": "tea"}')).status).toBe(201);
  expect((await json("GET", "/schedules/full")).timers.length).toBe(1_000);
});

// ---- Mailbox

test("a mailbox that is full takes no letter, and still knows those that it has", async () => {
  const post = (key: string) => worker("POST", "/mailboxes/full", "tea", { "Idempotency-Key": key });
  expect(await (await post("first")).text()).toBe("kept\n");
  await runInDurableObject(env.MAILBOXES.getByName("full"), (_, state) => {
    state.storage.sql.exec(`WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
      INSERT INTO letters (key, body, came) SELECT 'k' || i, '', 1 FROM n`);
  });
  const answer = await post("late");
  expect([answer.status, await answer.text()]).toEqual([507, "the mailbox holds 10000 letters and is full\n"]);
  expect(await (await post("first")).text()).toBe("had it already\n");
  expect(await json("GET", "/mailboxes/full/after/10000")).toEqual([]);
});

test("a letter is kept once under its key", async () => {
  const post = (key: string, body: string) => worker("POST", "/mailboxes/door", body, { "Idempotency-Key": key });
  const say = async (key: string, body: string) => {
    const answer = await post(key, body);
    return [answer.status, await answer.text()];
  };
  expect(await say("a", "hello")).toEqual([201, "kept\n"]);
  expect(await say("a", "hello")).toEqual([200, "had it already\n"]);
  expect(await say("a", "goodbye")).toEqual([422, "that key has come with another letter before; take a new one\n"]);
  await text("POST", "/mailboxes/door/mute", "1");
  expect((await say("b", "hello"))[0]).toBe(503);
  await text("POST", "/mailboxes/door/closed", "1");
  expect((await say("c", "hello"))[0]).toBe(503);
  expect((await letters("door")).map(({ came, key }: any) => [came, key])).toEqual([[2, "outside/a"], [1, "outside/b"]]);
  for (let n = 0; n < 25; n++) await say(`n${n}`, "");
  expect((await letters("door")).length).toBe(20);
  expect((await json("GET", "/mailboxes/door/after/20")).length).toBe(7);
});

test("bad requests get a 4xx and one line that says why", async () => {
  await timer("still", "tea", { in: 60_000, say: "tea" });
  const wish = (timer: object) => JSON.stringify({ say: "tea", ...timer });
  const long = 367 * 24 * 3_600_000;
  const shape = 'a timer is {"in": 1500, "say": "text"}';
  const cases: [string, string, BodyInit | undefined, number, string][] = [
    ["GET", "/nowhere", undefined, 404, "no such path"],
    ["PATCH", "/guests/ada", undefined, 405, "this path takes GET, HEAD, POST, DELETE"],
    ["GET", "/schedules/still/tea", undefined, 405, "this path takes PUT, DELETE"],
    ["POST", "/guests/", undefined, 400, "a name is 1 to 64"],
    ["POST", `/guests/${"x".repeat(65)}`, undefined, 400, "a name is 1 to 64"],
    ["POST", `/guests/${"x".repeat(512)}`, undefined, 400, "a name is 1 to 64"],
    ["POST", `/batches/${"x".repeat(10_000)}`, "item", 400, "a name is 1 to 64"],
    ["POST", "/batches/%00", "item", 400, "a name is 1 to 64"],
    ["POST", "/batches/дом", "item", 400, "a name is 1 to 64"],
    ["PUT", "/schedules/still/%2e%2e%2fx", wish({ in: 1 }), 400, "a name is 1 to 64"],
    ["POST", "/batches/still", new Uint8Array([0xff, 0xfe]), 400, "a body is text in UTF-8"],
    ["POST", "/batches/still", "x".repeat(1_025), 413, "at most 1024 bytes"],
    ["POST", "/batches/still", "x".repeat(10_000_000), 413, "at most 1024 bytes"],
    ["PUT", "/schedules/still/x", undefined, 400, shape],
    ["PUT", "/schedules/still/x", "tea", 400, shape],
    ["PUT", "/schedules/still/x", "[]", 400, shape],
    ["PUT", "/schedules/still/x", wish({}), 400, shape],
    ["PUT", "/schedules/still/x", wish({ in: "soon" }), 400, shape],
    ["PUT", "/schedules/still/x", wish({ in: -1 }), 400, shape],
    ["PUT", "/schedules/still/x", '{"in": NaN, "say": "tea"}', 400, shape],
    ["PUT", "/schedules/still/x", wish({ in: 1, at: 1 }), 400, shape],
    ["PUT", "/schedules/still/x", "x".repeat(10_000_000), 413, "at most 1024 bytes"],
    ["PUT", "/schedules/still/x", wish({ at: Date.now() - 3_600_000 }), 400, "from now to 366 days ahead"],
    ["PUT", "/schedules/still/x", wish({ at: Date.now() + long }), 400, "from now to 366 days ahead"],
    ["PUT", "/schedules/still/x", wish({ in: long }), 400, "from now to 366 days ahead"],
    ["PUT", "/schedules/still/x", wish({ in: 1, every: 999 }), 400, '"every" is 1000 to'],
    ["DELETE", "/schedules/still/x", undefined, 404, "no such timer"],
    ["POST", "/mailboxes/still", "no key", 400, "a letter has an Idempotency-Key"],
    ["POST", "/mailboxes/still/closed", "many", 400, "the number of deliveries"],
    ["POST", "/mailboxes/still/mute", "1001", 400, "the number of deliveries"],
  ];
  const look = async () => [await json("GET", "/schedules/still"), await json("GET", "/batches/still"), await letters("still")];
  const before = await look();
  for (const [method, path, body, status, line] of cases) {
    const answer = await worker(method, path, body);
    const said = await answer.text();
    expect([answer.status, said.trim().split("\n").length], `${method} ${path}: ${said}`).toEqual([status, 1]);
    expect(said).toContain(line);
    if (status === 405) expect(answer.headers.get("Allow")).toBe(line.replace("this path takes ", ""));
  }
  expect(await look()).toEqual(before);
});
