//! Console blocks: what a page tells its reader to type is typed here, and what
//! comes back is compared.
//!
//! The blocks of a page are one run, from top to bottom, on empty state. `$ `
//! begins a command. `[..]` stands for any part of a line, `...` alone in a line
//! for any lines, as in trycmd. In a block that says `varies` any number or long id
//! may stand for any other, so that the page can show real ones. `npx wrangler dev`
//! starts the chapter, or starts it again on the state that is there, and may end in
//! `--persist-to <folder>`; every other command runs while it serves.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ledger::{Chapter, Command, chapters_named, commands, read, root};
use outside::{By, Dev, as_printed};
use tempfile::TempDir;

use crate::fences::{fences, place};
use crate::run::program;
use crate::setup;
use crate::tally::{End, Outcome};

/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// What came of the console blocks of some pages.
#[derive(Debug, Default)]
pub struct Summary {
    pub ran: usize,
    /// Place and reason of each block that could not run.
    pub not_run: Vec<(String, String)>,
}

/// `cargo xtask record`
pub fn record(names: &[String]) -> Result<()> {
    let chapters = chapters_named(names)?;
    setup::setup(setup::For::Workers)?;
    for chapter in chapters {
        let mut changes = Vec::new();
        run_page(&chapter, &mut |line, command, actual, outcome| {
            if outcome.is_err() {
                changes.push((
                    line + command.length - 1,
                    command.expected.len(),
                    actual.to_owned(),
                ));
            }
        })?;
        let mut lines: Vec<String> =
            read(&chapter.page)?.lines().map(str::to_owned).collect();
        for (at, length, actual) in changes.iter().rev() {
            lines.splice(*at..at + length, actual.lines().map(str::to_owned));
        }
        fs::write(&chapter.page, lines.join("\n") + "\n")?;
        println!("{}: {} outputs re-recorded", place(&chapter.page), changes.len());
    }
    Ok(())
}

/// Runs the blocks of a chapter's page; every command is one check.
pub fn compare(chapter: &Chapter) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut last = Instant::now();
    let page = run_page(chapter, &mut |line, command, _, outcome| {
        let name = format!("{}:{line}: `{}`", place(&chapter.page), command.text);
        let outcome =
            Outcome { time: last.elapsed(), ..Outcome::new(&name, outcome.into()) };
        last = Instant::now();
        outcomes.push(outcome);
    });
    let end = match &page {
        Ok(_) => End::Passed,
        Err(error) => End::Failed(format!("{error:#}")),
    };
    let mut all = Outcome::new(&place(&chapter.page), end);
    if let Ok(Summary { ran, not_run }) = page {
        all.said = format!(
            "    {ran} console blocks ran, {} cannot run here",
            not_run.len()
        );
        for (place, reason) in not_run {
            all.said += &format!("\n    {place}: {reason}");
        }
    }
    outcomes.push(all);
    outcomes
}

/// Sees each command: its line, itself, what came back, and whether that fits.
type See<'a> = dyn FnMut(usize, &Command, &str, Result<()>) + 'a;

fn run_page(chapter: &Chapter, see: &mut See<'_>) -> Result<Summary> {
    let mut summary = Summary::default();
    let mut dev = Dev::prepare_by(By::Wrangler, &chapter.dir, &[])?;
    let mut shell = Shell::start()?;
    for fence in
        fences(&chapter.page)?.iter().filter(|fence| fence.language() == "console")
    {
        if let Some(reason) = fence.reason("norun").filter(|_| fence.says("norun"))
        {
            summary.not_run.push((
                format!("{}:{}", place(&chapter.page), fence.line),
                reason.to_owned(),
            ));
            continue;
        }
        summary.ran += 1;
        let lines = fence.body.iter().map(String::as_str);
        let here = |line| format!("{}:{line}", place(&chapter.page));
        let commands = commands(lines).with_context(|| {
            format!("{}: a console block begins with `$ `", here(fence.line + 1))
        })?;
        for command in commands {
            let line = fence.line + 1 + command.at;
            let actual = type_in(&command.text, &mut shell, &mut dev)
                .with_context(|| format!("{}: `{}`", here(line), command.text))?;
            let printed = command.expected.join("\n");
            let outcome = as_printed(&printed, &actual, fence.says("varies"));
            see(line, &command, &actual, outcome);
        }
    }
    Ok(summary)
}

/// Types one command and returns what comes back.
fn type_in(command: &str, shell: &mut Shell, dev: &mut Dev) -> Result<String> {
    let output = match start(command) {
        Some((before, persist_to)) => {
            // The `true` stands for a command where there is none before.
            shell.run(&format!("{before} true"))?;
            if let Some(folder) = persist_to {
                let folder = shell.run(&format!("printf %s {folder}"))?;
                dev.persist_to(Some(Path::new(&folder)));
            }
            dev.up()?;
            dev.log()
        }
        None => shell.run(&to_server(command, dev))?,
    };
    Ok(from_server(&output, dev).trim_end().to_owned())
}

/// If a command starts the server: what stands before that, and where it keeps its
/// state, as the shell writes it, if the command says so.
fn start(command: &str) -> Option<(&str, Option<&str>)> {
    let (before, options) = command.split_once("npx wrangler dev")?;
    match options.split_once("--persist-to ") {
        None => options.is_empty().then_some((before, None)),
        Some((" ", folder)) => Some((before, Some(folder))),
        Some(_) => None,
    }
}

/// One shell for all commands of a page, as a reader has it: it keeps its folder
/// and its variables.
struct Shell {
    child: Child,
    stdin: ChildStdin,
    folder: TempDir,
    /// How much of the output has been read.
    read: usize,
    count: usize,
}

impl Shell {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // In a terminal curl shows no progress; here it would, since its output
        // goes to a file.
        fs::write(
            folder.path().join(".curlrc"),
            "silent\nshow-error\nmax-time = 20\n",
        )?;
        // A terminal is open, though nobody types into it; /dev/null would be at its
        // end. A pipe that the shell holds open at both ends is like the terminal.
        let typing = folder.path().join("typing");
        ensure!(
            program("mkfifo").arg(&typing).status()?.success(),
            "cannot make a pipe"
        );
        let output = File::create(folder.path().join("output"))?;
        let mut child = program("bash")
            .args(["--noprofile", "--norc"])
            .env("CURL_HOME", folder.path())
            // What `mktemp` makes goes with the shell.
            .env("TMPDIR", folder.path())
            .env("NO_COLOR", "1")
            .env("CARGO_TERM_COLOR", "never")
            // What npm thinks of this machine's settings is on no page.
            .env("npm_config_loglevel", "error")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .context("cannot start bash")?;
        let mut stdin = child.stdin.take().context("bash has no input")?;
        writeln!(stdin, "exec 9<>'{}'", typing.display())?;
        Ok(Self { child, stdin, folder, read: 0, count: 0 })
    }

    fn run(&mut self, command: &str) -> Result<String> {
        self.count += 1;
        let mark = format!("--end of command {}--", self.count);
        // The braces keep a command from reading the next ones as its input.
        writeln!(self.stdin, "{{ {command}\n}} <&9\nprintf '\\n%s\\n' '{mark}'")?;
        let begin = Instant::now();
        loop {
            let output = fs::read(self.folder.path().join("output"))?;
            let output = String::from_utf8_lossy(&output[self.read..]).into_owned();
            if let Some((text, _)) = output.split_once(&format!("\n{mark}\n")) {
                self.read += output.len();
                return Ok(text.to_owned());
            }
            ensure!(
                self.child.try_wait()?.is_none(),
                "the shell has ended:\n{output}"
            );
            ensure!(
                begin.elapsed() < COMMAND_LIMIT,
                "it did not end within {} s",
                COMMAND_LIMIT.as_secs()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        outside::kill_group(&mut self.child);
    }
}

/// Readers have their server at 8787. Ours has a port of its own, so that runs do
/// not meet.
fn to_server(text: &str, dev: &Dev) -> String {
    text.replace("localhost:8787", &format!("localhost:{}", dev.port()))
}

fn from_server(text: &str, dev: &Dev) -> String {
    let text = text
        .replace(&format!("localhost:{}", dev.port()), "localhost:8787")
        .replace('\r', "");
    text.replace(&root().display().to_string(), ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server is started where a reader would start it.
    #[test]
    fn sees_where_the_server_starts() {
        assert_eq!(
            start("cd ch08 && npx wrangler dev"),
            Some(("cd ch08 && ", None))
        );
        assert_eq!(
            start("npx wrangler dev --persist-to \"$state\""),
            Some(("", Some("\"$state\"")))
        );
        assert_eq!(start("npx wrangler dev --help"), None);
        assert_eq!(start("npx wrangler deploy"), None);
    }
}
