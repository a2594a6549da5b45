// ch02 in the runtime: the built Worker inside workerd, with a look inside its objects.
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = (method: string, path: string, body?: BodyInit) =>
  exports.default.fetch(new Request(`http://village${path}`, { method, body }));
const text = async (method: string, path: string, body?: BodyInit) => (await worker(method, path, body)).text();
const json = async (method: string, path: string) => (await worker(method, path)).json<any>();
const hex64 = /^[0-9a-f]{64}$/;

// proves: api 2, api 18, api 25
test("a counter counts, and every name has its own", async () => {
  expect(await text("GET", "/counters/kitchen")).toBe("0\n");
  expect(await text("POST", "/counters/kitchen")).toBe("1\n");
  expect(await text("POST", "/counters/kitchen", "5")).toBe("6\n");
  expect(await text("GET", "/counters/kitchen")).toBe("6\n");
  expect(await text("GET", "/counters/attic")).toBe("0\n");
});

test("fifty additions at once are fifty additions", async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, () => text("POST", "/counters/crowd")));
  expect(new Set(answers).size).toBe(50);
  expect(await text("GET", "/counters/crowd")).toBe("50\n");
});

// proves: api 1, claim memory-evicted
test("what is only in memory is gone after an eviction", async () => {
  expect(await text("POST", "/counters/forgetful", "7")).toBe("7\n");
  expect((await json("GET", "/counters/forgetful/about")).built_in_this_isolate).toBeGreaterThan(0);
  const before = (await json("GET", "/counters/forgetful/about")).built_in_this_isolate;
  await evictDurableObject(env.COUNTER.getByName("forgetful"));
  expect(await text("GET", "/counters/forgetful")).toBe("0\n");
  expect((await json("GET", "/counters/forgetful/about")).built_in_this_isolate).toBe(before + 1);
});

// proves: trap T30
test("a static is shared by the objects of an isolate, and lasts longer", async () => {
  const first = (await json("GET", "/counters/left/about")).built_in_this_isolate;
  const second = (await json("GET", "/counters/right/about")).built_in_this_isolate;
  expect(second).toBe(first + 1);
  expect((await json("GET", "/counters/left/about")).built_in_this_isolate).toBe(second);
});

// proves: api 9, api 10, api 23, api 47
test("an object knows its id, its name and its environment", async () => {
  const about = await json("GET", "/counters/kitchen/about");
  expect(about.id).toBe(env.COUNTER.idFromName("kitchen").toString());
  expect(about.name).toBe("kitchen");
  expect(about.village).toBe("Lower Isolate");
});

// proves: api 24
test("an object without a jurisdiction says so", async () => {
  expect((await json("GET", "/counters/kitchen/about")).jurisdiction).toBeNull();
});

// proves: api 12, api 21
test("a name always stands for the same id of 64 hexadecimal digits", async () => {
  const [first] = await json("GET", "/counters/kitchen/id");
  const [again] = await json("GET", "/counters/kitchen/id");
  const [other] = await json("GET", "/counters/attic/id");
  expect(first.id).toMatch(hex64);
  expect(again.id).toBe(first.id);
  expect(other.id).not.toBe(first.id);
  expect(first.name).toBe("kitchen");
});

// proves: api 27, api 28
test("a stub tells the id and the name it was made from", async () => {
  const [id, stub] = await json("GET", "/counters/kitchen/id");
  expect(stub).toEqual(id);
});

test("asking for an id wakes nobody", async () => {
  await text("GET", "/counters/awake");
  const before = (await json("GET", "/counters/awake/about")).built_in_this_isolate;
  await json("GET", "/counters/sleeper/id");
  expect((await json("GET", "/counters/awake/about")).built_in_this_isolate).toBe(before);
});

// proves: api 13
test("a unique id is new every time and has no name", async () => {
  const first = await json("POST", "/ids");
  const second = await json("POST", "/ids");
  expect(first.id).toMatch(hex64);
  expect(first.id).not.toBe(second.id);
  expect(first.name).toBeNull();
});

// proves: api 15, api 16
test("an id written down leads back to its object", async () => {
  const { id } = await json("POST", "/ids");
  expect(await text("POST", `/ids/${id}`, "3")).toBe("3\n");
  expect(await text("GET", `/ids/${id}`)).toBe("3\n");
  const [kitchen] = await json("GET", "/counters/pantry/id");
  await text("POST", "/counters/pantry", "4");
  expect(await text("GET", `/ids/${kitchen.id}`)).toBe("4\n");
});

test("an id of another namespace is refused", async () => {
  const foreign = env.VISITORS.idFromName("kitchen").toString();
  const answer = await worker("GET", `/ids/${foreign}`);
  expect(answer.status).toBe(400);
  expect(await answer.text()).toContain("an id is the 64 hexadecimal digits");
});

// proves: api 22
test("ids are equal when they lead to the same object", async () => {
  const [kitchen] = await json("GET", "/counters/kitchen/id");
  expect(await json("GET", `/ids/${kitchen.id}/is/kitchen`)).toBe(true);
  expect(await json("GET", `/ids/${kitchen.id}/is/attic`)).toBe(false);
});

// proves: api 17, api 19
test("a location hint is accepted, by name and by id", async () => {
  expect(await text("POST", "/counters/abroad/near/weur", "2")).toBe("2\n");
  expect(await text("GET", "/counters/abroad")).toBe("2\n");
  const { id } = await json("POST", "/ids");
  expect(await text("POST", `/ids/${id}/near/apac`)).toBe("1\n");
});

// proves: api 14, api 20
test("a jurisdiction reaches the runtime, which has none here", async () => {
  expect(() => env.COUNTER.newUniqueId({ jurisdiction: "eu" })).toThrow("not implemented in workerd");
  for (const [method, path] of [["POST", "/ids/within/eu"], ["GET", "/counters/kitchen/within/eu"]]) {
    const answer = await worker(method, path);
    expect(answer.status).toBe(501);
    expect(await answer.text()).toContain("only Cloudflare's network has jurisdictions");
  }
});

test("the in-memory state example remembers the caller before", async () => {
  await runInDurableObject(env.VISITORS.getByName("all"), () => {});
  expect(await text("GET", "/last-city")).toContain("the first whom I remember");
  expect(await text("GET", "/last-city")).toContain("The caller before you was in");
  await evictDurableObject(env.VISITORS.getByName("all"));
  expect(await text("GET", "/last-city")).toContain("the first whom I remember");
});

test("bad requests get a 4xx and one line that says why", async () => {
  const cases: [string, string, BodyInit | undefined, number, string][] = [
    ["GET", "/nowhere", undefined, 404, "no such path"],
    ["DELETE", "/counters/kitchen", undefined, 405, "this path takes GET, HEAD, POST"],
    ["POST", "/", undefined, 405, "this path takes GET, HEAD"],
    ["GET", "/counters/Kitchen", undefined, 400, "a name is 1 to 64"],
    ["GET", `/counters/${"x".repeat(65)}`, undefined, 400, "a name is 1 to 64"],
    ["GET", "/counters/%61", undefined, 400, "a name is 1 to 64"],
    ["GET", "/ids/123", undefined, 400, "an id is the 64"],
    ["GET", `/ids/${"f".repeat(64)}`, undefined, 400, "an id is the 64"],
    ["POST", "/counters/kitchen/near/moon", undefined, 400, "a hint is one of wnam"],
    ["GET", "/counters/kitchen/within/moon", undefined, 400, "a jurisdiction is one of eu"],
    ["POST", "/counters/kitchen", "five", 400, "a whole number from 1 to 1000"],
    ["POST", "/counters/kitchen", "1001", 400, "a whole number from 1 to 1000"],
    ["POST", "/counters/kitchen", new Uint8Array([0xff, 0xfe]), 400, "a whole number from 1 to 1000"],
    ["POST", "/counters/kitchen", "1".repeat(65), 413, "at most 64 bytes"],
    ["POST", "/counters/kitchen", "1".repeat(5_000_000), 413, "at most 64 bytes"],
  ];
  const before = await text("GET", "/counters/kitchen");
  for (const [method, path, body, status, line] of cases) {
    const answer = await worker(method, path, body);
    const said = await answer.text();
    expect([answer.status, said.trim().split("\n").length], `${method} ${path}: ${said}`).toEqual([status, 1]);
    expect(said).toContain(line);
    if (status === 405) expect(answer.headers.get("Allow")).toBe(line.replace("this path takes ", ""));
  }
  expect(await text("GET", "/counters/kitchen")).toBe(before);
});
