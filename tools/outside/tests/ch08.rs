//! ch08 from outside: a real `npx wrangler dev`, real clients, a real browser, a real
//! `kill -9`.

use std::path::Path;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outside::{Ask, Dev, drive, storm, times};
use serde_json::{Value, json};

/// How long the script in the browser may take to come to a certain point.
const PATIENCE: Duration = Duration::from_secs(60);

fn signing(book: &str, name: &str, text: &str) -> Ask {
    let body = json!({ "name": name, "text": text });
    Ask::post(format!("/books/{book}"), body.to_string())
}

/// Signs a book; returns the line as it was acknowledged.
fn sign(dev: &Dev, book: &str, name: &str, text: &str) -> Result<Value> {
    let Ask { method, path, body } = signing(book, name, text);
    let answer = dev.send(method, &path, body.as_bytes())?;
    ensure!(answer.status == 201, "{}: {}", answer.status, answer.body);
    Ok(serde_json::from_str(&answer.body)?)
}

/// All lines of a book, page by page.
fn lines(dev: &Dev, book: &str) -> Result<Vec<Value>> {
    let mut lines: Vec<Value> = Vec::new();
    loop {
        let after = lines.last().map_or(0, |line| number(line).unwrap_or(0));
        let page = dev.get(&format!("/books/{book}?after={after}"))?.body;
        let page: Vec<Value> = serde_json::from_str(&page)?;
        if page.is_empty() {
            return Ok(lines);
        }
        lines.extend(page);
    }
}

fn number(line: &Value) -> Result<usize> {
    Ok(usize::try_from(line["number"].as_u64().context("no number")?)?)
}

/// What is kept where: lines signed since the object awoke, and lines in the cellar.
fn kept(dev: &Dev, book: &str) -> Result<(u64, u64)> {
    let kept = dev.get(&format!("/books/{book}/where"))?.body;
    let kept: Value = serde_json::from_str(&kept)?;
    let count = |value: &Value| value.as_u64().context("no count");
    Ok((count(&kept["memory"]["signed"])?, count(&kept["cellar"]["lines"])?))
}

/// What was acknowledged before the server died under load is there afterwards: each
/// line once, unchanged, in its place, and nothing is between that nobody sent. One
/// book; each kill has lines in flight.
/// proves: claim guest-book-killed
#[test]
fn signed_lines_outlast_kill_and_restart() -> Result<()> {
    let kills = times(3, 10);
    let mut dev = Dev::start("ch08")?;
    let (mut before, mut acknowledged): (Vec<Value>, _) = (Vec::new(), 0);
    for run in 0..kills {
        let name = format!("run {run}");
        let ask = |n: usize| signing("storm", &name, &format!("line {n}"));
        let heard = storm(&mut dev, 16, 200, ask)?;
        dev.up()?;
        let now = lines(&dev, "storm")?;
        let numbers = now.iter().map(number).collect::<Result<Vec<_>>>()?;
        ensure!(
            numbers.iter().copied().eq(1..=now.len()),
            "run {run}: the numbers are {numbers:?}"
        );
        ensure!(
            now.starts_with(&before),
            "run {run}: a line of an earlier run is not what it was"
        );
        for (n, answer) in &heard.answers {
            ensure!(answer.status == 201, "run {run}, {n}: {}", answer.body);
            let told: Value = serde_json::from_str(&answer.body)?;
            let there = now.get(number(&told)? - 1);
            ensure!(there == Some(&told), "run {run}: {told} is now {there:?}");
        }
        // Whatever else is there was under way when the server died, and is there once.
        let mut texts: Vec<&str> = now[before.len()..]
            .iter()
            .filter(|line| line["name"] == name.as_str())
            .filter_map(|line| line["text"].as_str())
            .collect();
        ensure!(
            texts.len() == now.len() - before.len(),
            "run {run}: whose are they?"
        );
        texts.sort_unstable();
        ensure!(
            texts.windows(2).all(|pair| pair[0] != pair[1]),
            "run {run}: a line is there twice"
        );
        ensure!(
            texts.len() <= heard.sent,
            "run {run}: {} lines of {} that were sent",
            texts.len(),
            heard.sent
        );
        assert_eq!(kept(&dev, "storm")?, (0, u64::try_from(now.len())?));
        acknowledged += heard.answers.len();
        before = now;
    }
    println!(
        "{kills} kills: {acknowledged} lines acknowledged, {} there",
        before.len()
    );
    Ok(())
}

/// Ctrl-C and a new start: the lines are there, and the count in memory begins anew.
#[test]
fn a_restart_keeps_the_lines_and_empties_the_memory() -> Result<()> {
    let mut dev = Dev::start("ch08")?;
    let signed = [
        sign(&dev, "village", "Ada", "Lovely cellar.")?,
        sign(&dev, "village", "山田 太郎", "いい酒蔵ですね。")?,
    ];
    assert_eq!(kept(&dev, "village")?, (2, 2));
    dev.down();
    dev.up()?;
    assert_eq!(lines(&dev, "village")?, signed);
    assert_eq!(kept(&dev, "village")?, (0, 2));
    assert_eq!(number(&sign(&dev, "village", "Bob", "Back again.")?)?, 3);
    assert_eq!(kept(&dev, "village")?, (1, 3));
    Ok(())
}

/// Waits for a file with which the script in the browser says how far it is.
fn told(folder: &Path, what: &str, over: impl Fn() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !folder.join(what).exists() {
        ensure!(!over(), "the script ended before it said {what:?}");
        ensure!(begin.elapsed() < PATIENCE, "the script never said {what:?}");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A real browser sees what the browser, the memory and the cellar keep over a reload
/// and over a kill of the server; with mouse and keyboard, wide and narrow.
#[test]
#[ignore = "wants Chromium"]
fn the_page_shows_what_is_kept_where() -> Result<()> {
    let mut dev = Dev::wrangler(&ledger::root().join("chapters-code/ch08"), &[])?;
    let (url, folder) = (dev.url(), tempfile::tempdir()?);
    let tell = |what| std::fs::write(folder.path().join(what), "");
    let at = folder.path().display().to_string();
    let said = scope(|scope| {
        let script = scope.spawn(|| drive("ch08.ts", &[&url, &at]));
        let mut kill_and_start = || -> Result<()> {
            told(folder.path(), "kill", || script.is_finished())?;
            dev.kill();
            tell("killed")?;
            told(folder.path(), "start", || script.is_finished())?;
            dev.up()?;
            Ok(tell("started")?)
        };
        let served = kill_and_start();
        // What the script saw says more than that it did not come so far.
        let said = script.join().ok().context("the script panicked")??;
        served.map(|()| said)
    })?;
    ensure!(said.contains("each place has kept what it should"), "{said}");
    Ok(())
}

/// Bad input over a real connection: a clear 4xx, and nothing is written.
#[test]
fn bad_input_is_told_and_changes_nothing() -> Result<()> {
    let dev = Dev::start("ch08")?;
    let at = "/books/village";
    let body =
        |name: &str, text: &str| json!({ "name": name, "text": text }).to_string();
    let (good, long) = (body("Ada", "Hello"), "x".repeat(501));
    let cases: [(&str, &str, &str, u16); 15] = [
        ("GET", "/nowhere", "", 404),
        ("PURGE", at, "", 405),
        ("PUT", at, &good, 405),
        ("DELETE", "/books/village/where", "", 405),
        ("POST", "/help", &good, 405),
        ("GET", "/books/%2e%2e%2fvillage", "", 400),
        ("POST", "/books/two%20words", &good, 400),
        ("GET", "/books/village?limit=0", "", 400),
        ("POST", at, "", 400),
        ("POST", at, "name=Ada&text=Hello", 400),
        ("POST", at, r#"{"name":"Ada","text":7}"#, 400),
        ("POST", at, &body("", "Hello"), 400),
        ("POST", at, &body("Ada", &long), 400),
        ("POST", at, &body("Ada", "a\u{7}b"), 400),
        ("POST", at, &body("Ada", &"x".repeat(10_000_000)), 413),
    ];
    for (method, path, body, status) in cases {
        let answer = dev.send(method, path, body.as_bytes())?;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(answer.body.trim().lines().count(), 1, "{}", answer.body);
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{path}");
    }
    let head = dev.send("HEAD", at, b"")?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(lines(&dev, "village")?.is_empty());
    assert_eq!(kept(&dev, "village")?, (0, 0));
    Ok(())
}
