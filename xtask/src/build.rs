//! Building Workers, and what they weigh.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use ledger::{chapters_named, root};
use outside::{Copy, Dev};

use crate::run::{capture, npx, run};
use crate::setup;

/// `cargo xtask build`
pub fn build(names: &[String]) -> Result<()> {
    let chapters = chapters_named(names)?;
    setup::setup(setup::For::Workers)?;
    for chapter in chapters {
        let begin = Instant::now();
        worker(&chapter.dir, "--release")?;
        println!(
            "{}: built in {:.1} s",
            chapter.name,
            begin.elapsed().as_secs_f64()
        );
        Sizes::of(&chapter.dir.join("build"))?.print();
    }
    Ok(())
}

/// Builds the Worker in `dir` with worker-build; not if `BUILT` names a folder with
/// all of them.
pub fn worker(dir: &Path, mode: &str) -> Result<()> {
    if ledger::built_for_all().is_some() {
        return Ok(());
    }
    run(npx(dir).args(["worker-build", mode])).map(drop)
}

/// Builds the Worker in `dir` for development, unless it is built already and
/// nothing that it is made from has changed since.
pub fn worker_if_changed(dir: &Path) -> Result<()> {
    if !outside::built_already(dir)? {
        worker(dir, "--dev")?;
    }
    Ok(())
}

/// Builds the Worker in `dir` without a word, with more environment variables.
fn quiet_worker(dir: &Path, mode: &str, envs: &[(&str, &str)]) -> Result<()> {
    let (status, text) =
        capture(npx(dir).args(["worker-build", mode]).envs(envs.iter().copied()))?;
    ensure!(status.success(), "worker-build {mode} failed with {envs:?}:\n{text}");
    Ok(())
}

/// What a built Worker weighs, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    wasm: (usize, usize),
    js: (usize, usize),
}

impl Sizes {
    /// Weighs the build in that folder.
    pub fn of(build: &Path) -> Result<Self> {
        let weigh = |file: &str| -> Result<(usize, usize)> {
            let path = build.join(file);
            let bytes = fs::read(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            gzip.write_all(&bytes)?;
            Ok((bytes.len(), gzip.finish()?.len()))
        };
        Ok(Self { wasm: weigh("index_bg.wasm")?, js: weigh("index.js")? })
    }

    /// Wasm and JavaScript together, compressed.
    pub fn gzip(&self) -> usize {
        self.wasm.1 + self.js.1
    }

    fn print(&self) {
        let both = (self.wasm.0 + self.js.0, self.gzip());
        for (what, (raw, gzip)) in
            [("Wasm", self.wasm), ("JavaScript", self.js), ("together", both)]
        {
            println!("  {what:11}{raw:>8} bytes, {gzip:>6} with gzip");
        }
    }
}

/// The settings of a release build, switched off one at a time.
const VARIANTS: [(&str, &[(&str, &str)]); 5] = [
    ("as it is in the book", &[]),
    ("without opt-level = \"s\"", &[("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")]),
    ("without lto", &[("CARGO_PROFILE_RELEASE_LTO", "false")]),
    ("without codegen-units = 1", &[("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")]),
    ("without strip", &[("CARGO_PROFILE_RELEASE_STRIP", "none")]),
];

/// `cargo xtask measure`
pub fn measure(name: &str) -> Result<()> {
    let chapters = chapters_named(&[name.to_owned()])?;
    let chapter = chapters.first().context("no such chapter")?;
    setup::setup(setup::For::Workers)?;
    println!("{:28}{:>12}{:>10}{:>10}", "", "gzip bytes", "change", "seconds");
    let mut whole = None;
    for (name, envs) in VARIANTS {
        let target = root().join("target/measure");
        let target = target.to_string_lossy();
        let envs: Vec<(&str, &str)> = envs
            .iter()
            .copied()
            .chain([("CARGO_TARGET_DIR", target.as_ref())])
            .collect();
        quiet_worker(&chapter.dir, "--release", &envs)?;
        let gzip = Sizes::of(&chapter.dir.join("build"))?.gzip();
        let whole = *whole.get_or_insert(gzip);
        let change = i64::try_from(gzip)? - i64::try_from(whole)?;
        let seconds = rebuild(&chapter.dir, "--release", &envs)?;
        println!("{name:28}{gzip:>12}{change:>+10}{seconds:>10.1}");
    }
    quiet_worker(&chapter.dir, "--dev", &[])?;
    let seconds = rebuild(&chapter.dir, "--dev", &[])?;
    println!("{:28}{:>12}{:>10}{seconds:>10.1}", "worker-build --dev", "", "");
    quiet_worker(&chapter.dir, "--release", &[])?;
    measure_edits(&chapter.name)
}

/// How often an edit is timed.
const EDITS: usize = 3;

/// Compares, side by side, the time from an edit under `npx wrangler dev` to the
/// new answer: the chapter as it is, and as the official guide has it.
fn measure_edits(name: &str) -> Result<()> {
    let ours = Copy::of(name)?;
    let guide = Copy::of(name)?;
    guide.change(
        "wrangler.toml",
        "worker-build --dev ;;",
        "worker-build --release ;;",
    )?;
    fs::write(
        guide.dir().join(".cargo/config.toml"),
        "[profile.release]\nlto = true\n",
    )?;
    let servers = [
        Dev::start_in(&ours.dir(), &ours.envs())?,
        Dev::start_in(&guide.dir(), &guide.envs())?,
    ];
    let mut times = [Vec::new(), Vec::new()];
    for edit in 0..EDITS {
        for ((copy, server), times) in
            [&ours, &guide].into_iter().zip(&servers).zip(&mut times)
        {
            let (from, to) = (
                format!("such path{}", "!".repeat(edit)),
                format!("such path{}", "!".repeat(edit + 1)),
            );
            let begin = Instant::now();
            copy.change("src/rules.rs", &from, &to)?;
            while !server
                .get("/nowhere")
                .is_ok_and(|answer| answer.body.contains(&to))
            {
                ensure!(
                    begin.elapsed() < Duration::from_secs(120),
                    "the edit is not served:\n{}",
                    server.log()
                );
                std::thread::sleep(Duration::from_millis(10));
            }
            times.push(begin.elapsed().as_secs_f64());
        }
    }
    let [ours, guide] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[EDITS / 2]
    });
    println!("from an edit to the new answer, median of {EDITS}:");
    println!("  as it is in the book        {ours:5.1} s");
    println!(
        "  worker-build --release, lto {guide:5.1} s, so the book takes {:.2} of it",
        ours / guide
    );
    Ok(())
}

/// How long a build takes after the source was touched, in seconds.
fn rebuild(dir: &Path, mode: &str, envs: &[(&str, &str)]) -> Result<f64> {
    let source = dir.join("src/lib.rs");
    let file = fs::File::options().append(true).open(&source)?;
    file.set_modified(std::time::SystemTime::now())?;
    let begin = Instant::now();
    quiet_worker(dir, mode, envs)?;
    Ok(begin.elapsed().as_secs_f64())
}
