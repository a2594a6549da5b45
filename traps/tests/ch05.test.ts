// The traps of ch05 still bite. When a new `worker` mends one, its test fails, and the page gets better.
//
// Alarms ring by themselves here, at their time: what they do after a failure is the point.
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const text = async (path: string) => (await exports.default.fetch(new Request(`http://traps/ch05${path}`))).text();
const trap = () => env.CH05_TRAP.getByName("trap");
const alarm = () => runInDurableObject(trap(), (_, state) => state.storage.getAlarm());
const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

// proves: trap T11
test("an i64 is taken for a distance", async () => {
  expect(Number((await text("/offset")).split(" ")[0])).toBeGreaterThan(50);
});

test("a DateTime of chrono is a time of the clock", async () => {
  expect(await text("/clock")).toBe("0 ms off\n");
});

// proves: trap T42
test("the options of worker are sent under names that the runtime does not read", async () => {
  const read: string[] = [];
  const sent: unknown[] = [];
  await runInDurableObject(trap(), async (object, state) => {
    await state.storage.setAlarm(Date.now() + 60_000, new Proxy({}, { get: (_, name) => void read.push(String(name)) }));
    const storage = state.storage as any;
    const { setAlarm } = storage;
    storage.setAlarm = (at: number, options: unknown) => (sent.push(options), setAlarm.call(storage, at, options));
    await (await object.fetch!(new Request("http://traps/ch05/options"))).text();
    storage.setAlarm = setAlarm;
  });
  expect(read).toContain("allowUnconfirmed");
  expect(read).not.toContain("allow_unconfirmed");
  expect(sent).toEqual([{ allow_concurrency: true, allow_unconfirmed: true }]);
});

// proves: trap T43
test("an alarm that is set before the work suppresses the retries", async () => {
  await text("/late");
  await sleep(3_500);
  expect(Number(await text("/rings"))).toBeGreaterThan(1);
  await text("/early");
  await sleep(3_500);
  expect(await text("/rings")).toBe("1\n");
  expect((await alarm())! - Date.now()).toBeGreaterThan(3_500_000);
}, 15_000);

// proves: trap T44
test("an answer with an error is success to an alarm", async () => {
  await text("/answer");
  await sleep(3_500);
  expect(await text("/rings")).toBe("1\n");
  expect(await alarm()).toBeNull();
});

// proves: trap T45
test("an object that its alarm wakes does not see that alarm in its constructor", async () => {
  await text("/answer");
  await runInDurableObject(trap(), (_, state) => state.storage.setAlarm(Date.now() + 500));
  await evictDurableObject(trap());
  await sleep(1_000);
  expect(await text("/rings")).toBe("1\n");
  expect(await text("/start")).toBe("0\n");
  await runInDurableObject(trap(), (_, state) => state.storage.setAlarm(Date.now() + 60_000));
  await evictDurableObject(trap());
  expect(Number(await text("/start"))).toBeGreaterThan(Date.now());
});
