//! Which clone a task acts on.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// A clone that was copied together with what was compiled in it acts on itself: on the
/// folder in which it is started, or on the one of the package that cargo runs. Outside
/// of any clone a task is refused.
#[test]
fn a_copied_clone_acts_on_itself() -> Result<()> {
    let elsewhere = tempfile::tempdir()?;
    let copy = elsewhere.path().join("copy");
    let files = ["tools/ledger/Cargo.toml", "xtask/Cargo.toml", "src/ch42-copy.md"];
    for file in files.iter().chain(&["chapters-code/ch42/wrangler.toml"]) {
        let file = copy.join(file);
        fs::create_dir_all(file.parent().context("no folder")?)?;
        fs::write(file, "")?;
    }
    let compiled = copy.join("xtask/compiled");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &compiled)?;
    let says = |folder: &Path, package: Option<&Path>| -> Result<String> {
        let mut xtask = Command::new(&compiled);
        xtask.args(["exercise", "ch99"]).current_dir(folder);
        match package {
            Some(package) => xtask.env("CARGO_MANIFEST_DIR", package),
            None => xtask.env_remove("CARGO_MANIFEST_DIR"),
        };
        let output = xtask.output()?;
        assert!(!output.status.success());
        Ok(String::from_utf8(output.stderr)?.trim().to_owned())
    };
    let its_own = "error: there is no chapter \"ch99\": take one of ch42";
    assert_eq!(says(&copy, None)?, its_own);
    assert_eq!(says(&copy.join("chapters-code/ch42"), None)?, its_own);
    assert_eq!(says(elsewhere.path(), Some(&copy.join("xtask")))?, its_own);
    let nowhere =
        "error: this is not inside a clone of the book: go there, then try again";
    assert_eq!(says(elsewhere.path(), None)?, nowhere);
    Ok(())
}
