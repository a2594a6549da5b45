// ch06 in the runtime: what a request has to pass before an object hears of it.
import { listDurableObjectIds } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { get, open, refused } from "./client";

const upgrade = { Upgrade: "websocket" };
const key = { Authorization: `Bearer ${env.MEMBERS_KEY}` };
const ticket = async (room: string) => {
  const answer = await get(`/tickets/${room}`, key, "POST");
  expect(answer.status).toBe(200);
  return answer.text();
};
const bad = "add ?ticket= with a ticket for this room, not older than 60 s\n";

test("the paths that are no sockets", async () => {
  expect(await refused("/status")).toEqual([200, "ok"]);
  expect((await refused("/"))[1]).toContain("/ws/<room>");
  expect(await refused("/nowhere")).toEqual([404, "no such path; GET / lists them\n"]);
});

test("bad requests are refused before an object is made", async () => {
  const before = await listDurableObjectIds(env.ROOMS);
  for (const path of ["/ws", "/ws/plaza", "/proxy/plaza", "/members/plaza", "/websocket"])
    expect(await refused(path)).toEqual([426, "Worker expected Upgrade: websocket\n"]);
  const long = "x".repeat(65);
  for (const path of [`/ws/${long}`, "/ws/", "/ws/a%20b", "/ws/a.b", "/proxy/a%2Fb", "/members/%C3%A9"])
    expect(await refused(path, upgrade)).toEqual([400, "a room's name is 1 to 64 of A-Z, a-z, 0-9, '-', '_'\n"]);
  const post = await get("/ws/plaza", {}, "POST");
  expect([post.status, post.headers.get("Allow"), await post.text()]).toEqual([405, "GET, HEAD", "this path takes GET, HEAD\n"]);
  expect(await listDurableObjectIds(env.ROOMS)).toEqual(before);
});

test("a page of another origin opens no socket", async () => {
  const text = "pages of this origin open no sockets here; see ALLOWED_ORIGINS\n";
  for (const path of ["/ws/plaza", "/proxy/plaza", "/members/plaza", "/websocket"])
    for (const Origin of ["https://evil.example", "null", "https://village", "http://village:8080", "http://village.evil.example"])
      expect(await refused(path, { ...upgrade, Origin })).toEqual([403, text]);
  for (const Origin of ["http://village", "HTTP://VILLAGE"])
    expect(await (await open("/ws/origin", { Origin })).next()).toBe("new value: 0");
});

test("a ticket opens its room, which is not the open room of that name", async () => {
  const outside = await open("/ws/plaza");
  await outside.next();
  outside.socket.send("increment");
  expect(await outside.next()).toBe("new value: 1");
  const inside = await open(`/members/plaza?ticket=${await ticket("plaza")}`);
  expect(await inside.next()).toBe("new value: 0");
  inside.socket.send("decrement");
  expect(await inside.next()).toBe("new value: -1");
  expect(outside.heard).toEqual([]);
});

test("without a ticket for this room there is no way in", async () => {
  const other = await ticket("hall");
  const [until, signature] = (await ticket("plaza")).split(".");
  for (const query of ["", "?ticket=", "?ticket=open", `?ticket=${other}`, `?ticket=${until}.${"0".repeat(64)}`,
    `?ticket=${Number(until) + 1}.${signature}`, `?Ticket=${until}.${signature}`]) {
    const answer = await get(`/members/plaza${query}`, upgrade);
    expect([answer.status, await answer.text()], query).toEqual([401, bad]);
    expect(answer.headers.get("WWW-Authenticate")).toBe('Bearer realm="members"');
  }
});

test("a ticket is given to whoever has the key", async () => {
  const wanted = "send the members' key: Authorization: Bearer <key>\n";
  for (const Authorization of ["", "Bearer", "Bearer ", "Bearer wrong", `Basic ${env.MEMBERS_KEY}`, `Bearer ${env.MEMBERS_KEY}2`]) {
    const answer = await get("/tickets/plaza", { Authorization }, "POST");
    expect([answer.status, await answer.text()]).toEqual([401, wanted]);
    expect(answer.headers.get("WWW-Authenticate")).toBe('Bearer realm="members"');
  }
  expect(await refused("/tickets/plaza", key, "POST", "hello")).toEqual([400, "this path takes no body\n"]);
  expect((await refused("/tickets/plaza", key, "POST", "x".repeat(1001)))[0]).toBe(413);
  expect((await refused("/tickets/plaza", key, "GET"))[0]).toBe(405);
});

test("without a key nobody is a member", async () => {
  const good = await ticket("plaza");
  const before = env.MEMBERS_KEY;
  const none = [503, "there are no members yet: MEMBERS_KEY is not set\n"];
  try {
    for (const unset of ["", undefined]) {
      env.MEMBERS_KEY = unset;
      for (const Authorization of ["Bearer ", "Bearer undefined", `Bearer ${before}`])
        expect(await refused("/tickets/plaza", { Authorization }, "POST")).toEqual(none);
      expect(await refused(`/members/plaza?ticket=${good}`, upgrade)).toEqual(none);
    }
  } finally {
    env.MEMBERS_KEY = before;
  }
  expect(await (await open(`/members/plaza?ticket=${good}`)).next()).toMatch("new value");
});
