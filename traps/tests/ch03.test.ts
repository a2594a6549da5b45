// The traps of ch03 still bite. When a new `worker` mends one, its test fails, and the page gets better.
import { env, exports } from "cloudflare:workers";
import { beforeEach, expect, test } from "vitest";

const text = async (path: string) => (await exports.default.fetch(new Request(`http://traps/ch03/${path}`))).text();
const keys = () => text("keys");

beforeEach(async () => void (await text("delete-all")));

// proves: trap T12
test("None alone cannot be stored", async () => {
  expect(await text("none")).toBe("Err(TypeError: put() called with undefined value.)\n");
});

// proves: trap T13
test("a number beyond 2^53 - 1 is refused", async () => {
  expect(await text("large-number")).toContain("9007199254740992 can't be represented as a JavaScript number");
});

// proves: trap T14
test("a key that is missing is an Err in a transaction, which rolls back", async () => {
  expect(await text("missing")).toBe("Err(No such value in storage.)\n");
  expect(await keys()).toBe("Ok([])\n");
});

// proves: trap T33
test("put_multiple with a HashMap stores nothing and says Ok", async () => {
  expect(await text("hash-map")).toBe("Ok(())\n");
  expect(await keys()).toBe("Ok([])\n");
});

// proves: trap T34
test("an await of anything but storage, between get and put, loses updates", async () => {
  const fifty = (path: string) => Promise.all(Array.from({ length: 50 }, () => text(path)));
  await fifty("gated");
  expect(await text("count")).toBe("Ok(Some(50))\n");
  await text("delete-all");
  await fifty("lossy");
  const count = async () => Number((await text("count")).replace(/\D/g, ""));
  expect(await count()).toBeLessThan(10);
  await text("delete-all");
  await fifty("lossy-kv");
  expect(await count()).toBeLessThan(50);
});

test("allowConcurrency loses nothing where storage answers at once", async () => {
  await Promise.all(Array.from({ length: 50 }, () => text("concurrent")));
  expect(await text("count")).toBe("Ok(Some(50))\n");
});

// proves: trap T35
test("a put that nobody awaits never happens", async () => {
  expect(await text("forgotten")).toBe("Ok(())\n");
  expect(await keys()).toBe("Ok([])\n");
});

// proves: trap T36
test("a HashMap becomes {} in Workers KV", async () => {
  expect(await text("published")).toBe('Ok("{}")\n');
  expect(await (env as any).CH03_KV.get("ages")).toBe("{}");
});

// proves: claim together
test("writes without an await between them are kept together or not at all", async () => {
  await text("abort/together").catch(() => {});
  expect(await keys()).toBe("Ok([])\n");
  await text("abort/with-a-timer").catch(() => {});
  expect(await keys()).toBe('Ok(["left"])\n');
});

test("here even an await of storage between them does not part two writes", async () => {
  await text("abort/one-by-one").catch(() => {});
  expect(await keys()).toBe("Ok([])\n");
  await text("abort/with-sync").catch(() => {});
  expect(await keys()).toBe('Ok(["left"])\n');
});

// proves: api 90
test("deleteAll takes options", async () => {
  await text("gated");
  expect(await text("delete-all")).toBe("Ok(())\n");
  expect(await keys()).toBe("Ok([])\n");
});

// proves: api 82
test("list gives everything, in the order of the keys", async () => {
  await text("put-multiple/12");
  expect(await keys()).toBe('Ok(["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"])\n');
});

test("delete_all in a transaction is an error", async () => {
  expect(await text("delete-all-in-transaction")).toContain("Cannot call deleteAll() within a transaction");
});

test("your laptop takes keys and values that Cloudflare refuses", async () => {
  expect(await text("key/2049")).toBe("Ok(())\n");
  expect(await text("value/2097153")).toBe("Ok(())\n");
  expect(await text("put-multiple/129")).toBe("Ok(())\n");
  expect(await text("value/8388624")).toBe("Ok(())\n");
  expect(await text("value/8388625")).toContain("string or blob too big: SQLITE_TOOBIG");
});

test("what becomes of a value in storage", async () => {
  const lines = (await text("serde")).trim().split("\n");
  const told = Object.fromEntries(lines.map((line) => line.split(/: (?=same|refused|comes back|not understood)/)));
  const others = Object.entries(told).filter(([, said]) => said !== "same");
  const undefined_ = "refused: TypeError: put() called with undefined value.";
  const large = (n: string) => `refused: Error: ${n} can't be represented as a JavaScript number`;
  expect(Object.fromEntries(others)).toEqual({
    "1_u64 << 53": large("9007199254740992"),
    "-(1_i64 << 53)": large("-9007199254740992"),
    "f64::NAN": "comes back as NaN",
    "()": undefined_,
    "Nothing": undefined_,
    "None::<u8>": undefined_,
    "Some(None::<u8>)": undefined_,
  });
  expect(Object.keys(told)).toEqual([
    "true", "'ä'", 'String::from("Grüße, 世界 \\0 💧")', "u8::MAX", "i32::MIN", "(1_u64 << 53) - 1",
    "1_u64 << 53", "-(1_i64 << 53)", "u64::MAX.to_string()", "u128::from(u64::MAX)", "i128::MIN", "0.1_f32",
    "0.1_f64", "f64::INFINITY", "f64::NAN", "()", "Nothing", "None::<u8>", "Some(None::<u8>)", "Some(7_u8)",
    "vec![Some(7_u8), None]", "house", "vec![(House { number: 7, note: Some(company()) }, Kind::Friend)]",
    "Metres(2.5)", "(1_u8, 'b', true)", "Kind::Friend", "Kind::Neighbour(7)", "Kind::Street(7, true)",
    "Kind::Work { company: company() }", "Tagged::Work { company: company() }", "Untagged::Number(7)",
    "Untagged::Text(company())", "vec![1_u8, 2, 255]", "ByteBuf::from(vec![1, 2, 255])",
    "HashMap::from([(company(), 1_u8)])", "BTreeMap::from([(company(), 1_u8)])", "BTreeMap::from([(7_u32, 1_u8)])",
    "BTreeMap::from([((1_u8, 2_u8), 1_u8)])", "Duration::from_millis(1500)",
  ]);
});

test("bytes as a Vec take more room than bytes", async () => {
  expect(await text("bytes/4000000")).toBe("Ok(())\n");
  expect(await text("array/4000000")).toContain("SQLITE_TOOBIG");
});
