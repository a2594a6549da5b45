//! The printed book in a real browser, as it is served.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use outside::{Dev, copy_book, drive, print_book};

fn book() -> PathBuf {
    ledger::root().join("target/book")
}

/// The pages that `SUMMARY.md` lists, in its order, and then what else is printed,
/// without the stubs that send their reader to another page.
fn pages() -> Result<(Vec<String>, Vec<String>)> {
    let summary = fs::read_to_string(ledger::root().join("src/SUMMARY.md"))?;
    let names = summary.split("](").filter_map(|part| part.split_once(".md)"));
    let listed: Vec<String> =
        names.map(|(name, _)| format!("{name}.html")).collect();
    ensure!(listed.len() > 8, "SUMMARY.md lists only {listed:?}");
    let mut others = Vec::new();
    for path in ledger::list(&book())? {
        let name = ledger::file_name(&path).to_owned();
        if name.ends_with(".html")
            && !listed.contains(&name)
            && !fs::read_to_string(&path)?.contains("http-equiv=\"refresh\"")
        {
            others.push(name);
        }
    }
    Ok((listed, others))
}

/// What the browser finds wrong with the pages, a line for each fault. The address
/// of each of `listed` must be on every page. For the search, `others` is the file with
/// what is asked.
fn faults(
    server: &Dev,
    how: &str,
    listed: &[String],
    others: &[String],
) -> Result<String> {
    let arguments = [&server.url(), how, &listed.join(","), &others.join(",")];
    match drive("site.ts", &arguments) {
        Ok(said) => {
            ensure!(said.contains("all as it should be"), "{said}");
            print!("{said}");
            Ok(String::new())
        }
        Err(error) => Ok(format!("{error:#}\n")),
    }
}

/// The names in a text of the API's data: identifiers that are alone or in a list, or
/// stand after a dot or a `::`, or before a bracket, or have a capital inside.
fn names(text: &str) -> Vec<String> {
    let mut bare = String::new();
    let mut depth = 0;
    for (at, sign) in text.char_indices() {
        match sign {
            '(' | '{' | '<' => depth += 1,
            ')' | '}' => depth -= 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            _ if depth == 0 => bare.push(sign),
            _ => (),
        }
        if sign == ')' && depth == 0 {
            bare.push_str("()");
        }
    }
    let bare = bare.split(" -> ").next().unwrap_or_default().trim();
    let mut names = Vec::new();
    let mut in_list = false;
    for word in bare.split(' ') {
        let telling = |part: &str| {
            let inside = part.get(1..).unwrap_or_default();
            part.contains(['.', ':', '(', '_'])
                || inside.contains(char::is_uppercase)
                || bare == part
        };
        let listed = in_list || word.contains([',', '/']);
        in_list = word.ends_with(',');
        for part in word.split([',', '/', '[', ']']) {
            let path = part.replace("()", "");
            let path = path.trim_matches(['.', ':', '?']);
            let name = path.rsplit(['.', ':']).next().unwrap_or_default();
            let sound = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
            if (listed || telling(part))
                && !name.is_empty()
                && name.chars().all(sound)
            {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// What people type to find an item of the API, where it has to lead them, and among how
/// many hits: the first two, or as many as there are sections of things of that name.
fn asked() -> Result<Vec<(String, String, usize)>> {
    let chapters = ledger::chapters()?;
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut spelled = Vec::new();
    for item in ledger::api()? {
        let chapter =
            chapters.iter().find(|c| Some(&c.name) == item.chapter.as_ref());
        let section = match (chapter, &item.at) {
            (Some(chapter), Some(at)) => {
                let page = ledger::file_name(&chapter.page).replace(".md", ".html");
                format!("{page}#{at}")
            }
            _ => format!("appendix-a-api-map.html#api-{}", item.id),
        };
        let mut all = names(&item.js);
        // What stands after "on" is where the name is found.
        let code = item.rust.split('`').collect::<Vec<_>>();
        for pair in code.chunks(2).filter(|pair| !pair[0].ends_with(" on ")) {
            let span = pair.get(1).filter(|span| !span.starts_with('#'));
            all.extend(span.map(|span| names(span)).unwrap_or_default());
        }
        ensure!(
            !all.is_empty() || item.js.contains(' '),
            "{} has no name",
            item.js
        );
        for name in all {
            let same = name.replace('_', "").to_lowercase();
            found.entry(same.clone()).or_default().insert(section.clone());
            spelled.push((name, same, section.clone()));
        }
    }
    let mut asked = Vec::new();
    for (name, same, section) in spelled {
        let within = found[&same].len().max(2);
        for before in ["", "ctx.", "state.", "this.", "ctx.storage.", "env."] {
            for after in ["", "()"] {
                asked.push((
                    format!("{before}{name}{after}"),
                    section.clone(),
                    within,
                ));
            }
        }
    }
    for term in ["CSRF", "CPU limit", "wall time", "blob column"] {
        let terms = ledger::terms()?;
        let at = terms.into_iter().find(|at| at.says.contains(term));
        asked.push((term.to_owned(), at.context(term)?.at, 2));
    }
    Ok(asked)
}

/// Every page of the book, in light and in dark, on a wide screen and on a phone:
/// axe-core finds nothing, no error is in the console, nothing is asked of another
/// site, no text runs out of the window, a page and its scripts are light, and each
/// fragment is somewhere. Without scripts the text, the code and the way to every
/// page are there. The search finds a word, and every name of the API, however it is
/// written, leads to its section.
#[test]
#[ignore = "wants Chromium"]
fn every_page_is_sound() -> Result<()> {
    print_book()?;
    let (listed, others) = pages()?;
    let front = Dev::start_in(&ledger::root().join("wrangler"), &[])?;
    // A page that breaks this policy says so in the console, which is a fault below.
    for path in ["/", "/ch02-a-first-object.html", "/nowhere"] {
        let headers = front.get(path)?.headers;
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let policy = header("Content-Security-Policy").unwrap_or_default();
        ensure!(policy.starts_with("default-src 'none'; "), "{path}: {headers:?}");
        ensure!(header("X-Content-Type-Options") == Some("nosniff"), "{path}");
    }
    let mut said = String::new();
    for how in ["shown", "plain"] {
        said += &faults(&front, how, &listed, &others)?;
    }
    let asked = asked()?;
    ensure!(asked.len() > 3_000, "only {} spellings", asked.len());
    let file = tempfile::NamedTempFile::new()?;
    serde_json::to_writer(&file, &asked)?;
    let path = file.path().to_string_lossy().into_owned();
    said += &faults(&front, "search", &listed, &[path])?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

/// What is put at the end of a page to spoil it, and what is then said of it.
const SPOILED: [(&str, &str); 18] = [
    ("<img src=\"none.png\" alt=\"none\">", "none.png does not load"),
    ("<p><img src=\"{pixel}\"></p>", "axe: image-alt: "),
    ("<p style=\"color:#888;background:#777\">dim</p>", "axe: color-contrast: "),
    (
        "<pre><code style=\"color:#888;background:#777\">dim</code></pre>",
        "axe: color-contrast: ",
    ),
    (
        "<style>@media (prefers-color-scheme: dark) { main p { color: #444 } }</style>",
        "dark, 360 px | axe: color-contrast: ",
    ),
    (
        "<pre><code style=\"display:block; {wide}\">{words}</code></pre>",
        "axe: scrollable-region-",
    ),
    ("<script>console.error('oh')</script>", "console: oh"),
    ("<script>throw new Error('oh')</script>", "error: oh"),
    (
        "<script>new Image().src='https://127.0.0.1:9/'</script>",
        "asks for https://",
    ),
    ("<script>new WebSocket('wss://127.0.0.1:9/')</script>", "opens a socket to "),
    ("<div style=\"width:1400px\">wide</div>", " px wide; "),
    (
        "<div tabindex=0 style=\"{wide}\"><p>{words}</p></div>",
        "text scrolls sideways in div",
    ),
    (
        "<table><tr><td style=\"min-width:0; width:1px\">A sentence of some length \
         goes on and on, down and down, where nobody reads it.</td><td>{words}</td>\
         </tr></table>",
        "a column of text is narrow, ",
    ),
    ("<script>//{heavy}</script>", "scripts of "),
    ("<script src=\"heavy.js\"></script>", "scripts of "),
    ("<p hidden>{heavy}{heavy}{heavy}{heavy}</p>", "weighs "),
    ("<p><a href=\"#nowhere\">nowhere</a></p>", "#nowhere"),
    (
        "<style>* { color: #fff !important; background: #111 !important }</style>",
        "the background is not light: ",
    ),
];

/// What is put there to spoil it for readers without scripts.
const SPOILED_PLAIN: [(&str, &str); 3] = [
    (
        "<noscript><style>main{display:none}</style></noscript>",
        "the text is not shown",
    ),
    ("<pre><code></code></pre>", "1 blocks of code are empty"),
    (
        "<noscript><style>nav{display:none!important}</style></noscript>",
        "no link that can be seen leads to ",
    ),
];

const PIXEL: &str = "data:image/gif;base64,\
    R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

/// A page with one fault is told by that fault.
#[test]
#[ignore = "wants Chromium"]
fn every_fault_is_told() -> Result<()> {
    print_book()?;
    let folder = tempfile::tempdir()?;
    let site = copy_book(folder.path())?;
    // The policy would forbid most of the faults.
    fs::remove_file(site.join("_headers"))?;
    let words = "word ".repeat(400);
    let heavy = "heavy".repeat(20_000);
    fs::write(site.join("heavy.js"), format!("//{heavy}"))?;
    let whole = fs::read_to_string(site.join("appendix-e-glossary.html"))?;
    let (head, rest) = whole.split_once("<h1").context("no heading")?;
    let (_, foot) = rest.split_once("</main>").context("no main")?;
    let text = format!("<h1>A page</h1><p>{}</p>", "Nothing is wrong. ".repeat(9));
    let page = |name: String, what: &str| -> Result<String> {
        let what = what
            .replace("{pixel}", PIXEL)
            .replace("{wide}", "overflow-x:auto; white-space:pre")
            .replace("{words}", &words)
            .replace("{heavy}", &heavy);
        let html = format!("{head}{text}{what}</main>{foot}");
        fs::write(site.join(&name), html)?;
        Ok(name)
    };
    let mut pages = vec![page("sound.html".to_owned(), "")?];
    for (number, (what, _)) in SPOILED.iter().enumerate() {
        pages.push(page(format!("spoiled-{number}.html"), what)?);
    }
    let server = Dev::start_in(folder.path(), &[])?;
    let said = faults(&server, "shown", &pages, &[])?;
    for (number, (what, right)) in SPOILED.iter().enumerate() {
        let name = format!("spoiled-{number}.html | ");
        let mut told = said.lines().filter(|line| line.starts_with(&name));
        ensure!(told.any(|line| line.contains(right)), "{what}:\n{said}");
    }
    ensure!(!said.contains("sound.html | "), "{said}");

    let listed = ["index.html".to_owned(), "ch01-hello-from-rust.html".to_owned()];
    let mut spoiled = Vec::new();
    for (number, (what, _)) in SPOILED_PLAIN.iter().enumerate() {
        spoiled.push(page(format!("plain-{number}.html"), what)?);
    }
    let said = faults(&server, "plain", &listed, &spoiled)?;
    for (number, (what, right)) in SPOILED_PLAIN.iter().enumerate() {
        let name = format!("plain-{number}.html | ");
        let mut told = said.lines().filter(|line| line.starts_with(&name));
        ensure!(told.any(|line| line.contains(right)), "{what}:\n{said}");
    }
    Ok(())
}
