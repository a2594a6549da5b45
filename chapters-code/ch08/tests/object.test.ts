// ch08 in the runtime: a guest book, and what of it is kept where.
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";
import source from "../src/lines.rs?raw";

const worker = async (method: string, path: string, body?: BodyInit) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, body }));
  return { status: answer.status, text: await answer.text(), headers: answer.headers };
};
const sign = (book: string, name: string, text: string) => worker("POST", `/books/${book}`, JSON.stringify({ name, text }));
const read = async (book: string, query = ""): Promise<any[]> => JSON.parse((await worker("GET", `/books/${book}${query}`)).text);
const where = async (book: string) => JSON.parse((await worker("GET", `/books/${book}/where`)).text);
const within = <T>(book: string, look: (sql: SqlStorage) => T) =>
  runInDurableObject(env.GUEST_BOOKS.getByName(book), (_, state) => look(state.storage.sql));
const evict = (book: string) => evictDurableObject(env.GUEST_BOOKS.getByName(book));
/** Fills a book up to that number of lines, without asking its keeper. */
const fill = async (book: string, lines: number) => {
  await read(book);
  await within(book, (sql) => sql.exec(`
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ${lines})
    INSERT INTO lines (at, name, text) SELECT '2000-01-01T00:00:00.000Z', 'Ada', 'Day ' || n FROM n`).toArray());
};
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

test("who signs gets their line back, and everybody reads it", async () => {
  const before = new Date().toISOString();
  const signed = await sign("sign", "  Ada ", "Lovely cellar.");
  expect(signed.status).toBe(201);
  const line = JSON.parse(signed.text);
  expect(line).toEqual({ number: 1, at: expect.stringMatching(ISO), name: "Ada", text: "Lovely cellar." });
  expect(line.at >= before && line.at <= new Date().toISOString()).toBe(true);
  // The order of the fields is fixed too.
  expect(signed.text).toBe(JSON.stringify({ number: 1, at: line.at, name: "Ada", text: "Lovely cellar." }));
  expect((await worker("GET", "/books/sign")).text).toBe(`[${signed.text}]`);
  expect(signed.headers.get("Content-Type")).toContain("application/json");
});

test("each book has lines of its own, and an empty one has none", async () => {
  await sign("north", "Ada", "Here.");
  expect(await read("north")).toHaveLength(1);
  expect(await read("south")).toEqual([]);
  expect(await read("North")).toEqual([]);
});

test("many who sign at once are all there, each with a number of their own", async () => {
  const signed = await Promise.all(Array.from({ length: 50 }, (_, n) => sign("crowd", `Guest ${n}`, `Line ${n}`)));
  const told = signed.map((answer) => JSON.parse(answer.text)).sort((a, b) => a.number - b.number);
  expect(told.map((line) => line.number)).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
  expect(await read("crowd")).toEqual(told);
});

test("lines come in pages, oldest first, each page after the last number of the one before", async () => {
  await fill("pages", 250);
  const numbers = async (query: string) => (await read("pages", query)).map((line) => line.number);
  expect(await numbers("?limit=3")).toEqual([1, 2, 3]);
  expect(await numbers("?after=3&limit=2")).toEqual([4, 5]);
  expect(await numbers("?after=248")).toEqual([249, 250]);
  expect(await numbers("?after=250")).toEqual([]);
  expect(await numbers("?after=10000")).toEqual([]);
  // Without a limit it is a hundred.
  const all = [];
  for (let page = await numbers(""); page.length > 0; page = await numbers(`?after=${all.at(-1)}`)) {
    expect(page.length).toBeLessThanOrEqual(100);
    all.push(...page);
  }
  expect(all).toEqual(Array.from({ length: 250 }, (_, n) => n + 1));
});

test("after an eviction the lines are there, and the count in memory begins anew", async () => {
  for (const text of ["One.", "Two."]) await sign("evict", "Ada", text);
  const lines = await read("evict");
  const before = await where("evict");
  expect(before).toMatchObject({
    memory: { awake_since: expect.stringMatching(ISO), signed: 2 },
    cellar: { lines: 2, bytes: await within("evict", (sql) => sql.databaseSize) },
  });
  // As long as it stays awake, it stays awake since then.
  expect(await where("evict")).toEqual(before);
  await new Promise((resolve) => setTimeout(resolve, 5));
  await evict("evict");
  const after = await where("evict");
  expect(after).toMatchObject({ memory: { signed: 0 }, cellar: { lines: 2, bytes: before.cellar.bytes } });
  expect(after.memory.awake_since > before.memory.awake_since).toBe(true);
  expect(await read("evict")).toEqual(lines);
  await sign("evict", "Bob", "Three.");
  expect(await where("evict")).toMatchObject({ memory: { signed: 1 }, cellar: { lines: 3 } });
  expect((await read("evict")).map((line) => line.number)).toEqual([1, 2, 3]);
});

test("what is refused is not counted, neither in memory nor in the cellar", async () => {
  await sign("count", "Ada", "One.");
  expect((await sign("count", "", "Two.")).status).toBe(400);
  expect(await where("count")).toMatchObject({ memory: { signed: 1 }, cellar: { lines: 1 } });
});

test("a book that is full takes no more, and loses nothing", async () => {
  await fill("full", 9_999);
  // Two want the last line.
  const last = await Promise.all(["Ada", "Bob"].map((name) => sign("full", name, "The last one.")));
  expect(last.map((answer) => answer.status).sort()).toEqual([201, 409]);
  const line = JSON.parse(last.find((answer) => answer.status === 201)!.text);
  expect(line.number).toBe(10_000);
  const full = { status: 409, text: "this book has 10000 lines and is full; please sign another\n" };
  expect(last.find((answer) => answer.status === 409)).toMatchObject(full);
  expect(await sign("full", "Cleo", "One more.")).toMatchObject(full);
  await evict("full");
  expect(await sign("full", "Cleo", "One more.")).toMatchObject(full);
  expect(await read("full", "?after=9998")).toEqual([expect.objectContaining({ number: 9_999, text: "Day 9999" }), line]);
  expect(await read("full", "?limit=1")).toEqual([expect.objectContaining({ number: 1, text: "Day 1" })]);
  expect((await where("full")).cellar.lines).toBe(10_000);
  expect(await within("full", (sql) => sql.exec("SELECT count(*) AS n FROM lines").one().n)).toBe(10_000);
});

test("what the comments in lines.rs say about costs is so", async () => {
  await fill("costs", 1_000);
  const [, count] = /COUNT: &str = "([^"]*)"/.exec(source)!;
  await within("costs", (sql) => {
    const cost = (query: string) => {
      const cursor = sql.exec(query);
      cursor.toArray();
      return [cursor.rowsRead, cursor.rowsWritten];
    };
    expect(cost(count)).toEqual([1, 0]);
    expect(cost("SELECT count(*) FROM lines")[0]).toBe(1_000);
    sql.exec("CREATE TABLE a (number INTEGER PRIMARY KEY, text TEXT) STRICT; CREATE TABLE b (number INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT) STRICT");
    const written = (table: string) => cost(`INSERT INTO ${table} (text) VALUES ('x')`)[1];
    written("b"); // Its first line also makes the row that counts.
    expect([written("a"), written("b")]).toEqual([1, 2]);
    // And without it, the number of a line that was the last is given again.
    sql.exec("DELETE FROM a; DELETE FROM b");
    const number = (table: string) => sql.exec(`INSERT INTO ${table} (text) VALUES ('x') RETURNING number`).one().number;
    expect([number("a"), number("b")]).toEqual([1, 3]);
  });
});

test("a text of any script is kept as it is, and never a piece of SQL", async () => {
  const texts = [`Robert"'); DROP TABLE lines; --`, "山田 太郎", "Иван", "مرحبا", "e\u0301 👩‍🌾 ", "<b>", "\\u0041 %00 ${x}", "x".repeat(500), "🏡".repeat(500)];
  for (const text of texts) expect((await sign("scripts", text.slice(0, 64), text)).status, text).toBe(201);
  expect((await read("scripts")).map((line) => line.text)).toEqual(texts.map((text) => text.trim()));
});

test("bad requests get a 4xx and one line that says why", async () => {
  const body = (name: unknown, text: unknown) => JSON.stringify({ name, text });
  const at = "/books/bad";
  const cases: [string, string, BodyInit | undefined, number, string][] = [
    ["GET", "/nowhere", undefined, 404, "no such path"],
    ["GET", "/books", undefined, 404, "no such path"],
    ["POST", "/books/bad/where/1", body("Ada", "Hello"), 404, "no such path"],
    ["GET", "/books/", undefined, 400, "a book's name is 1 to 32"],
    ["GET", "/books/b%20d", undefined, 400, "a book's name is 1 to 32"],
    ["GET", `/books/${"x".repeat(33)}`, undefined, 400, "a book's name is 1 to 32"],
    ["POST", `/books/${"x".repeat(10_000)}`, body("Ada", "Hello"), 400, "a book's name is 1 to 32"],
    ["GET", `${at}?limit=0`, undefined, 400, "limit is 1 to 100"],
    ["GET", `${at}?limit=101`, undefined, 400, "limit is 1 to 100"],
    ["GET", `${at}?after=-1`, undefined, 400, "after is 0 to 10000"],
    ["GET", `${at}?after=10001`, undefined, 400, "after is 0 to 10000"],
    ["GET", `${at}?after=1e3`, undefined, 400, "after is 0 to 10000"],
    ["DELETE", at, undefined, 405, "this path takes GET, HEAD, POST"],
    ["POST", "/books/bad/where", undefined, 405, "this path takes GET, HEAD"],
    ["POST", "/help", undefined, 405, "this path takes GET, HEAD"],
    ["POST", at, undefined, 400, "a line looks like"],
    ["POST", at, "Ada", 400, "a line looks like"],
    ["POST", at, "[]", 400, "a line looks like"],
    ["POST", at, JSON.stringify(["Ada", "Hello"]), 400, "a line looks like"],
    ["POST", at, "name=Ada&text=Hello", 400, "a line looks like"],
    ["POST", at, JSON.stringify({ name: "Ada" }), 400, "a line looks like"],
    ["POST", at, body(3, "Hello"), 400, "a line looks like"],
    ["POST", at, body("Ada", null), 400, "a line looks like"],
    ["POST", at, new Uint8Array([0xff, 0xfe]), 400, "a line looks like"],
    ["POST", at, body("", "Hello"), 400, "a name is 1 to 64"],
    ["POST", at, body("   ", "Hello"), 400, "a name is 1 to 64"],
    ["POST", at, body("x".repeat(65), "Hello"), 400, "a name is 1 to 64"],
    ["POST", at, body("A\u0000da", "Hello"), 400, "a name is 1 to 64"],
    ["POST", at, body("Ada", ""), 400, "a text is one line of 1 to 500"],
    ["POST", at, body("Ada", "x".repeat(501)), 400, "a text is one line of 1 to 500"],
    ["POST", at, body("Ada", "two\nlines"), 400, "a text is one line of 1 to 500"],
    ["POST", at, body("Ada", "x".repeat(8_000)), 413, "at most 8000 bytes"],
    ["POST", at, body("Ada", "x".repeat(10_000_000)), 413, "at most 8000 bytes"],
    // Its length is not declared.
    ["POST", at, new Blob(["x".repeat(100_000)]).stream(), 413, "at most 8000 bytes"],
  ];
  for (const [method, path, sent, status, line] of cases) {
    const answer = await worker(method, path, sent);
    const which = `${method} ${path.slice(0, 60)} ${String(sent).slice(0, 60)}: ${answer.text}`;
    expect([answer.status, answer.text.trim().split("\n").length], which).toEqual([status, 1]);
    expect(answer.text, which).toContain(line);
    if (status === 405) expect(answer.headers.get("Allow")).toBe(line.replace("this path takes ", ""));
  }
  expect(await read("bad")).toEqual([]);
  expect(await where("bad")).toMatchObject({ memory: { signed: 0 }, cellar: { lines: 0 } });
});

test("the help lists the routes, and HEAD has no body", async () => {
  const help = (await worker("GET", "/help")).text;
  for (const route of ["GET  /books/<name>?after=<n>&limit=<n>", "POST /books/<name>", "GET  /books/<name>/where"]) expect(help).toContain(route);
  expect(await worker("HEAD", "/books/head")).toMatchObject({ status: 200, text: "" });
});
