//! The truth gates: fast, and without the runtime.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ledger::{
    Chapter, Versions, chapters, file_name, obligations, proofs, read, root,
};

use crate::fences::{self, SHARED, fences, pages, place};
use crate::run::{capture, cargo, npx, program};
use crate::setup;
use crate::tally::Tally;

/// `cargo xtask check`
pub fn check() -> Result<()> {
    setup::setup(setup::For::Book)?;
    let mut tally = Tally::default();
    gates(&mut tally);
    tally.finish()
}

/// Runs every gate; each is one check.
pub fn gates(tally: &mut Tally) {
    tally.note(
        "fences",
        fences::check_fences()
            .map(|count| println!("{count} Rust fences, all accounted for")),
    );
    tally.note(
        "anchors",
        fences::check_anchors()
            .map(|count| println!("{count} anchors, all whole and used")),
    );
    tally.note("versions", typed_versions());
    tally.note(
        "proofs",
        check_proofs().map(|count| {
            println!("{count} items, traps and claims have a test that names them")
        }),
    );
    tally.note("the lock of npm", locked());
    tally.note("citations", citations());
    tally.note("chapters", alike());
    tally.note("the official pages", official());
    tally.note(
        "troubleshooting",
        troubleshooting().map(|count| {
            println!("{count} errors of the appendix, each in the words of a test")
        }),
    );
    tally.note("the book prints", setup::print_book());
    tally.note("links and fragments", links());
    tally.note("formatting", formatting());
    // Its settings are in .codespellrc.
    by_program(tally, "spelling", "codespell", &[], &[]);
    by_program(tally, "shell scripts", "shellcheck", &["--shell=sh"], &SCRIPTS);
    by_program(
        tally,
        "the VM's cloud-init",
        "cloud-init",
        &["schema", "--config-file"],
        &[".mp.cloud-init.yaml"],
    );
}

/// What a shell of any system must be able to run.
const SCRIPTS: [&str; 4] = [
    ".mp.dive.sh",
    ".mp.local.sh",
    "tools/outside/tests/multipass/multipass",
    "tools/worker-build/worker-build.sh",
];

/// A gate that is a program of the system, which may be missing; but not in CI.
fn by_program(
    tally: &mut Tally,
    gate: &str,
    name: &str,
    options: &[&str],
    files: &[&str],
) {
    match capture(program(name).args(options).args(files)) {
        Ok((status, text)) => tally.note(
            gate,
            match status.success() {
                true => Ok(()),
                false => Err(anyhow::anyhow!("{}", text.trim())),
            },
        ),
        Err(error) if std::env::var_os("CI").is_some() => {
            tally.note(gate, Err(error));
        }
        Err(_) => tally.skip(gate, &format!("there is no {name} here")),
    }
}

/// No page types a version: they come from the lock files.
fn typed_versions() -> Result<()> {
    for page in pages()? {
        for (at, line) in read(&page)?.lines().enumerate() {
            if let Some(version) = typed_version(line) {
                bail!(
                    "{}:{}: {version:?} is a version; write {{{{#version <name>}}}}, or [..] in a console block",
                    place(&page),
                    at + 1
                );
            }
        }
    }
    Ok(())
}

/// The programs whose bare numbers are versions too.
const PROGRAMS: [&str; 12] = [
    "rust",
    "rustc",
    "worker",
    "worker-build",
    "workerd",
    "wrangler",
    "wasm-bindgen",
    "node",
    "node.js",
    "npm",
    "mdbook",
    "vitest",
];

fn typed_version(line: &str) -> Option<&str> {
    let line = line
        .split("](http")
        .next()
        .filter(|_| !line.contains("{{#include"))
        .unwrap_or_default();
    let words: Vec<&str> = line
        .split(|c: char| c.is_whitespace() || "`,;()[]\"'".contains(c))
        .collect();
    let numbers = |word: &str| -> Option<usize> {
        let parts: Vec<&str> = word
            .trim_start_matches(['v', '^', '=', '~'])
            .trim_end_matches('.')
            .split('.')
            .collect();
        parts
            .iter()
            .all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
            })
            .then_some(parts.len())
    };
    let date = |word: &str| {
        let parts: Vec<&str> = word.trim_end_matches('.').split('-').collect();
        matches!(parts.as_slice(), [y, m, d] if y.starts_with("20") && y.len() == 4 && m.len() == 2 && d.len() == 2)
    };
    for (at, word) in words.iter().enumerate() {
        let bare = word.rsplit_once('@').map_or(*word, |(_, version)| version);
        let dots = numbers(bare);
        let after_program =
            at > 0 && PROGRAMS.contains(&words[at - 1].to_lowercase().as_str());
        if dots == Some(3)
            || date(bare)
            || (dots.is_some() && (after_program || bare != *word))
        {
            return Some(word);
        }
    }
    None
}

/// Everything that must have a test has one that names it, and tests name nothing
/// that is not there.
fn check_proofs() -> Result<usize> {
    let proofs = proofs()?;
    let obligations = obligations()?;
    let mut ids = BTreeSet::new();
    for (id, test) in &obligations {
        ensure!(ids.insert(id.as_str()), "data/*.toml: {id} stands there twice");
        let Some(proof) = proofs.iter().find(|proof| proof.name() == *test) else {
            bail!(
                "data/*.toml: {id} should be proved by {test}, which is not there"
            );
        };
        if !proof.proves.contains(id) {
            bail!(
                "{}:{}: the test does not say `proves: {id}`",
                proof.file,
                proof.line
            );
        }
    }
    for proof in &proofs {
        if let Some(id) = proof.proves.iter().find(|id| !ids.contains(id.as_str()))
        {
            bail!(
                "{}:{}: the test proves {id:?}, for which data/*.toml names no test",
                proof.file,
                proof.line
            );
        }
    }
    Ok(obligations.len())
}

/// Whatever npm fetches is what the lock names, byte for byte, from whichever registry.
fn locked() -> Result<()> {
    let lock = read(&root().join("package-lock.json"))?;
    let lock: serde_json::Value = serde_json::from_str(&lock)?;
    let packages = lock.get("packages").and_then(|packages| packages.as_object());
    for (name, package) in packages.context("package-lock.json has no packages")? {
        // The others are folders of the repository.
        let fetched =
            name.starts_with("node_modules/") && package.get("link").is_none();
        ensure!(
            !fetched || package.get("integrity").is_some(),
            "package-lock.json: {name} has no integrity; `npm view <package>@<version> dist.integrity` tells it"
        );
        let from = package.get("resolved").and_then(|from| from.as_str());
        ensure!(
            from.is_none_or(|from| !from.contains("://")),
            "package-lock.json: {name} names a registry: `npm install` in the root leaves that out"
        );
    }
    Ok(())
}

/// A chapter's traps and claims are told on its page; a page that speaks of
/// surviving says where that is tested.
fn citations() -> Result<()> {
    let traps = ledger::traps()?
        .into_iter()
        .map(|trap| (trap.chapter, format!("{{{{#trap {}}}}}", trap.id)));
    let claims = ledger::claims()?
        .into_iter()
        .map(|claim| (claim.chapter, format!("{{{{#claim {}}}}}", claim.id)));
    let chapters = chapters()?;
    for (name, directive) in traps.chain(claims) {
        let chapter = chapters.iter().find(|chapter| chapter.name == name);
        let chapter = chapter.with_context(|| {
            format!("data/*.toml: there is no chapter {name:?}")
        })?;
        ensure!(
            read(&chapter.page)?.contains(&directive),
            "{}: the page does not cite {directive}",
            place(&chapter.page)
        );
    }
    for page in pages()? {
        for paragraph in read(&page)?.split("\n\n") {
            let speaks =
                ["survive", "outlive"].iter().any(|word| paragraph.contains(word));
            if speaks
                && !paragraph.contains("{{#claim")
                && !paragraph.contains("<!-- no claim:")
            {
                let begin: String = paragraph.trim().chars().take(60).collect();
                bail!(
                    "{}: {begin:?} speaks of surviving without a {{{{#claim}}}}",
                    place(&page)
                );
            }
        }
    }
    Ok(())
}

/// Appendix C answers every official page that has an item of the API.
fn official() -> Result<()> {
    let appendix = root().join("src/appendix-c-from-javascript.md");
    let answers = read(&appendix)?;
    for item in ledger::api()? {
        ensure!(
            answers.contains(&format!("/durable-objects/{}/", item.page)),
            "{}: no word about the official page {}, which has {}",
            place(&appendix),
            item.page,
            item.js
        );
    }
    Ok(())
}

/// An error that appendix D explains stands there as it is printed, so that a search
/// finds it: in the words that some test expects or that a console block shows. Each
/// answer leads to its chapter and to a test.
fn troubleshooting() -> Result<usize> {
    let page = root().join("src/appendix-d-troubleshooting.md");
    let mut printed = String::new();
    for file in ledger::test_files()? {
        // In the source of a test a quote has a backslash before it.
        printed += &read(&file)?.replace('\\', "");
    }
    for page in pages()? {
        for fence in fences(&page)?.iter().filter(|f| f.language() == "console") {
            printed += &fence.body.join("\n");
        }
    }
    let text = read(&page)?;
    let mut count = 0;
    for entry in text.split("\n### ").skip(1) {
        let (heading, answer) = entry.split_once('\n').unwrap_or((entry, ""));
        let answer = answer.split("\n## ").next().unwrap_or_default();
        let leads = ["{{#trap ", "{{#claim ", "](repo:"];
        ensure!(
            leads.iter().any(|lead| answer.contains(lead)),
            "{}: {heading} leads to no test",
            place(&page)
        );
        let code = heading.starts_with('`') && heading.ends_with('`');
        if !code {
            continue;
        }
        let words = heading.trim_matches('`').trim();
        ensure!(
            printed.contains(&words.replace('\\', "")),
            "{}: no test expects {words:?}",
            place(&page)
        );
        count += 1;
    }
    Ok(count)
}

/// What every chapter's folder has.
const FILES: [&str; 7] = [
    "Cargo.toml",
    "README.md",
    ".cargo/config.toml",
    "wrangler.toml",
    "src/lib.rs",
    "src/rules.rs",
    "src/web.rs",
];

/// A Worker, chapter or not, is compiled and run with the settings of the first.
fn configured_alike(dir: &Path, first: &Path) -> Result<()> {
    ensure_same(
        &dir.join(".cargo/config.toml"),
        &first.join(".cargo/config.toml"),
    )?;
    let head = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.starts_with("compat"))
            .map(str::to_owned)
            .collect()
    };
    let file = dir.join("wrangler.toml");
    let wrangler = read(&file)?;
    ensure!(
        head(&wrangler) == head(&read(&first.join("wrangler.toml"))?),
        "{}: not the compatibility settings of the chapters",
        place(&file)
    );
    let versions = Versions::read()?;
    let version = versions.of("worker-build")?;
    let takes = format!(
        "[ \"$(worker-build --version)\" = {version} ] || {{ cargo install --locked \
         worker-build@{version} && PATH=~/.cargo/bin:$PATH; }} || exit\n"
    );
    ensure!(
        wrangler.contains(&takes),
        "{}: should take worker-build {version} and no other:\n{}",
        place(&file),
        takes.trim()
    );
    Ok(())
}

fn ensure_same(file: &Path, first: &Path) -> Result<()> {
    ensure!(
        read(file)? == read(first)?,
        "{} differs from {}",
        place(file),
        place(first)
    );
    Ok(())
}

/// All chapters look alike, and are where a reader looks for them.
fn alike() -> Result<()> {
    let chapters = chapters()?;
    let first = chapters.first().context("there is no chapter")?;
    let summary = read(&root().join("src/SUMMARY.md"))?;
    let front = read(&root().join("wrangler/wrangler.toml"))?;
    let others = [root().join("wrangler"), root().join("traps")];
    for dir in chapters.iter().map(|chapter| &chapter.dir).chain(&others) {
        configured_alike(dir, &first.dir)?;
    }
    for chapter in &chapters {
        let name = &chapter.name;
        for file in FILES {
            ensure!(
                chapter.dir.join(file).exists(),
                "chapters-code/{name} has no {file}"
            );
        }
        for file in SHARED {
            let has = |chapter: &&Chapter| chapter.dir.join(file).exists();
            if has(&chapter)
                && let Some(first) = chapters.iter().find(has)
            {
                ensure_same(&chapter.dir.join(file), &first.dir.join(file))?;
            }
        }
        let lib = read(&chapter.dir.join("src/lib.rs"))?;
        let lint = "#![deny(clippy::await_holding_refcell_ref)]";
        ensure!(
            lib.contains(lint),
            "chapters-code/{name}/src/lib.rs: {lint} is missing"
        );
        ensure!(
            summary.contains(file_name(&chapter.page)),
            "src/SUMMARY.md does not list {}",
            file_name(&chapter.page)
        );
        let service = format!("service = \"{name}\"");
        ensure!(
            front.contains(&service),
            "wrangler/wrangler.toml: no line with {service}"
        );
        let tells = fences(&chapter.page)?.iter().any(|fence| {
            fence.body.iter().any(|line| {
                line.contains(&format!(
                    "cd chapters-code/{name} && npx wrangler dev"
                ))
            })
        });
        ensure!(
            tells,
            "{}: the page does not say how to run its crate",
            place(&chapter.page)
        );
    }
    Ok(())
}

/// linkinator looks at every link and fragment of the printed book; links to other
/// sites are left alone.
fn links() -> Result<()> {
    let mut linkinator = npx(&root());
    linkinator.args([
        "linkinator",
        "target/book",
        "--recurse",
        "--check-fragments",
    ]);
    linkinator.args([
        "--format",
        "json",
        "--skip",
        "^https://",
        "--skip",
        "localhost:(8700|8787)",
    ]);
    let output = linkinator.output().context("cannot start linkinator")?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| {
            format!("linkinator says {:?}", String::from_utf8_lossy(&output.stderr))
        })?;
    let links = report.get("links").and_then(|links| links.as_array());
    let links = links.context("linkinator reports no links")?;
    let word = |link: &serde_json::Value, key: &str| {
        link.get(key).and_then(|value| value.as_str()).unwrap_or("?").to_owned()
    };
    let broken = links.iter().filter(|link| word(link, "state") == "BROKEN");
    // The print page holds every page once more; name the page itself.
    let of_print =
        |link: &&serde_json::Value| word(link, "parent").ends_with("print.html");
    if let Some(link) = broken.min_by_key(of_print) {
        bail!(
            "{} links to {}, which is not there",
            word(link, "parent"),
            word(link, "url")
        );
    }
    for page in pages()?.iter().filter(|page| file_name(page) != "SUMMARY.md") {
        let name = file_name(page).replace(".md", ".html");
        let seen = links.iter().any(|link| word(link, "url").ends_with(&name));
        ensure!(
            seen || name == "404.html",
            "{}: no link leads to this page",
            place(page)
        );
    }
    Ok(())
}

fn formatting() -> Result<()> {
    let (status, text) =
        capture(cargo().args(["fmt", "--all", "--check", "--", "-l"]))?;
    ensure!(status.success(), "run `cargo fmt --all`:\n{}", text.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the canary tries is the newest of everybody's code. The job that runs it may
    /// write nothing, and the one that writes issues runs nothing of the repository.
    #[test]
    fn the_canary_cannot_write() -> Result<()> {
        let file = root().join(".github/workflows/canary.yml");
        let text = read(&file)?;
        let (head, jobs) = text.split_once("\njobs:\n").context("no jobs")?;
        assert!(!head.contains(": write"), "{head}");
        // A job's name stands two blanks from the left, what is in it further in.
        let begins =
            |line: &str| line.starts_with("  ") && !line.starts_with("   ");
        let mut kinds = Vec::new();
        for line in jobs.lines().filter(|line| !line.trim().starts_with('#')) {
            if begins(line) {
                kinds.push((false, false));
            }
            let (writes, runs) = kinds.last_mut().context("a line of no job")?;
            *writes |= line.contains(": write");
            *runs |= ["uses:", "cargo ", "npm ", "npx ", ".ci/", "git "]
                .iter()
                .any(|program| line.contains(program));
        }
        assert_eq!(kinds, [(false, true), (true, false)]);
        Ok(())
    }

    /// Versions and dates are found; addresses, counts and links are not taken for
    /// them.
    #[test]
    fn finds_typed_versions() {
        for bad in [
            "worker 0.8.7 is",
            "Node 22",
            "use `worker-build@0.8.7`",
            "since 2026-08-01.",
            "Rust 1.95",
            "(v1.2.3)",
        ] {
            assert!(typed_version(bad).is_some(), "{bad}");
        }
        for good in [
            "127.0.0.1",
            "takes 1.5 seconds",
            "2 cores",
            "worker {{#version worker}}",
            "[a](https://x/1.2.3)",
            "wrangler [..]",
        ] {
            assert_eq!(typed_version(good), None, "{good}");
        }
    }
}
