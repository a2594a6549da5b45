//! What concerns no single chapter: the front door, chapters that were copied out,
//! and traps of the build.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outside::{Copy, Dev, npx};

/// Every chapter builds and packs outside the repository, in a folder whose name
/// has a space.
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
        assert!(
            !copy.dir().join("../Cargo.toml").exists(),
            "the copy is not alone"
        );
    }
    Ok(())
}

/// An edit in `src` is built and served without a restart; an edit anywhere else is
/// not noticed.
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
    while dev.get("/").map(|answer| answer.body).ok().as_deref() != Some("second\n")
    {
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
    let (good, text) =
        copy.run(npx(&copy.dir()).args(["worker-build", "--release"]))?;
    assert!(!good && text.contains("externref table required"), "{text}");
    Ok(())
}

/// With Node's timers `setTimeout` answers with an object, and `Delay` wants a
/// number.
/// proves: trap T27
#[test]
fn delay_panics_on_timers_of_node() -> Result<()> {
    let copy = Copy::of("ch01")?;
    copy.change(
        "wrangler.toml",
        "compatibility_flags = [\"no_nodejs_global_timers\"]",
        "",
    )?;
    let dev = Dev::start_in(&copy.dir(), &copy.envs())?;
    assert_eq!(dev.post("/later", "")?.status, 202);
    dev.expect_log("expected a number argument, found object")?;
    assert!(dev.get("/diary")?.body.contains("\"later\":null"));
    Ok(())
}

/// There is no clock in std: asking for the time is a panic, and the runtime cancels
/// the request. The next one finds a Wasm module that was started anew.
/// proves: trap T21
#[test]
fn the_clock_of_std_panics() -> Result<()> {
    let dev = Dev::start_in(&ledger::root().join("traps"), &[])?;
    assert_eq!(dev.get("/clock")?.status, 500);
    dev.expect_log("time not implemented on this platform")?;
    assert_eq!(dev.send("PURGE", "/method", b"")?.body, "PURGE is taken for GET\n");
    dev.expect_log("Reinitializing Wasm application")
}
