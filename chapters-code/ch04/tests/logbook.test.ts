// ch04 in the runtime: a logbook, and the experiments.
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = async (method: string, path: string, body?: BodyInit) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, body }));
  return { status: answer.status, bytes: new Uint8Array(await answer.arrayBuffer()) };
};
const text = async (method: string, path: string, body?: BodyInit) =>
  new TextDecoder().decode((await worker(method, path, body)).bytes);
const json = async (path: string) => JSON.parse(await text("GET", path));
const write = async (book: string, entry: unknown) => JSON.parse(await text("POST", `/logbooks/${book}`, JSON.stringify(entry)));
const lab = async (experiment: string) => (await text("GET", `/lab/${experiment}`)).trim().split("\n");

test("entries come back in pages, each after the last key of the one before", async () => {
  for (let n = 1; n <= 5; n++) expect(await write("pages", { text: `Day ${n}`, details: { wind: n } })).toEqual({ id: n });
  const [first, second] = [await json("/logbooks/pages?limit=3"), await json("/logbooks/pages?after=3&limit=3")];
  expect(first.map((entry: any) => entry.id)).toEqual([1, 2, 3]);
  expect(second).toEqual([
    { id: 4, text: "Day 4", details: { wind: 4 }, photoBytes: null },
    { id: 5, text: "Day 5", details: { wind: 5 }, photoBytes: null },
  ]);
  expect(await json("/logbooks/pages?after=5")).toEqual([]);
});

test("a page of the longest entries fits into one text of SQLite", async () => {
  const longest = { text: "\u0001".repeat(10_000), details: { a: "ä".repeat(4990) } };
  for (let n = 0; n < 21; n++) await write("long", longest);
  const page = await text("GET", "/logbooks/long");
  expect(JSON.parse(page)).toHaveLength(20);
  expect(new TextEncoder().encode(page).length).toBeLessThan(2_000_000);
});

test("full-text search finds words, and takes no word for an operator", async () => {
  await write("words", { text: "Fog over the harbour, no wind" });
  await write("words", { text: "Wind from the west" });
  expect(await json("/logbooks/words/search?q=WIND")).toEqual([
    { id: 2, snippet: "[Wind] from the west" },
    { id: 1, snippet: "Fog over the harbour, no [wind]" },
  ]);
  expect(await json("/logbooks/words/search?q=wind+fog")).toHaveLength(1);
  for (const odd of ['"', "AND", "wind OR", "fog*", "NEAR(", "text:fog", "'; DROP TABLE words"]) {
    const answer = await worker("GET", `/logbooks/words/search?q=${encodeURIComponent(`${odd} fog`)}`);
    expect(answer.status, odd).toBe(200);
  }
});

test("JSON functions count the values of a detail", async () => {
  for (const wind of [3, 3, 7]) await write("tally", { text: "x", details: { wind } });
  await write("tally", { text: "calm" });
  expect(await json("/logbooks/tally/tally/wind")).toEqual([{ value: 3, entries: 2 }, { value: 7, entries: 1 }]);
  expect(await json("/logbooks/tally/tally/rain")).toEqual([]);
});

// proves: api 59
test("a photo comes back byte for byte", async () => {
  const photo = new Uint8Array(100_000).map((_, n) => n % 256);
  await write("photos", { text: "A gull" });
  expect((await worker("GET", "/logbooks/photos/1/photo")).status).toBe(404);
  expect(await text("PUT", "/logbooks/photos/1/photo", photo)).toBe("100000 bytes\n");
  expect((await worker("GET", "/logbooks/photos/1/photo")).bytes).toEqual(photo);
  expect((await json("/logbooks/photos"))[0].photoBytes).toBe(100_000);
  expect((await worker("PUT", "/logbooks/photos/2/photo", photo)).status).toBe(404);
});

test("an entry, its photo and its words are still there after an eviction", async () => {
  await write("evicted", { text: "Fog", details: { wind: 3 } });
  await text("PUT", "/logbooks/evicted/1/photo", "gull");
  await evictDurableObject(env.LOGBOOKS.getByName("evicted"));
  expect(await json("/logbooks/evicted")).toEqual([{ id: 1, text: "Fog", details: { wind: 3 }, photoBytes: 4 }]);
  expect(await json("/logbooks/evicted/search?q=fog")).toHaveLength(1);
});

test("bad entries get a 4xx and one line that says why", async () => {
  const deep = `{"text":"x","details":{"a":${"[".repeat(1500)}${"]".repeat(1500)}}}`;
  const cases: [string, string, BodyInit | undefined, number, string][] = [
    ["POST", "/logbooks/bad", undefined, 400, "an entry looks like"],
    ["POST", "/logbooks/bad", "[]", 400, "an entry looks like"],
    ["POST", "/logbooks/bad", `{"text":""}`, 400, "a text is 1 to 10000"],
    ["POST", "/logbooks/bad", JSON.stringify({ text: "x".repeat(10_001) }), 400, "a text is 1 to 10000"],
    ["POST", "/logbooks/bad", `{"text":"x","details":7}`, 400, "details are a JSON object"],
    ["POST", "/logbooks/bad", deep, 400, "details are a JSON object"],
    ["POST", "/logbooks/bad", "x".repeat(10_000_000), 413, "at most 1000000 bytes"],
    ["PUT", "/logbooks/bad/1/photo", "", 400, "a photo is"],
    ["PUT", "/logbooks/bad/1/photo", "gull", 404, "no such entry"],
    ["PUT", "/logbooks/bad/x/photo", "gull", 404, "no such entry"],
    ["GET", "/logbooks/b%20d", undefined, 400, "a logbook's name"],
    ["GET", "/logbooks/bad?limit=21", undefined, 400, "limit is 1 to 20"],
    ["GET", "/logbooks/bad/search?q=*", undefined, 400, "with a word in them"],
    ["GET", "/logbooks/bad/tally/a.b", undefined, 400, "a detail's name"],
    ["DELETE", "/logbooks/bad", undefined, 405, "this path takes GET, HEAD, POST"],
    ["GET", "/lab/nothing", undefined, 404, "no such path"],
  ];
  for (const [method, path, body, status, line] of cases) {
    const answer = await worker(method, path, body);
    const said = new TextDecoder().decode(answer.bytes);
    expect([answer.status, said.trim().split("\n").length], `${method} ${path}: ${said}`).toEqual([status, 1]);
    expect(said).toContain(line);
  }
  expect(await json("/logbooks/bad")).toEqual([]);
});

// proves: api 55, trap T8, trap T9, trap T10
test("what a bound value becomes: the type in SQLite, in a column of any type, in an INTEGER column, and back", async () => {
  const rows = (await lab("types")).map((line) => line.replace(/ +/g, " "));
  expect(rows).toEqual([
    "true text 'true' NULL String",
    "i64::from(true) real 1.0 1 Integer",
    "5_i64 real 5.0 5 Integer",
    "2.5_f64 real 2.5 NULL Float",
    "\"five\" text 'five' NULL String",
    "vec![5_u8, 6] blob X'0506' NULL Blob",
    "None::<i64> null NULL NULL Null",
    "2^53 + 1 real 9007199254740992.0 9007199254740992 Float",
    "2^53 + 1 as text text '9007199254740993' 9007199254740993 String",
  ]);
});

// proves: api 56, api 58, api 60, api 61
test("a cursor gives its rows in several ways, each row once", async () => {
  expect(await lab("cursors")).toEqual([
    "columns:  name, price",
    'Iterator: {"name":"apple","price":1}',
    "raw:      2 columns",
    "next:     fig",
    "next:     plum",
    "left:     0",
    "raw, all: 4 rows",
    "one:      Error: Expected exactly one result from SQL query, but got no results.",
  ]);
});

// proves: api 62, api 63, api 64, trap T37
test("an index makes a query read fewer rows, and a write write more", async () => {
  const lines = await lab("costs");
  expect(lines.slice(1, -1).map((line) => line.trim().split(/\s+/).slice(0, 2).map(Number))).toEqual([
    [1000, 0], [2007, 1001], [2, 0], [1000, 0], [0, 2], [4, 2], [0, 0],
  ]);
  expect(lines.at(-1)).toMatch(/^the database is \d{5,6} bytes long$/);
});

test("the extensions of this SQLite", async () => {
  const there = (await lab("extensions")).filter((line) => line.endsWith(" yes")).map((line) => line.slice(0, -4).trim());
  const not = (await lab("extensions")).filter((line) => !line.endsWith(" yes")).map((line) => line.slice(0, 20).trim());
  expect(there).toEqual([
    "json", "json ->>", "json_each", "jsonb", "math", "dates", "window", "fts5", "fts5 vocabulary", "fts5 trigrams", "rtree",
    "triggers", "views", "generated columns", "random", "PRAGMA table_list", "PRAGMA foreign_keys", "PRAGMA optimize",
  ]);
  expect(not).toEqual([
    "fts4", "geopoly", "temporary tables", "generate_series", "regexp", "soundex", "dbstat", "load_extension",
    "sqlite_version", "ATTACH", "VACUUM", "PRAGMA user_version", "PRAGMA journal_mode",
  ]);
});

// proves: trap T15, trap T16, trap T17
test("a transaction that fails leaves nothing, with or without an await in it", async () => {
  const [begin, pragma, ...outcomes] = await lab("transactions");
  expect(begin).toContain("please use the state.storage.transaction() or state.storage.transactionSync() APIs");
  expect(pragma).toBe("PRAGMA user_version = 2: Error: not authorized: SQLITE_AUTH");
  expect(outcomes).toEqual([
    "transaction_sync: changed my mind, 0 rows",
    "transaction: done, 2 rows",
    "transaction: Error: changed my mind, 2 rows",
  ]);
  await runInDurableObject(env.LOGBOOKS.getByName("lab"), async (_, state) => {
    for (const statement of ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a"]) {
      expect(() => state.storage.sql.exec(statement), statement).toThrow("please use the state.storage.transaction()");
    }
    expect(await state.storage.get("fails")).toBe(false);
  });
});

test("SQLite refuses what is over its limits", async () => {
  await runInDurableObject(env.LOGBOOKS.getByName("limits"), (_, state) => {
    const sql = state.storage.sql;
    sql.exec("CREATE TABLE limits (a BLOB)");
    const keep = (bytes: number) => () => sql.exec("INSERT INTO limits VALUES (?)", new Uint8Array(bytes));
    keep(4_000_000)(); // Cloudflare's network takes 2 MB.
    expect(keep(16_000_000)).toThrow("too big");
    const values = (count: number) => () => sql.exec(`SELECT 1 WHERE 1 IN (${Array(count).fill("?")})`, ...Array(count).fill(1)).toArray();
    expect(values(100)()).toHaveLength(1);
    expect(values(101)).toThrow("too many SQL variables");
    const columns = (count: number) => () => sql.exec(`CREATE TABLE c${count} (${Array.from({ length: count }, (_, n) => `c${n}`).join()})`);
    columns(100)();
    expect(columns(101)).toThrow("too many columns");
    expect(() => sql.exec(`SELECT 1 --${" ".repeat(100_001)}`)).toThrow("too long");
    expect(() => sql.exec("SELECT 'a' LIKE ?", "%".repeat(51)).toArray()).toThrow("too complex");
  });
});

// proves: api 65, api 66, api 67
test("point-in-time recovery reaches the runtime, which keeps no history here", async () => {
  const [now, then, restore] = await lab("recovery");
  expect(now).toMatch(/^now: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}$/);
  for (const line of [then, restore]) expect(line).toContain("does not implement point-in-time recovery");
});

// proves: api 68
test("there is no snapshot without its experimental flag", async () => {
  await runInDurableObject(env.LOGBOOKS.getByName("snapshot"), (_, state) => {
    expect((state.storage as any).snapshot).toBeUndefined();
  });
});
