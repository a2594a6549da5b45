// ch04 in the runtime: the seats of a flight, and those who watch them.
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";
import migrations from "../src/migrations.rs?raw";
import source from "../src/seats.rs?raw";

type Seat = { seatNumber: string; occupant: string | null; cabin: string };

const worker = async (method: string, path: string, body?: BodyInit) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, body }));
  return { status: answer.status, text: await answer.text(), headers: answer.headers };
};
const seats = async (flight: string): Promise<Seat[]> => JSON.parse((await worker("GET", `/seats?flightId=${flight}`)).text);
const occupant = async (flight: string, seat: string) => (await seats(flight)).find((s) => s.seatNumber === seat)?.occupant;
const book = (flight: string, seatNumber: string, name: string) =>
  worker("POST", `/book-seat?flightId=${flight}`, JSON.stringify({ seatNumber, name }));
const evict = (flight: string) => evictDurableObject(env.FLIGHTS.getByName(flight));

/** A socket on a flight, and a function that waits for what it says next. */
async function watch(flight: string) {
  const answer = await exports.default.fetch(new Request(`http://village/ws?flightId=${flight}`, { headers: { Upgrade: "websocket" } }));
  expect(answer.status).toBe(101);
  const socket = answer.webSocket!;
  const heard: string[] = [];
  const closed = new Promise<CloseEvent>((resolve) => socket.addEventListener("close", resolve));
  socket.addEventListener("message", (event) => { heard.push(event.data as string); });
  socket.accept();
  const next = async (): Promise<Seat[]> => {
    await expect.poll(() => heard.length).toBeGreaterThan(0);
    return JSON.parse(heard.shift()!);
  };
  return { socket, next, closed };
}
const at = (all: Seat[], seat: string) => all.find((s) => s.seatNumber === seat)?.occupant;

test("a new flight has sixty free seats, in order, in two cabins", async () => {
  const all = await seats("NEW");
  const numbers = Array.from({ length: 60 }, (_, n) => `${Math.floor(n / 6) + 1}${"ABCDEF"[n % 6]}`);
  expect(all.map((seat) => seat.seatNumber)).toEqual(numbers);
  expect(all.every((seat) => seat.occupant === null)).toBe(true);
  expect(all.filter((seat) => seat.cabin === "business").map((seat) => seat.seatNumber)).toEqual(numbers.slice(0, 12));
});

// proves: api 54, api 57
test("a seat is booked once, and the next one hears that it is taken", async () => {
  expect(await book("ONCE", "3B", "Ada")).toMatchObject({ status: 200, text: "3B is booked for Ada\n" });
  expect(await book("ONCE", "3B", "Bob")).toMatchObject({ status: 409, text: "3B is taken\n" });
  expect(await book("ONCE", "3B", "Ada")).toMatchObject({ status: 409, text: "3B is taken\n" });
  expect(await occupant("ONCE", "3B")).toBe("Ada");
  expect(await occupant("OTHER", "3B")).toBeNull();
});

test("of two bookings of one seat at the same moment exactly one wins", async () => {
  for (let round = 0; round < 20; round++) {
    const answers = await Promise.all(["Ada", "Bob"].map((name) => book(`DUEL-${round}`, "7C", name)));
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 409]);
    const winner = answers[0].status === 200 ? "Ada" : "Bob";
    expect(await occupant(`DUEL-${round}`, "7C")).toBe(winner);
  }
});

test("who books another seat leaves the first, and keeps it if the other is taken", async () => {
  await book("MOVE", "1A", "Ada");
  await book("MOVE", "1B", "Bob");
  expect((await book("MOVE", "2A", "Ada")).status).toBe(200);
  expect(await occupant("MOVE", "1A")).toBeNull();
  expect((await book("MOVE", "1B", "Ada")).status).toBe(409);
  expect(await occupant("MOVE", "2A")).toBe("Ada");
});

// proves: claim booking-evicted
test("a booking is still there after an eviction", async () => {
  expect((await book("EVICT", "5D", "Ada")).status).toBe(200);
  await evict("EVICT");
  expect(await occupant("EVICT", "5D")).toBe("Ada");
  expect((await book("EVICT", "5D", "Bob")).status).toBe(409);
});

test("every step of the schema is taken once, however often the object starts", async () => {
  const steps = () => runInDurableObject(env.FLIGHTS.getByName("STEPS"), (_, state) =>
    state.storage.sql.exec("SELECT version FROM migrations ORDER BY version").toArray().map((row) => row.version));
  await seats("STEPS");
  expect(await steps()).toEqual([1, 2]);
  await evict("STEPS");
  await seats("STEPS");
  expect(await steps()).toEqual([1, 2]);
  // What it costs to find out that there is nothing to do.
  const [, table, version] = /TABLE: &str = "([^"]*)".*VERSION: &str =\s*"([^"]*)"/s.exec(migrations)!;
  await runInDurableObject(env.FLIGHTS.getByName("STEPS"), (_, state) => {
    const cost = (sql: string) => {
      const cursor = state.storage.sql.exec(sql);
      cursor.toArray();
      return [cursor.rowsRead, cursor.rowsWritten];
    };
    expect([cost(table), cost(version)]).toEqual([[0, 0], [1, 0]]);
  });
});

test("a STRICT table refuses what is not of its type", async () => {
  await seats("STRICT");
  await runInDurableObject(env.FLIGHTS.getByName("STRICT"), (_, state) => {
    const write = (sql: string) => () => state.storage.sql.exec(sql);
    expect(write("UPDATE seats SET cabin = 'hold'")).toThrow("CHECK");
    expect(write("UPDATE seats SET occupant = x'00'")).toThrow("cannot store BLOB value in TEXT column");
    expect(write("UPDATE seats SET occupant = 'Ada'")).toThrow("UNIQUE");
  });
});

test("the index serves the query that looks for a passenger", async () => {
  const leave = /const LEAVE: &str = "([^"]*)"/.exec(source)![1];
  await seats("PLAN");
  await runInDurableObject(env.FLIGHTS.getByName("PLAN"), (_, state) => {
    const plan = (sql: string) => state.storage.sql.exec(`EXPLAIN QUERY PLAN ${sql}`, "Ada", "1A").toArray().map((row) => row.detail);
    expect(plan(leave)).toEqual(["SEARCH seats USING INDEX seats_by_occupant (occupant=?)"]);
    state.storage.sql.exec("DROP INDEX seats_by_occupant");
    expect(plan(leave)).toEqual(["SCAN seats"]);
  });
});

test("a name is a value and never a piece of SQL", async () => {
  const name = `Robert"'); DROP TABLE seats; --`;
  expect((await book("BOBBY", "3B", name)).status).toBe(200);
  expect(await occupant("BOBBY", "3B")).toBe(name);
  expect((await seats("BOBBY")).length).toBe(60);
});

test("every socket hears every booking, and all end up with the same seats", async () => {
  const ears = await Promise.all(Array.from({ length: 5 }, () => watch("LIVE")));
  for (const ear of ears) expect(at(await ear.next(), "4A")).toBeNull();
  await book("LIVE", "4A", "Ada");
  for (const ear of ears) expect(at(await ear.next(), "4A")).toBe("Ada");
  await Promise.all(["Bob", "Cleo", "Dan"].map((name, n) => book("LIVE", `5${"ABC"[n]}`, name)));
  const last = await Promise.all(ears.map(async (ear) => { await ear.next(); await ear.next(); return ear.next(); }));
  for (const all of last) expect(all).toEqual(await seats("LIVE"));
});

// proves: claim socket-evicted
test("a socket stays open over an eviction and goes on hearing", async () => {
  const ear = await watch("SLEEP");
  await ear.next();
  await evict("SLEEP");
  await book("SLEEP", "6E", "Ada");
  expect(at(await ear.next(), "6E")).toBe("Ada");
});

test("a socket that closes disturbs nobody", async () => {
  const [gone, stays] = [await watch("GONE"), await watch("GONE")];
  await Promise.all([gone.next(), stays.next()]);
  gone.socket.close(1000, "bye");
  expect((await book("GONE", "9F", "Ada")).status).toBe(200);
  expect(at(await stays.next(), "9F")).toBe("Ada");
});

test("one watcher too many is told to come back later", async () => {
  const knock = () => exports.default.fetch(new Request("http://village/ws?flightId=CROWD", { headers: { Upgrade: "websocket" } }));
  const sockets: WebSocket[] = [];
  for (let n = 0; n < 1000; n++) {
    const socket = (await knock()).webSocket!;
    socket.accept();
    sockets.push(socket);
  }
  const answer = await knock();
  expect([answer.status, await answer.text()]).toEqual([503, "1000 watch this flight already; come back later\n"]);
  sockets[0].close(1000, "bye");
  await expect.poll(async () => {
    const again = await knock();
    if (again.status === 503) await again.text();
    else again.webSocket!.accept();
    return again.status;
  }).toBe(101);
}, 30_000);

test("whoever talks into a socket is told the way, and nothing changes", async () => {
  for (const words of ["hello", "x".repeat(1_000_000), new Uint8Array([1, 2])]) {
    const ear = await watch("TALK");
    const before = await ear.next();
    ear.socket.send(words);
    const { code, reason } = await ear.closed;
    expect([code, reason]).toEqual([1003, "to book, POST to /book-seat"]);
    expect(await seats("TALK")).toEqual(before);
  }
});

test("bad bookings get a 4xx and one line that says why", async () => {
  const body = (seatNumber: unknown, name: unknown) => JSON.stringify({ seatNumber, name });
  const at = "/book-seat?flightId=BAD";
  const cases: [string, string, BodyInit | undefined, number, string][] = [
    ["GET", "/nowhere", undefined, 404, "no such path"],
    ["GET", "/seats", undefined, 400, "add ?flightId="],
    ["GET", "/seats?flightId=", undefined, 400, "add ?flightId="],
    ["GET", "/seats?flightId=..%2f", undefined, 400, "add ?flightId="],
    ["GET", `/seats?flightId=${"x".repeat(17)}`, undefined, 400, "add ?flightId="],
    ["GET", `/seats?flightId=${"x".repeat(10_000)}`, undefined, 400, "add ?flightId="],
    ["DELETE", "/seats?flightId=BAD", undefined, 405, "this path takes GET, HEAD"],
    ["GET", at, undefined, 405, "this path takes POST"],
    ["GET", "/ws?flightId=BAD", undefined, 426, "send Upgrade: websocket"],
    ["POST", at, undefined, 400, "a booking looks like"],
    ["POST", at, "Ada", 400, "a booking looks like"],
    ["POST", at, "[]", 400, "a booking looks like"],
    ["POST", at, body(3, "Ada"), 400, "a booking looks like"],
    ["POST", at, JSON.stringify({ seatNumber: "3B" }), 400, "a booking looks like"],
    ["POST", at, new Uint8Array([0xff, 0xfe]), 400, "a booking looks like"],
    ["POST", at, body("3G", "Ada"), 404, "there are the seats 1A to 10F"],
    ["POST", at, body("11A", "Ada"), 404, "there are the seats 1A to 10F"],
    ["POST", at, body("03B", "Ada"), 404, "there are the seats 1A to 10F"],
    ["POST", at, body("", "Ada"), 404, "there are the seats 1A to 10F"],
    ["POST", at, body("3B", ""), 400, "a name is 1 to 64"],
    ["POST", at, body("3B", "   "), 400, "a name is 1 to 64"],
    ["POST", at, body("3B", "x".repeat(65)), 400, "a name is 1 to 64"],
    ["POST", at, body("3B", "x".repeat(10_000)), 400, "a name is 1 to 64"],
    ["POST", at, body("3B", "a\u0000b"), 400, "a name is 1 to 64"],
    ["POST", at, body("3B", "x".repeat(10_000_000)), 413, "at most 1000000 bytes"],
  ];
  const before = await seats("BAD");
  for (const [method, path, sent, status, line] of cases) {
    const answer = await worker(method, path, sent);
    const which = `${method} ${path} ${String(sent).slice(0, 60)}: ${answer.text}`;
    expect([answer.status, answer.text.trim().split("\n").length], which).toEqual([status, 1]);
    expect(answer.text).toContain(line);
    if (status === 405) expect(answer.headers.get("Allow")).toBe(line.replace("this path takes ", ""));
  }
  expect(await seats("BAD")).toEqual(before);
  for (const [n, name] of ["x", "x".repeat(64), "ä".repeat(64), "山田 太郎", "Иван"].entries()) {
    expect((await book("GOOD", `${n + 1}A`, name)).text).toBe(`${n + 1}A is booked for ${name}\n`);
  }
});
