// Each trap of ch04 still bites. When a new `worker` mends one, its test fails, and the page gets better.
// T1 and T38 reset the whole isolate: they are in tools/outside/tests/ch04.rs, with a server of their own.
import { exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const said = async (trap: string) => (await exports.default.fetch(new Request(`http://traps/ch04/${trap}`))).text();

// proves: trap T7
test("a BLOB does not fit into a Vec of bytes", async () => {
  expect(await said("blob")).toContain("invalid type: byte array, expected a sequence");
  expect(await said("byte-buf")).toBe("[5, 6]\n");
});

// proves: trap T8
test("a bool is stored as text", async () => {
  expect(await said("bool")).toBe('0 flags are up, stored is [[String("text")]]\n');
});

// proves: trap T9
test("an i64 is bound as REAL", async () => {
  expect(await said("division")).toBe("Some([Float(3.5)])\n");
  expect(await said("cast")).toBe("Some([Integer(3)])\n");
});

// proves: trap T10
test("an i64 beyond 2^53 is rounded without a word, and cannot be read", async () => {
  expect(await said("rounding")).toBe('Some([String("9007199254740992")])\n');
  expect(await said("large")).toBe("Err: Error: invalid type: floating point `9007199254740992.0`, expected i64\n");
});

// proves: trap T39
test("a REAL that is whole comes out as Integer", async () => {
  expect(await said("whole")).toBe("[[Float(2.5)], [Integer(3)]]\n");
  expect(await said("whole-f64")).toBe("[2.5, 3.0]\n");
});

// proves: trap T40
test("what somebody typed is a program to MATCH", async () => {
  expect(await said("search")).toContain(`fts5: syntax error near "'": SQLITE_ERROR`);
});

// proves: trap T46
test("a cursor that is kept over an await reads what came meanwhile", async () => {
  await said("queue");
  const reading = said("across");
  await new Promise((done) => setTimeout(done, 100));
  await said("join");
  expect(await reading).toBe("1 before the wait, 3 after it\n");
  await said("queue");
  expect(await said("across")).toBe("1 before the wait, 2 after it\n");
});
