/*! MiniSearch, by Luca Ongaro, MIT licence */
// What finds a place in the book. The press bundles it with MiniSearch and puts all places behind it: one script, which
// is fetched when somebody searches.
//
// Why MiniSearch: of 1,380 spellings of the API's names it found 91 % among the first two, once each item was an entry.
// Pagefind found 17 %, and its Wasm is against the pages' policy; elasticlunr found 11 %, with an index four times as large.
import MiniSearch from "minisearch";

const words = (text) => text.split(/[^\p{L}\p{N}_$]+/u).filter(Boolean);
// `set_alarm` is `setAlarm`, and alarms are found by "alarm".
const same = (word) => word.toLowerCase().replaceAll("_", "").replace(/^(.{3,}[^su])s$/, "$1");
const ARGUMENTS = /\([^()]*\)?/g;
// How the code of a page calls what the data calls by its section.
const CALLED = new Map([["ctx", "state"], ["env", "namespace"]]);

/** The names that an item of the API has in JavaScript and in Rust, without what stands before a dot or a `::`. */
function names({ js = "", rust = "" }) {
  const code = [...rust.matchAll(/(?<! on )`([^#`][^`]*)`/g)].map((span) => span[1].replace(/ -> .*|(::)?<[^>]*>/g, ""));
  return [js, ...code].flatMap((text) => text.replace(ARGUMENTS, "").match(/[\w$]+(?![\w$]|\.\w|::)/g) ?? []);
}

window.search = (places) => {
  for (const [id, place] of places.entries()) {
    place.id = id;
    place.names = names(place);
    place.of = place.of && `${place.of} ${place.js} ${place.rust}`;
    // Other words for a thing are no names: "limit" alone is not one of them.
    place.exact = new Set(place.of ? place.names.map(same) : []);
  }
  const index = new MiniSearch({
    fields: ["title", "names", "of", "body"],
    tokenize: (text) => words(String(text)),
    processTerm: same,
    searchOptions: { boost: { title: 2, names: 8 }, prefix: (word, at, all) => at === all.length - 1 && word.length > 2 },
  });
  index.addAll(places);

  function named(query) {
    const path = query.replace(ARGUMENTS, "").replace(/^(await|new) /, "");
    if (!/^[\w$]+((\.|::)[\w$]+)*[;?]*$/.test(path)) return [];
    const name = words(path).at(-1);
    const given = words(query).map((word) => CALLED.get(word) ?? word).join(" ");
    const hits = index.search(given, {
      prefix: (word) => word === same(name) && word.length > 2,
      boostTerm: (word) => word === same(name) ? 10 : 5,
      // `get` before `kv.get`.
      boostDocument: (id) => same(places[id].js ?? "").startsWith(same(name)) ? 1.25 : 1,
    }).filter((hit) => hit.queryTerms.includes(same(name)));
    const exact = (hit) => places[hit.id].exact.has(same(name));
    return [...hits.filter(exact), ...hits.filter((hit) => !exact(hit))];
  }

  return (query) => {
    let hits = named(query);
    if (!hits.length) hits = index.search(query, { combineWith: "AND" });
    if (!hits.length) hits = index.search(query, { fuzzy: 0.2 });
    const first = new Map();
    for (const { id } of hits) if (!first.has(places[id].url)) first.set(places[id].url, places[id]);
    return [...first.values()];
  };
};
