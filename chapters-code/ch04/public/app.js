// The page of the seat booking: shows the seats of one flight, and books one.
// Every address is relative, so the page may stand behind a prefix.
const $ = (id) => document.getElementById(id);
const flightId = new URLSearchParams(location.search).get("flightId");
const buttons = new Map();

/** An address of the Worker, for this flight. */
function address(path) {
  const url = new URL(path, location.href);
  url.search = new URLSearchParams({ flightId });
  return url;
}

/** Shows the seats as they are. The buttons stay, and so does the keyboard's place. */
function show(seats) {
  for (const { seatNumber, occupant, cabin } of seats) {
    const button = buttons.get(seatNumber) ?? add(seatNumber);
    button.className = `seat ${occupant === null ? "free" : "taken"} ${cabin}`;
    button.ariaDisabled = occupant !== null;
    button.ariaLabel = `${seatNumber}, ${cabin}, ${occupant === null ? "free" : `taken by ${occupant}`}`;
    button.title = occupant ?? "";
  }
}

function add(seatNumber) {
  const button = document.createElement("button");
  button.textContent = seatNumber;
  button.id = `seat-${seatNumber}`;
  // One stop for the Tab key; the arrow keys go on from there.
  button.tabIndex = buttons.size === 0 ? 0 : -1;
  button.addEventListener("click", () => book(seatNumber));
  buttons.set(seatNumber, button);
  $("seats").append(button);
  return button;
}

async function book(seatNumber) {
  const name = $("name").value.trim();
  if (name === "") {
    $("name").focus();
    return say("Type your name first.");
  }
  try {
    const answer = await fetch(address("book-seat"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ seatNumber, name }),
    });
    say(await answer.text());
  } catch {
    say(`The server does not answer. ${seatNumber} may be booked or not: look again when it is back.`);
  }
}

function say(text) {
  $("said").textContent = text;
}

/** Listens for the seats, and begins again whenever the line breaks. */
function listen(wait = 500) {
  const url = address("ws");
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.addEventListener("open", () => {
    wait = 500;
    $("link").textContent = "Live: a booking anywhere shows here at once.";
  });
  socket.addEventListener("message", (event) => show(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    $("link").textContent = "Not connected. Trying again.";
    setTimeout(listen, wait, Math.min(2 * wait, 10_000));
  });
}

$("seats").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -6, ArrowDown: 6 }[event.key];
  const all = [...buttons.values()];
  const next = all[all.indexOf(document.activeElement) + step];
  if (next === undefined) return;
  event.preventDefault();
  document.activeElement.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});

if (flightId !== null) {
  $("flightId").value = flightId;
  $("seats-of").textContent = `Seats of flight ${flightId}`;
  $("plane").hidden = false;
  const answer = await fetch(address("seats")).catch(() => undefined);
  if (answer?.status === 400) {
    $("seats-of").textContent = await answer.text();
    $("plane").replaceChildren($("seats-of"));
  } else {
    if (answer?.ok) show(await answer.json());
    listen();
  }
}
