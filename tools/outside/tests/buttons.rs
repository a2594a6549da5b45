//! The Run buttons of the book, in a real browser, on what `cargo xtask serve` serves.
//! runs: buttons

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use ledger::{Command, commands};
use outside::{Book, Dev, as_printed, copy_book, drive, print_book};
use serde_json::Value;

/// The pages with buttons: the cover, and every chapter with an object.
fn pages() -> Result<Vec<String>> {
    let mut pages = vec!["index.html".to_owned()];
    for chapter in ledger::chapters()? {
        if chapter.name != "ch01" {
            pages.push(ledger::file_name(&chapter.page).replace(".md", ".html"));
        }
    }
    Ok(pages)
}

/// What a command prints, as the page can know it: a browser does not tell the version
/// of HTTP, and gives the names of headers in small letters.
fn printed(command: &Command) -> String {
    let headers = command.text.contains(" -i ");
    let lines = command.expected.iter().map(|line| match line.split_once(": ") {
        Some((name, value)) if headers => {
            format!("{}: {value}", name.to_lowercase())
        }
        _ => line.trim_start_matches("HTTP/1.1 ").to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The output of our own task runner without the commands that it starts.
fn without_echoes(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("> "));
    lines.collect::<Vec<_>>().join("\n")
}

/// What is wrong with one block, a line for each fault.
fn faults(pressed: &Value) -> Result<Vec<String>> {
    let word = |key: &str| pressed[key].as_str().unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut faults: Vec<String> =
        list(&pressed["faults"]).iter().map(Value::to_string).collect();
    if word("state") != "done" {
        faults.push(format!("it is {:?}:\n{}", word("state"), word("said")));
    }
    let mut answers = BTreeMap::new();
    for answer in list(&pressed["answers"]) {
        for note in list(&answer["notes"]) {
            // Broken off: nobody has said goodbye.
            if note.as_str().is_none_or(|note| note.contains("1006")) {
                faults.push(note.to_string());
            }
        }
        answers.insert(answer["n"].as_u64(), answer["text"].clone());
    }
    let code = word("code");
    let all = commands(code.lines()).context("no commands")?;
    for (n, command) in all.iter().enumerate() {
        // A server's log is not what the page shows of a restart.
        if command.text == "npx wrangler dev" {
            continue;
        }
        let n = u64::try_from(n)?;
        let actual = answers.get(&Some(n)).and_then(Value::as_str);
        let varies = pressed["varies"] == true;
        let (mut printed, mut actual) =
            (printed(command), actual.unwrap_or_default().to_owned());
        if command.text.starts_with("cargo xtask exercise ") {
            // Beside the served book a chapter is built again only if it has changed.
            printed = without_echoes(&printed);
            actual = without_echoes(&actual);
        }
        let outcome = as_printed(&printed, &actual, varies);
        if let Err(error) = outcome {
            faults.push(format!("`{}`: {error}", command.text));
        }
    }
    Ok(faults)
}

/// Every button of every page, from top to bottom: what comes back is what is printed,
/// by the same rules as the console blocks. Exercises are judged, too.
#[test]
#[ignore = "wants Chromium"]
fn every_button_brings_what_is_printed() -> Result<()> {
    let book = Book::serve(&[])?;
    let pages = pages()?;
    let said = drive("buttons.ts", &[&book.url(), "press", &pages.join(",")])?;
    let mut told = String::new();
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for line in said.lines().filter(|line| line.starts_with('{')) {
        let pressed: Value = serde_json::from_str(line)?;
        let page = pressed["page"].as_str().context("no page")?;
        seen.insert(page.to_owned());
        count += 1;
        for fault in faults(&pressed)? {
            told += &format!("{page}: {fault}\n");
        }
    }
    ensure!(told.is_empty(), "{told}");
    ensure!(seen == pages.into_iter().collect(), "buttons only on {seen:?}");
    println!("{count} buttons pressed");
    Ok(())
}

/// A wrong answer, a wrong word in a log, a missing answer and a broken socket are told.
#[test]
fn every_fault_is_told() -> Result<()> {
    let told = |code: &str, varies: bool, text: &str, note: &str| {
        let answer = serde_json::json!({ "n": 0, "text": text, "notes": [note] });
        let pressed = serde_json::json!({
            "state": "done", "faults": [], "varies": varies, "code": code,
            "answers": [answer],
        });
        faults(&pressed).map(|faults| faults.len())
    };
    let good = "closed: 1005";
    assert_eq!(told("$ curl localhost:8787\n1\n", false, "1", good)?, 0);
    assert_eq!(told("$ curl localhost:8787\n1\n", true, "2", good)?, 0);
    assert_eq!(told("$ curl localhost:8787\n1\n", false, "2", good)?, 1);
    assert_eq!(told("$ curl localhost:8787\n1\n", false, "1", "closed: 1006")?, 1);
    assert_eq!(told("$ id=$(curl a)\n$ curl a\n1\n", false, "", good)?, 1);
    let head =
        "$ curl -i localhost:8787\nHTTP/1.1 405 No\n...\nAllow: GET\n...\nno\n";
    assert_eq!(told(head, false, "405 No\nallow: GET\na: b\n\nno", good)?, 0);
    assert_eq!(told(head, false, "405 No\nallow: PUT\na: b\n\nno", good)?, 1);
    Ok(())
}

/// Tabs share their objects, and so do guests; others do not. Buttons work by keyboard,
/// can be stopped, and say what is refused. Sockets can be talked to afterwards. What
/// came back can be read by all, in light and dark, and on a phone.
#[test]
#[ignore = "wants Chromium"]
fn visitors_press_and_talk() -> Result<()> {
    let book = Book::serve(&[])?;
    let said = drive("buttons.ts", &[&book.url(), "around"])?;
    ensure!(said.contains("all as it should be"), "{said}");
    Ok(())
}

/// Where a chapter does not run, and on a copy of the book with no Worker at all, served
/// or as files, a button says what to type instead.
#[test]
#[ignore = "wants Chromium"]
fn without_a_chapter_a_button_says_what_to_type() -> Result<()> {
    print_book()?;
    // Otherwise it would find the chapters of any other server on this machine.
    let alone = tempfile::tempdir()?;
    let registry = ("WRANGLER_REGISTRY_PATH", alone.path().display().to_string());
    let front = Dev::start_in(&ledger::root().join("wrangler"), &[registry])?;
    let said = drive("buttons.ts", &[&front.url(), "down"])?;
    ensure!(said.contains("all as it should be"), "{said}");

    let folder = tempfile::tempdir()?;
    let site = copy_book(folder.path())?;
    let server = Dev::start_in(folder.path(), &[])?;
    let file = format!("file://{}", site.display());
    for copy in [server.url(), file] {
        let said = drive("buttons.ts", &[&copy, "static"])?;
        ensure!(said.contains("all as it should be"), "{copy}: {said}");
    }
    Ok(())
}
