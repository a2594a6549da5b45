//! What a page may say besides Markdown:
//!
//! | in the page | in the book |
//! |---|---|
//! | `{{#version worker}}` | the version from the lock files |
//! | `{{#repository}}` | the address of the repository |
//! | `[text](repo:chapters-code/ch02)` | a link to that file or folder in the repository |
//! | `{{#claim in-memory}}` | a link to the test that injects the fault |
//! | `{{#trap T20}}` | a link to the test that shows the trap |
//! | `{{#api-of ch02}}` | the API items that a chapter covers, JavaScript beside Rust |
//! | `{{#day src/ch02-a-first-object.md}}` | the day on which that file came, from git |
//! | `{{#changed ch02 ch03}}` | what became of the files of a crate, as a diff |
//! | `{{#api-map}}`, `{{#trap-list}}`, `{{#claim-list}}` | tables made from `data/*.toml` |
//!
//! Every page also gets its foot here. An unknown name is an error, so nothing can
//! be cited that is not there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::changed::changed;
use crate::places::{Place, Places};
use anyhow::{Context, Result, anyhow, bail};
use ledger::{
    Chapter, Claim, Item, Proof, Status, Trap, Versions, file_name, source_url,
};
use mdbook::book::{Book, BookItem};
use mdbook::preprocess::{Preprocessor, PreprocessorContext};

/// In the place of a day.
const UNKNOWN: &str = "not known to this copy";
/// The pages of the official documentation.
const DOCS: &str = "https://developers.cloudflare.com/durable-objects";

pub struct Directives {
    versions: Versions,
    api: Vec<Item>,
    traps: Vec<Trap>,
    claims: Vec<Claim>,
    proofs: BTreeMap<String, Proof>,
    chapters: Vec<Chapter>,
    /// Of each chapter, in the same order.
    places: Vec<Places>,
}

impl Directives {
    pub fn read() -> Result<Self> {
        let proofs = ledger::proofs()?
            .into_iter()
            .map(|proof| (proof.name(), proof))
            .collect();
        let chapters = ledger::chapters()?;
        let places = chapters
            .iter()
            .map(|chapter| Ok(Places::of(&ledger::read(&chapter.page)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            versions: Versions::read()?,
            api: ledger::api()?,
            traps: ledger::traps()?,
            claims: ledger::claims()?,
            proofs,
            chapters,
            places,
        })
    }

    fn page(&self, text: &str) -> Result<String> {
        let text = replace(text, "{{#", "}}", |inside| self.directive(inside))?;
        let text = replace(&text, "](repo:", ")", |path| {
            Ok(Some(format!("]({})", source_url(path)?)))
        })?;
        let mut text = dedent(&text);
        let foot = self.versions.verified_with()?;
        write!(text, "\n\n<footer class=\"verified\">\n\n{foot}\n\n</footer>\n")?;
        Ok(text)
    }

    /// What a directive stands for, or nothing if it is not one of ours.
    fn directive(&self, inside: &str) -> Result<Option<String>> {
        let (name, argument) =
            inside.trim().split_once(' ').unwrap_or((inside.trim(), ""));
        Ok(Some(match name {
            "version" => self.versions.of(argument)?.to_owned(),
            "repository" => ledger::repository_url()?,
            "claim" => {
                let claim = self.claims.iter().find(|c| c.id == argument);
                let claim = claim.with_context(|| {
                    format!("data/claims.toml has no claim {argument:?}")
                })?;
                format!(
                    "[tested]({} \"{}\")",
                    self.test_url(&claim.test)?,
                    claim.fault
                )
            }
            "trap" => {
                let trap = self.traps.iter().find(|t| t.id == argument);
                let trap = trap.with_context(|| {
                    format!("data/traps.toml has no trap {argument:?}")
                })?;
                format!("[the test that shows it]({})", self.test_url(&trap.test)?)
            }
            "day" => {
                source_url(argument)?;
                day(&ledger::root(), argument)
            }
            "api-of" => self.api_of(argument)?,
            "changed" => {
                let (old, new) =
                    argument.split_once(' ').context("{{#changed chNN chNN}}")?;
                changed(self.chapter(old)?, self.chapter(new)?)?
            }
            "api-map" => self.api_map()?,
            "trap-list" => self.trap_list()?,
            "claim-list" => self.claim_list()?,
            _ => return Ok(None),
        }))
    }

    fn test_url(&self, test: &str) -> Result<String> {
        let proof = self
            .proofs
            .get(test)
            .with_context(|| format!("there is no test {test}"))?;
        Ok(format!("{}#L{}", source_url(&proof.file)?, proof.line))
    }

    fn test_link(&self, test: &str) -> Result<String> {
        let name = test.split_once('#').map_or(test, |(_, name)| name);
        Ok(format!("[{}]({})", cell(name), self.test_url(test)?))
    }

    /// A link to a place on the page of a chapter.
    fn place_link<'a>(
        &'a self,
        chapter: &str,
        find: impl FnOnce(&'a Places) -> Option<&'a Place>,
    ) -> Result<Option<String>> {
        let page = file_name(&self.chapter(chapter)?.page);
        let places = self.chapters.iter().zip(&self.places);
        let mut of_page = places.filter(|(of, _)| of.name == chapter);
        let place = of_page.next().and_then(|(_, places)| find(places));
        Ok(place.map(|Place { id, title }| {
            format!("[{chapter}: {}]({page}#{id})", cell(title))
        }))
    }

    /// Where a trap or a promise is told, and below that its test.
    fn told(&self, what: &str, chapter: &str, test: &str) -> Result<String> {
        let link = self.place_link(chapter, |places| places.cited.get(what))?;
        let link =
            link.with_context(|| format!("{chapter} does not tell {what}"))?;
        Ok(format!("{link}<br>test: {}", self.test_link(test)?))
    }

    /// The section that teaches an item, and below that its test.
    fn taught(&self, item: &Item) -> Result<String> {
        let (id, chapter) = (item.id, item.chapter.as_deref());
        let (Some(chapter), Some(test)) = (chapter, &item.test) else {
            let due = chapter.map(|chapter| format!("due in {chapter}"));
            return Ok(due.unwrap_or_else(|| "–".to_owned()));
        };
        let at = item.at.as_deref();
        let at = at.with_context(|| format!("data/api.toml: {id} has no `at`"))?;
        let link = self.place_link(chapter, |places| {
            places.sections.iter().find(|section| section.id == at)
        })?;
        let link = link.with_context(|| {
            format!("data/api.toml: item {id}: {chapter} has no section {at:?}")
        })?;
        Ok(format!("{link}<br>test: {}", self.test_link(test)?))
    }

    /// How Rust reaches an item: a bare name of a file says whose it is.
    fn rust(&self, item: &Item) -> Result<String> {
        let mut rust = cell(&item.rust);
        let file = rust.split(' ').next_back().filter(|word| word.ends_with(".rs"));
        if let (Some(file), Some(chapter)) =
            (file.map(str::to_owned), &item.chapter)
        {
            let url = source_url(&format!("chapters-code/{chapter}/src/{file}"))?;
            rust = rust.replace(&file, &format!("[{file} of {chapter}]({url})"));
        }
        Ok(rust + &note(item))
    }

    fn chapter(&self, name: &str) -> Result<&Chapter> {
        let chapter = self.chapters.iter().find(|chapter| chapter.name == name);
        chapter.with_context(|| format!("there is no chapter {name:?}"))
    }

    fn api_of(&self, chapter: &str) -> Result<String> {
        let mut out = String::from(
            "| # | JavaScript | Rust | the section, and the test that proves it |\n|---:|---|---|---|\n",
        );
        for item in
            self.api.iter().filter(|item| item.chapter.as_deref() == Some(chapter))
        {
            if item.test.is_none() {
                bail!("data/api.toml: item {} of {chapter} has no test", item.id)
            }
            let (id, js) = (item.id, cell(&item.js));
            let (rust, taught) = (self.rust(item)?, self.taught(item)?);
            writeln!(out, "| {id} | `{js}` | {rust} | {taught} |")?;
        }
        Ok(out)
    }

    fn api_map(&self) -> Result<String> {
        let mut out = String::new();
        let proved = self.api.iter().filter(|item| item.test.is_some()).count();
        writeln!(
            out,
            "**{} items, {proved} of them proved by a named test so far.**\n",
            self.api.len()
        )?;
        writeln!(out, "| status | items | proved |\n|---|---:|---:|")?;
        for status in
            [Status::Bound, Status::Limited, Status::Extern, Status::NotToday]
        {
            let all = self.api.iter().filter(|item| item.status == status);
            let proved = all.clone().filter(|item| item.test.is_some()).count();
            writeln!(out, "| {} | {} | {proved} |", status.word(), all.count())?;
        }
        let mut section = "";
        for item in &self.api {
            if item.section != section {
                section = &item.section;
                writeln!(
                    out,
                    "\n## {section}\n\nOfficial page: [{page}]({DOCS}/{page}/).\n",
                    page = item.page
                )?;
                writeln!(
                    out,
                    "| # | JavaScript | Rust | status | the section, and its proof |\n|---:|---|---|---|---|"
                )?;
            }
            let (rust, taught) = (self.rust(item)?, self.taught(item)?);
            let (id, word) = (item.id, item.status.word());
            writeln!(
                out,
                "| <span id=\"api-{id}\">{id}</span> | `{}` | {rust} | {word} | {taught} |",
                cell(&item.js)
            )?;
        }
        Ok(out)
    }

    fn trap_list(&self) -> Result<String> {
        let mut out = String::from(
            "| trap | what happens | where it is told, and the test that shows it |\n|---:|---|---|\n",
        );
        let mut traps: Vec<&Trap> = self.traps.iter().collect();
        // T7 before T20.
        traps.sort_by_key(|trap| (&trap.chapter, trap.id.len(), &trap.id));
        for Trap { id, chapter, says, test } in traps {
            let told = self.told(&format!("trap {id}"), chapter, test)?;
            writeln!(out, "| {id} | {} | {told} |", cell(says))?;
        }
        Ok(out)
    }

    fn claim_list(&self) -> Result<String> {
        let mut out = String::from(
            "| # | the promise, and the fault | where it is made, and the test |\n|---:|---|---|\n",
        );
        let mut claims: Vec<&Claim> = self.claims.iter().collect();
        claims.sort_by_key(|claim| &claim.chapter);
        for (at, Claim { id, chapter, says, fault, test }) in
            claims.iter().enumerate()
        {
            let told = self.told(&format!("claim {id}"), chapter, test)?;
            let (at, says, fault) = (at + 1, cell(says), cell(fault));
            writeln!(out, "| {at} | {says}<br>Fault: {fault} | {told} |")?;
        }
        Ok(out)
    }
}

/// The day of the first commit that has a file. A clone without its whole history does
/// not know it, and neither does a copy without git: then that is said.
fn day(root: &Path, file: &str) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let shallow = git(&["rev-parse", "--is-shallow-repository"]);
    let days = git(&["log", "--diff-filter=A", "--format=%cs", "--", file]);
    let days = days.filter(|_| shallow.as_deref() == Some("false"));
    let first = days.as_deref().and_then(|days| days.lines().next_back());
    first.unwrap_or(UNKNOWN).to_owned()
}

fn note(item: &Item) -> String {
    item.note.as_ref().map_or(String::new(), |note| format!("<br>{}", cell(note)))
}

/// A `|` would end the cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Takes the common indentation off every fence of Rust: a method is included as it
/// stands in its `impl`.
fn dedent(text: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push(line);
        if !line.starts_with("```rust") {
            continue;
        }
        let body: Vec<&str> =
            lines.by_ref().take_while(|line| *line != "```").collect();
        let indents = body.iter().filter(|line| !line.trim().is_empty());
        let indent = indents
            .map(|line| line.len() - line.trim_start().len())
            .min()
            .unwrap_or(0);
        out.extend(body.iter().map(|line| line.get(indent..).unwrap_or_default()));
        out.push("```");
    }
    out.join("\n")
}

/// Replaces what stands between `open` and `close`, brackets included, wherever
/// `with` knows an answer.
fn replace(
    text: &str,
    open: &str,
    close: &str,
    with: impl Fn(&str) -> Result<Option<String>>,
) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(open) {
        out.push_str(&rest[..at]);
        let inside = &rest[at + open.len()..];
        let Some(end) = inside.find(close) else { bail!("{open} without {close}") };
        match with(&inside[..end])? {
            Some(text) => out.push_str(&text),
            None => out.push_str(&rest[at..at + open.len() + end + close.len()]),
        }
        rest = &inside[end + close.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

impl Preprocessor for Directives {
    fn name(&self) -> &str {
        "directives"
    }

    fn run(&self, _ctx: &PreprocessorContext, mut book: Book) -> Result<Book> {
        let mut failure = None;
        book.for_each_mut(|item| {
            let BookItem::Chapter(chapter) = item else { return };
            match self.page(&chapter.content) {
                Ok(text) => chapter.content = text,
                Err(error) => {
                    let page = chapter.path.as_ref().map_or_else(
                        || chapter.name.clone(),
                        |p| p.display().to_string(),
                    );
                    failure.get_or_insert(anyhow!("src/{page}: {error:#}"));
                }
            }
        });
        failure.map_or(Ok(book), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A method loses the indentation of its `impl`, and keeps its own.
    #[test]
    fn dedents_methods() {
        let text = "a\n```rust\n    fn a() {\n\n        1\n    }\n```\n    b";
        assert_eq!(dedent(text), "a\n```rust\nfn a() {\n\n    1\n}\n```\n    b");
    }

    /// Known directives are replaced; others stay, for mdBook or for the check of
    /// what is left over.
    #[test]
    fn replaces_what_it_knows() {
        let upper = |inside: &str| Ok((inside == "a").then(|| "A".to_owned()));
        let replaced = replace("x {{#a}} {{#b}} y", "{{#", "}}", upper);
        assert_eq!(replaced.ok().as_deref(), Some("x A {{#b}} y"));
        assert!(replace("{{#a", "{{#", "}}", upper).is_err());
    }

    /// Each item that a chapter covers and each trap leads into the book first, and then
    /// to its test; a trap leads to its box. A file of Rust says whose it is.
    #[test]
    fn rows_lead_to_the_section_and_then_to_the_test() -> Result<()> {
        let directives = Directives::read()?;
        let (map, traps) = (directives.api_map()?, directives.trap_list()?);
        let row = |table: &str, begin: &str| {
            let row = table.lines().find(|line| line.starts_with(begin));
            row.with_context(|| format!("no row begins with {begin}"))
                .map(str::to_owned)
        };
        for item in directives.api.iter().filter(|item| item.test.is_some()) {
            let row = row(&map, &format!("| <span id=\"api-{}\">", item.id))?;
            let at =
                format!(".md#{})<br>test: [", item.at.as_deref().unwrap_or("?"));
            assert!(row.contains(&at), "{row}");
            assert!(!row.contains(" in missing.rs"), "{row}");
        }
        assert!(map.contains("[missing.rs of ch03](https://"), "{map}");
        for trap in &directives.traps {
            let row = row(&traps, &format!("| {} |", trap.id))?;
            let last = row.rsplit(" | ").next().unwrap_or_default();
            let into_the_book = format!("[{}: ", trap.chapter);
            assert!(last.starts_with(&into_the_book), "{row}");
            // One is told in a paragraph, without a box.
            let boxed = last.contains(".md#admonition-");
            assert!(boxed || trap.id == "T65" && last.contains(".md#"), "{row}");
        }
        Ok(())
    }

    /// The day of a file is that of its first commit. A clone that has only the last
    /// commit does not take that for it, and a folder without git does not mind.
    #[test]
    fn days_are_known_or_said_to_be_unknown() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let whole = folder.path().join("whole");
        std::fs::create_dir(&whole)?;
        let git = |arguments: &str, day: &str| -> Result<()> {
            let status = Command::new("git")
                .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
                .args(arguments.split(' '))
                .env("GIT_COMMITTER_DATE", format!("{day}T12:00:00Z"))
                .current_dir(&whole)
                .status()?;
            anyhow::ensure!(status.success(), "git {arguments}");
            Ok(())
        };
        git("init --quiet", "2026-01-01")?;
        for day in ["2026-01-02", "2026-01-03"] {
            std::fs::write(whole.join("page.md"), day)?;
            git("add page.md", day)?;
            git("commit --quiet --message page", day)?;
        }
        let from = format!("file://{}", whole.display());
        git(&format!("clone --quiet --depth 1 {from} ../shallow"), "2026-01-04")?;
        assert_eq!(day(&whole, "page.md"), "2026-01-02");
        assert_eq!(day(&folder.path().join("shallow"), "page.md"), UNKNOWN);
        assert_eq!(day(folder.path(), "page.md"), UNKNOWN);
        Ok(())
    }
}
