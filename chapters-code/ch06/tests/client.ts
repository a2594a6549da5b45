// A client of ch06 for its tests in the runtime.
import { exports } from "cloudflare:workers";
import { expect } from "vitest";

export const get = (path: string, headers: Record<string, string> = {}, method = "GET", body?: BodyInit) =>
  exports.default.fetch(new Request(`http://village${path}`, { method, headers, body }));

/** The status and the text of an answer that is no socket. */
export const refused = async (path: string, headers: Record<string, string> = {}, method = "GET", body?: BodyInit) => {
  const answer = await get(path, headers, method, body);
  return [answer.status, await answer.text()];
};

/** Opens a socket; `next` waits for what it hears next, `closed` for its end. */
export async function open(path: string, headers: Record<string, string> = {}) {
  const answer = await get(path, { Upgrade: "websocket", ...headers });
  expect(answer.status, path).toBe(101);
  const socket = answer.webSocket!;
  socket.binaryType = "arraybuffer";
  const heard: (string | number[])[] = [];
  const closed = new Promise<[number, string]>((resolve) =>
    socket.addEventListener("close", (event) => resolve([event.code, event.reason])));
  socket.addEventListener("message", ({ data }) => {
    heard.push(typeof data === "string" ? data : [...new Uint8Array(data as ArrayBuffer)]);
  });
  socket.accept();
  const next = async () => {
    await expect.poll(() => heard.length).toBeGreaterThan(0);
    return heard.shift()!;
  };
  return { socket, heard, next, closed, protocol: answer.headers.get("Sec-WebSocket-Protocol") };
}
export const binary = { "Sec-WebSocket-Protocol": "counter.v1" };
export const frame = (...bytes: number[]) => new Uint8Array(bytes);
