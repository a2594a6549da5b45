//! Starts a chapter, with a bare workerd or with `npx wrangler dev` as its reader
//! does, and looks at it from outside.
//!
//! Every server listens on loopback only, writes its state into a folder of its
//! own, is waited for with a limit, and is ended by its process id when the value
//! is dropped.

mod base;
mod book;
mod browser;
mod build;
mod crowd;
mod dev;
mod heap;
mod printed;
mod socket;
mod sshd;
mod workerd;

pub use base::{Answer, Base, send, send_with};
pub use book::{Book, copy_book, print_book};
pub use browser::{browser, drive};
pub use build::{built_already, is_newer};
use build::{hold, try_hold};
pub use crowd::{Acknowledged, Ask, crowd, storm};
pub use dev::{By, Dev, Served, fresh, served};
pub use printed::as_printed;
pub use socket::{Closed, Socket};
pub use sshd::{Mount, Sshd, is_mounted};

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// What Linux says of a process.
struct Stat {
    name: String,
    parent: u32,
    group: u32,
}

impl Stat {
    /// Reads it in the process's folder in `/proc`; nothing if the process is gone.
    fn of(process: &Path) -> Option<Self> {
        let stat = fs::read_to_string(process.join("stat")).ok()?;
        // pid (name) state ppid pgrp ...
        let (name, rest) = stat.rsplit_once(") ")?;
        let (_, name) = name.split_once(" (")?;
        let mut numbers = rest.split(' ').skip(1).map(str::parse);
        let (parent, group) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { name: name.to_owned(), parent, group })
    }
}

/// Ends a child that leads a process group, and all that it started: first asks it,
/// then kills it.
pub fn stop_group(child: &mut Child) {
    end_group(child, Signal::INT);
}

/// Kills a child that leads a process group, and all that it started.
pub fn kill_group(child: &mut Child) {
    end_group(child, Signal::KILL);
}

fn end_group(child: &mut Child, signal: Signal) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    // An error means that the group is gone already, which is what we want.
    let _ = kill_process_group(group, signal);
    let begin = Instant::now();
    while matches!(child.try_wait(), Ok(None))
        && begin.elapsed() < Duration::from_secs(5)
    {
        sleep(Duration::from_millis(20));
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// Whether every fault is to be injected as often as the figures on the pages say
/// (`cargo xtask test --long`), and not just a few times.
pub fn is_long() -> bool {
    std::env::var_os("LONG").is_some()
}

/// How often a test injects a fault: a few times, or as often as the figures say.
pub fn times(few: usize, many: usize) -> usize {
    if is_long() { many } else { few }
}

/// A chapter, copied to a folder outside the repository together with the book's
/// lock file. The tools come from the set-up: elsewhere worker-build would download
/// them.
#[derive(Debug)]
pub struct Copy {
    folder: TempDir,
    /// What it is compiled into: dependencies are compiled once for all copies that
    /// come one after the other. No two build there at once, for they would overwrite
    /// each other's Wasm.
    target: PathBuf,
    _held: File,
}

/// How many copies there may be at one time.
const COPIES: usize = 8;

impl Copy {
    /// Copies a chapter.
    pub fn of(chapter: &str) -> Result<Self> {
        let root = ledger::root();
        let (target, held) = target()?;
        let copy = Self { folder: tempfile::tempdir()?, target, _held: held };
        copy_folder(&root.join("chapters-code").join(chapter), &copy.dir())?;
        fs::copy(root.join("Cargo.lock"), copy.dir().join("Cargo.lock"))?;
        symlink(
            root.join("node_modules"),
            copy.folder.path().join("node_modules"),
        )?;
        Ok(copy)
    }

    /// Where the copy is.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("my app")
    }

    /// What to set in the copy. With the profile of the repository the dependencies
    /// that were compiled there need not be compiled again.
    pub fn envs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CARGO_TARGET_DIR", self.target.display().to_string()),
            ("CARGO_PROFILE_DEV_DEBUG", "0".to_owned()),
        ]
    }

    /// Replaces a text in a file, which must be there.
    pub fn change(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.dir().join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file} does not contain {from:?}");
        Ok(fs::write(path, text.replace(from, to))?)
    }

    /// Runs a program in the copy; returns whether it succeeded, and what it
    /// printed.
    pub fn run(&self, command: &mut Command) -> Result<(bool, String)> {
        let output = command.current_dir(self.dir()).envs(self.envs()).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }
}

/// The first target folder for copies that no other one has, and the lock on it.
fn target() -> Result<(PathBuf, File)> {
    for number in 0..COPIES {
        let name = format!("copies-{number}");
        if let Some(held) = try_hold(&name)? {
            let target = ledger::root().join("target").join(name);
            if !target.exists() {
                begin_with_dependencies(&target)?;
            }
            return Ok((target, held));
        }
    }
    bail!("there are {COPIES} copies already")
}

/// Gives a new target folder what was compiled of the dependencies in the repository's.
/// cargo takes what is of the same version, features and profile, and compiles the rest.
fn begin_with_dependencies(target: &Path) -> Result<()> {
    let from = ledger::root().join("target");
    let wasm = "wasm32-unknown-unknown";
    for profile in
        ["debug", "release", &format!("{wasm}/debug"), &format!("{wasm}/release")]
    {
        for folder in ["deps", "build", ".fingerprint"] {
            let part = Path::new(profile).join(folder);
            if from.join(&part).exists() {
                link_folder(&from.join(&part), &target.join(&part))?;
            }
        }
    }
    Ok(())
}

/// The same folder once more: libraries, which nobody changes, by links; the small files
/// about them as copies; programs not at all.
fn link_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for path in ledger::list(from)? {
        let copy = to.join(ledger::file_name(&path));
        let kind = path.extension().and_then(|kind| kind.to_str());
        if path.is_dir() {
            link_folder(&path, &copy)?;
        } else if matches!(kind, Some("rlib" | "rmeta" | "so" | "dylib")) {
            fs::hard_link(&path, &copy)?;
        } else if kind.is_some() || !from.ends_with("deps") {
            let time = fs::metadata(&path)?.modified()?;
            fs::copy(&path, &copy)?;
            // By which cargo knows what is newer.
            File::options().append(true).open(&copy)?.set_modified(time)?;
        }
    }
    Ok(())
}

/// Waits until something holds, and returns how long it took.
///
/// # Errors
/// If it does not hold in time, or cannot be asked for.
pub fn within(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let begin = Instant::now();
    while !holds()? {
        ensure!(begin.elapsed() < limit, "{what}: not so after {limit:?}");
        sleep(Duration::from_millis(50));
    }
    Ok(begin.elapsed())
}

/// Copies a folder, without what programs write into it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for path in ledger::list(from)? {
        let name = ledger::file_name(&path);
        if path.is_file() {
            fs::copy(&path, to.join(name))?;
        } else if !ledger::GENERATED.contains(&name) {
            copy_folder(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// A TCP port of the loopback interface that nobody listens on just now. It is not one of
/// those that systems give to outgoing connections: tests run beside each other, and one of
/// them would soon have it.
pub fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let port = fastrand::u16(10_000..30_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from 10000 to 30000 is free")
}

/// The same cargo that runs this program, ready to run in the root of the repository.
pub fn cargo() -> Command {
    let name = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(name);
    command.current_dir(ledger::root());
    command
}

/// `npx`, ready to run in `dir`: quiet, without colours, and never asking anything.
pub fn npx(dir: &Path) -> Command {
    let mut command = Command::new("npx");
    command
        .current_dir(dir)
        .env("CI", "true")
        .env("NO_COLOR", "1")
        .env("FORCE_COLOR", "0")
        .env("WRANGLER_SEND_METRICS", "false")
        // wrangler is ten megabytes of JavaScript, which Node.js need not compile anew.
        .env("NODE_COMPILE_CACHE", ledger::root().join("target/node"));
    command
}
