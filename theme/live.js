// Run buttons: the steps that the press found in a console block (tools/press/src/live.rs)
// are done against the chapter behind the book. A page reads the same without this script.
(() => {
  const guest = new URLSearchParams(location.search).get("guest");
  const blocks = [];
  // Variables and files of the page's shell.
  let values = {};
  let files = {};
  let sockets = [];
  let invite, running, bar;

  const make = (tag, set = {}, ...inside) => {
    const { aria, ...own } = set;
    const element = Object.assign(document.createElement(tag), own);
    for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(name === "role" ? name : `aria-${name}`, value);
    element.append(...inside);
    return element;
  };
  const pause = (seconds, { signal }) => new Promise((good, bad) => {
    signal.throwIfAborted();
    const timer = setTimeout(good, seconds * 1000);
    signal.addEventListener("abort", () => { clearTimeout(timer); bad(signal.reason); });
  });

  // Why the front Worker does not let a request through, and its line that says so, with
  // the seconds to wait if there are any; "none" if there is no such Worker.
  const refused = (word, text) => Object.assign(new Error(text), { word });

  function address(path, front = []) {
    const query = new URLSearchParams([...front.map(([name, value]) => [`live.${name}`, value]), ...guest ? [["live.as", guest]] : []]);
    return path + (query.size ? (path.includes("?") ? "&" : "?") + query : "");
  }

  async function checked(answer) {
    const word = answer.headers.get("Live-Refused");
    if (word) throw refused(word, await answer.text());
    return answer;
  }

  async function visitor() {
    try {
      const answer = await checked(await fetch("/live/visitor", { method: "POST" }));
      ({ invite } = await answer.json());
    } catch (error) {
      throw error.word ? error : refused("none", "");
    }
  }

  async function ask(path, options, front) {
    if (!invite) await visitor();
    const send = async () => await checked(await fetch(address(path, front), { cache: "no-store", ...options }));
    try {
      return await send();
    } catch (error) {
      if (error.word !== "visitor") throw error;
      // The cookie is gone, or too old.
      await visitor();
      return await send();
    }
  }

  const fill = (text) => text.replace(/\$(\w+)/g, (all, name) => values[name] ?? all);

  function content(body) {
    if (typeof body !== "object") return body && fill(body);
    const bytes = new Uint8Array(body.zeros ?? body.random);
    return body.random ? crypto.getRandomValues(bytes) : bytes;
  }

  // What a terminal would show of it.
  const filters = {
    bytes: (lines, size) => [size],
    cut: (lines, _, sign, field) => lines.map((line) => line.split(sign)[field - 1] ?? line),
    grep: (lines, _, pattern) => lines.filter((line) => line.match(pattern)),
    only: (lines, _, pattern) => lines.flatMap((line) => line.match(RegExp(pattern, "g")) ?? []),
    sort: (lines) => lines.toSorted(),
    tail: (lines) => lines.slice(-1),
    tr: (lines, _, from, to) => [lines.join("\n").replaceAll(from, to)],
    uniq: (lines) => lines.filter((line, at) => line !== lines[at - 1]),
  };
  const through = (text, then = [], size) => then
    .reduce((lines, [name, ...rest]) => filters[name](lines, size, ...rest), text.replace(/\n$/, "").split("\n")).join("\n");

  function output(at, text) {
    const code = make("code", { textContent: text });
    at.box.append(make("pre", { className: "output" }, code));
    return code;
  }

  // The output of a step: shown, or kept under a name.
  function finish(at, { set, then }, text, size) {
    const out = through(text, then, size);
    if (!set) return out;
    values[set] = out;
    at.box.append(make("p", { className: "kept", textContent: `${set} = ${out}` }));
  }

  async function request(at, { path, method, body, headers = [], front }) {
    const begin = performance.now();
    const form = body === undefined ? [] : [["Content-Type", "application/x-www-form-urlencoded"]];
    const answer = await ask(`/live/${at.chapter}${fill(path)}`, {
      method, body: content(body), headers: [...form, ...headers], signal: at.signal,
    }, front);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const status = `${answer.status} ${answer.statusText}`.trim();
    return {
      status, bytes, text: new TextDecoder().decode(bytes), ms: Math.round(performance.now() - begin),
      head: [status, ...[...answer.headers].map((header) => header.join(": "))].join("\n"),
    };
  }

  async function http(at, step) {
    const { head, quiet, write = "", times: [times, atOnce] = [1, 1] } = step;
    let left = times, last;
    const all = {};
    const begin = performance.now();
    await Promise.all(Array.from({ length: atOnce }, async () => {
      while (left-- > 0) {
        last = await request(at, step);
        all[last.status] = (all[last.status] ?? 0) + 1;
      }
    }));
    if (times === 1) {
      const summary = make("summary", { textContent: `${last.status}, ${last.ms} ms`, title: "Headers" });
      summary.classList.toggle("wrong", last.status >= "4");
      at.box.firstChild.append(make("details", {}, summary, make("pre", { textContent: last.head })));
    } else {
      const counts = Object.entries(all).map(([status, count]) => `${count} times ${status}`);
      at.says(`${counts.join(", ")}, ${Math.round(performance.now() - begin)} ms`);
    }
    const text = (head ? `${last.head}\n\n` : "") + (quiet ? "" : last.text) + write.replace("%{http_code}", parseInt(last.status));
    const out = finish(at, step, text, last.bytes.length);
    if (out) output(at, out);
  }

  async function all(at, step) {
    const answers = await Promise.all(step.each.map((each) => request(at, each)));
    at.says(answers.map(({ status, ms }) => `${status}, ${ms} ms`).join("; "));
    output(at, finish(at, step, answers.map(({ text }) => text.replace(/\n?$/, "\n")).join("")));
  }

  // The number in a frame of ch06, after the version and the variant.
  function number([, , ...digits]) {
    const value = digits.reduce((sum, digit, at) => sum + (digit & 127) * 128 ** at, 0);
    return value % 2 ? -(value + 1) / 2 : value / 2;
  }

  async function talk(at, step) {
    const { path, send, wait, front, protocol, file, set, then } = step;
    const log = make("div", { className: "talk", tabIndex: 0, aria: { role: "log", label: `The socket to ${path}` } });
    // Not what the terminal shows here.
    if (file || set) log.classList.add("aside");
    at.box.append(log);
    const toggle = make("button", { type: "button", textContent: "Open", onclick: () => (is(1) ? socket.close() : open()) });
    let heard = [];
    let socket;
    const is = (state) => socket.readyState === state;
    const add = (className, textContent) => {
      log.append(make("div", { className, textContent }));
      log.scrollTop = log.scrollHeight;
    };
    const say = (what) => {
      socket.send(typeof what === "string" ? what : new Uint8Array(what));
      add("out", what);
    };
    const hear = (line) => { heard.push(line); add("in", line); };
    // Comes back when it is open, or is not to be; `over` when it has closed.
    let over;
    const open = () => new Promise((good) => {
      const url = new URL(address(`/live/${at.chapter}${fill(path)}`, front), location);
      url.protocol = url.protocol.replace("http", "ws");
      const mine = socket = new WebSocket(url, protocol ?? []);
      mine.binaryType = "arraybuffer";
      sockets.push(mine);
      over = new Promise((end) => {
        mine.onopen = () => { toggle.textContent = "Close"; good(true); };
        mine.onmessage = ({ data }) => hear(typeof data === "string" ? data : `${number(new Uint8Array(data))}`);
        mine.onclose = ({ code, reason }) => {
          toggle.textContent = "Open";
          const how = `closed: ${code} ${reason}`.trim();
          if (protocol) hear(how); else add("note", how);
          end();
          good(false);
        };
      });
    });
    if (!invite) await visitor();
    if (!await open()) {
      // A browser does not tell why; the same request without a socket may.
      const answer = await ask(`/live/${at.chapter}${fill(path)}`, { signal: at.signal }, front);
      throw new Error(await answer.text());
    }
    for (const what of send) say(typeof what === "string" ? fill(what) : what);
    const end = (async () => {
      await pause(wait, at);
      socket.close(...protocol ? [1000, "goodbye"] : []);
      await over;
      const out = finish(at, step, heard.join("\n"));
      if (then && !set) {
        log.querySelectorAll(".in").forEach((line) => line.remove());
        out.split("\n").forEach((line) => add("in", line));
        log.append(...log.querySelectorAll(".note"));
      }
      return out;
    })();
    if (!protocol && !set) {
      const field = make("input", { value: fill(send[0]), aria: { label: "A message for the socket" } });
      const form = make("form", {}, field, make("button", { textContent: "Send" }), toggle);
      form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const text = field.value;
        if (!is(1) && !await open()) return;
        say(text);
        field.value = "";
      });
      at.after.push(() => log.after(form));
    }
    if (file) {
      files[file] = end;
      // Whoever waits for it is told.
      end.catch(() => {});
    } else {
      at.says(`listening for ${wait} s`);
      await end;
      at.says("");
    }
  }

  const acts = {
    http, all, talk,
    async sleep(at, { s }) {
      for (let left = s; left > 0; left--) {
        at.says(`waiting: ${left} s`);
        await pause(1, at);
      }
      at.says(`waited ${s} s`);
    },
    async echo(at, step) {
      const name = step.text.slice(1);
      output(at, finish(at, step, await (values[name] ?? files[name] ?? "")));
    },
    async restart(at) {
      await ask(`/live/restart/${at.chapter}`, { method: "POST", signal: at.signal });
      at.says("out of memory; what is stored stays");
    },
    async exercise(at) {
      at.says("building and judging: this takes a while");
      const answer = await ask(`/live/exercise/${at.chapter}`, { method: "POST", headers: { Live: "page" }, signal: at.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const code = output(at, "");
      for (let part; !(part = await reader.read()).done;) code.textContent += part.value;
      at.says("");
    },
  };

  // What was in the way, and how to do it without this page.
  function atHome({ word, message }, block, cmd) {
    const none = word === "none";
    const exercise = cmd.startsWith("cargo xtask");
    const told = make("p", { className: "failed" }, none ? "Nothing runs behind this copy of the book. " : `${message.trim()} `);
    if (exercise || none || word === "down" || word === "budget") {
      const line = exercise ? cmd : none ? "cargo xtask serve" : `cd chapters-code/${block.chapter} && npx wrangler dev`;
      told.append("In your clone: ", make("code", { textContent: line }));
    }
    if (none && !exercise) {
      const here = `http://localhost:8700/${location.pathname.split("/").pop()}`;
      told.append(", then ", make("a", { href: here, textContent: here }));
    }
    return told;
  }

  async function commands(block, signal) {
    const { results, chapter } = block;
    results.replaceChildren();
    results.hidden = false;
    results.ariaBusy = "true";
    results.dataset.state = "running";
    const after = [];
    let box, cmd;
    try {
      for (const line of block.run) {
        cmd = line.cmd;
        for (const name of line.uses ?? []) {
          const setter = blocks.find(({ run }) => run.some(({ steps }) => steps.some(({ set }) => set === name)));
          if (!(name in values) && setter !== block) await commands(setter, signal);
        }
        const says = make("span", { className: "says" });
        box = make("div", { className: "answer" }, make("div", { className: "asked" }, make("code", { textContent: cmd, title: cmd }), says));
        box.dataset.n = line.n;
        results.append(box);
        const at = { box, chapter, signal, after, says: (text) => { says.textContent = text; } };
        for (const step of line.steps) await acts[step.do](at, step);
      }
      results.dataset.state = "done";
    } catch (error) {
      results.dataset.state = "failed";
      box?.querySelector(".says").replaceChildren();
      if (error.word === "none") block.strip.replaceChildren(atHome(error, block, cmd));
      else results.append(signal.aborted ? make("p", { className: "failed", textContent: "stopped" }) : atHome(error, block, cmd));
      throw error;
    } finally {
      after.forEach((add) => add());
      results.ariaBusy = "false";
      if (invite) results.append(bar ??= visitorBar());
    }
  }

  async function run(block) {
    if (running) {
      if (running.block === block) running.stop.abort();
      return;
    }
    const stop = new AbortController();
    running = { block, stop };
    sockets.forEach((socket) => socket.close());
    sockets = [];
    label();
    try {
      await commands(block, stop.signal);
    } catch {
      // The block says what went wrong.
      if (stop.signal.aborted) sockets.forEach((socket) => socket.close());
    }
    running = undefined;
    label();
  }

  function label() {
    for (const block of blocks) {
      const { button, run: { length } } = block;
      const mine = running?.block === block;
      button.textContent = mine ? "Stop" : "Run";
      button.ariaLabel = mine ? "Stop" : length > 1 ? `Run these ${length} commands` : "Run this command";
      // A button that is only said to be disabled keeps the focus.
      button.ariaDisabled = running && !mine ? "true" : null;
    }
  }

  function visitorBar() {
    const says = make("span", { className: "says", aria: { role: "status" } });
    const tell = (...what) => says.replaceChildren(...what);
    const button = (textContent, title, does) => make("button", { type: "button", textContent, title, onclick: () => does().catch((error) => tell(error.message)) });
    const chapter = blocks[0].chapter;
    const reset = button("Reset", "Empty the objects that you have in this chapter", async () => {
      await ask(`/live/reset/${chapter}`, { method: "POST" });
      // It has withdrawn the invitation.
      await visitor();
      values = {};
      tell("Your objects of this chapter are empty.");
    });
    const share = button("Invite", "Copy a link with which somebody else plays with your objects, for an hour or until you press Reset", async () => {
      await visitor();
      const link = `${location.origin}${location.pathname}?guest=${encodeURIComponent(invite)}`;
      try {
        await navigator.clipboard.writeText(link);
        tell("The link is copied. Who opens it plays with your objects.");
      } catch {
        tell(make("a", { href: link, textContent: "Send this link to your guest" }));
      }
    });
    const tab = make("a", { href: location.href.split("#")[0], target: "_blank", textContent: "Second tab", title: "The same objects, for a second person" });
    return make("p", { className: "visitor" }, guest ? "The objects of your host:" : "These objects are yours alone:", ...guest ? [tab] : [reset, tab, share], says);
  }

  // The chapter's own page, if it has one, is behind this page as well.
  function ownPage(link, chapter) {
    const { pathname, search } = new URL(link.href);
    const here = make("a", { href: `/live/${chapter}${pathname}${search}`, target: "_blank", textContent: "behind this page" });
    here.addEventListener("click", async (event) => {
      event.preventDefault();
      // At once, while the click still allows it.
      const tab = open();
      try {
        await visitor();
        tab.location = here.href;
      } catch {
        tab.location = link.href;
      }
    });
    link.after(" (or ", here, ")");
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const element of document.querySelectorAll("[data-live]")) {
      const { chapter, run: lines } = JSON.parse(element.dataset.live);
      const button = make("button", { type: "button", className: "run" });
      const strip = make("div", { className: "strip" }, button);
      const results = make("div", { className: "results", hidden: true, aria: { role: "group", label: "What came back", live: "polite" } });
      const block = { chapter, run: lines, button, strip, results };
      button.addEventListener("click", () => run(block));
      element.append(strip, results);
      blocks.push(block);
    }
    label();
    const own = document.querySelector("main .head ~ p a[href^='http://localhost:8787/']");
    if (own && blocks.length && !guest) ownPage(own, blocks[0].chapter);
    if (guest && blocks.length) {
      const leave = make("a", { href: location.pathname, textContent: "Leave" });
      document.querySelector("main .head, main h1").after(make("p", { className: "guest" }, "You are a guest here: Run plays with the objects of your host. ", leave));
    }
  });
})();
