//! Setting up: whatever is missing, at exact versions, into the project's own
//! folder.
//!
//! Each step first looks whether it is done. A step that was interrupted goes on
//! where it stopped, because cargo and npm keep what they have.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ledger::{Versions, file_name};

use crate::run::{capture, cargo, echo, program};

/// The oldest Node.js that can start npm and npx; a newer one for wrangler comes as
/// a package.
const NODE_MIN: u32 = 20;
/// What a task is going to do; the set-up provides no more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum For {
    Workers,
    Book,
}

/// Sets up what is missing.
pub fn setup(task: For) -> Result<()> {
    let versions = Versions::read()?;
    let worker_build = versions.of("worker-build")?.to_owned();
    let wasm_bindgen = versions.of("wasm-bindgen")?.to_owned();
    node()?;

    let mut steps: Vec<Step> = vec![
        Step::new("the Wasm target of Rust", wasm_targets_are_there, wasm_targets),
        Step::new("the npm packages", npm_is_done, npm),
        Step::tool("worker-build", "worker-build", worker_build),
        Step::tool("wasm-bindgen", "wasm-bindgen-cli", wasm_bindgen),
    ];
    if task >= For::Book {
        steps.push(Step::new("the printing press", || false, press));
    }
    let missing: Vec<Step> =
        steps.into_iter().filter(|step| !(step.done)()).collect();
    let count = missing.len();
    for (at, step) in missing.into_iter().enumerate() {
        let begin = Instant::now();
        let label = format!("[{}/{count}] {}", at + 1, step.name);
        (step.run)(&label)
            .with_context(|| format!("could not set up {}", step.name))?;
        if begin.elapsed() > Duration::from_secs(1) {
            println!("{label}: done in {:.0} s", begin.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// Where the set-up puts programs.
pub fn bin(name: &str) -> PathBuf {
    ledger::root()
        .join(".tools/bin")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

struct Step {
    name: String,
    done: Box<dyn Fn() -> bool>,
    run: Box<Run>,
}

/// Does a step; the text is the label of what it prints.
type Run = dyn Fn(&str) -> Result<()>;

impl Step {
    fn new(
        name: &str,
        done: impl Fn() -> bool + 'static,
        run: impl Fn(&str) -> Result<()> + 'static,
    ) -> Self {
        Self { name: name.into(), done: Box::new(done), run: Box::new(run) }
    }

    /// A program that cargo compiles, unless PATH has that very version.
    fn tool(name: &'static str, package: &'static str, version: String) -> Self {
        let wanted = version.clone();
        Self::new(
            &format!("{name} {version}"),
            move || is_version(&bin(name), &wanted),
            move |label| tool(label, name, package, &version),
        )
    }
}

fn node() -> Result<()> {
    let remedy =
        "install Node.js 22 or newer from https://nodejs.org, then try again";
    let Ok((_, version)) = capture(program("node").arg("--version")) else {
        bail!("Node.js is missing: {remedy}")
    };
    let major = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    let major = major
        .with_context(|| format!("`node --version` says {version:?}: {remedy}"))?;
    ensure!(major >= NODE_MIN, "Node.js {} is too old: {remedy}", version.trim());
    ensure!(
        capture(program("npm").arg("--version")).is_ok(),
        "npm is missing: {remedy}"
    );
    Ok(())
}

/// What Workers are compiled for, and what the rules of ch06 are compiled for
/// besides.
const TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip1"];

fn wasm_targets_are_there() -> bool {
    TARGETS.iter().all(|target| {
        let mut rustc = program("rustc");
        let answer =
            capture(rustc.args(["--print", "target-libdir", "--target", target]));
        answer.is_ok_and(|(status, dir)| {
            status.success() && Path::new(dir.trim()).exists()
        })
    })
}

fn wasm_targets(label: &str) -> Result<()> {
    println!("{label}: rustup target add {}", TARGETS.join(" "));
    let Ok((status, text)) =
        capture(program("rustup").args(["target", "add"]).args(TARGETS))
    else {
        bail!(
            "rustup is missing: install it from https://rustup.rs, then try again"
        );
    };
    ensure!(status.success(), "{}", network(&text));
    Ok(())
}

/// npm keeps a copy of the lock in `node_modules`; ours beside it tells which one
/// was installed.
fn npm_is_done() -> bool {
    let root = ledger::root();
    let lock = fs::read(root.join("package-lock.json"));
    let installed = fs::read(root.join("node_modules/.installed-lock.json"));
    matches!((lock, installed), (Ok(lock), Ok(installed)) if lock == installed)
}

fn npm(label: &str) -> Result<()> {
    println!("{label}: npm ci");
    let mut npm = program("npm");
    let (status, text) =
        capture(npm.args(["ci", "--no-fund", "--no-audit", "--loglevel=error"]))?;
    // npm explains all its options after an error.
    let error = text.split("\nnpm error Usage").next().unwrap_or_default();
    ensure!(status.success(), "{}", network(error));
    let root = ledger::root();
    fs::copy(
        root.join("package-lock.json"),
        root.join("node_modules/.installed-lock.json"),
    )?;
    Ok(())
}

fn is_version(program_: &Path, version: &str) -> bool {
    let answer = capture(Command::new(program_).arg("--version"));
    answer
        .is_ok_and(|(_, text)| text.split_whitespace().any(|word| word == version))
}

/// The crates that have the work of both tools after every edit. These are optimized a
/// little; all others not at all, which takes a quarter off compiling both (237 s, not 326).
const AT_WORK: [&str; 10] = [
    "gimli",
    "hashbrown",
    "id-arena",
    "indexmap",
    "leb128fmt",
    "walrus",
    "wasm-bindgen-cli-support",
    "wasm-bindgen-wasm-conventions",
    "wasm-encoder",
    "wasmparser",
];

fn tool(label: &str, name: &str, package: &str, version: &str) -> Result<()> {
    let target = bin(name);
    if let Some(found) = on_path(name).filter(|found| is_version(found, version)) {
        println!("{label}: taken from {}", found.display());
        let folder = target.parent().context("no folder for programs")?;
        fs::create_dir_all(folder)?;
        let _ = fs::remove_file(&target);
        fs::copy(&found, &target)?;
        return Ok(());
    }
    let tools = ledger::root().join(".tools");
    let mut install = cargo();
    install
        .args(["install", "--locked", "--force", "--root"])
        .arg(&tools)
        .args(["--bin", name, &format!("{package}@{version}")])
        .env("CARGO_TARGET_DIR", tools.join("target"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    for crate_ in AT_WORK {
        let level = format!("profile.release.package.{crate_}.opt-level=1");
        install.args(["--config", &level]);
    }
    with_progress(label, &mut install)
}

fn press(label: &str) -> Result<()> {
    with_progress(label, cargo().args(["build", "--package", "press"]))
}

/// Prints the book into `target/book`; not if `BUILT` is set, beside tests that read it.
pub fn print_book() -> Result<()> {
    if ledger::built_for_all().is_some() {
        return Ok(());
    }
    let mut press = cargo();
    echo(press.args(["run", "--quiet", "--package", "press"]));
    let (status, text) = capture(&mut press)?;
    ensure!(status.success(), "{}", text.trim());
    print!("{text}");
    Ok(())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path)
        .map(|folder| folder.join(&file))
        .find(|program| program.is_file())
}

/// Runs cargo and shows how far it is: on one line of a terminal, or a line every
/// ten seconds in a log.
fn with_progress(label: &str, command: &mut Command) -> Result<()> {
    let begin = Instant::now();
    let terminal = std::io::stdout().is_terminal();
    let mut child = command
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "100")
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("cannot start {}", file_name(Path::new(command.get_program())))
        })?;
    let mut log = Vec::new();
    let mut shown = Instant::now();
    if let Some(stderr) = child.stderr.take() {
        // cargo redraws its bar with a carriage return, which ends a piece here as
        // a line feed does.
        for piece in pieces(BufReader::new(stderr)) {
            let piece = piece?;
            if let Some(far) = how_far(&piece) {
                let seconds = begin.elapsed().as_secs();
                if terminal {
                    print!("\r{label}: compiled {far}, {seconds} s \x1b[K");
                    std::io::stdout().flush()?;
                } else if shown.elapsed() > Duration::from_secs(10) {
                    println!("{label}: compiled {far}, {seconds} s");
                    shown = Instant::now();
                }
            } else if !piece.trim().is_empty() {
                log.push(piece);
            }
        }
    }
    if terminal {
        print!("\r\x1b[K");
    }
    let status = child.wait()?;
    ensure!(
        status.success(),
        "{}",
        network(&log[log.len().saturating_sub(25)..].join("\n"))
    );
    Ok(())
}

fn pieces(mut from: impl BufRead) -> impl Iterator<Item = std::io::Result<String>> {
    std::iter::from_fn(move || {
        let mut piece = Vec::new();
        loop {
            let buffer = match from.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) => return Some(Err(error)),
            };
            if buffer.is_empty() {
                return (!piece.is_empty())
                    .then(|| Ok(String::from_utf8_lossy(&piece).into_owned()));
            }
            let end =
                buffer.iter().position(|&byte| byte == b'\r' || byte == b'\n');
            let taken = end.unwrap_or(buffer.len());
            piece.extend_from_slice(&buffer[..taken]);
            from.consume(end.map_or(taken, |at| at + 1));
            if end.is_some() {
                return Some(Ok(String::from_utf8_lossy(&piece).into_owned()));
            }
        }
    })
}

/// `87/221` of a line of cargo's progress bar.
fn how_far(piece: &str) -> Option<&str> {
    let bar = piece.trim_start().strip_prefix("Building [")?;
    let (_, rest) = bar.split_once("] ")?;
    let (far, _) = rest.split_once(':').unwrap_or((rest, ""));
    far.split_once('/')
        .is_some_and(|(a, b)| {
            a.parse::<u32>().is_ok() && b.trim().parse::<u32>().is_ok()
        })
        .then_some(far)
}

/// What a tool said; or, if it could not reach its registry, one sentence with the
/// remedy.
fn network(text: &str) -> String {
    let text = text.trim();
    let signs = [
        "ENOTFOUND",
        "EAI_AGAIN",
        "ECONNREFUSED",
        "ETIMEDOUT",
        "ould not resolve",
        "ould not connect",
        "dns error",
        "failed to download",
        "network error",
    ];
    match signs.iter().find(|sign| text.contains(*sign)) {
        Some(sign) => format!(
            "the network cannot be reached ({sign}): connect, then run the same command \
             again; it goes on where it stopped"
        ),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The set-up reads how far cargo is from the bar that cargo draws.
    #[test]
    fn reads_the_bar_of_cargo() {
        assert_eq!(
            how_far("    Building [=======>      ] 87/221: syn, serde"),
            Some("87/221")
        );
        assert_eq!(how_far("   Compiling syn v2.0.1"), None);
        let all: Vec<_> =
            pieces("a\rb\nc".as_bytes()).map_while(std::io::Result::ok).collect();
        assert_eq!(all, ["a", "b", "c"]);
    }

    /// A failure to reach a registry comes with the remedy.
    #[test]
    fn no_network_has_a_remedy() {
        assert!(
            network("npm error code ENOTFOUND")
                .contains("connect, then run the same command again")
        );
        assert_eq!(network("npm error code E404"), "npm error code E404");
    }
}
