// What every script here begins with: a browser with nothing on its mind.
import { chromium, type Browser } from "playwright-core";

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
