//! What concerns no single chapter: the front door, chapters that were copied out, and traps of the build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outside::{Dev, npx};
use tempfile::TempDir;

/// A chapter, copied to a folder outside the repository together with the book's lock file. The tools come from
/// the set-up: elsewhere worker-build would download them.
struct Copy {
    folder: TempDir,
}

impl Copy {
    fn of(chapter: &str) -> Result<Self> {
        let root = ledger::root();
        let copy = Self { folder: tempfile::tempdir()? };
        copy_folder(&root.join("chapters-code").join(chapter), &copy.dir())?;
        fs::copy(root.join("Cargo.lock"), copy.dir().join("Cargo.lock"))?;
        Ok(copy)
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("my app")
    }

    fn envs(&self) -> Vec<(&'static str, String)> {
        let root = ledger::root();
        let text = |path: PathBuf| path.display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let (tools, modules) =
            (text(root.join(".tools/bin")), text(root.join("node_modules/.bin")));
        vec![
            ("PATH", format!("{tools}:{modules}:{path}")),
            ("WASM_BINDGEN_BIN", text(root.join(".tools/bin/wasm-bindgen"))),
            ("WASM_OPT_BIN", text(root.join("node_modules/.bin/wasm-opt"))),
            ("ESBUILD_BIN", text(root.join("node_modules/.bin/esbuild"))),
            // Dependencies are compiled once for all copies.
            ("CARGO_TARGET_DIR", text(root.join("target/copies"))),
        ]
    }

    fn change(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.dir().join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file} does not contain {from:?}");
        Ok(fs::write(path, text.replace(from, to))?)
    }

    /// Runs a program in the copy; returns whether it succeeded, and what it printed.
    fn run(&self, command: &mut Command) -> Result<(bool, String)> {
        let output = command.current_dir(self.dir()).envs(self.envs()).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for path in ledger::list(from)? {
        let name = ledger::file_name(&path);
        if path.is_file() {
            fs::copy(&path, to.join(name))?;
        } else if !["build", ".wrangler"].contains(&name) {
            copy_folder(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// Every chapter builds and packs outside the repository, in a folder whose name has a space.
#[test]
fn copied_out_chapters_can_be_deployed() -> Result<()> {
    for chapter in ledger::chapters()? {
        let copy = Copy::of(&chapter.name)?;
        let (good, text) = copy.run(npx(&copy.dir()).args([
            "wrangler",
            "deploy",
            "--dry-run",
            "--outdir",
            "dist",
        ]))?;
        assert!(good && text.contains("Total Upload"), "{}:\n{text}", chapter.name);
        assert!(!copy.dir().join("../Cargo.toml").exists(), "the copy is not alone");
    }
    Ok(())
}

/// An edit in `src` is built and served without a restart; an edit anywhere else is not noticed.
/// proves: trap T26
#[test]
fn only_edits_in_src_are_noticed() -> Result<()> {
    let copy = Copy::of("ch01")?;
    let answer = copy.dir().join("answer.txt");
    fs::write(&answer, "first\n")?;
    copy.change("src/lib.rs", "\"OK\\n\"", "include_str!(\"../answer.txt\")")?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    assert_eq!(dev.get("/")?.body, "first\n");

    fs::write(&answer, "second\n")?;
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(dev.get("/")?.body, "first\n");

    copy.change("src/lib.rs", "//! A first Worker", "//! A first, edited Worker")?;
    let begin = Instant::now();
    while dev.get("/").map(|answer| answer.body).ok().as_deref() != Some("second\n") {
        ensure!(
            begin.elapsed() < Duration::from_secs(60),
            "the edit is not served:\n{}",
            dev.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `strip` alone takes away what wasm-bindgen needs to know.
/// proves: trap T25
#[test]
fn strip_alone_breaks_the_build() -> Result<()> {
    let copy = Copy::of("ch01")?;
    copy.change(".cargo/config.toml", "rustflags", "# rustflags")?;
    let (good, text) = copy.run(Command::new("worker-build").arg("--release"))?;
    assert!(!good && text.contains("externref table required"), "{text}");
    Ok(())
}

/// With Node's timers `setTimeout` answers with an object, and `Delay` wants a number.
/// proves: trap T27
#[test]
fn delay_panics_on_timers_of_node() -> Result<()> {
    let copy = Copy::of("ch01")?;
    copy.change("wrangler.toml", "compatibility_flags = [\"no_nodejs_global_timers\"]", "")?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    assert_eq!(dev.post("/later", "")?.status, 202);
    std::thread::sleep(Duration::from_secs(1));
    assert!(dev.log().contains("expected a number argument, found object"), "{}", dev.log());
    assert!(dev.get("/diary")?.body.contains("\"later\":null"));
    Ok(())
}

/// There is no clock in std: asking for the time is a panic, and the caller gets no answer.
/// proves: trap T21
#[test]
fn the_clock_of_std_panics() -> Result<()> {
    let dev = Dev::start_in(&ledger::root().join("traps"), &[])?;
    assert!(dev.get("/clock").map_or(true, |answer| answer.status == 500));
    assert!(dev.log().contains("time not implemented on this platform"), "{}", dev.log());
    assert_eq!(dev.send("PURGE", "/method", b"")?.body, "PURGE is taken for GET\n");
    Ok(())
}
