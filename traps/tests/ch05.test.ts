// The traps of ch05 still bite. When a new `worker` mends one, its test fails, and the page gets better.
//
// Alarms ring by themselves here, at their time: what they do after a failure is the point.
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const text = async (path: string) => (await exports.default.fetch(new Request(`http://traps/ch05${path}`))).text();
const trap = () => env.CH05_TRAP.getByName("trap");
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

// An object of its own for each plan: a retry that is under way would get into the way of the next.
const ring = async (plan: string) => {
  const stub = env.CH05_TRAP.getByName(plan);
  const ask = async (path: string) => (await stub.fetch(`http://traps/ch05${path}`)).text();
  await ask(`/${plan}`);
  for (let i = 0; i < 100 && (await ask("/rings")) === "0\n"; i++) await sleep(50);
  await sleep(3_500);
  return { rings: Number(await ask("/rings")), alarm: await runInDurableObject(stub, (_, state) => state.storage.getAlarm()) };
};

// proves: trap T43
test("an alarm that is set before the work suppresses the retries", async () => {
  const [late, early] = await Promise.all([ring("late"), ring("early")]);
  expect(late.rings).toBeGreaterThan(1);
  expect(early.rings).toBe(1);
  expect(early.alarm! - Date.now()).toBeGreaterThan(3_500_000);
}, 15_000);

// proves: trap T44
test("an answer with an error is success to an alarm", async () => {
  expect(await ring("answer")).toEqual({ rings: 1, alarm: null });
}, 15_000);

// proves: trap T45
test("an object that its alarm wakes does not see that alarm in its constructor", async () => {
  await text("/answer");
  await runInDurableObject(trap(), (_, state) => state.storage.setAlarm(Date.now() + 500));
  await evictDurableObject(trap());
  await sleep(2_500);
  expect(await text("/rings")).toBe("1\n");
  expect(await text("/start")).toBe("0 0\n"); // nor does its handler
  await runInDurableObject(trap(), (_, state) => state.storage.setAlarm(Date.now() + 60_000));
  await evictDurableObject(trap());
  expect(Number((await text("/start")).split(" ")[0])).toBeGreaterThan(Date.now());
});
