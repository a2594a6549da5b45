//! Tests inside the runtime, by Vitest.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ledger::{chapters_named, read, root};
use serde_json::Value;

use crate::build::{worker, worker_if_changed};
use crate::run::{capture, echo, npx};
use crate::setup;
use crate::tally::{End, Outcome};

/// `cargo xtask exercise`
///
/// What `cargo xtask serve` has built is not built again if `if_changed`: a new file
/// would start the served Worker anew, and cut off the page that waits for the outcome.
pub fn exercise(name: &str, if_changed: bool) -> Result<()> {
    let chapters = chapters_named(&[name.to_owned()])?;
    setup::setup(setup::For::Workers)?;
    for chapter in chapters {
        if if_changed {
            worker_if_changed(&chapter.dir)?;
        } else {
            worker(&chapter.dir, "--release")?;
        }
        for outcome in run(&[&chapter.name], true, None)? {
            let (_, test) = outcome.name.split_once('#').unwrap_or_default();
            let done = outcome.end == End::Passed;
            println!("{test}: {}", if done { "done" } else { "not yet" });
        }
    }
    Ok(())
}

/// Runs the tests of these projects (all, if there are none), or what their pages
/// ask the reader to try.
///
/// `built` is a folder with the Workers as they are built, if not each in its own.
pub fn run(
    projects: &[&str],
    exercises: bool,
    built: Option<&Path>,
) -> Result<Vec<Outcome>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("report.json");
    let mut vitest = npx(&root());
    vitest
        .args(["vitest", "run"])
        .args(projects.iter().flat_map(|name| ["--project", name]));
    if exercises {
        vitest.env("EXERCISES", "1");
    }
    if let Some(built) = built {
        vitest.env("BUILT", built);
    }
    echo(&vitest);
    vitest
        .arg("--reporter=json")
        .arg(format!("--outputFile.json={}", file.display()));
    let (status, text) = capture(&mut vitest)?;
    ensure!(file.exists(), "Vitest did not run ({status}):\n{text}");

    let report: Value =
        serde_json::from_str(&read(&file)?).context("the report of Vitest")?;
    let mut outcomes = Vec::new();
    for suite in list(&report, "testResults") {
        let path = word(suite, "name");
        let path = path
            .strip_prefix(&format!("{}/", root().display()))
            .unwrap_or(&path)
            .to_owned();
        let tests = list(suite, "assertionResults");
        ensure!(
            !tests.is_empty(),
            "{path} did not run:\n{}\n{text}",
            word(suite, "message")
        );
        outcomes.extend(tests.iter().map(|test| {
            let milliseconds = test["duration"].as_f64().unwrap_or_default();
            let time = Duration::from_secs_f64(milliseconds.max(0.0) / 1_000.0);
            let name = format!("{path}#{}", word(test, "title"));
            Outcome { time, ..Outcome::new(&name, end(test)) }
        }));
    }
    ensure!(!outcomes.is_empty(), "Vitest found no tests ({status}):\n{text}");
    let explained = status.success()
        || outcomes.iter().any(|outcome| matches!(outcome.end, End::Failed(_)));
    ensure!(explained, "Vitest failed ({status}):\n{text}");
    Ok(outcomes)
}

/// What became of one test.
fn end(test: &Value) -> End {
    let status = word(test, "status");
    match status.as_str() {
        "passed" => End::Passed,
        "failed" => {
            let messages = list(test, "failureMessages").iter();
            let messages: Vec<_> = messages.filter_map(Value::as_str).collect();
            End::Failed(messages.join("\n"))
        }
        _ => End::Skipped(status),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn word(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
