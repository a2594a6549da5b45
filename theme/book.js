// The one script of the frame: colours, search, copy buttons, and the keys of
// mdBook. Everything on a page can be read and reached without it.
(() => {
  const html = document.documentElement;
  const kept = {
    get: () => { try { return localStorage.getItem("colours"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("colours", value); } catch { /* not kept, then */ } },
  };
  html.classList.add("js");

  // Before the first paint, so that no page flashes.
  const choices = { auto: "as the system", light: "light", dark: "dark" };
  let choice = kept.get() in choices ? kept.get() : "auto";
  html.dataset.colours = choice;

  const make = (tag, set = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), set);
    element.append(...inside);
    return element;
  };

  function colours() {
    const button = document.getElementById("colours");
    const say = () => {
      html.dataset.colours = choice;
      button.title = `Colours: ${choices[choice]}`;
      button.setAttribute("aria-label", button.title);
    };
    say();
    button.addEventListener("click", () => {
      const names = Object.keys(choices);
      choice = names[(names.indexOf(choice) + 1) % names.length];
      kept.set(choice);
      say();
    });
  }

  // Of a console block, what is typed; of other code, all of it.
  function typed(code) {
    if (!code.classList.contains("language-console")) return code.textContent;
    let goesOn = false;
    return code.textContent.split("\n").filter((line) => {
      const take = goesOn || line.startsWith("$ ");
      goesOn = take && line.endsWith("\\");
      return take;
    }).map((line) => line.replace(/^\$ /, "")).join("\n") + "\n";
  }

  function copyButtons() {
    if (!navigator.clipboard) return;
    for (const code of document.querySelectorAll("main pre > code")) {
      const text = typed(code);
      if (!text.trim()) continue;
      const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(text);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Not copied";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      code.parentElement.append(button);
    }
  }

  // The index is large. It is fetched when somebody searches.
  let index;
  function load() {
    index ??= new Promise((good, bad) => {
      const src = document.body.dataset.search;
      document.head.append(make("script", { src, onload: () => good(window.search), onerror: bad }));
    });
    index.catch(() => { index = undefined; });
    return index;
  }

  // The passage around the first of the words, with the words marked.
  function passage(body, words) {
    const low = body.toLowerCase();
    const first = Math.min(...words.map((word) => low.indexOf(word)).filter((at) => at >= 0), body.length);
    const from = first === body.length ? 0 : body.lastIndexOf(" ", Math.max(0, first - 60)) + 1;
    const text = body.slice(from, from + 180);
    const out = make("p");
    const escaped = words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    for (const [at, part] of text.split(new RegExp(`(${escaped.join("|")})`, "giu")).entries()) {
      out.append(at % 2 ? make("mark", { textContent: part }) : part);
    }
    return out;
  }

  function searching() {
    const field = make("input", { type: "search", id: "query", autocomplete: "off", spellcheck: false });
    const says = make("p", { className: "says" });
    says.setAttribute("role", "status");
    const list = make("ol");
    const dialog = make("dialog", { id: "search" },
      make("form", {},
        make("label", { htmlFor: "query", textContent: "Search the book" }), field,
        make("button", { type: "button", textContent: "Close", onclick: () => dialog.close() })),
      says, list);
    dialog.setAttribute("aria-label", "Search");
    document.body.append(dialog);

    const show = async () => {
      const query = field.value.trim();
      const words = query.toLowerCase().split(/[^\p{L}\p{N}_$]+/u).filter(Boolean);
      if (!words.length) {
        says.textContent = "";
        return list.replaceChildren();
      }
      let hits;
      try {
        hits = (await load())(query).slice(0, 30);
      } catch {
        says.textContent = "The index of the search could not be fetched.";
        return;
      }
      // Somebody has typed on while the index came.
      if (query !== field.value.trim()) return;
      says.textContent = `${hits.length === 30 ? "The first 30" : hits.length || "No"} ${hits.length === 1 ? "place" : "places"}`;
      list.replaceChildren(...hits.map((hit) => {
        const link = make("a", { href: document.body.dataset.root + hit.url, textContent: hit.title });
        link.addEventListener("click", () => dialog.close());
        return make("li", {}, link, passage(hit.body, words));
      }));
    };
    field.addEventListener("input", show);
    // Return takes the first place; Escape closes, rather than clear the field first.
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      list.querySelector("a")?.click();
    });
    field.addEventListener("keydown", (event) => { if (event.key === "Escape") dialog.close(); });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    const open = () => {
      load().catch(() => {});
      if (!dialog.open) dialog.showModal();
      field.select();
    };
    for (const button of document.querySelectorAll("#open-search, [data-opens=search]")) {
      button.addEventListener("click", open);
    }
    return open;
  }

  function keys(search) {
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (document.querySelector("dialog[open]")) return;
      if (event.target.closest?.("input, textarea, select, [contenteditable], .table-wrapper")) return;
      const to = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
      if (to) document.querySelector(`a[rel=${to}]`)?.click();
      if (event.key === "s" || event.key === "/") {
        event.preventDefault();
        search();
      }
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    colours();
    copyButtons();
    keys(searching());
    const menu = document.getElementById("contents");
    menu.addEventListener("click", (event) => {
      if (event.target.closest("a") && menu.matches(":popover-open")) menu.hidePopover();
    });
    const here = menu.querySelector("[aria-current]");
    if (here && here.offsetTop > menu.clientHeight / 2) menu.scrollTop = here.offsetTop - 80;
  });
})();
