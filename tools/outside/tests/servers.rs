//! The same tests judge any server: a bare workerd, `npx wrangler dev`, or one that runs
//! already.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outside::{By, Dev};

/// The program with the tests of a chapter from outside, which cargo has put beside this
/// one. The one with the tests of its rules has the same name, and other tests.
fn program(chapter: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().context("no folder")?;
    let mut programs: Vec<PathBuf> = ledger::list(folder)?;
    programs.retain(|file| {
        let list = || Command::new(file).arg("--list").output();
        ledger::file_name(file).starts_with(&format!("{chapter}-"))
            && file.extension().is_none()
            && list().is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout)
                    .contains("\nbad_input_is_told_and_changes_nothing: test")
            })
    });
    // The newest, if there are older ones.
    programs
        .sort_by_key(|file| file.metadata().and_then(|meta| meta.modified()).ok());
    programs
        .pop()
        .with_context(|| format!("the tests of {chapter} are not compiled"))
}

/// The tests of ch03 and ch06 that do not touch the process of their server pass at any
/// address, twice on the same state; the others say that they need the process.
#[test]
fn any_address_is_judged() -> Result<()> {
    for (chapter, by, few) in [
        ("ch03", By::Wrangler, 2),
        ("ch03", By::Workerd, 2),
        ("ch06", By::Workerd, 8),
    ] {
        let dir = ledger::root().join("chapters-code").join(chapter);
        let mut dev = Dev::prepare_by(by, &dir, &[])?;
        dev.up()?;
        for _ in 0..2 {
            let output = Command::new(program(chapter)?)
                .args(["--test-threads=2"])
                .current_dir(ledger::root().join("tools/outside"))
                .env("SERVER", dev.url())
                .env("RUST_BACKTRACE", "0")
                .output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let count = |end: &str| {
                text.lines()
                    .filter(|line| line.starts_with("test ") && line.ends_with(end))
                    .count()
            };
            let (passed, failed) = (count("... ok"), count("... FAILED"));
            ensure!(passed >= few, "{chapter}: {passed} passed:\n{text}");
            let needs = "Error: skipped: it needs the process of its server";
            let told = text.matches(needs).count();
            ensure!(
                failed == told && told > 0,
                "{chapter}: {failed} failed:\n{text}"
            );
        }
    }
    Ok(())
}
