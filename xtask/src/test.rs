//! Everything that CI runs.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use ledger::{Chapter, chapters_named, obligations, root};

use crate::build::{Sizes, worker};
use crate::run::{capture, cargo, echo, run};
use crate::tally::Tally;
use crate::{check, console, setup, vitest};

/// What a chapter's Worker may weigh, in bytes: Wasm and JavaScript, compressed.
const GZIP_MAX: [(&str, usize); 7] = [
    ("ch02", 60_000),
    ("ch03", 110_000),
    ("ch04", 110_000),
    ("ch05", 110_000),
    ("ch06", 90_000),
    ("ch07", 145_000),
    ("ch08", 90_000),
];

/// The tests from outside that have a file of their own, and the chapter with which
/// they run if not all do.
const OF_MANY: [(&str, &str); 8] = [
    ("book", ""),
    ("buttons", ""),
    ("live", ""),
    ("rooms", ""),
    ("site", ""),
    ("dive", "ch08"),
    ("mounts", "ch08"),
    ("troubleshooting", ""),
];

/// `cargo xtask test`
pub fn test(names: &[String]) -> Result<()> {
    let chapters = chapters_named(names)?;
    let all = names.is_empty();
    let mut tally = Tally::default();
    let mut passed = BTreeSet::new();

    tally.part("set-up", |_| setup::setup(setup::For::Tests));
    tally.part("truth gates", |tally| {
        check::gates(tally);
        Ok(())
    });
    tally.part("clippy", |_| clippy());
    tally.part("Workers, as for a deployment", |_| build_all(&chapters, all));
    tally
        .part("plain Rust", |tally| plain_rust(&chapters, all, tally, &mut passed));
    tally.part("in the runtime", |tally| {
        in_the_runtime(&chapters, all, tally, &mut passed)
    });
    tally.part("from outside", |tally| {
        from_outside(&chapters, all, tally, &mut passed)
    });
    tally.part("console blocks", |tally| {
        let summary = console::compare(&chapters, tally)?;
        println!(
            "{} console blocks ran, {} cannot run here",
            summary.ran,
            summary.not_run.len()
        );
        for (place, reason) in summary.not_run {
            println!("  {place}: {reason}");
        }
        Ok(())
    });
    if all {
        tally.part("what the book claims", |tally| {
            let obligations = obligations()?;
            println!("{} items, traps and claims", obligations.len());
            for (id, test) in obligations {
                let outcome = if passed.contains(&test) {
                    Ok(())
                } else {
                    Err(anyhow::anyhow!("{test} did not pass"))
                };
                tally.note(&id, outcome);
            }
            Ok(())
        });
    }
    tally.finish()
}

fn clippy() -> Result<()> {
    let lints = ["--", "--deny", "warnings"];
    let host = ["clippy", "--quiet", "--locked", "--workspace", "--all-targets"];
    let wasm = [
        "clippy",
        "--quiet",
        "--locked",
        "--target",
        "wasm32-unknown-unknown",
        "--package",
        "front",
        "--package",
        "traps",
    ];
    let chapters = ledger::chapters()?;
    let packages: Vec<&str> = chapters
        .iter()
        .flat_map(|chapter| ["--package", chapter.name.as_str()])
        .collect();
    for arguments in [
        [host.as_slice(), &lints].concat(),
        [wasm.as_slice(), &packages, &lints].concat(),
    ] {
        run(cargo().args(arguments))?;
    }
    Ok(())
}

fn build_all(chapters: &[Chapter], all: bool) -> Result<()> {
    let root = root();
    let others = [root.join("traps"), root.join("wrangler")];
    for dir in chapters
        .iter()
        .map(|chapter| &chapter.dir)
        .chain(others.iter().filter(|_| all))
    {
        worker(dir, "--release")?;
    }
    for (name, limit) in GZIP_MAX {
        let Some(chapter) = chapters.iter().find(|chapter| chapter.name == name)
        else {
            continue;
        };
        let gzip = Sizes::of(&chapter.dir)?.gzip();
        println!("{name} weighs {gzip} bytes, of {limit}");
        ensure!(gzip <= limit, "{name} has grown too large");
    }
    Ok(())
}

fn plain_rust(
    chapters: &[Chapter],
    all: bool,
    tally: &mut Tally,
    passed: &mut BTreeSet<String>,
) -> Result<()> {
    for chapter in chapters {
        for dir in chapter.inner_crates()?.iter().chain([&chapter.dir]) {
            let manifest = dir.join("Cargo.toml");
            let names = libtest(
                cargo()
                    .args(["test", "--locked", "--manifest-path"])
                    .arg(&manifest),
                tally,
            )?;
            let folder = dir.strip_prefix(root()).unwrap_or(dir).display();
            passed.extend(
                names
                    .iter()
                    .filter_map(|name| Some(format!("{folder}/{}", unit(name)?))),
            );
        }
    }
    if all {
        let packages = [
            "--package",
            "front",
            "--package",
            "ledger",
            "--package",
            "load",
            "--package",
            "press",
            "--package",
            "xtask",
        ];
        libtest(cargo().args(["test", "--locked"]).args(packages), tally)?;
        // Its other tests are those from outside.
        let lib = ["test", "--locked", "--package", "outside", "--lib"];
        libtest(cargo().args(lib), tally)?;
    }
    Ok(())
}

/// Where a unit test stands, by its name: `rules::tests::sums` is in src/rules.rs,
/// `tests::sums` in src/lib.rs.
fn unit(name: &str) -> Option<String> {
    let (module, rest) = name.split_once("::")?;
    let module = if module == "tests" { "lib" } else { module };
    let test = rest.rsplit("::").next()?;
    Some(format!("src/{module}.rs#{test}"))
}

fn from_outside(
    chapters: &[Chapter],
    all: bool,
    tally: &mut Tally,
    passed: &mut BTreeSet<String>,
) -> Result<()> {
    let named: Vec<&str> =
        chapters.iter().map(|chapter| chapter.name.as_str()).collect();
    let of_many = OF_MANY.iter().filter(|(_, of)| all || named.contains(of));
    let of_many: Vec<&str> = of_many.map(|(file, _)| *file).collect();
    for file in named.iter().chain(&of_many).copied() {
        if !root().join(format!("tools/outside/tests/{file}.rs")).exists() {
            bail!(
                "tools/outside/tests/{file}.rs is missing: every chapter is tested from outside"
            );
        }
        let mut test = cargo();
        test.args(["test", "--locked", "--package", "outside", "--test", file]);
        test.args(["--", "--test-threads=1"]);
        // What a test wants besides is the same for all of its file that want
        // anything. They are ignored, and so counted as skipped, only where it is
        // not there.
        let (what, is_there) = match file {
            "dive" => ("ssh server", outside::Sshd::is_there()),
            "mounts" => ("sshfs", outside::Mount::is_there()),
            _ => ("Chromium", outside::browser().is_some()),
        };
        if is_there {
            test.arg("--include-ignored");
        } else if std::env::var_os("CI").is_some() {
            bail!("there is no {what}, and CI must not skip what needs it");
        }
        let names = libtest(&mut test, tally)?;
        passed.extend(
            names
                .iter()
                .map(|name| format!("tools/outside/tests/{file}.rs#{name}")),
        );
    }
    Ok(())
}

/// Runs `cargo test`, counts its tests one by one, and returns the names of those
/// that passed.
fn libtest(
    command: &mut std::process::Command,
    tally: &mut Tally,
) -> Result<Vec<String>> {
    echo(command);
    let (status, text) = capture(command.env("CARGO_TERM_COLOR", "never"))?;
    let mut names = Vec::new();
    let mut failed = false;
    for line in text.lines() {
        let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... "))
        else {
            continue;
        };
        match outcome.split(',').next().unwrap_or_default() {
            "ok" => {
                tally.passed += 1;
                names.push(name.to_owned());
            }
            "ignored" => {
                tally.skipped += 1;
                println!("SKIPPED {name}: {outcome}");
            }
            _ => {
                tally.failed += 1;
                failed = true;
                println!("FAILED {name}");
            }
        }
    }
    println!("{} tests passed", names.len());
    if failed {
        println!("{text}");
    }
    ensure!(status.success() || failed, "{text}");
    Ok(names)
}

fn in_the_runtime(
    chapters: &[Chapter],
    all: bool,
    tally: &mut Tally,
    passed: &mut BTreeSet<String>,
) -> Result<()> {
    let projects: Vec<&str> = match all {
        true => Vec::new(),
        false => chapters.iter().map(|chapter| chapter.name.as_str()).collect(),
    };
    for outcome in vitest::run(&projects, false)? {
        let name = format!("{}#{}", outcome.file, outcome.test);
        match outcome.status.as_str() {
            "passed" => {
                tally.passed += 1;
                passed.insert(name);
            }
            "failed" => {
                tally.failed += 1;
                println!("FAILED {name}:\n{}", outcome.message);
            }
            _ => {
                tally.skipped += 1;
                println!("SKIPPED {name}");
            }
        }
    }
    Ok(())
}
