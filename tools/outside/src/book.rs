//! The whole book as its reader has it: `cargo xtask serve`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::{NamedTempFile, TempDir};

use crate::dev::memory_of;
use crate::{Socket, Stat, cargo, copy_folder, free_port, kill_group, send};

/// How long it may take until the first chapter answers: all may have to be built.
const START_LIMIT: Duration = Duration::from_secs(400);
/// How often a start is tried.
const STARTS: u32 = 4;
/// How long it may take to end what it has started.
const END_LIMIT: Duration = Duration::from_secs(15);

/// A running `cargo xtask serve`, with storage of its own.
#[derive(Debug)]
pub struct Book {
    child: Child,
    port: u16,
    log: NamedTempFile,
    state: TempDir,
}

impl Book {
    /// Serves the book with all its chapters, with more environment variables, and
    /// waits until a chapter answers.
    ///
    /// # Errors
    /// If it ends before, or takes too long; with what it printed.
    pub fn serve(envs: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        Self::start(port, &["--port", &port.to_string()], envs)
    }

    /// Serves the book where its readers have it, which is one place of the machine.
    ///
    /// # Errors
    /// As for [`serve`](Self::serve).
    pub fn serve_in_its_place(envs: &[(&str, &str)]) -> Result<Self> {
        Self::start(Self::PORT, &[], envs)
    }

    /// The port at which a reader has the book.
    pub const PORT: u16 = 8700;

    /// Starts it again if somebody else has taken one of the ports that wrangler chooses
    /// for itself.
    fn start(port: u16, options: &[&str], envs: &[(&str, &str)]) -> Result<Self> {
        for _ in 1..STARTS {
            match Self::try_start(port, options, envs) {
                Err(error)
                    if error.to_string().contains("Address already in use") => {}
                outcome => return outcome,
            }
        }
        Self::try_start(port, options, envs)
    }

    fn try_start(
        port: u16,
        options: &[&str],
        envs: &[(&str, &str)],
    ) -> Result<Self> {
        let log = NamedTempFile::new()?;
        let output = log.reopen()?;
        let state = tempfile::tempdir()?;
        let child = cargo()
            .args(["xtask", "serve", "--persist-to"])
            .arg(state.path())
            .args(options)
            .envs(envs.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()?;
        let mut book = Self { child, port, log, state };
        let begin = Instant::now();
        let url = format!("{}/live/ch02/counters/first", book.url());
        while !send("GET", &url, b"").is_ok_and(|answer| answer.status == 200) {
            let ended = book.child.try_wait()?.is_some();
            ensure!(!ended && begin.elapsed() < START_LIMIT, "{}", book.log()?);
            sleep(Duration::from_millis(100));
        }
        Ok(book)
    }

    /// Where it is served, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Opens a WebSocket at a path, with more headers.
    ///
    /// # Errors
    /// If the server does not upgrade.
    pub fn socket(&self, path: &str, headers: &[(&str, &str)]) -> Result<Socket> {
        Socket::open_at("localhost", self.port, path, headers)
    }

    /// The folder with the storage of all objects.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The port it is served at.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How much memory the runtime with the objects uses, as [`crate::Dev::memory`]
    /// counts it.
    ///
    /// # Errors
    /// If it has no object yet, or this system has no `/proc/<pid>/smaps_rollup`.
    pub fn memory(&self) -> Result<u64> {
        // Nobody else has this folder.
        memory_of(self.state.path(), |_| true)
    }

    /// What it has printed.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.log.path())?)
    }

    /// Kills `cargo xtask serve` itself, without a word of warning, and nothing of what
    /// it has started: `kill -9`.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The processes that it has started, and those that these have started, as folders
    /// of `/proc`, which only Linux has.
    ///
    /// # Errors
    /// If `/proc` cannot be listed.
    pub fn started(&self) -> Result<Vec<PathBuf>> {
        let all = ledger::list(Path::new("/proc"))?;
        let mut parents = BTreeSet::from([self.child.id()]);
        let mut started = Vec::new();
        // Until a look finds no more.
        loop {
            let before = started.len();
            for process in &all {
                let id = ledger::file_name(process).parse();
                if let (Ok(id), Some(stat)) = (id, Stat::of(process))
                    && parents.contains(&stat.parent)
                    && parents.insert(id)
                {
                    started.push(process.clone());
                }
            }
            if started.len() == before {
                return Ok(started);
            }
        }
    }

    /// Types Ctrl-C. That reaches `cargo` and xtask; the servers are in a group of
    /// their own, so that it is xtask that has to end them.
    pub fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| matches!(self.child.try_wait(), Ok(None)))
        {
            // An error means that it is gone already.
            let _ = kill_process_group(pid, Signal::INT);
        }
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None))
            && begin.elapsed() < END_LIMIT
        {
            sleep(Duration::from_millis(50));
        }
        kill_group(&mut self.child);
    }
}

/// Prints the book into `target/book`, unless it is printed already for all tests that
/// run beside each other (see [`ledger::built_for_all`]).
///
/// # Errors
/// If it does not print.
pub fn print_book() -> Result<()> {
    if ledger::built_for_all().is_some() {
        return Ok(());
    }
    let press = ["run", "--quiet", "--package", "press"];
    ensure!(cargo().args(press).status()?.success(), "the book does not print");
    Ok(())
}

/// Copies the printed book into `folder/site`, which `npx wrangler dev` serves there
/// with no Worker at all. Returns that path.
///
/// # Errors
/// If a file cannot be read or written.
pub fn copy_book(folder: &Path) -> Result<PathBuf> {
    let site = folder.join("site");
    copy_folder(&ledger::root().join("target/book"), &site)?;
    // wrangler comes from the set-up.
    let modules = "node_modules";
    symlink(ledger::root().join(modules), folder.join(modules))?;
    fs::write(
        folder.join("wrangler.toml"),
        "name = \"copy\"\ncompatibility_date = \"2026-11-01\"\n\
         [assets]\ndirectory = \"site\"\nhtml_handling = \"none\"\n",
    )?;
    Ok(site)
}

impl Drop for Book {
    fn drop(&mut self) {
        self.stop();
    }
}
