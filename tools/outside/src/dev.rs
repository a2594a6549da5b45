//! A server that a test has started, and may end and start again.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::base::REQUEST_LIMIT;
use crate::{Base, Stat, end_group, free_port, hold, npx, workerd};

/// How long a server may take to answer for the first time: it may have to compile
/// the chapter.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How often a start is tried if a port is taken.
const STARTS: u32 = 5;
/// Which server the tests judge: `wrangler`, `workerd` (if it is not set), or the
/// address of one that runs already, as in `http://localhost:8787`.
const SERVER: &str = "SERVER";

/// What runs a Worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `npx wrangler dev` in the Worker's folder, as its reader does: it builds the
    /// Worker, and builds it again after an edit.
    Wrangler,
    /// `workerd serve` with the Worker as it is built: a tenth of the time to start.
    Workerd,
}

/// A running server with a Worker.
#[derive(Debug)]
pub struct Dev {
    base: Base,
    dir: PathBuf,
    by: By,
    state: TempDir,
    persist_to: Option<PathBuf>,
    envs: Vec<(String, String)>,
    vars: Vec<(String, String)>,
    debugger: u16,
    child: Option<Child>,
    /// Two `wrangler dev` in one folder would build over each other.
    folder: Option<File>,
}

/// A chapter at an address: of a server that was started for it, or of one that runs
/// already.
#[derive(Debug)]
pub struct Served {
    base: Base,
    /// Ends with this value.
    dev: Option<Dev>,
}

/// A chapter of the book for a test that does not touch the server's process. It is
/// started on empty state, unless the environment names an address.
///
/// # Errors
/// If it does not start, or does not answer.
pub fn served(chapter: &str) -> Result<Served> {
    if let Some(url) = given() {
        let base = Base::new(&url)?;
        base.get("/").with_context(|| format!("{chapter} is not at {url}"))?;
        return Ok(Served { base, dev: None });
    }
    let dev = Dev::start(chapter)?;
    Ok(Served { base: dev.base.clone(), dev: Some(dev) })
}

impl Served {
    /// Whether the server was started on empty state. At an address that was given
    /// others may have been before.
    pub fn is_new(&self) -> bool {
        self.dev.is_some()
    }
}

/// A name that no other run has given to an object: at an address that was given there
/// may be objects of an earlier one.
pub fn fresh(name: &str) -> String {
    format!("{name}-{:08x}", fastrand::u32(..))
}

/// The address in the environment, if it names one.
fn given() -> Option<String> {
    std::env::var(SERVER).ok().filter(|server| server.contains("://"))
}

impl By {
    /// What a test gets that does not mind: what the environment says, else a bare
    /// workerd wherever one can run the Worker as it is built.
    fn of(dir: &Path) -> Result<Self> {
        let asked = std::env::var(SERVER).unwrap_or_default();
        let inside = dir.starts_with(ledger::root());
        Ok(match asked.as_str() {
            "wrangler" => Self::Wrangler,
            "" | "workerd" if inside && workerd::can_run(dir)? => Self::Workerd,
            "" | "workerd" => Self::Wrangler,
            _ if given().is_some() => bail!(
                "skipped: it needs the process of its server, and {SERVER} is an address"
            ),
            other => bail!(
                "{SERVER} is {other:?}: take wrangler, workerd, or http://<host>:<port>"
            ),
        })
    }
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
        Self::prepare_by(By::of(dir)?, dir, envs)
    }

    /// The same by `npx wrangler dev`, for a test that is about what it does: it
    /// serves the files of a page, builds what was edited, has queues.
    pub fn wrangler(dir: &Path, envs: &[(&str, String)]) -> Result<Self> {
        let mut dev = Self::prepare_by(By::Wrangler, dir, envs)?;
        dev.up()?;
        Ok(dev)
    }

    /// A server of that kind that is not started yet, on empty state.
    pub fn prepare_by(by: By, dir: &Path, envs: &[(&str, String)]) -> Result<Self> {
        ensure!(
            dir.join("wrangler.toml").exists(),
            "there is no Worker in {}",
            dir.display()
        );
        let state = tempfile::tempdir()?;
        let url = format!("http://localhost:{}", free_port()?);
        Ok(Self {
            base: Base::new(&url)?,
            dir: dir.to_owned(),
            by,
            persist_to: Some(state.path().join("state")),
            state,
            envs: envs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            vars: Vec::new(),
            debugger: 0,
            child: None,
            folder: None,
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
        let mut command = match self.by {
            By::Wrangler => self.by_wrangler()?,
            By::Workerd => {
                let folder = self.persist_to.as_ref().context("no folder")?;
                workerd::command(
                    &self.dir,
                    self.state.path(),
                    folder,
                    &self.vars,
                    self.base.port(),
                    self.debugger,
                )?
            }
        };
        command
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        self.child = Some(command.spawn().context("cannot start the server")?);

        let begin = Instant::now();
        let says_so = self.by == By::Wrangler;
        while (says_so && !self.log().contains("Ready on"))
            || self.get("/").is_err()
        {
            if let Some(status) =
                self.child.as_mut().map(Child::try_wait).transpose()?.flatten()
            {
                bail!(
                    "the server ended ({status}) before it was ready:\n{}",
                    self.log_tail()
                );
            }
            ensure!(
                begin.elapsed() < START_LIMIT,
                "the server was not ready after {} s:\n{}",
                START_LIMIT.as_secs(),
                self.log_tail()
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn by_wrangler(&mut self) -> Result<Command> {
        if self.dir.starts_with(ledger::root()) && self.folder.is_none() {
            let name = format!("folder-{}", ledger::file_name(&self.dir));
            self.folder = Some(hold(&name)?);
        }
        let mut command = npx(&self.dir);
        command
            .args([
                "wrangler",
                "dev",
                "--port",
                &self.base.port().to_string(),
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
            // By default this wrangler records a trace of every request, which makes
            // calls to objects several times slower.
            .env("X_LOCAL_OBSERVABILITY", "false")
            // One folder for the machine by default: Workers would find those of
            // other tests, and of servers that were killed.
            .env("WRANGLER_REGISTRY_PATH", self.state.path().join("registry"))
            // Set in a shell in a VM. A test says itself whether it wants that.
            .env_remove("CHOKIDAR_USEPOLLING");
        Ok(command)
    }

    /// Kills the server and all that it started, without a word of warning: `kill
    /// -9`.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Asks the server to end, as Ctrl-C does, and waits for it.
    pub fn down(&mut self) {
        self.end(match self.by {
            By::Wrangler => Signal::INT,
            // It has no handler for Ctrl-C, which is ignored in a program that was
            // started in the background.
            By::Workerd => Signal::TERM,
        });
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            end_group(&mut child, signal);
        }
    }

    /// The port and the path of its debugger.
    pub(crate) fn debugger(&self) -> (u16, &'static str) {
        match self.by {
            By::Wrangler => (self.debugger, "/ws"),
            By::Workerd => (self.debugger, "/worker"),
        }
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
        self.state.path().join("server.log")
    }
}

impl Deref for Dev {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Deref for Served {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The memory of the runtime that has its objects in a folder; see [`Dev::memory`].
pub(crate) fn memory_of(
    state: &Path,
    is_ours: impl Fn(&Stat) -> bool,
) -> Result<u64> {
    for process in ledger::list(Path::new("/proc"))? {
        let Some(stat) = Stat::of(&process) else { continue };
        if !is_ours(&stat) || stat.name != "workerd" {
            continue;
        }
        // The one with the objects has their folder open.
        let Ok(open) = ledger::list(&process.join("fd")) else { continue };
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
