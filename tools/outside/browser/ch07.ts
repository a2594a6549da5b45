// Two tabs in one room: they chat, one is loaded again, one loses its line. Nothing is lost, and nothing is there twice.
import { open } from "./open.ts";
import type { BrowserContext, Page, WebSocketRoute } from "playwright-core";

const check = (right: boolean, what: string) => { if (!right) throw new Error(what); };
const same = (seen: string[], right: string[], what: string) =>
  check(seen.join("\n") === right.join("\n"), `${what}:\n${seen.join("\n")}\ninstead of\n${right.join("\n")}`);

await open(async (browser, url, pictures) => {
  const errors: string[] = [];
  const look = (page: Page, name: string) => pictures && page.screenshot({ path: `${pictures}/${name}.png` });

  /** A tab, and the lines that it has opened. A line that is cut stays cut until `mend`. */
  const tab = async (options = {}) => {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("request", (request) => { if (!request.url().startsWith(url)) errors.push(`asks for ${request.url()}`); });
    const lines: WebSocketRoute[] = [];
    let broken = false;
    await page.routeWebSocket(/\/api\/room\//, (line) => {
      if (broken) return void line.close({ code: 1012, reason: "no line" });
      line.connectToServer();
      lines.push(line);
    });
    const cut = async () => { broken = true; await lines.at(-1)!.close({ code: 1012, reason: "no line" }); };
    return { page, context, lines, cut, mend: () => { broken = false; } };
  };
  const line = (page: Page, text: string | RegExp) => page.locator("#line").getByText(text).waitFor();
  const enter = async (page: Page, name: string, room = "two-tabs") => {
    await page.goto(`${url}/?room=${room}`);
    await page.getByRole("textbox", { name: "Your name" }).fill(name);
    await page.getByRole("button", { name: "Come in", exact: true }).click();
    await line(page, "Connected.");
  };
  const say = async (page: Page, text: string) => {
    await page.getByRole("textbox", { name: "Your message" }).fill(text);
    await page.getByRole("button", { name: "Send" }).click();
  };
  const log = (page: Page) => page.getByRole("log", { name: "Messages" });
  const heard = (page: Page, text: string) => log(page).getByRole("listitem").getByText(text, { exact: true }).waitFor();
  /** What was said, without who came and went. */
  const said = (page: Page) => log(page).locator("li:not(.note) span").allTextContents();
  const people = (page: Page) => page.getByRole("list", { name: "Who is here" }).getByRole("listitem").allTextContents();

  const ada = await tab({ viewport: { width: 1100, height: 720 } });
  const bob = await tab({ colorScheme: "dark", viewport: { width: 360, height: 780 } });

  // A name is asked for, and the room's too if it is no name of a room.
  await ada.page.goto(`${url}/?room=two-tabs`);
  await look(ada.page, "door-light");
  check(await ada.page.getByRole("textbox", { name: "Room" }).inputValue() === "two-tabs", "the room of the address");
  await ada.page.getByRole("textbox", { name: "Your name" }).fill("   ");
  await ada.page.getByRole("button", { name: "Come in", exact: true }).click();
  await ada.page.getByRole("alert").getByText("Please say your name.").waitFor();
  await ada.page.getByRole("textbox", { name: "Room" }).fill("!!!");
  await ada.page.getByRole("button", { name: "Come in", exact: true }).click();
  await ada.page.getByRole("alert").getByText("1 to 32 letters").waitFor();

  // Both come in, and hear each other.
  await enter(ada.page, "Ada");
  await enter(bob.page, "Bob");
  await heardNote(ada.page, "Bob has come in.");
  await say(ada.page, "Good morning, Bob.");
  await heard(bob.page, "Good morning, Bob.");
  await say(bob.page, "Good morning, Ada.");
  await heard(ada.page, "Good morning, Ada.");
  same(await people(ada.page), ["Ada (you)", "Bob"], "Ada sees");
  same(await people(bob.page), ["Ada", "Bob (you)"], "Bob sees");
  await ada.page.getByRole("heading", { name: "Room two-tabs", level: 1 }).waitFor();
  await ada.page.getByRole("heading", { name: "Who is here: 2", level: 2 }).waitFor();

  // A third one cannot be Bob.
  const thief = await tab();
  await thief.page.goto(`${url}/?room=two-tabs`);
  await thief.page.getByRole("textbox", { name: "Your name" }).fill("Bob");
  await thief.page.keyboard.press("Enter");
  await thief.page.getByRole("alert").getByText("Name is taken.").waitFor();
  await thief.context.close();

  // Names and messages that look like HTML are only text.
  const html = "<img src=x onerror=alert(1)>";
  await say(ada.page, `<b>bold</b> ${html}`);
  await heard(bob.page, `<b>bold</b> ${html}`);
  const eve = await tab();
  await enter(eve.page, html);
  await heardNote(bob.page, `${html} has come in.`);
  await eve.page.getByRole("button", { name: "Leave" }).click();
  await heardNote(bob.page, `${html} has left.`);
  await eve.page.getByRole("button", { name: "Come in", exact: true }).waitFor();
  await eve.context.close();

  // Ada's tab is loaded again. A tab says goodbye when it goes, so she leaves and comes in.
  const before = await said(ada.page);
  await ada.page.reload();
  await line(ada.page, "Connected.");
  same(await said(ada.page), before, "after the reload Ada sees");
  await heardNote(bob.page, "Ada has left.");
  await heardNote(bob.page, "Ada has come in.");
  await say(ada.page, "I am back.");
  await heard(bob.page, "I am back.");

  // Bob's line is cut. Ada talks on; Bob writes; the line is mended.
  await bob.cut();
  await line(bob.page, "Not connected.");
  for (const text of ["one", "two", "three"]) await say(ada.page, text);
  await heard(ada.page, "three");
  await say(bob.page, "I wrote this without a line.");
  await say(bob.page, "And this.");
  await bob.page.getByRole("list", { name: "Not sent yet" }).getByText("And this.").waitFor();
  await look(bob.page, "no-line-dark-narrow");
  // What waits outlasts a reload.
  await bob.page.reload();
  await bob.page.getByRole("list", { name: "Not sent yet" }).getByText("And this.").waitFor();
  bob.mend();
  await line(bob.page, "Connected.");
  await heard(ada.page, "And this.");
  await heard(bob.page, "And this.");
  await bob.page.getByRole("list", { name: "Not sent yet" }).waitFor({ state: "hidden" });

  // The line breaks after a message has gone out and before its echo has come: it is sent twice, and is there once.
  const blind = await tab();
  await blind.page.unrouteAll();
  let deaf = false;
  await blind.page.routeWebSocket(/\/api\/room\//, (route) => {
    const server = route.connectToServer();
    blind.lines.push(route);
    server.onMessage((text) => { if (!deaf) route.send(text); });
  });
  await enter(blind.page, "Cleo");
  deaf = true;
  await say(blind.page, "Does anybody hear me?");
  await heard(ada.page, "Does anybody hear me?");
  await say(ada.page, "Yes, we do.");
  await heard(bob.page, "Yes, we do.");
  deaf = false;
  await blind.lines.at(-1)!.close({ code: 1012, reason: "no line" });
  await heard(blind.page, "Yes, we do.");
  await blind.page.getByRole("list", { name: "Not sent yet" }).waitFor({ state: "hidden" });

  // All have seen the same, in the same order, each message once.
  await say(ada.page, "The end.");
  for (const { page } of [ada, bob, blind]) await heard(page, "The end.");
  const right = ["Good morning, Bob.", "Good morning, Ada.", `<b>bold</b> ${html}`, "I am back.", "one", "two", "three",
    "I wrote this without a line.", "And this.", "Does anybody hear me?", "Yes, we do.", "The end."];
  same(await said(ada.page), right, "Ada has seen");
  same(await said(bob.page), right, "Bob has seen");
  same(await said(blind.page), right, "Cleo has seen");

  // The same guest in a second tab: the first one stops, says so, and can come back.
  const twin = await ada.context.newPage();
  await twin.addInitScript((kept) => sessionStorage.setItem("chat", kept), await ada.page.evaluate(() => sessionStorage.getItem("chat")!));
  await twin.goto(`${url}/?room=two-tabs`);
  await line(twin, "Connected.");
  await line(ada.page, "another tab");
  await ada.page.getByRole("button", { name: "Come back here" }).click();
  await line(ada.page, "Connected.");
  await line(twin, "another tab");
  await twin.close();
  same(await said(ada.page), right, "after coming back Ada sees");

  // With the keyboard alone: leave, come in, talk, read.
  const keys = bob.page.keyboard;
  await bob.page.getByRole("textbox", { name: "Your message" }).focus();
  await keys.type("Typed.");
  await keys.press("Enter");
  await heard(ada.page, "Typed.");
  const focused = () => bob.page.evaluate(() => document.activeElement!.id || document.activeElement!.textContent);
  const back: (string | null)[] = [];
  for (let i = 0; i < 3; i++) { await keys.press("Shift+Tab"); back.push(await focused()); }
  check(back.join() === "log,people,leave", `Shift+Tab leads to ${back}`);
  await keys.press("Enter");
  check(await focused() === "name", `after leaving the focus is on ${await focused()}`);
  await keys.press("Enter");
  await line(bob.page, "Connected.");
  check(await focused() === "text", `after coming in the focus is on ${await focused()}`);
  await keys.type("Typed again.");
  await keys.press("Enter");
  await heard(ada.page, "Typed again.");

  // A private room: a long number that somebody else can be sent.
  const guest = await tab();
  await guest.page.goto(url);
  await guest.page.getByRole("textbox", { name: "Your name" }).fill("Dora");
  await guest.page.getByRole("button", { name: "private room" }).click();
  await line(guest.page, "Connected.");
  await guest.page.getByRole("heading", { name: "A private room" }).waitFor();
  const id = new URL(guest.page.url()).searchParams.get("room")!;
  check(/^[0-9a-f]{64}$/.test(id), `the private room is ${id}`);
  const friend = await tab();
  await enter(friend.page, "Emil", id);
  await say(friend.page, "Found you.");
  await heard(guest.page, "Found you.");

  // Nothing is wider than a phone, however long a word.
  await say(ada.page, "w".repeat(200));
  await heard(bob.page, "w".repeat(200));
  for (const page of [bob.page]) {
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    check(wide <= 360, `the page is ${wide} px wide on a phone`);
  }
  await look(ada.page, "light");
  await look(bob.page, "dark-narrow");
  await ada.page.emulateMedia({ colorScheme: "dark" });
  await look(ada.page, "dark");
  await bob.page.emulateMedia({ colorScheme: "light" });
  await look(bob.page, "light-narrow");
  check(errors.length === 0, errors.join("\n"));
  console.log("two tabs agree");

  async function heardNote(page: Page, text: string) {
    await page.locator("#log .note").getByText(text, { exact: true }).first().waitFor();
  }
});
