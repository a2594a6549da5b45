//! Starts a chapter as its reader does, with `npx wrangler dev`, and looks at it
//! from outside.
//!
//! Every server listens on loopback only, writes its state into a folder of its
//! own, is waited for with a limit, and is ended by its process id when the value
//! is dropped.

mod book;
mod browser;
mod crowd;
mod heap;
mod printed;
mod socket;
mod sshd;

pub use book::{Book, copy_book, print_book};
pub use browser::{browser, drive};
pub use crowd::{Acknowledged, Ask, crowd, storm};
pub use printed::as_printed;
pub use socket::{Closed, Socket};
pub use sshd::{Mount, Sshd, is_mounted};

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// How long a server may take to answer for the first time: it may have to compile
/// the chapter.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How often a start is tried if a port is taken.
const STARTS: u32 = 5;
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// A running `npx wrangler dev`.
#[derive(Debug)]
pub struct Dev {
    dir: PathBuf,
    state: TempDir,
    persist_to: Option<PathBuf>,
    envs: Vec<(String, String)>,
    vars: Vec<(String, String)>,
    port: u16,
    debugger: u16,
    child: Option<Child>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Dev {
    /// Starts a chapter of the book on empty state and waits until it answers.
    pub fn start(chapter: &str) -> Result<Self> {
        Self::start_in(&ledger::root().join("chapters-code").join(chapter), &[])
    }

    /// Starts the Worker in `dir`, with more environment variables.
    pub fn start_in(dir: &Path, envs: &[(&str, String)]) -> Result<Self> {
        let mut dev = Self::prepare(dir, envs)?;
        dev.up()?;
        Ok(dev)
    }

    /// A server that is not started yet, on empty state.
    pub fn prepare(dir: &Path, envs: &[(&str, String)]) -> Result<Self> {
        ensure!(
            dir.join("wrangler.toml").exists(),
            "there is no Worker in {}",
            dir.display()
        );
        let state = tempfile::tempdir()?;
        Ok(Self {
            dir: dir.to_owned(),
            persist_to: Some(state.path().join("state")),
            state,
            envs: envs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            vars: Vec::new(),
            port: free_port()?,
            debugger: 0,
            child: None,
        })
    }

    /// Sets a variable of the Worker, one of `[vars]`, at the next start.
    pub fn set_var(&mut self, name: &str, value: &str) {
        self.vars.push((name.to_owned(), value.to_owned()));
    }

    /// Keeps the state in that folder from the next start on, or where wrangler does
    /// if nobody says where; not in a folder that goes when this value does.
    pub fn persist_to(&mut self, folder: Option<&Path>) {
        self.persist_to = folder.map(Path::to_owned);
    }

    /// Starts the server, on the state that is there.
    ///
    /// Its ports were free when they were chosen, but nobody holds them while it is
    /// down or starting: a connection of somebody else may get one for a moment.
    pub fn up(&mut self) -> Result<()> {
        for _ in 1..STARTS {
            match self.try_up() {
                Err(_) if self.log().contains("Address already in use") => {
                    sleep(Duration::from_secs(2));
                }
                outcome => return outcome,
            }
        }
        self.try_up()
    }

    fn try_up(&mut self) -> Result<()> {
        self.down();
        let log = File::create(self.log_file())?;
        self.debugger = free_port()?;
        let mut command = npx(&self.dir);
        command
            .args([
                "wrangler",
                "dev",
                "--port",
                &self.port.to_string(),
                "--inspector-port",
                &self.debugger.to_string(),
                "--show-interactive-dev-session=false",
            ])
            .args(self.persist_to.iter().flat_map(|folder| {
                [OsStr::new("--persist-to"), folder.as_os_str()]
            }))
            .args(self.vars.iter().flat_map(|(name, value)| {
                ["--var".to_owned(), format!("{name}:{value}")]
            }))
            // Set in a shell in a VM. A test says itself whether it wants that.
            .env_remove("CHOKIDAR_USEPOLLING")
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        self.child = Some(
            command.spawn().context("cannot start npx: is Node.js installed?")?,
        );

        let begin = Instant::now();
        while !self.log().contains("Ready on") || self.get("/").is_err() {
            if let Some(status) =
                self.child.as_mut().map(Child::try_wait).transpose()?.flatten()
            {
                bail!(
                    "wrangler dev ended ({status}) before it was ready:\n{}",
                    self.log_tail()
                );
            }
            ensure!(
                begin.elapsed() < START_LIMIT,
                "wrangler dev was not ready after {} s:\n{}",
                START_LIMIT.as_secs(),
                self.log_tail()
            );
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Kills the server and all that it started, without a word of warning: `kill
    /// -9`.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Asks the server to end, as Ctrl-C does, and waits for it.
    pub fn down(&mut self) {
        self.end(Signal::INT);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            end_group(&mut child, signal);
        }
    }

    /// The address of the server, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How much memory the runtime with the objects uses, in bytes: what it shares
    /// with no other process, and its part of what it does share (PSS). The proxy
    /// that `wrangler dev` has before it is a process of its own, and not counted.
    ///
    /// # Errors
    /// If the server is down, or has no object yet, or keeps its state where nobody
    /// has said, or this system has no
    /// `/proc/<pid>/smaps_rollup`, as only Linux has.
    pub fn memory(&self) -> Result<u64> {
        let state = self.persist_to.as_ref().context("its state is anywhere")?;
        let child = self.child.as_ref().context("the server is down")?;
        memory_of(state, |stat| stat.group == child.id())
    }

    /// Everything the server has printed since its last start.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Waits until the server has printed a text, which it may do after its answer.
    pub fn expect_log(&self, text: &str) -> Result<()> {
        let begin = Instant::now();
        while !self.log().contains(text) {
            ensure!(
                begin.elapsed() < REQUEST_LIMIT,
                "no {text:?} in:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.state.path().join("wrangler.log")
    }

    /// `GET`
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, b"")
    }

    /// `POST` with a body, which may be empty.
    pub fn post(&self, path: &str, body: &str) -> Result<Answer> {
        self.send("POST", path, body.as_bytes())
    }

    /// Any method.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        send(method, &format!("{}{path}", self.url()), body)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The memory of the runtime that has its objects in a folder; see [`Dev::memory`].
fn memory_of(state: &Path, is_ours: impl Fn(&Stat) -> bool) -> Result<u64> {
    for process in ledger::list(Path::new("/proc"))? {
        let Some(stat) = Stat::of(&process) else { continue };
        if !is_ours(&stat) || stat.name != "workerd" {
            continue;
        }
        // The one with the objects has their folder open.
        let open = ledger::list(&process.join("fd"))?;
        let links = open.iter().filter_map(|fd| fs::read_link(fd).ok());
        if !links.into_iter().any(|file| file.starts_with(state)) {
            continue;
        }
        let rollup = fs::read_to_string(process.join("smaps_rollup"))?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kilobytes = pss
            .and_then(|pss| pss.trim().strip_suffix(" kB"))
            .context("no Pss in smaps_rollup")?;
        return Ok(kilobytes.parse::<u64>()? * 1_024);
    }
    bail!("no workerd of this server has an object open")
}

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

/// Sends one request and reads the whole answer, whatever its status.
pub fn send(method: &str, url: &str, body: &[u8]) -> Result<Answer> {
    send_by(&agent(), method, url, &[], body)
}

/// Sends one request with more headers.
pub fn send_with(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    send_by(&agent(), method, url, headers, body)
}

/// A client that keeps its connections open.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(REQUEST_LIMIT))
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .build()
        .into()
}

fn send_by(
    agent: &ureq::Agent,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body)?;
    let mut response =
        agent.run(request).with_context(|| format!("{method} {url}"))?;
    let body = response
        .body_mut()
        .read_to_string()
        .with_context(|| format!("{method} {url}"))?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body,
    })
}

/// A chapter, copied to a folder outside the repository together with the book's
/// lock file. The tools come from the set-up: elsewhere worker-build would download
/// them.
#[derive(Debug)]
pub struct Copy {
    folder: TempDir,
}

impl Copy {
    /// Copies a chapter.
    pub fn of(chapter: &str) -> Result<Self> {
        let root = ledger::root();
        let copy = Self { folder: tempfile::tempdir()? };
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

    /// What to set in the copy: dependencies are compiled once for all copies.
    pub fn envs(&self) -> Vec<(&'static str, String)> {
        vec![(
            "CARGO_TARGET_DIR",
            ledger::root().join("target/copies").display().to_string(),
        )]
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

/// A TCP port of the loopback interface that nobody listens on just now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
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
        .env("WRANGLER_SEND_METRICS", "false");
    command
}
