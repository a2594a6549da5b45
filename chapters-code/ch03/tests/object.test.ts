// ch03 in the runtime: the built Worker inside workerd, with a look inside its objects.
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = (method: string, path: string, body?: BodyInit) =>
  exports.default.fetch(new Request(`http://village${path}`, { method, body }));
const text = async (method: string, path: string, body?: BodyInit) => (await worker(method, path, body)).text();
const json = async (method: string, path: string, body?: BodyInit) => (await worker(method, path, body)).json<any>();

/** A book of its own for each test. */
let books = 0;
function book() {
  const name = `book ${++books}`;
  const path = (rest: string) => `/books/${encodeURIComponent(name)}${rest}`;
  const ask = (method: string, rest: string, body?: unknown) =>
    text(method, path(rest), body === undefined ? undefined : JSON.stringify(body));
  return { name, path, ask, stub: env.BOOKS.getByName(name) };
}
const person = (name: string, more = {}) => ({ name, kind: "friend", phones: [], born: null, note: null, ...more });
const five = ["ada", "bea", "ben", "cy", "dot"];
async function bookOfFive() {
  const it = book();
  expect(await it.ask("POST", "/people", five.map((key) => [key, person(key)]))).toBe("5\n");
  const keys = async (query: string) => {
    const page = JSON.parse(await it.ask("GET", `/people?${query}`));
    expect(page.map(([key]: any) => person(key))).toEqual(page.map(([, value]: any) => value));
    return page.map(([key]: any) => key).join(" ");
  };
  return { ...it, keys };
}

/** Notes what storage is called with, while `work` runs. */
async function calls(stub: any, method: string, work: () => Promise<unknown>) {
  const seen: unknown[][] = [];
  await runInDurableObject(stub, (_, state: any) => {
    const inner = state.storage[method].bind(state.storage);
    state.storage[method] = (...args: unknown[]) => (seen.push(args), inner(...args));
  });
  await work();
  await runInDurableObject(stub, (_, state: any) => void delete state.storage[method]);
  return seen;
}

// proves: api 48, api 73, api 76
test("a counter answers as the official example does", async () => {
  const line = (count: number) => `Durable Object 'A' count: ${count}`;
  expect(await text("GET", "/?name=A")).toBe(line(0));
  expect(await text("GET", "/increment?name=A")).toBe(line(1));
  expect(await text("POST", "/increment?name=A")).toBe(line(2));
  expect(await text("GET", "/decrement?name=A")).toBe(line(1));
  expect(await text("GET", "/?name=A")).toBe(line(1));
  expect(await text("GET", "/decrement?name=B")).toBe("Durable Object 'B' count: -1");
  for (const path of ["/", "/increment", "/nowhere"]) {
    const answer = await worker("GET", path);
    expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining("add ?name=A")]);
  }
});

// proves: claim kept-evicted
test("what was answered is there after an eviction", async () => {
  expect(await text("GET", "/increment?name=evicted")).toContain("count: 1");
  const it = book();
  await it.ask("PUT", "/people/ada", person("Ada"));
  await text("PUT", it.path("/title"), "Us");
  await it.ask("POST", "/visits");
  await evictDurableObject(env.COUNTERS.getByName("evicted"));
  await evictDurableObject(it.stub);
  expect(await text("GET", "/increment?name=evicted")).toContain("count: 2");
  expect(JSON.parse(await it.ask("GET", "/people/ada"))).toEqual(person("Ada"));
  expect(JSON.parse(await it.ask("GET", ""))).toEqual({ title: "Us", last: "ada", visits: 1 });
});

test("a hundred increments at once are a hundred", async () => {
  const answers = await Promise.all(Array.from({ length: 100 }, () => text("GET", "/increment?name=crowd")));
  expect(new Set(answers).size).toBe(100);
  expect(await text("GET", "/?name=crowd")).toContain("count: 100");
});

test("a count stops at 2^53 - 1, and refuses to lose digits", async () => {
  const stub = env.COUNTERS.getByName("full");
  await runInDurableObject(stub, (_, state) => state.storage.put("value", Number.MAX_SAFE_INTEGER - 1));
  expect(await text("GET", "/increment?name=full")).toContain("count: 9007199254740991");
  const answer = await worker("GET", "/increment?name=full");
  expect([answer.status, await answer.text()]).toEqual([409, expect.stringContaining("it stays as it is")]);
  expect(await text("GET", "/?name=full")).toContain("count: 9007199254740991");
});

test("a person is put, read, changed and deleted", async () => {
  const it = book();
  const ada = person("Ada", { kind: { work: { company: "Mill" } }, phones: ["+44 113"], born: 1815, note: "counts" });
  const put = await worker("PUT", it.path("/people/ada"), JSON.stringify(ada));
  expect([put.status, await put.text()]).toEqual([201, "new\n"]);
  expect(JSON.parse(await it.ask("GET", "/people/ada"))).toEqual(ada);
  expect(await it.ask("PUT", "/people/ada", person("Ada"))).toBe("changed\n");
  expect(JSON.parse(await it.ask("GET", "/people/ada"))).toEqual(person("Ada"));
});

// proves: api 79
test("delete says whether somebody was there", async () => {
  const it = await bookOfFive();
  expect(await it.ask("DELETE", "/people/ben")).toBe("deleted\n");
  const again = await worker("DELETE", it.path("/people/ben"));
  expect([again.status, await again.text()]).toEqual([404, "nobody is there under this key\n"]);
  expect(await it.keys("")).toBe("ada bea cy dot");
});

// proves: api 74, api 77
test("several people are put and looked up in one call each", async () => {
  const it = await bookOfFive();
  const found = JSON.parse(await it.ask("POST", "/lookup", ["dot", "nobody", "ada"]));
  expect(found).toEqual([["ada", person("ada")], ["dot", person("dot")]]);
  const stored = await runInDurableObject(it.stub, (_, state) => state.storage.list());
  expect([...stored.keys()]).toEqual(five.map((key) => `person:${key}`));
});

// proves: api 80
test("several people are deleted in one call, which counts them", async () => {
  const it = await bookOfFive();
  expect(await it.ask("POST", "/remove", ["ada", "nobody", "dot"])).toBe("2\n");
  expect(await it.keys("")).toBe("bea ben cy");
});

// proves: api 84
test("a list takes prefix, start, startAfter, end, reverse and limit", async () => {
  const it = await bookOfFive();
  await it.ask("PUT", "/title", "not a person");
  expect(await it.keys("")).toBe("ada bea ben cy dot");
  expect(await it.keys("prefix=be")).toBe("bea ben");
  expect(await it.keys("start=bea&end=cy")).toBe("bea ben");
  expect(await it.keys("startAfter=bea&limit=2")).toBe("ben cy");
  expect(await it.keys("reverse=true&limit=2")).toBe("dot cy");
  expect(await it.keys("startAfter=bea&end=dot&reverse=true")).toBe("cy ben");
  expect(await it.keys("prefix=x")).toBe("");
  const [[options]] = await calls(it.stub, "list", () => it.ask("GET", "/people?startAfter=bea"));
  expect(options).toMatchObject({ startAfter: "person:bea", noCache: true, allowConcurrency: false });
});

// proves: api 83
test("the list options that worker binds do what they say", async () => {
  const it = await bookOfFive();
  const keys = async (query: string) => (await it.ask("GET", `/keys?${query}`)).trim().split("\n").join(" ");
  expect(await keys("")).toBe("ada bea ben cy dot");
  expect(await keys("prefix=be")).toBe("bea ben");
  expect(await keys("start=bea&end=cy")).toBe("bea ben");
  expect(await keys("start=bea&reverse=true&limit=3")).toBe("dot cy ben");
});

// proves: api 91, api 92, api 93
test("a move happens whole, or is rolled back", async () => {
  const it = await bookOfFive();
  const refused = await worker("POST", it.path("/people/ada/move?to=dot"));
  expect([refused.status, await refused.text()]).toEqual([409, expect.stringContaining("nobody has moved")]);
  expect((await worker("POST", it.path("/people/nobody/move?to=eve"))).status).toBe(404);
  expect(await it.keys("")).toBe("ada bea ben cy dot");
  expect(JSON.parse(await it.ask("GET", "/people/dot"))).toEqual(person("dot"));
  expect(await it.ask("POST", "/people/ada/move?to=eve")).toBe("moved\n");
  expect(JSON.parse(await it.ask("GET", "/people/eve"))).toEqual(person("ada"));
  expect((await worker("GET", it.path("/people/ada"))).status).toBe(404);
});

// proves: api 69, api 70, api 71
test("the synchronous side has the same keys and values", async () => {
  const it = book();
  expect((await worker("GET", it.path("/title"))).status).toBe(404);
  expect(await text("PUT", it.path("/title"), "Us")).toBe("Us\n");
  expect(await text("GET", it.path("/title"))).toBe("Us\n");
  expect(await runInDurableObject(it.stub, (_, state) => state.storage.get("title"))).toBe("Us");
  expect(await it.ask("DELETE", "/title")).toBe("deleted\n");
  expect((await worker("DELETE", it.path("/title"))).status).toBe(404);
});

// proves: api 72, api 94
test("all numbers change, or none does", async () => {
  const it = book();
  const phones = async () => JSON.parse(await it.ask("GET", "/people")).map(([, { phones }]: any) => phones);
  const people = [["ada", "0113 1"], ["ben", "0114 1"], ["dot", `0113 ${"2".repeat(19)}`]];
  await it.ask("POST", "/people", people.map(([key, phone]) => [key, person(key, { phones: [phone] })]));
  const before = await phones();
  const refused = await worker("POST", it.path("/redial?from=0113&to=%2B44+113"));
  expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining("a person has at most 16 phones")]);
  expect(await phones()).toEqual(before);
  expect(await it.ask("POST", "/redial?from=0113&to=0343")).toBe("2\n");
  expect(await phones()).toEqual([["0343 1"], ["0114 1"], [`0343 ${"2".repeat(19)}`]]);
});

test("all numbers of a book that is longer than a page change, or none does", async () => {
  const it = book();
  const key = (n: number) => `p${String(n).padStart(3, "0")}`;
  const crowd = (from: number, to: number) =>
    it.ask("POST", "/people", Array.from({ length: to - from }, (_, n) => [key(from + n), person("Ada", { phones: ["0113 1"] })]));
  await crowd(0, 100);
  await crowd(100, 201);
  // The last number, three pages on, does not fit: nobody's changes.
  await it.ask("PUT", `/people/${key(201)}`, person("Zoe", { phones: [`0113 ${"2".repeat(19)}`] }));
  expect((await worker("POST", it.path("/redial?from=0113&to=%2B44+113"))).status).toBe(400);
  expect(await it.ask("POST", "/redial?from=0343&to=0113")).toBe("0\n");
  expect(await it.ask("DELETE", `/people/${key(201)}`)).toBe("deleted\n");
  expect(await it.ask("POST", "/redial?from=0113&to=%2B44+113")).toBe("201\n");
  expect(JSON.parse(await it.ask("GET", `/people/${key(200)}`)).phones).toEqual(["+44 113 1"]);
});

// proves: api 32
test("visits are loaded before the first request comes in", async () => {
  const it = book();
  await runInDurableObject(it.stub, (_, state) => state.storage.put("visits", 41));
  await evictDurableObject(it.stub);
  expect(await it.ask("POST", "/visits")).toBe("42\n");
  await evictDurableObject(it.stub);
  const seen = await calls(it.stub, "get", async () => expect(await it.ask("POST", "/visits")).toBe("43\n"));
  expect(seen).toEqual([]);
});

// proves: api 75
test("the options of get arrive", async () => {
  const it = book();
  // Whoever waits in `new` has asked already: look over its shoulder from the next object on.
  await runInDurableObject(it.stub, (_, state) => state.storage.put("visits", 1));
  const seen: unknown[][] = [];
  await runInDurableObject(it.stub, (instance: any, state: any) => {
    const inner = state.storage.get.bind(state.storage);
    state.storage.get = (...args: unknown[]) => (seen.push(args), inner(...args));
    new instance.constructor(state, env);
  });
  expect(seen).toEqual([["visits", { allowConcurrency: false, allowUnconfirmed: false, noCache: true }]]);
});

// proves: api 78, api 95
test("the options of put arrive, and sync waits for what is under way", async () => {
  const it = book();
  const puts = await calls(it.stub, "put", () => it.ask("POST", "/visits"));
  expect(puts).toEqual([["visits", 1, { allowConcurrency: false, allowUnconfirmed: true, noCache: true }]]);
  const syncs = await calls(it.stub, "sync", async () => expect(await it.ask("POST", "/visits?sure")).toBe("2\n"));
  expect(syncs).toEqual([[]]);
  expect(await runInDurableObject(it.stub, (_, state) => state.storage.get("visits"))).toBe(2);
});

// proves: api 81
test("the options of delete arrive", async () => {
  const it = book();
  await it.ask("POST", "/visits");
  const deletes = await calls(it.stub, "delete", () => it.ask("DELETE", "/visits"));
  expect(deletes).toEqual([["visits", { allowConcurrency: false, allowUnconfirmed: true, noCache: false }]]);
  expect(await it.ask("POST", "/visits")).toBe("1\n");
});

// proves: api 89
test("delete_all deletes everything, the alarm too, and tables", async () => {
  const it = await bookOfFive();
  await it.ask("POST", "/visits");
  await runInDurableObject(it.stub, (_, state) => {
    state.storage.sql.exec("CREATE TABLE beside (n INTEGER)");
    return state.storage.setAlarm(Date.now() + 3_600_000);
  });
  expect(await it.ask("DELETE", "")).toBe("deleted\n");
  const left = await runInDurableObject(it.stub, async (_, state) => [
    (await state.storage.list()).size,
    await state.storage.getAlarm(),
    state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'beside'").toArray().length,
  ]);
  expect(left).toEqual([0, null, 0]);
  expect(await runDurableObjectAlarm(it.stub)).toBe(false);
  expect(await it.ask("POST", "/visits")).toBe("1\n");
});

// proves: api 31
test("a book is copied to Workers KV behind the caller's back", async () => {
  const it = await bookOfFive();
  const published = `/published/${encodeURIComponent(it.name)}`;
  expect((await worker("GET", published)).status).toBe(404);
  const waits: Promise<unknown>[] = [];
  await runInDurableObject(it.stub, (_, state: any) => {
    state.waitUntil = (promise: Promise<unknown>) => void waits.push(promise);
  });
  const answer = await worker("POST", it.path("/publish"));
  expect([answer.status, await answer.text()]).toEqual([202, "will be published\n"]);
  expect(waits.length).toBe(1);
  await waits[0];
  const copy = await worker("GET", published);
  expect([copy.status, copy.headers.get("Content-Type")]).toEqual([200, "application/json"]);
  expect(await copy.json()).toEqual(five.map((key) => [key, person(key)]));
});

// proves: claim kept-shape
test("people whom an older version has put are still understood", async () => {
  const it = book();
  await runInDurableObject(it.stub, (_, state) => state.storage.put("person:ada", { name: "Ada" }));
  expect(JSON.parse(await it.ask("GET", "/people/ada"))).toEqual(person("Ada"));
  // A field that only a newer version knows is not an error: storage reads the fields that the struct has.
  await runInDurableObject(it.stub, (_, state) => state.storage.put("person:eve", { name: "Eve", pet: "cat" }));
  expect(JSON.parse(await it.ask("GET", "/people/eve"))).toEqual(person("Eve"));
});

test("keys of people never meet the other keys", async () => {
  const it = book();
  for (const key of ["title", "visits", "last", "person:ada"]) {
    await it.ask("PUT", `/people/${encodeURIComponent(key)}`, person(key));
  }
  expect(JSON.parse(await it.ask("GET", ""))).toEqual({ title: null, last: "person:ada", visits: 0 });
  expect(JSON.parse(await it.ask("POST", "/lookup", ["person:ada"]))).toEqual([["person:ada", person("person:ada")]]);
});

test("keys are in the order of their UTF-8 bytes", async () => {
  const it = book();
  const keys = ["a", "Z", "9", "10", "ä", "～", "💧"];
  await it.ask("POST", "/people", keys.map((key) => [key, person(key)]));
  // JavaScript itself would sort 💧 before ～.
  expect(await it.ask("GET", "/keys")).toBe("10\n9\nZ\na\nä\n～\n💧\n");
  expect([..."～💧"].sort()).toEqual(["💧", "～"]);
});

test("names and keys of any script have objects and values of their own", async () => {
  for (const name of ["世界", "مرحبا", "💧", "a/b", "..", "%2e%2e", "x".repeat(512), "世".repeat(512)]) {
    const path = `/increment?name=${encodeURIComponent(name)}`;
    expect(await text("GET", path)).toBe(`Durable Object '${name}' count: 1`);
    expect(await text("GET", path)).toBe(`Durable Object '${name}' count: 2`);
  }
  const it = book();
  for (const key of ["世界", "a/b", "💧", "x".repeat(1024)]) {
    expect(await it.ask("PUT", `/people/${encodeURIComponent(key)}`, person(key))).toBe("new\n");
    expect(JSON.parse(await it.ask("GET", `/people/${encodeURIComponent(key)}`))).toEqual(person(key));
  }
});

test("bad requests get a 4xx and one line that says why", async () => {
  const it = await bookOfFive();
  const huge = "x".repeat(10_000_000);
  const cases: [string, string, BodyInit | undefined, number, string][] = [
    ["GET", "/nowhere?name=A", undefined, 404, "no such path"],
    ["GET", "/?name=", undefined, 400, "a name is 1 to 512"],
    ["GET", `/?name=${"x".repeat(10_000)}`, undefined, 400, "a name is 1 to 512"],
    ["GET", "/increment?name=a%00b", undefined, 400, "a name is 1 to 512"],
    ["DELETE", "/increment?name=A", undefined, 405, "this path takes GET, HEAD, POST"],
    ["POST", "/increment?name=A", huge, 413, "at most 1000000 bytes"],
    ["GET", "/books/%ff", undefined, 400, "a name is 1 to 512"],
    ["GET", "/books/%00", undefined, 400, "a name is 1 to 512"],
    ["PATCH", it.path("/people/ada"), "{}", 405, "this path takes GET, HEAD, PUT, DELETE"],
    ["GET", it.path("/people/nobody"), undefined, 404, "nobody is there"],
    ["GET", it.path("/people/%0a"), undefined, 400, "a key is 1 to 1024"],
    ["GET", it.path(`/people/${"x".repeat(10_000)}`), undefined, 400, "a key is 1 to 1024"],
    ["PUT", it.path("/people/ada"), undefined, 400, "the body is a person"],
    ["PUT", it.path("/people/ada"), "Ada", 400, "the body is a person"],
    ["PUT", it.path("/people/ada"), "[1]", 400, "the body is a person"],
    ["PUT", it.path("/people/ada"), '{"name":"Ada","pet":"cat"}', 400, "the body is a person"],
    ["PUT", it.path("/people/ada"), new Uint8Array([0xff, 0xfe]), 400, "the body is a person"],
    ["PUT", it.path("/people/ada"), '{"name":"","note":"x"}', 400, "a text is 1 to 10000"],
    ["PUT", it.path("/people/ada"), JSON.stringify(person("A", { note: "x".repeat(10_001) })), 400, "a text is 1"],
    ["PUT", it.path("/people/ada"), JSON.stringify(person("A", { note: "x".repeat(2_097_153) })), 413, "at most 10"],
    ["PUT", it.path("/people/ada"), huge, 413, "at most 1000000 bytes"],
    ["PUT", it.path("/people/ada"), "[".repeat(100_000), 400, "the body is a person"],
    ["POST", it.path("/people"), "[]", 400, "1 to 128 at once"],
    ["POST", it.path("/people"), '[["ada",{}]]', 400, "the body is people"],
    ["POST", it.path("/people"), '[["eve",{"name":"E"}],["",{"name":"F"}]]', 400, "the body is people"],
    ["POST", it.path("/lookup"), JSON.stringify(Array(129).fill("a")), 400, "1 to 128 at once"],
    ["POST", it.path("/remove"), '{"ada":1}', 400, "the body is a list of keys"],
    ["GET", it.path("/people?limit=0"), undefined, 400, "a limit of 1 to 100"],
    ["GET", it.path("/people?start=a&startAfter=b"), undefined, 400, "not with both"],
    ["POST", it.path("/redial?from=a&to=1"), undefined, 400, "at most 16 phones"],
    ["PUT", it.path("/title"), "", 400, "a text is 1 to 10000"],
  ];
  const before = [await it.ask("GET", ""), await it.ask("GET", "/people"), await text("GET", "/?name=A")];
  for (const [method, path, body, status, line] of cases) {
    const answer = await worker(method, path, body);
    const said = await answer.text();
    const about = `${method} ${path.slice(0, 60)}: ${said}`;
    expect([answer.status, said.trim().split("\n").length], about).toEqual([status, 1]);
    expect(said).toContain(line);
    if (status === 405) expect(answer.headers.get("Allow")).toBe(line.replace("this path takes ", ""));
  }
  expect([await it.ask("GET", ""), await it.ask("GET", "/people"), await text("GET", "/?name=A")]).toEqual(before);
});
