// The printed book, page by page, as its readers see it: light and dark, wide and on a phone, with scripts and without.
// Prints one line for each fault: page, colours, width, what.
import { readFileSync } from "node:fs";
import { violations } from "./axe.ts";
import { open } from "./open.ts";
import type { Browser, Page } from "playwright-core";

/** What all that a chapter loads may weigh, unpacked and without the search; and the scripts in it. */
const PAGE_BYTES = 350_000;
const SCRIPT_BYTES = 20_000;
const WIDE = 1280;
const PHONE = 360;
/** How wide a column of a table is at least, in pixels, where a cell of it has so many letters; on a phone a third of the text. */
const COLUMN = { [WIDE]: 150, [PHONE]: 110 };
const COLUMN_TEXT = 60;
/** How many pages are looked at at once. */
const TABS = 2;

type Theme = "light" | "dark";
type View = { theme: Theme; width: number };
type Links = { ids: string[]; links: string[] };

const faults: string[] = [];

/** Says what is wrong with a page in one view. */
const fault = (path: string, view: string, what: string) => { faults.push(`${path} | ${view} | ${what}`); };

/** Opens a page in a browser of its own, so that nothing comes from a cache. What goes wrong on the way is a fault. */
async function visit(browser: Browser, url: string, path: string, view: View, javaScriptEnabled = true) {
  const context = await browser.newContext({
    colorScheme: view.theme, viewport: { width: view.width, height: 800 }, javaScriptEnabled,
  });
  const page = await context.newPage();
  const script = javaScriptEnabled ? "" : ", script off";
  const wrong = (what: string) => fault(path, `${view.theme}, ${view.width} px${script}`, what);
  const bodies: Promise<{ url: string; script: boolean; bytes: number }>[] = [];
  const ours = (address: string) => /^(data|blob):/.test(address) || new URL(address).origin === url;
  page.on("console", (message) => { if (message.type() === "error") wrong(`console: ${message.text()} (${message.location().url})`); });
  page.on("pageerror", (error) => wrong(`error: ${error.message}`));
  page.on("websocket", (socket) => wrong(`opens a socket to ${socket.url()}`));
  page.on("request", (request) => { if (!ours(request.url())) wrong(`asks for ${request.url()}`); });
  page.on("response", (response) => {
    if (!ours(response.url()) || response.url().startsWith("data:")) return;
    const isScript = response.request().resourceType() === "script";
    // A redirect has no body, and neither has an answer that the page no longer waits for.
    const bytes = response.body().then((body) => body.length, () => 0);
    bodies.push(bytes.then((bytes) => ({ url: response.url(), script: isScript, bytes })));
  });
  const answer = await page.goto(`${url}/${path}`, { waitUntil: "load" });
  if (answer?.status() !== 200) wrong(`the answer is ${answer?.status()}`);
  return { page, wrong, weigh: async () => await Promise.all(bodies), close: async () => await context.close() };
}

/** Pictures are loaded, the colours are those that were asked for, and text never runs out of the window. */
async function shown(page: Page, view: View, wrong: (what: string) => void) {
  const seen = await page.evaluate(async ([column, letters]) => {
    const broken: string[] = [];
    for (const picture of document.images) {
      // A picture that waits for the reader to scroll has its weight too.
      picture.loading = "eager";
      await picture.decode().catch(() => broken.push(picture.src));
    }
    const pixel = new OffscreenCanvas(1, 1).getContext("2d")!;
    for (const element of [document.documentElement, document.body]) {
      pixel.fillStyle = getComputedStyle(element).backgroundColor;
      pixel.fillRect(0, 0, 1, 1);
    }
    const [red, green, blue] = pixel.getImageData(0, 0, 1, 1).data;
    // Code and tables may scroll sideways in a box of their own. What holds paragraphs may not.
    const boxes = [...document.querySelectorAll("body, body *")].filter((element) =>
      element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX !== "visible"
      && element.querySelector("h1, h2, h3, p") !== null);
    const narrow = [...document.querySelectorAll("main td")].filter((cell) =>
      cell.textContent!.length >= letters! && cell.clientWidth < column!);
    const right = (element: Element) => element.getBoundingClientRect().right;
    const inside = (element: Element) => element.closest("pre, table, svg");
    const widest = [...document.querySelectorAll("body *")].filter((element) => right(element) > innerWidth + 1 && !inside(element))
      .sort((one, other) => right(other) - right(one)).slice(0, 3);
    const name = (element: Element) => element.tagName.toLowerCase() + (element.id && `#${element.id}`)
      + [...element.classList].map((name) => `.${name}`).join("");
    return {
      broken,
      light: 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!,
      width: document.documentElement.scrollWidth,
      boxes: boxes.map(name),
      narrow: narrow.map((cell) => `${cell.clientWidth} px for: ${cell.textContent!.slice(0, 40)}`),
      widest: widest.map(name),
    };
  }, [COLUMN[view.width]!, COLUMN_TEXT]);
  for (const picture of seen.broken) wrong(`the picture ${picture} does not load`);
  if ((seen.light > 127) !== (view.theme === "light")) wrong(`the background is not ${view.theme}: ${Math.round(seen.light)} of 255`);
  if (seen.width > view.width) wrong(`${seen.width} px wide; farthest to the right: ${seen.widest.join(" ")}`);
  for (const column of seen.narrow.slice(0, 5)) wrong(`a column of text is narrow, ${column}`);
  for (const box of seen.boxes) wrong(`text scrolls sideways in ${box}`);
}

/** What a reader downloads for a page. */
async function light(page: Page, chapter: boolean, bodies: { url: string; script: boolean; bytes: number }[], wrong: (what: string) => void) {
  const inline = await page.evaluate(() => [...document.scripts]
    .filter((script) => !script.src && /^(|module|.*javascript)$/.test(script.type))
    .reduce((sum, script) => sum + new TextEncoder().encode(script.text).length, 0));
  const counted = bodies.filter(({ url }) => !/\/searchindex[^/]*$/.test(url));
  const sum = (what: typeof bodies) => what.reduce((sum, { bytes }) => sum + bytes, 0);
  const list = (what: typeof bodies) => what.sort((one, other) => other.bytes - one.bytes).slice(0, 8)
    .map(({ url, bytes }) => `${url.split("/").at(-1)} ${bytes}`).join(", ");
  const scripts = counted.filter(({ script }) => script);
  if (chapter && sum(counted) > PAGE_BYTES) wrong(`weighs ${sum(counted)} bytes, more than ${PAGE_BYTES}: ${list(counted)}`);
  if (sum(scripts) + inline > SCRIPT_BYTES) wrong(`scripts of ${sum(scripts) + inline} bytes, more than ${SCRIPT_BYTES}: ${list(scripts)}, in the page ${inline}`);
  return sum(counted);
}

/** Where a page can be jumped to, and where it sends its reader in this book. */
const linked = (page: Page): Promise<Links> => page.evaluate(() => ({
  ids: [...document.querySelectorAll("[id], a[name]")].map((element) => element.id || element.getAttribute("name")!),
  links: [...document.querySelectorAll<HTMLAnchorElement>("a[href*='#']")]
    .filter((link) => link.origin === location.origin).map((link) => link.pathname.slice(1) + link.hash),
}));

/** Without a script the text is there, the code is there, and every page of the book can be reached. */
async function plain(page: Page, chapters: string[], wrong: (what: string) => void) {
  const main = page.locator("main");
  // What is folded up opens with a click, which needs no script: parts of the text, and on a phone the list of chapters.
  await page.locator("details").evaluateAll((folded) => folded.forEach((part) => { (part as HTMLDetailsElement).open = true; }));
  if (!await main.isVisible() || (await main.innerText()).length < 100) wrong("the text is not shown");
  const empty = await page.locator("main pre").evaluateAll((blocks) => blocks.filter((block) =>
    !(block as HTMLElement).innerText.trim() || !block.checkVisibility({ opacityProperty: true, visibilityProperty: true })).length);
  if (empty > 0) wrong(`${empty} blocks of code are empty`);
  const menu = page.locator("button[popovertarget]:visible");
  if (await menu.count() > 0) await menu.first().click();
  // A link in a drawing has no `pathname` of its own.
  const links = await page.locator("a[href]:visible").evaluateAll((links) => links
    .map((link) => new URL(link.getAttribute("href")!, document.baseURI))
    .filter((url) => url.origin === location.origin).map((url) => url.pathname.slice(1)));
  const reached = new Set(links.map((path) => path || "index.html"));
  const lost = chapters.filter((path) => !reached.has(path));
  if (lost.length > 0) wrong(`no link that can be seen leads to ${lost.join(", ")}`);
}

/** A reader opens the search with a key, asks for a word, and gets to a page that has it. */
async function search(browser: Browser, url: string, path: string, view: View) {
  const { page, wrong, close } = await visit(browser, url, path, view);
  try {
    await page.keyboard.press("s");
    const field = page.getByRole("searchbox");
    await field.waitFor({ timeout: 5_000 });
    await field.pressSequentially("alarm");
    const found = page.getByRole("dialog").getByRole("link", { name: /alarm/i });
    await found.first().waitFor({ timeout: 10_000 });
    for (const what of await violations(page)) wrong(`search open: axe: ${what}`);
    if (await page.evaluate(() => document.documentElement.scrollWidth) > view.width) wrong("search open: wider than the window");
    await found.first().click();
    await page.locator("main").getByText(/alarm/i).first().waitFor({ timeout: 5_000 });
  } catch (error) {
    wrong(`search: ${(error as Error).message.split("\n")[0]}`);
  }
  await close();
}

/** The search knows what each of `asked` means: the section is among the first hits, two of them unless more share the name. */
async function finds(browser: Browser, url: string, path: string, asked: [string, string, number][]) {
  const { page, wrong, close } = await visit(browser, url, path, { theme: "light", width: WIDE });
  await page.keyboard.press("s");
  await page.getByRole("searchbox").fill("alarm");
  await page.getByRole("dialog").getByRole("link").first().waitFor({ timeout: 10_000 });
  const missed = await page.evaluate((asked) => {
    const { search } = window as unknown as { search: (query: string) => { url: string }[] };
    return asked.flatMap(([query, section, within]) => {
      const at = search(query).findIndex((hit) => hit.url === section) + 1;
      return at > 0 && at <= within ? [] : [`${query} finds ${section} as number ${at || "none"}, not among the first ${within}`];
    });
  }, asked);
  for (const miss of missed) wrong(`search: ${miss}`);
  console.log(`${asked.length - missed.length} of ${asked.length} spellings lead to their section`);
  await close();
}

// `how` is "shown", or "plain" for no script, or "search". `chapters` are the pages in the book's order, `others` what is
// printed besides: the page of all pages, and the one for what is not there; for the search, the file with what is asked.
await open(async (browser, url, how, chapterList, otherList) => {
  const chapters = chapterList!.split(",");
  const pages = [...chapters, ...otherList ? otherList.split(",") : []];
  const ends: View[] = [{ theme: "light", width: WIDE }, { theme: "dark", width: PHONE }];
  const seen = new Map<string, Links>();
  const weights = new Map<string, number>();
  const jobs: (() => Promise<void>)[] = [];
  if (how === "shown") {
    for (const path of pages) {
      for (const width of [WIDE, PHONE]) {
        jobs.push(async () => {
          const view: View = { theme: "light", width };
          const { page, wrong, weigh, close } = await visit(browser, url!, path, view);
          if (!seen.has(path)) seen.set(path, await linked(page));
          for (const theme of ["light", "dark"] as const) {
            view.theme = theme;
            await page.emulateMedia({ colorScheme: theme });
            await shown(page, view, wrong);
            const bytes = await light(page, chapters.includes(path), await weigh(), wrong);
            weights.set(path, Math.max(bytes, weights.get(path) ?? 0));
            // What stands on the page of all pages has been looked at on its own page.
            const all = path === "print.html";
            if (all && width === WIDE) continue;
            const only = theme === "light" ? "all" : "colours";
            for (const what of await violations(page, { only, alike: all ? "main" : "pre" })) wrong(`axe: ${what}`);
          }
          await close();
        });
      }
    }
  } else if (how === "plain") {
    for (const path of pages) {
      for (const view of ends) {
        jobs.push(async () => {
          const { page, wrong, close } = await visit(browser, url!, path, view, false);
          await shown(page, view, wrong);
          await plain(page, chapters, wrong);
          await close();
        });
      }
    }
  } else if (how === "search") {
    for (const view of ends) jobs.push(() => search(browser, url!, chapters[1]!, view));
    jobs.push(() => finds(browser, url!, chapters[1]!, JSON.parse(readFileSync(otherList!, "utf8"))));
  } else {
    throw new Error(`${how}?`);
  }
  await Promise.all(Array.from({ length: TABS }, async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) await job();
  }));
  for (const [path, { links }] of seen) {
    for (const link of new Set(links)) {
      const [to, id] = link.split("#") as [string, string];
      const there = seen.get(to || "index.html");
      if (id && there && !there.ids.includes(decodeURIComponent(id))) fault(path, how, `nothing has the id of the link to ${link}`);
    }
  }
  for (const [path, bytes] of [...weights].sort(([, one], [, other]) => other - one)) console.log(`${bytes} bytes: ${path}`);
  if (faults.length > 0) throw new Error(`${faults.length} faults\n${faults.sort().join("\n")}`);
  console.log(`all as it should be: ${how}`);
});
