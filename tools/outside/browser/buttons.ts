// The Run buttons of the book, pressed as its readers press them.
// "press" prints what came back, a line of JSON for each block; the other parts end with an error if something is wrong.
import { violations } from "./axe.ts";
import { open } from "./open.ts";
import type { Browser, BrowserContext, Locator, Page } from "playwright-core";

/** How long one block may take, in milliseconds: some wait until an object sleeps, and an exercise is built first. */
const BLOCK = 150_000;
/** How many pages are pressed at once. */
const TABS = 3;
const COUNTER = "ch02-a-first-object.html";
const ROOM = "ch06-websockets.html";
const SEATS = "ch04-sql-storage.html";

function sure(good: boolean, what: string): asserts good {
  if (!good) throw new Error(what);
}

/** Opens a page. What goes wrong on it is told to `wrong`; that a chapter answers with an error is no fault of the page. */
async function visit(context: BrowserContext, url: string, wrong: (what: string) => void) {
  const page = await context.newPage();
  page.on("pageerror", (error) => wrong(`error: ${error.message}`));
  page.on("console", (message) => {
    const answered = message.text().startsWith("Failed to load resource") && new URL(message.location().url).pathname.startsWith("/live/");
    // From a file nothing may be fetched: neither by us nor by axe.
    const file = url.startsWith("file:");
    if (message.type() === "error" && !answered && !file) wrong(`console: ${message.text()}`);
  });
  await page.goto(url);
  return page;
}

/** Presses the button of a block and waits until it is through. */
async function press(block: Locator) {
  await block.locator(".run").click();
  await block.locator(".results:not([data-state=running])").waitFor({ timeout: BLOCK });
  return await block.locator(".results").getAttribute("data-state");
}

/** What a terminal would have shown for each command, and what the page says besides. */
const answers = (block: Locator) => block.locator(".answer").evaluateAll((answers) => answers.map((answer) => ({
  n: Number((answer as HTMLElement).dataset.n),
  text: [...answer.querySelectorAll(".output, .talk:not(.aside) .in")].map((part) => part.textContent).join("\n"),
  notes: [...answer.querySelectorAll(".note")].map((note) => note.textContent),
})));

const texts = async (block: Locator) => (await answers(block)).map(({ text }) => text).join(" ").replaceAll("\n", "");

/** The button of a block with this text. */
const blockWith = (page: Page, text: string) => page.locator(".live", { has: page.locator("pre code", { hasText: text }) }).first();

/** Every button of some pages, from top to bottom. */
async function pressAll(browser: Browser, url: string, pages: string[]) {
  // Exercises are judged one after the other.
  let judge: Promise<unknown> = Promise.resolve();
  await Promise.all(Array.from({ length: TABS }, async () => {
    for (let path = pages.shift(); path; path = pages.shift()) {
      const faults: string[] = [];
      // A fresh browser is a fresh visitor.
      const context = await browser.newContext();
      const page = await visit(context, `${url}/${path}`, (what) => faults.push(what));
      for (const block of await page.locator(".live").all()) {
        const steps = await block.getAttribute("data-live");
        const judged = steps!.includes('"do":"exercise"');
        const pressed = judged ? judge.then(() => press(block)) : press(block);
        if (judged) judge = pressed;
        const state = await pressed;
        console.log(JSON.stringify({
          page: path, state, faults: faults.splice(0), answers: await answers(block),
          varies: await block.getAttribute("data-varies") !== null,
          code: await block.locator(":scope > pre > code").textContent(),
          said: state === "done" ? "" : await block.innerText(),
        }));
      }
      await context.close();
    }
  }));
}

/** Nothing that a checker of accessibility can find is wrong, and nothing is wider than the window. */
async function sound(page: Page, where: string, only: "all" | "colours" = "all") {
  const found = await violations(page, { only });
  sure(found.length === 0, `${where}: axe:\n${found.join("\n")}`);
  const [wide, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  sure(wide! <= window_!, `${where}: ${wide} px wide`);
}

/** Two tabs of one browser share their objects, and so does a guest; nobody else does. */
async function visitors(browser: Browser, url: string, wrong: (what: string) => void) {
  const host = await browser.newContext();
  await host.grantPermissions(["clipboard-read", "clipboard-write"], { origin: url });
  const page = await visit(host, `${url}/${COUNTER}`, wrong);
  const count = (page: Page) => page.locator(".live").first();
  const counts = async (page: Page) => { await press(count(page)); return await texts(count(page)); };
  sure(await counts(page) === "1 6 6 0", `the first press: ${await texts(count(page))}`);

  const opens = host.waitForEvent("page");
  await page.getByRole("link", { name: "Second tab" }).click();
  const second = await opens;
  await second.waitForLoadState();
  sure(await counts(second) === "7 12 12 0", `the second tab: ${await texts(count(second))}`);

  const other = await visit(await browser.newContext(), `${url}/${COUNTER}`, wrong);
  sure(await counts(other) === "1 6 6 0", `somebody else: ${await texts(count(other))}`);

  await page.getByRole("button", { name: "Invite" }).click();
  await page.getByText("The link is copied").waitFor();
  const link = await page.evaluate(async () => await navigator.clipboard.readText());
  const guest = await visit(await browser.newContext(), link, wrong);
  await guest.getByText("You are a guest here").waitFor();
  sure(await counts(guest) === "13 18 18 0", `the guest: ${await texts(count(guest))}`);
  sure(await guest.getByRole("button", { name: "Reset" }).count() === 0, "a guest can empty the objects of the host");
  await guest.getByRole("link", { name: "Leave" }).click();
  await guest.waitForURL(`${url}/${COUNTER}`);
  sure(await counts(guest) === "1 6 6 0", `the guest at home: ${await texts(count(guest))}`);
  const stranger = await visit(await browser.newContext(), `${url}/${COUNTER}?guest=nobody`, wrong);
  sure(await press(count(stranger)) === "failed", "an invitation of nobody lets in");
  await stranger.getByText("this invitation is none of ours").waitFor();

  await page.getByRole("button", { name: "Reset" }).click();
  await page.getByText("are empty").waitFor();
  sure(await counts(page) === "1 6 6 0", `after the reset: ${await texts(count(page))}`);

  // Whose cookie is of another server becomes somebody new, without a word.
  await host.clearCookies();
  await host.addCookies([{ name: "live", value: "of-nobody.at-all", url: `${url}/live/` }]);
  sure(await counts(page) === "1 6 6 0", `with a strange cookie: ${await texts(count(page))}`);
}

/** By keyboard alone; a variable that is missing is fetched first; a run can be stopped, and nothing runs beside it. */
async function keyboard(browser: Browser, url: string, wrong: (what: string) => void) {
  const page = await visit(await browser.newContext(), `${url}/${COUNTER}`, wrong);
  const name = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
  for (let tabs = 0; await name() !== "Run these 4 commands"; tabs++) {
    sure(tabs < 100, "no Tab leads to the first button");
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  const first = page.locator(".live").first();
  await first.locator("[data-state=done]").waitFor();
  sure(await name() === "Run these 4 commands", "the focus has gone elsewhere");
  const region = first.getByRole("group", { name: "What came back" });
  sure(await region.getAttribute("aria-live") === "polite", "the answers are not live");

  const sleeps = blockWith(page, "sleep 15");
  await sleeps.locator(".run").click();
  await sleeps.getByText("waiting: ").waitFor();
  const id = blockWith(page, "localhost:8787/ids/$id");
  sure(await id.locator(".run").getAttribute("aria-disabled") === "true", "two blocks can run at once");
  await id.locator(".run").click({ force: true });
  sure(!await id.locator(".results").isVisible(), "two blocks run at once");
  await sleeps.getByRole("button", { name: "Stop" }).click();
  await sleeps.getByText("stopped").waitFor();
  sure(await sleeps.locator(".results").getAttribute("data-state") === "failed", "a stopped run is done");

  const members = await visit(await browser.newContext(), `${url}/${ROOM}`, wrong);
  const block = blockWith(members, "members/plaza");
  sure(await press(block) === "done", "the ticket was not fetched first");
  sure((await texts(block)).startsWith("new value: 0new value: 1"), `with a ticket: ${await texts(block)}`);
  sure(await blockWith(members, "ticket=$(curl").locator(".answer").count() === 1, "the block with the ticket shows nothing");
}

/** Who has pressed may go on talking; the next press hangs up first. */
async function sockets(browser: Browser, url: string, wrong: (what: string) => void) {
  const page = await visit(await browser.newContext(), `${url}/${ROOM}`, wrong);
  const block = blockWith(page, "ws://localhost:8787/websocket");
  const connected = async () => { await press(block); return (await answers(block))[0]!.text; };
  sure(await connected() === "[Durable Object] currentlyConnectedWebSockets: 1", `one socket: ${await texts(block)}`);
  await block.getByRole("textbox").fill("hello");
  await block.getByRole("button", { name: "Send" }).click();
  await block.locator(".in").nth(1).waitFor();
  await block.getByRole("button", { name: "Close" }).waitFor();
  sure(await connected() === "[Durable Object] currentlyConnectedWebSockets: 1", `an old socket is still open: ${await texts(block)}`);
  await block.getByRole("button", { name: "Open" }).click();
  await block.getByRole("button", { name: "Close" }).click();
  await block.locator(".note", { hasText: "closed: " }).nth(1).waitFor();
}

/** The page of a chapter itself is behind its page in the book, with the same objects. */
async function behind(browser: Browser, url: string, wrong: (what: string) => void) {
  const context = await browser.newContext();
  const page = await visit(context, `${url}/${SEATS}`, wrong);
  const opens = context.waitForEvent("page");
  await page.getByRole("link", { name: "behind this page" }).click();
  const seats = await opens;
  await seats.getByRole("button", { name: /3B/ }).waitFor();
  sure(new URL(seats.url()).pathname === "/live/ch04/", `it is at ${seats.url()}`);
  const block = blockWith(page, '"seatNumber":"3B","name":"Ada"');
  sure(await press(block) === "done", "the seat is not booked");
  await seats.getByRole("button", { name: /3B.*Ada/ }).waitFor();
}

/** A page after its buttons were pressed, light and dark, wide and on a phone. */
async function looks(browser: Browser, url: string, wrong: (what: string) => void) {
  for (const width of [1280, 360]) {
    for (const [path, text] of [[COUNTER, "counters/Kitchen"], [ROOM, "ws/plaza -x increment"]] as const) {
      const context = await browser.newContext({ colorScheme: "light", viewport: { width, height: 800 } });
      const page = await visit(context, `${url}/${path}`, wrong);
      const block = blockWith(page, text);
      sure(await press(block) === "done", `${text} fails`);
      for (const headers of await block.locator("summary").all()) await headers.click();
      await sound(page, `${path}, light, ${width} px`);
      await page.emulateMedia({ colorScheme: "dark" });
      await sound(page, `${path}, dark, ${width} px`, "colours");
      await context.close();
    }
  }
}

/** What is asked too often is refused; the block stops and says when to come again. */
async function limits(browser: Browser, url: string, wrong: (what: string) => void) {
  const page = await visit(await browser.newContext(), `${url}/ch03-key-value-storage.html`, wrong);
  const block = blockWith(page, "seq 100");
  for (let times = 0; await press(block) === "done"; times++) sure(times < 20, "a visitor may ask without an end");
  await block.getByText(/try again in \d+ s/).waitFor();
  sure(await block.locator(".answer").count() === 1, "the block goes on");
}

/** Where nothing runs, a button says what to type instead. */
async function nothing(browser: Browser, url: string, how: string, wrong: (what: string) => void) {
  const page = await visit(await browser.newContext({ viewport: { width: 360, height: 800 } }), `${url}/${COUNTER}`, wrong);
  const block = page.locator(".live").first();
  await block.locator(".run").click();
  const told = block.locator(".failed");
  await told.waitFor();
  const text = await told.innerText();
  if (how === "down") {
    sure(text.includes("does not run just now") && text.includes("cd chapters-code/ch02 && npx wrangler dev"), `down: ${text}`);
  } else {
    sure(text.includes("cargo xtask serve") && text.includes(`http://localhost:8700/${COUNTER}`), `static: ${text}`);
    sure(await block.locator(".run").count() === 0, "the button is still there");
  }
  const judge = blockWith(page, "cargo xtask exercise");
  await judge.locator(".run").click();
  await judge.getByText("In your clone: cargo xtask exercise ch02").waitFor();
  await sound(page, how);
  // Also where another block has to run first.
  await page.goto(`${url}/${ROOM}`);
  const members = blockWith(page, "members/plaza");
  await members.locator(".run").click();
  await members.locator(".failed", { hasText: "In your clone: " }).waitFor();
}

await open(async (browser, url, how, pageList) => {
  const faults: string[] = [];
  const wrong = (what: string) => { faults.push(what); };
  if (how === "press") return await pressAll(browser, url!, pageList!.split(","));
  if (how === "around") {
    for (const part of [visitors, keyboard, sockets, behind, looks, limits]) await part(browser, url!, wrong);
  } else {
    await nothing(browser, url!, how!, wrong);
  }
  sure(faults.length === 0, faults.join("\n"));
  console.log("all as it should be");
});
