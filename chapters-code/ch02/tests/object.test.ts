import { evictDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, test } from "vitest";

test("counts", async () => {
  const r = await exports.default.fetch("http://x/counters/kitchen", { method: "POST" });
  expect(await r.text()).toBe("1\n");
  await evictDurableObject(env.COUNTER.getByName("kitchen"));
  const r2 = await exports.default.fetch("http://x/counters/kitchen");
  expect(await r2.text()).toBe("0\n");
});
