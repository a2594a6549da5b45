// A page of another site in a real browser, whose name leads to this machine: what it asks of the book is refused.
// The chapters' own pages show their icon, which is in them as `data:`.
import { chromium } from "playwright-core";

const [executablePath, port] = process.argv.slice(2);
const EVIL = `http://evil.example:${port}`;

function sure(good: boolean, what: string): asserts good {
  if (!good) throw new Error(what);
}

const browser = await chromium.launch({
  executablePath,
  args: ["--disable-quic", "--no-first-run", "--disable-background-networking", "--host-resolver-rules=MAP evil.example 127.0.0.1"],
});
try {
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on("console", (message) => { if (message.text().includes("Content Security Policy")) faults.push(message.text()); });
  // The pages are for everybody, so that this script is of the same origin as the book is then.
  await page.goto(`${EVIL}/appendix-e-glossary.html`);
  const asked = await page.evaluate(async () => {
    const ask = async (path: string, options: RequestInit) => {
      const answer = await fetch(path, options);
      return `${answer.status} ${await answer.text()}`;
    };
    const socket = new WebSocket(`ws://${location.host}/live/ch07/websocket`);
    const opened = await new Promise((good) => { socket.onopen = () => good(true); socket.onclose = () => good(false); });
    return {
      opened,
      answers: await Promise.all([
        ask("/live/visitor", { method: "POST" }),
        ask("/live/ch03/increment?name=A", {}),
        ask("/live/reset/ch03", { method: "POST" }),
        ask("/live/ch02/counters/a", { method: "POST", body: "5" }),
        ask("/live/exercise/ch02", { method: "POST", headers: { Live: "page" } }),
      ]),
    };
  });
  sure(!asked.opened, "a socket is open");
  for (const answer of asked.answers) sure(answer.startsWith("403 on this machine, ask localhost"), answer);

  // A form and a link of another site.
  for (const html of [
    `<form method="post" action="http://localhost:${port}/live/ch02/counters/a" enctype="text/plain"><button>go</button></form>`,
    `<a href="http://localhost:${port}/live/ch03/increment?name=A">go</a>`,
  ]) {
    const shown = await browser.newPage();
    await shown.route(`${EVIL}/form`, async (route) => await route.fulfill({ contentType: "text/html", body: html }));
    await shown.goto(`${EVIL}/form`);
    const [answer] = await Promise.all([shown.waitForNavigation(), shown.getByText("go").click()]);
    const text = `${answer?.status()} ${await answer?.text()}`;
    sure(text.startsWith("403 a chapter answers to the pages of this book only"), text);
    await shown.close();
  }

  // The book's own page may, and finds that nothing was done. The icon of a chapter's page is let through.
  await page.goto(`http://localhost:${port}/ch04-sql-storage.html`);
  const count = await page.evaluate(async () => {
    await fetch("/live/visitor", { method: "POST" });
    return await (await fetch("/live/ch03/increment?name=A")).text();
  });
  sure(count.trim() === "Durable Object 'A' count: 1", count);
  await page.goto(`http://localhost:${port}/live/ch04/`);
  // The icon is an empty one, which no image can show; this one is let in by the same rule.
  await page.evaluate(async () => {
    const image = new Image();
    image.src = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
    await image.decode();
  });
  sure(faults.length === 0, faults.join("\n"));
  console.log("all as it should be");
} finally {
  await browser.close();
}
