// What the page of ch04 asks you to try. These fail until you have done it:
//   EXERCISES=1 npx vitest run --project ch04
import { evictDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

// An eviction waits for answers that are not read to their end.
const worker = async (method: string, path: string, body?: unknown) => {
  const answer = await exports.default.fetch(new Request(`http://village${path}`, { method, body: body && JSON.stringify(body) }));
  return { status: answer.status, text: await answer.text() };
};
const seat = async (flight: string, number: string) =>
  JSON.parse((await worker("GET", `/seats?flightId=${flight}`)).text).find((seat: any) => seat.seatNumber === number);

test("1. a seat can be given up", async () => {
  const ada = { seatNumber: "3B", name: "Ada" };
  await worker("POST", "/book-seat?flightId=LEAVE", ada);
  expect((await worker("POST", "/leave-seat?flightId=LEAVE", { ...ada, name: "Bob" })).status).toBe(409);
  expect((await seat("LEAVE", "3B")).occupant).toBe("Ada");
  const watch = await exports.default.fetch(new Request("http://village/ws?flightId=LEAVE", { headers: { Upgrade: "websocket" } }));
  const heard: string[] = [];
  watch.webSocket!.addEventListener("message", (event) => { heard.push(event.data as string); });
  watch.webSocket!.accept();
  expect(await worker("POST", "/leave-seat?flightId=LEAVE", ada)).toEqual({ status: 200, text: "3B is free\n" });
  await expect.poll(() => heard.length).toBe(2);
  expect(heard[1]).not.toContain("Ada");
  expect((await worker("GET", "/leave-seat?flightId=LEAVE")).status).toBe(405);
});

test("2. a seat tells how often it was booked", async () => {
  expect((await seat("COUNT", "3B")).bookings).toBe(0);
  await worker("POST", "/book-seat?flightId=COUNT", { seatNumber: "3B", name: "Ada" });
  await worker("POST", "/book-seat?flightId=COUNT", { seatNumber: "3B", name: "Bob" });
  await worker("POST", "/book-seat?flightId=COUNT", { seatNumber: "4B", name: "Ada" });
  await worker("POST", "/book-seat?flightId=COUNT", { seatNumber: "3B", name: "Bob" });
  await evictDurableObject(env.FLIGHTS.getByName("COUNT"));
  expect((await seat("COUNT", "3B")).bookings).toBe(2);
});
