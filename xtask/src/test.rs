//! Everything that CI runs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ledger::{
    Chapter, Proof, chapters_named, file_name, obligations, proofs, read, root,
};
use serde_json::Value;

use crate::build::{Sizes, worker};
use crate::jobs::{self, Job};
use crate::run::{capture, cargo, line};
use crate::tally::{End, Outcome, Tally};
use crate::{check, console, setup, vitest};

/// How long one test, or one program of plain ones, may take.
const LIMIT: Duration = Duration::from_secs(1_200);
/// Where the tests find each Worker built, whatever is built meanwhile.
const BUILT: &str = "target/built";

/// What a chapter's Worker may weigh, in bytes: Wasm and JavaScript, compressed.
const GZIP_MAX: [(&str, usize); 7] = [
    ("ch02", 60_000),
    ("ch03", 110_000),
    ("ch04", 110_000),
    ("ch05", 110_000),
    ("ch06", 90_000),
    ("ch07", 145_000),
    ("ch08", 90_000),
];

/// The files of tests from outside that concern no single chapter; those with a chapter's
/// name run with it, too.
const OF_MANY: [(&str, &str); 9] = [
    ("book", ""),
    ("buttons", ""),
    ("live", ""),
    ("rooms", ""),
    ("servers", ""),
    ("site", ""),
    ("dive", "ch08"),
    ("mounts", "ch08"),
    ("troubleshooting", ""),
];

/// What to test, and how.
struct Plan {
    chapters: Vec<Chapter>,
    /// Also what is of no single chapter.
    all: bool,
    /// Each fault as often as the figures on the pages say.
    long: bool,
}

/// `cargo xtask test`
pub fn test(names: &[String], long: bool) -> Result<()> {
    let plan =
        Plan { chapters: chapters_named(names)?, all: names.is_empty(), long };
    let mut tally = Tally::default();
    let mut jobs = Vec::new();

    tally.part("set-up", |_| setup::setup(setup::For::Book));
    tally.part("how often", |_| how_often(&plan));
    tally.part("truth gates", |tally| {
        check::gates(tally);
        Ok(())
    });
    tally.part("compiling the tests, with clippy", |_| {
        jobs = rust(&plan)?;
        Ok(())
    });
    tally.part("the same for the runtime", |_| for_the_runtime(&plan));
    tally.part("Workers, as for a deployment", |_| build_all(&plan));
    jobs.push(in_the_runtime(&plan));
    jobs.extend(plan.chapters.iter().cloned().map(on_the_page));
    tally.part("tests, beside each other", |tally| {
        for (part, time) in jobs::run(std::mem::take(&mut jobs), tally) {
            println!("{:7.1} s  {part}, one after the other", time.as_secs_f64());
        }
        Ok(())
    });
    if plan.all {
        tally.part("what the book claims", claims);
    }
    tally.finish()
}

/// Says what this run does how often, and what the other depth would do: every
/// `times(few, many)` in the tests from outside.
fn how_often(plan: &Plan) -> Result<()> {
    let counts = counts()?;
    println!(
        "{} faults and loads are counted; {}",
        counts.len(),
        match plan.long {
            true => "as often as the pages say:",
            false => "a few times each (`--long`: as often as the pages say):",
        }
    );
    for (place, few, many) in counts {
        let (this, other) = if plan.long { (many, few) } else { (few, many) };
        println!("  {place}: {this} (the other depth: {other})");
    }
    Ok(())
}

/// File and test, or constant, with both numbers.
fn counts() -> Result<Vec<(String, String, String)>> {
    let mut counts = Vec::new();
    for file in ledger::list(&root().join("tools/outside/tests"))? {
        if file.extension().is_none_or(|kind| kind != "rs") {
            continue;
        }
        let mut within = String::new();
        for line in read(&file)?.lines() {
            if let Some(name) = line.strip_prefix("fn ") {
                within = name.split('(').next().unwrap_or_default().to_owned();
            }
            let Some((_, call)) = line.split_once("times(") else { continue };
            let Some((few, many)) =
                call.split_once(')').and_then(|(call, _)| call.split_once(", "))
            else {
                continue;
            };
            let place = format!("{} {within}", file_name(&file));
            counts.push((place, few.to_owned(), many.to_owned()));
        }
    }
    Ok(counts)
}

/// Everything that must have a test has one that passed. What this machine skipped
/// aloud is skipped here, too.
fn claims(tally: &mut Tally) -> Result<()> {
    let obligations = obligations()?;
    println!("{} items, traps and claims", obligations.len());
    for (id, test) in obligations {
        let end = match tally.of(&test) {
            Some(End::Passed) => End::Passed,
            Some(End::Skipped(why)) => End::Skipped(why.clone()),
            _ => End::Failed(format!("{test} did not pass")),
        };
        tally.add(Outcome::new(&id, end));
    }
    Ok(())
}

/// Compiles for the runtime what runs there, one Worker after the other, as
/// `npx wrangler dev` does, which finds the dependencies compiled then.
fn for_the_runtime(plan: &Plan) -> Result<()> {
    let chapters = plan.chapters.iter().map(|it| it.name.as_str());
    let others = ["front", "traps"].into_iter().filter(|_| plan.all);
    // worker-build sets it for the macros of wasm-bindgen, and cargo does not see it.
    let envs = [("WASM_BINDGEN_USE_JS_SYS", "1")];
    for package in chapters.chain(others) {
        let build = ["build", "--lib", "--package", package];
        let target = ["--target", "wasm32-unknown-unknown"];
        compiled(&[&build[..], &target].concat(), &envs)?;
    }
    Ok(())
}

/// What cargo says of all that it has compiled. Clippy takes the place of the compiler
/// for what is ours, so that one compilation does for both; a warning is an error.
fn compiled(arguments: &[&str], envs: &[(&str, &str)]) -> Result<Vec<Value>> {
    let mut cargo = cargo();
    cargo.args(arguments).arg("--locked");
    println!("> RUSTC_WORKSPACE_WRAPPER=clippy-driver {}", line(&cargo));
    cargo.arg("--message-format=json").envs(envs.iter().copied());
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    let output = cargo.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().map(serde_json::from_str);
    let messages = messages.collect::<Result<Vec<Value>, _>>()?;
    let rendered =
        messages.iter().filter_map(|it| it["message"]["rendered"].as_str());
    let said: String = rendered.collect();
    ensure!(
        output.status.success() && said.is_empty(),
        "{said}{}",
        match output.status.success() {
            true => "".into(),
            false => String::from_utf8_lossy(&output.stderr),
        }
    );
    Ok(messages)
}

/// Builds the Workers, and looks how large they are.
fn build_all(plan: &Plan) -> Result<()> {
    let mut dirs = vec![root().join("traps")];
    dirs.extend(plan.chapters.iter().map(|chapter| chapter.dir.clone()));
    dirs.extend(plan.all.then(|| root().join("wrangler")));
    // Two at once: while wasm-opt works on one, cargo compiles the next.
    let next = Mutex::new(dirs.iter());
    let build = || -> Result<()> {
        loop {
            let dir = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            match dir {
                Some(dir) => build_for_tests(dir)?,
                None => return Ok(()),
            }
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(build);
        build()?;
        other.join().unwrap_or_else(|_| bail!("a build has panicked"))
    })?;
    for (name, limit) in GZIP_MAX {
        if !plan.chapters.iter().any(|chapter| chapter.name == name) {
            continue;
        }
        let gzip = Sizes::of(&root().join(BUILT).join(name))?.gzip();
        println!("{name} weighs {gzip} bytes, of {limit}");
        ensure!(gzip <= limit, "{name} has grown too large");
    }
    Ok(())
}

/// Builds a Worker and puts a copy where the tests find it, unless there is one that is
/// newer than all that it is made of.
fn build_for_tests(dir: &Path) -> Result<()> {
    let kept = root().join(BUILT).join(file_name(dir));
    if outside::is_newer(&kept, dir)? {
        return Ok(());
    }
    worker(dir, "--release")?;
    fs::create_dir_all(&kept)?;
    for file in ["index.js", "index_bg.wasm"] {
        fs::copy(dir.join("build").join(file), kept.join(file))?;
    }
    Ok(())
}

/// A program of tests that cargo has compiled.
struct Program {
    file: PathBuf,
    /// The folder of its crate, where it runs.
    dir: PathBuf,
    /// The file in `tests/` that it is made from; else it is made from `src/`.
    test: Option<String>,
}

/// Compiles all tests in Rust, and makes jobs of those that are wanted.
fn rust(plan: &Plan) -> Result<Vec<Job>> {
    let proofs = proofs()?;
    let mut jobs = Vec::new();
    for message in compiled(&["test", "--workspace", "--no-run"], &[])? {
        let Some(program) = Program::of(&message) else { continue };
        let outside = program.dir == root().join("tools/outside");
        match (&program.test, outside) {
            (Some(file), true) if plan.wants_outside(file) => {
                jobs.extend(program.outside(file, &proofs, plan)?);
            }
            (Some(_), true) => {}
            _ if plan.wants(&program.dir) => jobs.push(program.plain()),
            _ => {}
        }
    }
    for chapter in &plan.chapters {
        let file = format!("tools/outside/tests/{}.rs", chapter.name);
        ensure!(
            root().join(&file).exists(),
            "{file} is missing: every chapter is tested from outside"
        );
    }
    Ok(jobs)
}

impl Plan {
    fn wants_outside(&self, file: &str) -> bool {
        let named = |name: &str| self.chapters.iter().any(|it| it.name == name);
        named(file)
            || OF_MANY
                .iter()
                .any(|(of, with)| *of == file && (self.all || named(with)))
    }

    /// Whether the plain tests of the crate in this folder are wanted.
    fn wants(&self, dir: &Path) -> bool {
        self.all
            || self.chapters.iter().any(|chapter| dir.starts_with(&chapter.dir))
    }
}

impl Program {
    /// What cargo says of a program with tests.
    fn of(message: &Value) -> Option<Self> {
        let is_test = message["profile"]["test"].as_bool()?;
        let file = message["executable"].as_str().filter(|_| is_test)?;
        let manifest = Path::new(message["manifest_path"].as_str()?);
        let target = &message["target"];
        let of_tests = target["kind"][0] == "test";
        let name = target["name"].as_str()?;
        Some(Self {
            file: file.into(),
            dir: manifest.parent()?.to_owned(),
            test: of_tests.then(|| name.to_owned()),
        })
    }

    fn list(&self, more: &[&str]) -> Result<Vec<String>> {
        let mut list = Command::new(&self.file);
        list.args(["--list", "--format", "terse"])
            .args(more)
            .current_dir(&self.dir);
        let (status, text) = capture(&mut list)?;
        ensure!(status.success(), "{text}");
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Plain tests are quick, so one job runs all of a program.
    fn plain(self) -> Job {
        let folder = self.dir.strip_prefix(root()).unwrap_or(&self.dir).to_owned();
        let name = format!(
            "{} {}",
            folder.display(),
            self.test.as_deref().unwrap_or("src")
        );
        Job {
            name: name.clone(),
            part: "plain Rust",
            runs: Vec::new(),
            work: Box::new(move || {
                let mut command = Command::new(&self.file);
                command.current_dir(&self.dir);
                let (good, text, time) = match finish(&mut command, LIMIT) {
                    Ok(done) => done,
                    Err(error) => {
                        return vec![Outcome::new(&name, Err(error).into())];
                    }
                };
                let mut outcomes = Vec::new();
                for line in text.lines() {
                    let test = line.strip_prefix("test ");
                    let Some((test, end)) =
                        test.and_then(|line| line.rsplit_once(" ... "))
                    else {
                        continue;
                    };
                    let end = match end.split(',').next().unwrap_or_default() {
                        "ok" => End::Passed,
                        "ignored" => End::Skipped(end.to_owned()),
                        _ => End::Failed(text.clone()),
                    };
                    let place = match &self.test {
                        Some(file) => format!("tests/{file}.rs#{test}"),
                        None => unit(test),
                    };
                    let place = format!("{}/{place}", folder.display());
                    outcomes.push(Outcome::new(&place, end));
                }
                let told =
                    outcomes.iter().any(|it| matches!(it.end, End::Failed(_)));
                if !good && !told {
                    outcomes.push(Outcome::new(&name, End::Failed(text)));
                }
                if let Some(first) = outcomes.first_mut() {
                    first.time = time;
                }
                outcomes
            }),
        }
    }

    /// Tests from outside take their time, so each is a job.
    fn outside(
        &self,
        file: &str,
        proofs: &[Proof],
        plan: &Plan,
    ) -> Result<Vec<Job>> {
        let ignored = self.list(&["--ignored"])?;
        // What a test wants besides is the same for all of its file that want
        // anything. They are ignored, and so counted as skipped, only where it is
        // not there.
        let (what, is_there) = match file {
            "dive" => ("ssh server", outside::Sshd::is_there()),
            "mounts" => ("sshfs", outside::Mount::is_there()),
            _ => ("Chromium", outside::browser().is_some()),
        };
        if !is_there && !ignored.is_empty() && std::env::var_os("CI").is_some() {
            bail!("there is no {what}, and CI must not skip what needs it");
        }
        let mut jobs = Vec::new();
        for test in self.list(&[])? {
            let name = format!("tools/outside/tests/{file}.rs#{test}");
            let skipped = (!is_there && ignored.contains(&test)).then_some(what);
            let proof = proofs.iter().find(|proof| proof.name() == name);
            let runs = proof.map(|proof| proof.runs.clone()).unwrap_or_default();
            let command = || {
                let mut command = Command::new(&self.file);
                command
                    .args([&test, "--exact", "--include-ignored", "--nocapture"])
                    .current_dir(&self.dir)
                    .env("BUILT", root().join(BUILT))
                    .env("RUST_BACKTRACE", "0");
                command
            };
            let job = |name: String, runs, mut command: Command| Job {
                name: name.clone(),
                part: "from outside",
                runs,
                work: Box::new(move || vec![one(name, skipped, &mut command)]),
            };
            if plan.long {
                let mut long = command();
                long.env("LONG", "1");
                // Behind `npx wrangler dev`, too, as often as in the other depth. There
                // is one folder of the chapter for all of them.
                if plan.chapters.iter().any(|chapter| chapter.name == file) {
                    let mut wrangler = command();
                    wrangler.env("SERVER", "wrangler");
                    let runs =
                        [runs.clone(), vec![format!("folder of {file}")]].concat();
                    let name = format!("{name} behind wrangler dev");
                    jobs.push(job(name, runs, wrangler));
                }
                jobs.push(job(name, runs, long));
            } else {
                jobs.push(job(name, runs, command()));
            }
        }
        Ok(jobs)
    }
}

/// Runs one test from outside.
fn one(name: String, lacks: Option<&str>, command: &mut Command) -> Outcome {
    if let Some(what) = lacks {
        return Outcome::new(
            &name,
            End::Skipped(format!("there is no {what} here")),
        );
    }
    let (good, text, time) = match finish(command, LIMIT) {
        Ok(done) => done,
        Err(error) => return Outcome::new(&name, Err(error).into()),
    };
    let why = text.lines().find_map(|line| line.strip_prefix("Error: skipped: "));
    let end = match (good, why) {
        (true, _) => End::Passed,
        (_, Some(why)) => End::Skipped(why.to_owned()),
        _ => End::Failed(text.clone()),
    };
    // What a test prints though it passes are its figures.
    let figures = text.lines().filter(|line| {
        end == End::Passed
            && !line.is_empty()
            && !line.starts_with("running 1 test")
            && !line.starts_with("test ")
    });
    let said =
        figures.map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n");
    Outcome { name, end, time, said }
}

/// Runs a program to its end, but not for longer than the limit; with whatever it has
/// started. Returns whether it was content, what it printed, and how long it took.
fn finish(
    command: &mut Command,
    limit: Duration,
) -> Result<(bool, String, Duration)> {
    let log = tempfile::NamedTempFile::new()?;
    let begin = Instant::now();
    // Both write behind each other, as into a terminal.
    let output = log.reopen()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let status = loop {
        match child.try_wait()? {
            None if begin.elapsed() < limit => sleep(Duration::from_millis(20)),
            status => break status,
        }
    };
    let time = begin.elapsed();
    outside::kill_group(&mut child);
    let mut text = String::from_utf8_lossy(&fs::read(log.path())?).into_owned();
    if status.is_none() {
        text.push_str(&format!("\nit took over {} s", limit.as_secs()));
    }
    Ok((status.is_some_and(|status| status.success()), text, time))
}

/// Where a unit test stands, by its name: `rules::tests::sums` is in src/rules.rs,
/// `tests::sums` in src/lib.rs.
fn unit(name: &str) -> String {
    let (module, rest) = name.split_once("::").unwrap_or(("tests", name));
    let module = if module == "tests" { "lib" } else { module };
    let test = rest.rsplit("::").next().unwrap_or(rest);
    format!("src/{module}.rs#{test}")
}

/// The tests in the runtime of all chapters that are wanted.
fn in_the_runtime(plan: &Plan) -> Job {
    let projects: Vec<String> = match plan.all {
        true => Vec::new(),
        false => plan.chapters.iter().map(|it| it.name.clone()).collect(),
    };
    Job {
        name: "Vitest".into(),
        part: "in the runtime",
        runs: Vec::new(),
        work: Box::new(move || {
            let projects: Vec<&str> = projects.iter().map(String::as_str).collect();
            match vitest::run(&projects, false, Some(&root().join(BUILT))) {
                Ok(outcomes) => outcomes,
                Err(error) => vec![Outcome::new("Vitest", Err(error).into())],
            }
        }),
    }
}

/// The console blocks of one page.
fn on_the_page(chapter: Chapter) -> Job {
    Job {
        name: format!("console blocks of {}", chapter.name),
        part: "console blocks",
        runs: Vec::new(),
        work: Box::new(move || console::compare(&chapter)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test is known by the file in which it stands.
    #[test]
    fn unit_tests_have_a_place() {
        assert_eq!(unit("rules::tests::sums"), "src/rules.rs#sums");
        assert_eq!(unit("tests::sums"), "src/lib.rs#sums");
    }

    /// What takes too long is ended, with all that it has started; what a test says it
    /// lacks is skipped and not failed.
    #[test]
    fn a_test_that_hangs_is_ended() {
        let shell = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            shell
        };
        let (good, text, _) =
            finish(&mut shell("sleep 60 & echo $!; wait"), Duration::from_secs(1))
                .unwrap();
        assert!(!good && text.contains("it took over 1 s"), "{text}");
        let pid = text.lines().next().unwrap();
        let state =
            fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z"), "{state}");

        let lacks = "echo 'Error: skipped: no server' >&2; exit 1";
        let end = one("a".into(), None, &mut shell(lacks)).end;
        assert_eq!(end, End::Skipped("no server".into()));
        let figures = one("a".into(), None, &mut shell("echo '20 kills'"));
        assert_eq!((figures.end, figures.said.trim()), (End::Passed, "20 kills"));
    }

    /// Both depths of a test from outside are told.
    #[test]
    fn counts_are_told() {
        assert!(!counts().unwrap().is_empty());
    }
}
