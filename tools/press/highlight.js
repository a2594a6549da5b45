// Colours code when the book is printed, so that no reader's browser has to.
//
// Takes a JSON array of [language, code] and gives back an array of HTML.
import { readFileSync } from "node:fs";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import diff from "highlight.js/lib/languages/diff";
import ini from "highlight.js/lib/languages/ini";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

// The grammars bring their aliases along: js, ts, toml, html, sh.
for (const [name, grammar] of Object.entries({
  bash, diff, ini, javascript, json, rust, sql, typescript, xml, yaml,
})) {
  hljs.registerLanguage(name, grammar);
}

const escape = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// What is typed stands out from what comes back.
function console_(code) {
  let goesOn = false;
  return code.split("\n").map((line) => {
    const prompt = line.startsWith("$ ");
    if (!prompt && !goesOn) return escape(line);
    goesOn = line.endsWith("\\");
    const rest = prompt ? line.slice(2) : line;
    return `${prompt ? '<span class="hljs-prompt">$ </span>' : ""}<b>${escape(rest)}</b>`;
  }).join("\n");
}

function coloured(language, code) {
  if (language === "console") return console_(code);
  if (!hljs.getLanguage(language)) return escape(code);
  return hljs.highlight(code, { language, ignoreIllegals: true }).value
    // These have no colour of their own.
    .replaceAll(/<span class="hljs-(params|operator|punctuation)">([^<]*)<\/span>/g, "$2")
    .replaceAll("&quot;", '"').replaceAll("&#x27;", "'");
}

// A line that a phone must break goes on under its own beginning, not at the edge.
// It becomes an element of its own for that; spans that reach over its end are closed
// and opened again.
const NARROW = 30;
function lines(html, code) {
  const plain = code.split("\n");
  let open = [];
  return html.split("\n").map((line, at, all) => {
    const before = open.join("");
    for (const tag of line.match(/<\/?(?:span|b)[^>]*>/g) ?? []) {
      open = tag.startsWith("</") ? open.slice(0, -1) : [...open, tag];
    }
    const end = at < all.length - 1 ? "\n" : "";
    if (plain[at].length <= NARROW) return [before, line, end, open];
    const indent = plain[at].length - plain[at].trimStart().length;
    const style = indent ? ` style="--i:${indent}"` : "";
    // The indentation is set by itself: a line must not be broken right behind it.
    const set = line.replace(/^ +/, "<i>$&</i>");
    return [before, set, end, open, `<span class="l"${style}>`];
  }).map(([before, line, end, after, wrap], at, all) => {
    if (wrap) {
      return wrap + before + line + end + closing(after) + "</span>";
    }
    // An ordinary line is left alone, unless its neighbours have closed its spans.
    const reopened = at > 0 && all[at - 1][4] ? before : "";
    const closed = at < all.length - 1 && all[at + 1][4] ? closing(after) : "";
    return reopened + line + end + closed;
  }).join("");
}

const closing = (open) => open.map((tag) => (tag.startsWith("<b") ? "</b>" : "</span>")).reverse().join("");

const blocks = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(
  JSON.stringify(blocks.map(([language, code]) => lines(coloured(language, code), code))),
);
