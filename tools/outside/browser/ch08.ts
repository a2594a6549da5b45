// The guest book's page: what the browser keeps, what the memory keeps, and what the cellar keeps, over a kill of the
// server. `folder` is where this script and the test tell each other how far they are.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { open } from "./open.ts";
import type { Page } from "playwright-core";

const check = (right: boolean, what: string) => { if (!right) throw new Error(what); };
const same = (seen: unknown, right: unknown, what: string) =>
  check(JSON.stringify(seen) === JSON.stringify(right), `${what}: ${JSON.stringify(seen)} instead of ${JSON.stringify(right)}`);

await open(async (browser, url, folder, pictures) => {
  const errors: string[] = [];
  const tab = async (options = {}, path = "/"): Promise<Page> => {
    const page = await (await browser.newContext(options)).newPage();
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("request", (request) => { if (!request.url().startsWith(`${url}/`)) errors.push(`asks for ${request.url()}`); });
    await page.goto(`${url}${path}`);
    return page;
  };
  const tell = (what: string) => writeFileSync(join(folder, what), "");
  const told = async (what: string) => { while (!existsSync(join(folder, what))) await sleep(50); };
  const field = (page: Page, label: string) => page.getByRole("textbox", { name: label });
  const press = (page: Page, name: string) => page.getByRole("button", { name, exact: true }).click();
  const said = (page: Page, text: string | RegExp) => page.getByRole("status").getByText(text).waitFor();
  const lines = (page: Page) => page.getByRole("list").getByRole("listitem").locator("p:last-child").allTextContents();
  const names = (page: Page) => page.getByRole("list").getByRole("listitem").locator("b").allTextContents();
  const sign = async (page: Page, name: string, text: string, number: number) => {
    await field(page, "Your name").fill(name);
    await field(page, "Your line").fill(text);
    await press(page, "Sign");
    await said(page, `Line ${number} is yours.`);
  };
  /** What the table says is kept there. */
  const kept = async (page: Page) => {
    const table = page.getByRole("table", { name: "What is kept where" });
    const row = (where: string) => table.getByRole("row", { name: where }).getByRole("cell").last().textContent();
    const [name, memory, cellar] = await Promise.all(["In this browser", "In the object’s memory", "In the object’s cellar (SQLite)"].map(row));
    const [, signed, since] = /^(\d+) lines? signed since it awoke at (\d\d:\d\d:\d\d)$/.exec(memory!) ?? [];
    const [, count, bytes] = /^(\d+) lines?, ([\d,]+) bytes$/.exec(cellar!) ?? [];
    check(signed !== undefined && count !== undefined, `the table says ${memory} and ${cellar}`);
    return { name, signed: Number(signed), since, lines: Number(count), bytes };
  };

  // A book that nobody has signed. Nothing is known of the guest.
  const ada = await tab({ viewport: { width: 1100, height: 900 } });
  await ada.getByRole("heading", { name: "Guest book “village”", level: 1 }).waitFor();
  await ada.getByText("No lines yet.").waitFor();
  let now = await kept(ada);
  same([now.name, now.signed, now.lines], ["nothing yet", 0, 0], "at first there is");
  check(await field(ada, "Your name").inputValue() === "", "no name yet");

  // Ada signs, and all three places have more.
  await sign(ada, "  Ada ", "Lovely cellar.", 1);
  now = await kept(ada);
  same([now.name, now.signed, now.lines], ["your name: Ada", 1, 1], "after signing there is");
  same(await lines(ada), ["Lovely cellar."], "the lines");
  check(await field(ada, "Your line").inputValue() === "", "the line is taken out of the field");
  check(await ada.getByText("No lines yet.").isHidden(), "somebody has signed");

  // What looks like HTML is only text. Bob has another browser, which knows nothing of Ada's name.
  const bob = await tab({ colorScheme: "dark", viewport: { width: 360, height: 780 } });
  await bob.getByText("Lovely cellar.").waitFor();
  same((await kept(bob)).name, "nothing yet", "Bob's browser keeps");
  const html = "<img src=x onerror=alert(1)>";
  await sign(bob, html, `<b>bold</b> ${html}`, 2);
  same(await lines(bob), [`<b>bold</b> ${html}`, "Lovely cellar."], "the lines, newest first");
  same((await kept(bob)).name, `your name: ${html}`, "Bob's browser keeps");

  // What the server refuses stays in its field, and is explained.
  await field(bob, "Your line").fill("x".repeat(501));
  await press(bob, "Sign");
  await said(bob, "Not done: a text is one line of 1 to 500 characters");
  check((await field(bob, "Your line").inputValue()).length === 501, "the long line is still there");

  // Ada loads the page again: her name is there, and so is Bob's line.
  await ada.reload();
  await ada.getByText("<b>bold</b>").waitFor();
  check(await field(ada, "Your name").inputValue() === "Ada", "the name is remembered");
  same([(await kept(ada)).name, (await kept(ada)).lines], ["your name: Ada", 2], "after the reload there is");

  // With the keyboard alone, in Bob's window.
  const keys = bob.keyboard;
  const focused = () => bob.evaluate(() => document.activeElement!.id || document.activeElement!.textContent);
  await field(bob, "Your name").focus();
  await keys.press("ControlOrMeta+A");
  await keys.type("Bob");
  await keys.press("Tab");
  await keys.press("ControlOrMeta+A");
  await keys.type("Typed.");
  await keys.press("Enter");
  await said(bob, "Line 3 is yours.");
  check(await focused() === "text", `after signing the focus is on ${await focused()}`);
  await keys.type("Typed again.");
  await keys.press("Tab");
  await keys.press("Space");
  await said(bob, "Line 4 is yours.");
  await keys.press("Tab");
  check(await focused() === "look", `after the button the focus is on ${await focused()}`);
  await keys.press("Enter");
  await said(bob, /^As of \d\d:\d\d:\d\d\.$/);

  // The server is killed. The page says that it does not answer, and keeps what is typed.
  const before = await kept(bob);
  tell("kill");
  await told("killed");
  await press(ada, "Look again");
  await said(ada, "The server does not answer. What you see may be old.");
  await field(ada, "Your line").fill("Is anybody at home?");
  await press(ada, "Sign");
  await said(ada, "What you typed is still here.");
  check(await field(ada, "Your line").inputValue() === "Is anybody at home?", "the line is still there");
  same((await lines(ada)).length, 2, "lines are still shown");
  if (pictures) await ada.screenshot({ path: `${pictures}/killed-light.png`, fullPage: true });

  // It is started again. The cellar and the browser have kept everything, the memory nothing.
  tell("start");
  await told("started");
  await press(ada, "Look again");
  await said(ada, "As of");
  same(await lines(ada), ["Typed again.", "Typed.", `<b>bold</b> ${html}`, "Lovely cellar."], "after the kill the lines are");
  same(await names(ada), ["Bob", "Bob", html, "Ada"], "after the kill the names are");
  now = await kept(ada);
  same([now.name, now.signed, now.lines, now.bytes], ["your name: Ada", 0, 4, before.bytes], "after the kill there is");
  check(now.since !== before.since, `it still says that it has been awake since ${now.since}`);
  await press(ada, "Sign");
  await said(ada, "Line 5 is yours.");
  now = await kept(ada);
  same([now.signed, now.lines], [1, 5], "after signing there is");

  // A long book is shown from its end, and more of it when asked.
  const long = await tab({}, "/?book=long");
  await long.evaluate(async () => {
    for (let n = 1; n <= 120; n++) {
      const answer = await fetch("books/long", { method: "POST", body: JSON.stringify({ name: "Ada", text: `Day ${n}` }) });
      if (answer.status !== 201) throw new Error(await answer.text());
    }
  });
  const days = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, n) => `Day ${from - n}`);
  await press(long, "Look again");
  await said(long, "As of");
  same(await lines(long), days(120, 71), "the last fifty");
  for (const [oldest, next] of [[21, 70], [1, 20]]) {
    await press(long, "Older lines");
    await long.locator(":focus").getByText(`Day ${next}`).waitFor();
    same(await lines(long), days(120, oldest), `down to ${oldest}`);
  }
  check(await long.getByRole("button", { name: "Older lines" }).isHidden(), "there is nothing older");

  // Behind a prefix it is the same page.
  const prefix = `${url}/live/ch08`;
  const behind = await (await browser.newContext()).newPage();
  behind.on("pageerror", (error) => errors.push(error.message));
  await behind.route("**", async (route) => {
    const asked = route.request().url();
    if (!asked.startsWith(`${prefix}/`)) {
      errors.push(`asks for ${asked} behind a prefix`);
      return route.abort();
    }
    await route.fulfill({ response: await route.fetch({ url: asked.replace(prefix, url) }) });
  });
  await behind.goto(`${prefix}/?book=village`);
  await sign(behind, "Cleo", "Behind a prefix.", 6);

  // There is no way out of the books.
  const lost = await tab({}, "/?book=..");
  await lost.getByRole("alert").getByText("There is no such book").waitFor();
  check(await field(lost, "Your name").isHidden(), "there is nothing to sign");

  // Nothing is wider than a phone, however long a word.
  await sign(bob, "W".repeat(64), "w".repeat(500), 7);
  await sign(bob, "مريم", "قبو جميل", 8);
  const wide = await bob.evaluate(() => document.documentElement.scrollWidth);
  check(wide <= 360, `the page is ${wide} px wide on a phone`);

  if (pictures) {
    await press(ada, "Look again");
    await ada.getByText("قبو جميل").waitFor();
    await ada.screenshot({ path: `${pictures}/light.png`, fullPage: true });
    await bob.screenshot({ path: `${pictures}/dark-narrow.png`, fullPage: true });
    await long.screenshot({ path: `${pictures}/long.png` });
    await lost.screenshot({ path: `${pictures}/lost.png` });
  }
  check(errors.length === 0, errors.join("\n"));
  console.log("each place has kept what it should");
});
