// The page of the guest book: shows its lines, signs it, and tells what is kept where.
// Every address is relative, so the page may stand behind a prefix.
const $ = (id) => document.getElementById(id);

const PATIENCE = 10_000; // how long an answer may take, in ms: a line may be dead without a word
const MORE = 50; // how many lines are shown at first, and how many more each time
const PAGE_MAX = 100; // how many lines the server hands over at once

const book = new URLSearchParams(location.search).get("book") ?? "village";
let shown = MORE;
let signing = false;
let looks = 0;

/** Why the server did not do it, for the guest to read. */
class Refused extends Error {}

/** Asks the server about this book. */
async function ask(path = "", query = {}, options = {}) {
  const url = new URL(`books/${book}${path}`, location.href);
  url.search = new URLSearchParams(query);
  const answer = await fetch(url, { ...options, signal: AbortSignal.timeout(PATIENCE) });
  if (answer.ok) return answer.json();
  const told = answer.status < 500 && answer.headers.get("Content-Type")?.startsWith("text/plain");
  if (told) throw new Refused((await answer.text()).trim());
  throw new Error(`it says ${answer.status}`);
}

// The name is kept in this browser and nowhere else. A browser that may not store goes without.
const KEY = "guest-book-name";
function remembered() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}
function remember(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch {}
}

/** Asks for everything again, and shows it. */
async function look() {
  const mine = ++looks;
  const { memory, cellar } = await ask("/where");
  const lines = [];
  let page;
  do {
    const after = lines.at(-1)?.number ?? Math.max(0, cellar.lines - shown);
    page = await ask("", { after });
    lines.push(...page);
  } while (page.length === PAGE_MAX);
  // Somebody may have looked again in the meantime.
  if (mine === looks) show(memory, cellar, lines);
}

function showName() {
  const name = remembered();
  $("browser").replaceChildren(...(name === "" ? ["nothing yet"] : ["your name: ", words("b", name)]));
}

function show(memory, cellar, lines) {
  showName();
  const since = element("time", time(new Date(memory.awake_since)));
  since.dateTime = memory.awake_since;
  $("memory").replaceChildren(`${count(memory.signed, "line")} signed since it awoke at `, since);
  $("cellar").textContent = `${count(cellar.lines, "line")}, ${count(cellar.bytes, "byte")}`;

  const items = lines.reverse().map(({ number, at, name, text }) => {
    const item = document.createElement("li");
    item.value = number;
    const when = element("time", new Date(at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }));
    when.dateTime = at;
    const who = element("p", `${number}. `);
    who.append(words("b", name), " ", when);
    item.append(who, words("p", text));
    return item;
  });
  $("lines").replaceChildren(...items);
  $("none").hidden = items.length > 0;
  $("older").hidden = shown >= cellar.lines;
}

/** An element with nothing but text in it, whatever that looks like. */
function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

/** What a guest wrote: it may run from right to left. */
function words(kind, text) {
  const made = element(kind, text);
  made.dir = "auto";
  return made;
}

const time = (date) => date.toLocaleTimeString("en-GB");
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

function say(text, wrong = false) {
  $("said").textContent = text;
  $("said").className = wrong ? "wrong" : "";
}

/** Does something with the server, and says what came of it. */
async function attempt(what, without) {
  // Usually the server is quicker than this, and nothing flickers.
  const slow = setTimeout(say, 700, "Waiting for the server.");
  try {
    say(await what());
  } catch (error) {
    say(error instanceof Refused ? `Not done: ${error.message}.` : without, true);
  } finally {
    clearTimeout(slow);
  }
}

$("sign").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (signing) return;
  signing = true;
  await attempt(async () => {
    const body = { name: $("name").value, text: $("text").value };
    const headers = { "Content-Type": "application/json" };
    const line = await ask("", {}, { method: "POST", headers, body: JSON.stringify(body) });
    remember(line.name);
    // While the answer was on its way, the guest may have typed on.
    if ($("text").value === body.text) $("text").value = "";
    // The line is kept. Whether it can be shown is another matter.
    return look().then(() => `Line ${line.number} is yours.`, () => `Line ${line.number} is yours, but the server does not answer any more.`);
  }, "The server does not answer. What you typed is still here. Your line may be kept or not: look again, before you sign again.");
  signing = false;
});

$("look").addEventListener("click", () =>
  attempt(() => look().then(() => `As of ${time(new Date())}.`), "The server does not answer. What you see may be old."));

$("older").addEventListener("click", async () => {
  const oldest = $("lines").lastElementChild.value;
  shown += MORE;
  await attempt(() => look().then(() => "Older lines are shown."), "The server does not answer. What you see may be old.");
  // The keyboard goes on where the older ones begin.
  const next = [...$("lines").children].find((item) => item.value < oldest);
  if (next === undefined) return;
  next.tabIndex = -1;
  next.focus();
});

if (/^[A-Za-z0-9-]{1,32}$/.test(book)) {
  $("title").textContent = `Guest book “${book}”`;
  document.title = `Guest book “${book}”`;
  $("name").value = remembered();
  showName();
  $("open").hidden = false;
  await attempt(() => look().then(() => ""), "The server does not answer. Look again a little later.");
} else {
  $("closed").textContent = "There is no such book: a book’s name is 1 to 32 letters, digits and dashes.";
}
