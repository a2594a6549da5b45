//! Starting programs: echoed, and with a clear word when they fail.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
pub use outside::{cargo, npx};

/// A program that will run in the root of the repository.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(ledger::root());
    command
}

/// How the command looks when typed.
pub fn line(command: &Command) -> String {
    // CARGO is an absolute path; nobody types that.
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// Echoes the command, so that a reader could type it too, and runs it. A failure
/// shows all that it printed.
pub fn run(command: &mut Command) -> Result<String> {
    echo(command);
    let (status, text) = capture(command)?;
    ensure!(
        status.success(),
        "`{}` failed ({status}):\n{}",
        line(command),
        text.trim()
    );
    Ok(text)
}

/// Shows the command that is about to run, and where, if not in the root.
pub fn echo(command: &Command) {
    let folder = command
        .get_current_dir()
        .and_then(|dir| dir.strip_prefix(ledger::root()).ok());
    match folder.filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => {
            println!("> (cd {} && {})", folder.display(), line(command))
        }
        None => println!("> {}", line(command)),
    }
}

/// Runs the command quietly and returns what it prints, errors included; the status
/// says how it ended.
pub fn capture(command: &mut Command) -> Result<(ExitStatus, String)> {
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.with_context(|| format!("cannot start `{}`", line(command)))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status, text))
}
