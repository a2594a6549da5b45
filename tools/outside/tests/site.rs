//! The printed book in a real browser, as it is served.

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
/// of each of `listed` must be on every page.
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

/// Every page of the book, in light and in dark, on a wide screen and on a phone:
/// axe-core finds nothing, no error is in the console, nothing is asked of another
/// site, no text runs out of the window, a page and its scripts are light, and each
/// fragment is somewhere. Without scripts the text, the code and the way to every
/// page are there. The search finds a word.
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
    for how in ["light", "dark", "plain", "search"] {
        said += &faults(&front, how, &listed, &others)?;
    }
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

/// What is put at the end of a page to spoil it, and what is then said of it.
const SPOILED: [(&str, &str); 16] = [
    ("<img src=\"none.png\" alt=\"none\">", "none.png does not load"),
    ("<p><img src=\"{pixel}\"></p>", "axe: image-alt: "),
    ("<p style=\"color:#888;background:#777\">dim</p>", "axe: color-contrast: "),
    (
        "<pre><code style=\"color:#888;background:#777\">dim</code></pre>",
        "axe: color-contrast: ",
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
    let said = faults(&server, "light", &pages, &[])?;
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
