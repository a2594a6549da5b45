//! The programs that the set-up brings with npm.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Sends its input through a program that the set-up brings.
pub fn npx(program: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("npx")
        .args(["--no", "--"])
        .args(program)
        .current_dir(ledger::root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start npx: `cargo xtask serve` says what is missing")?;
    // It reads all before it writes, so neither waits for the other.
    child.stdin.take().context("no way to Node")?.write_all(input)?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}: {}",
        program.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}
