// The page of the chat. It loses nothing and shows nothing twice: a message stays in its
// outbox until the room has sent it back, and whoever comes back says what they have heard.
// Every address is relative, so the page may stand behind a prefix.
const $ = (id) => document.getElementById(id);

const SHOWN_MAX = 1_000; // lines in the log
const PING = 30_000; // how often the line is tried, in ms
const PONG = 10_000; // and how soon it has to answer
const WAIT_MAX = 30_000; // the longest pause before the line is tried again
const LIMITED = 3_000; // the pause after the room has said "try again later"
const OPENED_ELSEWHERE = 4000; // this name came in again, with our key
const TURNED_AWAY = [1003, 1008, 1009]; // to come again would not help

/** What this tab knows. What a reload must not lose lies in the session's storage too. */
const me = { room: "", name: "", key: "", outbox: [] };
let socket; // the line, whether it is open or on its way
let ready = false; // has the room told all there was?
let last = 0; // the timestamp of the newest message on the page
let tries = 0; // how often in a row the line could not be had
let lastError = "";
let timers = [];
const people = new Map(); // who is here, and how often: "anonymous" may be many

/** As the public demo writes the names of rooms. */
const normal = (room) => room.trim().toLowerCase().replaceAll("_", "-").replace(/[^a-z0-9-]/g, "");
const goodRoom = (room) => /^[a-z0-9-]{1,32}$|^[0-9a-f]{64}$/.test(room);
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const address = (path) => new URL(path, location.href.split(/[?#]/)[0]);
const later = (ms, what) => timers.push(setTimeout(what, ms));

// What a reload must not lose. A tab that may not store goes without.
function keep() {
  try {
    sessionStorage.setItem("chat", JSON.stringify(me));
  } catch {}
}
function recall() {
  try {
    return JSON.parse(sessionStorage.getItem("chat")) ?? {};
  } catch {
    return {};
  }
}
function forget() {
  try {
    sessionStorage.removeItem("chat");
  } catch {}
}

// ---- at the door

function showDoor(wrong = "") {
  hangUp();
  $("inside").hidden = true;
  $("door").hidden = false;
  document.title = "Village chat";
  tell(wrong);
  (goodRoom(normal($("room").value)) ? $("name") : $("room")).focus();
}

/** Says what was wrong, at the door. */
function tell(wrong) {
  $("wrong").textContent = wrong;
  $("name").ariaInvalid = wrong !== "";
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const room = normal($("room").value);
  if (!goodRoom(room)) {
    $("room").focus();
    return tell("The name of a room is 1 to 32 letters, digits and dashes.");
  }
  comeIn(room);
});

$("private").addEventListener("click", async () => {
  if (!$("name").reportValidity()) return;
  $("private").disabled = true;
  const answer = await fetch(address("api/room"), { method: "POST" }).catch(() => undefined);
  $("private").disabled = false;
  if (!answer?.ok) return tell("The server does not answer. Please try again.");
  $("room").value = (await answer.text()).trim();
  comeIn($("room").value);
});

function comeIn(room) {
  const name = $("name").value.trim();
  if (name === "") {
    $("name").focus();
    return tell("Please say your name.");
  }
  tell("");
  // What the room that turned them away has not taken goes along.
  const outbox = room === me.room ? me.outbox : [];
  Object.assign(me, { room, name, key: me.key || random(), outbox });
  keep();
  showRoom();
}

// ---- inside

function showRoom() {
  const url = address("");
  url.search = new URLSearchParams({ room: me.room });
  history.replaceState(null, "", url);
  $("room").value = me.room;
  $("name").value = me.name;
  $("where").textContent = me.room.length === 64 ? "A private room" : `Room ${me.room}`;
  document.title = `${$("where").textContent} – Village chat`;
  $("door").hidden = true;
  $("inside").hidden = false;
  // Nobody wants the history read aloud.
  $("log").ariaLive = "off";
  $("log").replaceChildren();
  last = 0;
  tries = 0;
  showWaiting();
  call();
  $("text").focus();
}

$("leave").addEventListener("click", () => {
  forget();
  socket?.close(1000, "leaving");
  showDoor();
});

$("back").addEventListener("click", () => {
  tries = 0;
  call();
  $("text").focus();
});

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const message = $("text").value.trim();
  if (message === "") return;
  $("text").value = "";
  me.outbox.push({ id: random(), message });
  keep();
  if (me.outbox.length === 1) send();
  // Usually the room is quicker than this, and nothing flickers.
  setTimeout(showWaiting, 700);
});

/** Sends what has waited longest. One at a time: so they arrive in order. */
function send() {
  if (ready && me.outbox.length > 0) socket.send(JSON.stringify(me.outbox[0]));
}

/** The room has kept a message of ours, however often we have sent it. */
function sent(id) {
  const at = me.outbox.findIndex((message) => message.id === id);
  if (at < 0) return;
  me.outbox.splice(at, 1);
  keep();
  showWaiting();
  send();
}

function showWaiting() {
  $("waiting").replaceChildren(...me.outbox.map(({ message }) => line("li", message)));
  $("waiting").hidden = me.outbox.length === 0;
}

// ---- the line

function call() {
  hangUp();
  status(tries === 0 ? "Connecting." : "Connecting again.", tries > 0);
  const url = address(`api/room/${me.room}/websocket`);
  url.protocol = url.protocol.replace("http", "ws");
  const line = (socket = new WebSocket(url));
  // A line that is given up may still be talking.
  const on = (event, what) => line.addEventListener(event, (given) => line === socket && what(given));
  on("open", () => {
    lastError = "";
    people.clear();
    line.send(JSON.stringify({ name: me.name, key: me.key, batch: true, ...(last > 0 && { since: last }) }));
    ping();
  });
  on("message", ({ data }) => (data === "pong" ? pong() : hear(JSON.parse(data))));
  on("close", ({ code, reason }) => lost(code, reason));
}

function hangUp() {
  timers.forEach(clearTimeout);
  timers = [];
  ready = false;
  const line = socket;
  socket = undefined;
  line?.close();
}

function lost(code, reason) {
  hangUp();
  people.clear();
  showPeople();
  if (code === OPENED_ELSEWHERE) {
    $("back").hidden = false;
    return status("You came in from another tab. This one has stopped.", true);
  }
  if (TURNED_AWAY.includes(code)) {
    forget();
    return showDoor(lastError || `The room has closed the line: ${reason || code}.`);
  }
  // Everybody has lost the line at the same moment. They must not come back at the same moment.
  const wait = Math.random() * Math.min(WAIT_MAX, 500 * 2 ** tries) + 250;
  tries += 1;
  status(`Not connected. ${lastError || "What you write is kept."} Trying again.`, true);
  showWaiting();
  later(wait, call);
}

window.addEventListener("online", () => {
  if (me.room !== "" && socket === undefined && !$("inside").hidden && $("back").hidden) call();
});

// A line may be dead without a word. Only an answer shows that it lives.
let dead;
function ping() {
  socket.send("ping");
  dead = setTimeout(() => lost(1006, ""), PONG);
  timers.push(dead);
}
function pong() {
  clearTimeout(dead);
  later(PING, ping);
}

// ---- what the room says

function hear(said) {
  if (said.batch) {
    said.batch.forEach(hear);
  } else if (said.error !== undefined) {
    refused(said);
  } else if (said.joined !== undefined) {
    people.set(said.joined, (people.get(said.joined) ?? 0) + 1);
    if (ready) note(`${said.joined} has come in.`);
    showPeople();
  } else if (said.quit !== undefined) {
    const left = (people.get(said.quit) ?? 1) - 1;
    left > 0 ? people.set(said.quit, left) : people.delete(said.quit);
    note(`${said.quit} has left.`);
    showPeople();
  } else if (said.gap) {
    note("Older messages are no longer kept.");
  } else if (said.ready) {
    ready = true;
    tries = 0;
    $("back").hidden = true;
    $("log").ariaLive = "polite";
    status("Connected.");
    showPeople();
    send();
  } else if (typeof said.message === "string") {
    show(said);
  }
}

/** The room did not take something. */
function refused({ error, id }) {
  lastError = error;
  if (!ready) return; // it closes the line, and that is told
  status(error, true);
  const first = me.outbox[0];
  if (first === undefined) return;
  if (id === first.id || error.includes("try again")) {
    showWaiting();
    later(LIMITED, send);
  } else {
    // It would be refused for ever. Its writer gets it back, to mend it.
    $("text").value ||= first.message;
    sent(first.id);
  }
}

/** Shows a message, once. All messages of a room have different timestamps, and come in order. */
function show({ name, message, timestamp, id }) {
  const mine = name === me.name;
  if (timestamp > last) {
    last = timestamp;
    const time = line("time", new Date(timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    time.dateTime = new Date(timestamp).toISOString();
    const item = document.createElement("li");
    item.className = mine ? "mine" : "";
    item.append(line("b", name), ": ", line("span", message), " ", time);
    add(item);
  }
  if (mine && id !== undefined) {
    if (ready) status("Connected.");
    sent(id);
  }
}

function note(text) {
  const item = line("li", text);
  item.className = "note";
  add(item);
}

/** A line at the end of the log. Whoever is reading further up stays there. */
function add(item) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(item);
  if (log.childElementCount > SHOWN_MAX) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

let showing;
/** Shows who is here; once, however many come at the same moment. */
function showPeople() {
  clearTimeout(showing);
  showing = setTimeout(() => {
    const names = [...people].sort(([a], [b]) => a.localeCompare(b));
    const text = ([name, count]) => name + (name === me.name ? " (you)" : "") + (count > 1 ? ` ×${count}` : "");
    $("people").replaceChildren(...names.map((person) => line("li", text(person))));
    const count = [...people.values()].reduce((sum, count) => sum + count, 0);
    $("here").textContent = count > 0 ? `Who is here: ${count}` : "Who is here";
  });
}

function status(text, broken = false) {
  if ($("line").textContent !== text) $("line").textContent = text;
  $("line").className = broken ? "broken" : "";
}

/** An element with nothing but text in it, whatever that looks like. */
function line(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}

// ---- the beginning

const asked = normal(new URLSearchParams(location.search).get("room") ?? "");
const before = recall();
if (before.room && before.name && before.key && (asked === "" || asked === before.room)) {
  // The page was loaded again: it is still the same person.
  Object.assign(me, { outbox: [] }, before);
  showRoom();
} else {
  if (asked !== "") $("room").value = asked;
  $("name").focus();
}
