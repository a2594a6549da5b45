// Two tabs on one flight: a booking in one is seen in the other, without a reload.
import { open } from "./open.ts";
import type { Page } from "playwright-core";

const check = (right: boolean, what: string) => { if (!right) throw new Error(what); };

await open(async (browser, url, pictures) => {
  const errors: string[] = [];
  const lines: { close(): void }[] = [];
  const tab = async (options = {}): Promise<Page> => {
    const page = await (await browser.newContext(options)).newPage();
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("request", (request) => { if (!request.url().startsWith(url)) errors.push(`asks for ${request.url()}`); });
    await page.routeWebSocket(/\/ws\?/, (line) => { line.connectToServer(); lines.push(line); });
    await page.goto(`${url}/?flightId=TWO-TABS`);
    await page.getByText("Live:").waitFor();
    return page;
  };
  const seat = (page: Page, label: string) => page.getByRole("button", { name: label, exact: true });
  const said = (page: Page, text: string) => page.getByRole("status").getByText(text).waitFor();

  const ada = await tab();
  const bob = await tab({ colorScheme: "dark", viewport: { width: 360, height: 780 } });
  check(await ada.locator("#seats button").count() === 60, "there are 60 seats");

  // Without a name nothing is booked.
  await seat(ada, "3B, economy, free").click();
  await said(ada, "Type your name first");

  // Ada books, and Bob sees it.
  await ada.getByLabel("Your name").fill("Ada");
  await seat(ada, "3B, economy, free").click();
  await said(ada, "3B is booked for Ada");
  await seat(bob, "3B, economy, taken by Ada").waitFor();

  // Bob wants the same seat, and is told.
  await bob.getByLabel("Your name").fill("Bob");
  // Playwright waits for what is `aria-disabled`; a person does not.
  await seat(bob, "3B, economy, taken by Ada").click({ force: true });
  await said(bob, "3B is taken");
  await seat(ada, "3B, economy, taken by Ada").waitFor();

  // With the keyboard alone: Tab into the seats, arrows to 2A, Enter.
  await bob.getByLabel("Your name").focus();
  await bob.keyboard.press("Tab");
  for (const key of ["ArrowRight", "ArrowDown", "ArrowLeft", "Enter"]) await bob.keyboard.press(key);
  await said(bob, "2A is booked for Bob");
  await seat(ada, "2A, business, taken by Bob").waitFor();

  // Bob's line breaks. He misses a booking, and hears of it when he is back.
  lines[1].close();
  await bob.getByText("Not connected").waitFor();
  await ada.getByLabel("Your name").fill("Cleo");
  await seat(ada, "4C, economy, free").click();
  await seat(bob, "4C, economy, taken by Cleo").waitFor();
  await bob.getByText("Live:").waitFor();
  check(lines.length === 3, "Bob has called again");

  // A name that looks like HTML is only a name.
  await ada.getByLabel("Your name").fill("<img src=x onerror=alert(1)>");
  await seat(ada, "10F, economy, free").click();
  await seat(bob, "10F, economy, taken by <img src=x onerror=alert(1)>").waitFor();

  // Nothing is wider than a phone.
  const wide = await bob.evaluate(() => document.documentElement.scrollWidth);
  check(wide <= 360, `the page is ${wide} px wide on a phone`);

  if (pictures) {
    await ada.screenshot({ path: `${pictures}/light.png`, fullPage: true });
    await bob.screenshot({ path: `${pictures}/dark-narrow.png`, fullPage: true });
  }
  check(errors.length === 0, errors.join("\n"));
  console.log("two tabs agree");
});
