// What every script here begins with: a browser with nothing on its mind.
import { chromium, type Browser, type Page } from "playwright-core";

/** Starts the browser that the command line names, runs `script` with it, and ends it. */
export async function open(script: (browser: Browser, ...given: string[]) => Promise<void>) {
  const [executablePath, ...given] = process.argv.slice(2);
  const browser = await chromium.launch({
    executablePath,
    args: ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    await script(browser, ...given);
  } finally {
    await browser.close();
  }
}

/** Opens a page that may have no error in its console and asks nothing of another host. */
export async function visit(browser: Browser, url: string, options = {}): Promise<Page> {
  const page = await (await browser.newContext(options)).newPage();
  const complain = (what: string) => { throw new Error(`${url}: ${what}`); };
  page.on("pageerror", (error) => complain(error.message));
  page.on("console", (message) => { if (message.type() === "error") complain(message.text()); });
  page.on("request", (request) => { if (new URL(request.url()).host !== new URL(url).host) complain(`asks for ${request.url()}`); });
  await page.goto(url);
  return page;
}
