//! Building Workers once, however many tests want them.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::npx;

/// Builds the Worker in `dir` for development, unless it is [`built_already`].
///
/// # Errors
/// If it does not build; with what worker-build printed.
pub(crate) fn worker_if_changed(dir: &Path) -> Result<()> {
    let _one_at_a_time = hold(&format!("build-{}", ledger::file_name(dir)))?;
    if built_already(dir)? {
        return Ok(());
    }
    let output = npx(dir).args(["worker-build", "--dev"]).output();
    let output = output.context("cannot start npx: is Node.js installed?")?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&text).trim());
    Ok(())
}

/// Whether the Worker in `dir` is built and nothing that it is made from has changed
/// since, or has a build that is meant to stay (see [`ledger::built_for_all`]).
///
/// # Errors
/// If its files cannot be listed.
pub fn built_already(dir: &Path) -> Result<bool> {
    let folder = ledger::built(dir);
    match ledger::built_for_all() {
        Some(_) => Ok(folder.join("index.js").exists()),
        None => is_newer(&folder, dir),
    }
}

/// Whether the build in `folder` is newer than all that the Worker in `dir` is made of.
///
/// # Errors
/// If the Worker's files cannot be listed.
pub fn is_newer(folder: &Path, dir: &Path) -> Result<bool> {
    let built = |file: &str| modified(&folder.join(file));
    let built = built("index.js").min(built("index_bg.wasm"));
    let root = ledger::root();
    let mut newest = None;
    for file in ["Cargo.lock", "package-lock.json", "rust-toolchain.toml"] {
        newest = newest.max(modified(&root.join(file)));
    }
    for file in ledger::files(dir)? {
        newest = newest.max(modified(&file));
    }
    Ok(built.is_some() && built > newest)
}

/// Waits until no other process holds this name, and holds it until the file is
/// dropped, or its process ends in whatever way.
///
/// # Errors
/// If the file of that name cannot be made or locked.
pub(crate) fn hold(name: &str) -> Result<File> {
    let file = lock_file(name)?;
    file.lock().with_context(|| format!("cannot lock {name}"))?;
    Ok(file)
}

/// The same without waiting: nothing, if somebody else holds the name.
///
/// # Errors
/// If the file of that name cannot be made or locked.
pub(crate) fn try_hold(name: &str) -> Result<Option<File>> {
    let file = lock_file(name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {name}"))
        }
    }
}

fn lock_file(name: &str) -> Result<File> {
    let folder = ledger::root().join("target/held");
    fs::create_dir_all(&folder)?;
    Ok(File::create(folder.join(name))?)
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|meta| meta.modified()).ok()
}
