// The texts of appendix D that the runtime says when it is asked. The headings there are these texts, letter for
// letter: when the runtime puts it differently, the test fails, and the page gets better.
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";

const inside = <T>(look: (state: DurableObjectState) => T | Promise<T>) =>
  runInDurableObject(env.CH04_TRAP.getByName("troubleshooting"), (_, state) => look(state));

test("what storage says of SQL that it does not take", () =>
  inside(({ storage }) => {
    const says = (query: string, text: string, ...values: unknown[]) =>
      expect(() => storage.sql.exec(query, ...values).toArray(), query).toThrow(text);
    storage.sql.exec("CREATE TABLE seats (seat TEXT PRIMARY KEY, paid INTEGER NOT NULL, CHECK (paid IN (0, 1))) STRICT");
    storage.sql.exec("INSERT INTO seats VALUES ('1A', 0)");
    says("INSERT INTO seats VALUES ('1A', 0)", "UNIQUE constraint failed: seats.seat: SQLITE_CONSTRAINT");
    says("INSERT INTO seats VALUES ('1B', 2)", "CHECK constraint failed: paid IN (0, 1): SQLITE_CONSTRAINT");
    says("INSERT INTO seats VALUES ('1B', ?)", "cannot store TEXT value in INTEGER column seats.paid: SQLITE_CONSTRAINT", "true");
    says("SELECT * FROM chairs", "no such table: chairs: SQLITE_ERROR");
    says("BEGIN", "To execute a transaction, please use the state.storage.transaction()");
    says("PRAGMA user_version", "not authorized: SQLITE_AUTH");
    says(`SELECT ${Array(101).fill("?").join()}`, "too many SQL variables", ...Array(101).fill(1));
    says("SELECT 'a' LIKE ?", "LIKE or GLOB pattern too complex: SQLITE_ERROR", "%".repeat(51));
    says("SELECT ?", "Wrong number of parameter bindings for SQL query.");
  }));

test("there are no jurisdictions on this machine", () => {
  expect(() => env.TRAP.newUniqueId({ jurisdiction: "eu" })).toThrow("Jurisdiction restrictions are not implemented in workerd.");
});

test("an id of another namespace is refused, and so is a text that is none", () => {
  const other = env.CH04_TRAP.newUniqueId().toString();
  expect(() => env.TRAP.idFromString(other)).toThrow("Durable Object ID is not valid for this namespace");
  expect(() => env.TRAP.idFromString("kitchen")).toThrow("Invalid Durable Object ID: must be 64 hex digits");
});
