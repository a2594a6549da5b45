//! A real browser, driven by Playwright.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::{end_group, npx};

/// How long a script in the browser may take.
const BROWSER_LIMIT: Duration = Duration::from_secs(480);
/// The names under which Chromium is installed.
const NAMES: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The browser of this machine, if it has one: the program that `CHROMIUM` names, or
/// the first of the usual names on the `PATH`.
pub fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
}

/// Runs `tools/outside/browser/<script>` in Node.js, with the path of the browser and
/// then `arguments`. The script drives the browser, and ends with an error if what
/// it sees is wrong.
///
/// # Errors
/// If there is no browser, or the script fails or takes too long; with what it
/// printed.
pub fn drive(script: &str, arguments: &[&str]) -> Result<String> {
    let browser = browser().context("there is no Chromium on this machine")?;
    let folder = ledger::root().join("tools/outside/browser");
    let log = tempfile::NamedTempFile::new()?;
    let mut command: Command = npx(&folder);
    command
        .args(["node", script])
        .arg(browser)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.as_file().try_clone()?)
        .stderr(log.as_file().try_clone()?)
        .process_group(0);
    let mut child = command.spawn().context("cannot start npx")?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begin.elapsed() > BROWSER_LIMIT {
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    // The browser belongs to the script; whatever happened, nothing stays behind.
    end_group(&mut child, Signal::KILL);
    let said = std::fs::read_to_string(log.path())?;
    let Some(status) = status else {
        bail!("{script} took more than {} s:\n{said}", BROWSER_LIMIT.as_secs());
    };
    ensure!(status.success(), "{script}: {status}\n{said}");
    Ok(said)
}
