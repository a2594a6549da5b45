// ch01 in the runtime: the built Worker inside workerd, every kind of event sent to it.
import {
  createExecutionContext,
  createMessageBatch,
  createScheduledController,
  getQueueResult,
  waitOnExecutionContext,
} from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

const worker = (method: string, path: string, body?: BodyInit) =>
  exports.default.fetch(new Request(`http://hello${path}`, { method, body }));
const text = async (method: string, path: string, body?: BodyInit) => (await worker(method, path, body)).text();
const json = async (method: string, path: string, body?: BodyInit) => (await worker(method, path, body)).json<any>();

/** Asks again until the answer is there, for what happens after an answer. */
const eventually = async (ask: () => Promise<unknown>, answer: unknown) => {
  for (let tries = 0; tries < 100 && (await ask()) !== answer; tries++) {
    await new Promise((done) => setTimeout(done, 20));
  }
  expect(await ask()).toBe(answer);
};

test("the first answer is OK", async () => {
  expect(await text("GET", "/")).toBe("OK\n");
});

test("a plain match and the router greet alike", async () => {
  for (const name of ["Ada", "Ada%20L.", "%E6%9D%8E"]) {
    const greeting = await text("GET", `/hello/${name}`);
    expect(greeting).toBe(`Good day, ${decodeURIComponent(name)}!\n`);
    expect(await text("GET", `/router/hello/${name}`)).toBe(greeting);
  }
});

test("the router knows its paths, and HEAD", async () => {
  const unknown = await worker("GET", "/router/nowhere");
  expect([unknown.status, await unknown.text()]).toEqual([404, "Not Found"]);
  expect((await worker("HEAD", "/router/hello/Ada")).status).toBe(200);
  expect((await worker("HEAD", "/hello/Ada")).status).toBe(200);
});

test("JSON comes in and goes out", async () => {
  expect(await json("POST", "/greetings", '{"name":"Ada"}')).toEqual({ greeting: "Good day, Ada!", length: 14 });
});

test("settings come from wrangler.toml, and a secret is never told", async () => {
  expect(await json("GET", "/settings")).toEqual({ greeting: "Good day", api_key: "not set" });
});

test("a stream arrives piece by piece", async () => {
  const answer = await worker("GET", "/countdown");
  const pieces: string[] = [];
  for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) pieces.push(piece);
  expect(pieces).toEqual(["3\n", "2\n", "1\n", "lift-off\n"]);
});

test("the start event ran once before the first request", async () => {
  expect((await json("GET", "/diary")).starts).toBe(1);
});

test("waitUntil works on after the answer", async () => {
  expect(await text("POST", "/later")).toBe("answered\n");
  await eventually(async () => (await json("GET", "/diary")).later, "written after the answer");
});

test("a cron trigger is written down", async () => {
  const context = createExecutionContext();
  await exports.default.scheduled!({ cron: "0 6 * * *", scheduledTime: new Date() } as any);
  await waitOnExecutionContext(context);
  expect((await json("GET", "/diary")).scheduled).toBe("0 6 * * *");
});

test("a job goes over the queue and is written down", async () => {
  const answer = await worker("POST", "/jobs", "water the plants");
  expect([answer.status, await answer.text()]).toEqual([202, "queued\n"]);
  await eventually(async () => (await json("GET", "/diary")).queue, "water the plants");
});

// proves: trap T28
test("passThroughOnException does nothing for an Err", async () => {
  const answer = await worker("GET", "/open");
  expect([answer.status, await answer.text()]).toEqual([500, "INTERNAL SERVER ERROR"]);
});

test("bad requests get a 4xx and one line that says why", async () => {
  const cases: [string, string, BodyInit | undefined, number, string][] = [
    ["GET", "/nowhere", undefined, 404, "no such path"],
    ["DELETE", "/", undefined, 405, "this path takes GET, HEAD"],
    ["GET", "/greetings", undefined, 405, "this path takes POST"],
    ["GET", "/hello/", undefined, 400, "a name is 1 to 64"],
    ["GET", "/hello/%ff", undefined, 400, "a name is 1 to 64"],
    ["GET", "/hello/%00", undefined, 400, "a name is 1 to 64"],
    ["GET", `/hello/${"x".repeat(65)}`, undefined, 400, "a name is 1 to 64"],
    ["POST", "/greetings", undefined, 400, "the body is JSON"],
    ["POST", "/greetings", "{", 400, "the body is JSON"],
    ["POST", "/greetings", '{"name":7}', 400, "the body is JSON"],
    ["POST", "/greetings", new Uint8Array([0xff]), 400, "the body is JSON"],
    ["POST", "/greetings", `{"name":"${"x".repeat(2000)}"}`, 413, "at most 1024 bytes"],
    ["POST", "/jobs", "", 400, "one line of text"],
    ["POST", "/jobs", "two\nlines", 400, "one line of text"],
    ["POST", "/jobs", "x".repeat(5_000_000), 413, "at most 1024 bytes"],
  ];
  for (const [method, path, body, status, line] of cases) {
    const answer = await worker(method, path, body);
    const said = await answer.text();
    expect([answer.status, said.trim().split("\n").length], `${method} ${path}: ${said}`).toEqual([status, 1]);
    expect(said).toContain(line);
    if (status === 405) expect(answer.headers.get("Allow")).toBe(line.replace("this path takes ", ""));
  }
});
