//! The ledger of fences: every block of code on every page is accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ledger::{GENERATED, file_name, list, read, root};

/// What is the same in every chapter that has it, word for word: chapters stand
/// alone, so each has its own copy.
pub const SHARED: [&str; 5] = [
    ".cargo/config.toml",
    "src/web.rs",
    "src/query.rs",
    "src/transaction.rs",
    "src/migrations.rs",
];

/// A block of code on a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Fence {
    /// The line of its first backtick, counted from 1.
    pub line: usize,
    /// What follows the backticks: `rust`, `console,norun`, `admonish warning`, ...
    pub info: String,
    /// The lines between the backticks.
    pub body: Vec<String>,
    /// The reason in an HTML comment in the line above: `<!-- norun: needs a login
    /// -->` gives `("norun", "needs a login")`.
    pub reason: Option<(String, String)>,
}

impl Fence {
    /// The language.
    pub fn language(&self) -> &str {
        self.info.split([',', ' ']).next().unwrap_or_default()
    }

    /// Whether one of the words after the language is this one.
    pub fn says(&self, word: &str) -> bool {
        self.info.split([',', ' ']).skip(1).any(|said| said == word)
    }

    /// The reason of that kind, if it is given.
    pub fn reason(&self, kind: &str) -> Option<&str> {
        self.reason
            .as_ref()
            .filter(|(said, _)| said == kind)
            .map(|(_, reason)| reason.as_str())
    }
}

/// All fences of a page, those inside admonitions included.
pub fn fences(page: &Path) -> Result<Vec<Fence>> {
    let text = read(page)?;
    let lines: Vec<&str> = text.lines().collect();
    let mut fences = Vec::new();
    if let Err(line) = scan(&lines, 1, &mut fences) {
        bail!("{}:{line}: this fence is never closed", place(page));
    }
    Ok(fences)
}

fn scan(
    lines: &[&str],
    first: usize,
    fences: &mut Vec<Fence>,
) -> std::result::Result<(), usize> {
    let mut at = 0;
    while at < lines.len() {
        let ticks = lines[at].chars().take_while(|&c| c == '`').count();
        if ticks < 3 {
            at += 1;
            continue;
        }
        let closes = |line: &&str| {
            line.trim_end().len() >= ticks
                && line.trim_end().chars().all(|c| c == '`')
        };
        let length = lines[at + 1..].iter().position(closes).ok_or(first + at)?;
        let body = &lines[at + 1..at + 1 + length];
        let info = lines[at][ticks..].trim();
        if info.starts_with("admonish") {
            scan(body, first + at + 1, fences)?;
        }
        fences.push(Fence {
            line: first + at,
            info: info.to_owned(),
            body: body.iter().map(|line| (*line).to_owned()).collect(),
            reason: lines[..at].last().and_then(|line| comment(line)),
        });
        at += length + 2;
    }
    Ok(())
}

fn comment(line: &str) -> Option<(String, String)> {
    let inside = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    let (kind, reason) = inside.split_once(':')?;
    Some((kind.trim().to_owned(), reason.trim().to_owned()))
}

/// All pages of the book.
pub fn pages() -> Result<Vec<PathBuf>> {
    let pages = list(&root().join("src"))?;
    Ok(pages.into_iter().filter(|page| file_name(page).ends_with(".md")).collect())
}

/// A file's name from the root of the repository.
pub fn place(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// What an `{{#include}}` asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Include {
    file: PathBuf,
    anchor: Option<String>,
}

fn include(line: &str, page: &Path) -> Option<Include> {
    let inside =
        line.trim().strip_prefix("{{#include ")?.strip_suffix("}}")?.trim();
    let (file, anchor) = inside
        .split_once(':')
        .map_or((inside, None), |(file, anchor)| (file, Some(anchor)));
    let folder = page.parent().unwrap_or(page);
    let file =
        folder.join(file).components().fold(PathBuf::new(), |mut path, part| {
            match part {
                std::path::Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
            path
        });
    Some(Include { file, anchor: anchor.map(str::to_owned) })
}

/// The languages that a page may use.
const LANGUAGES: [&str; 10] = [
    "rust", "toml", "yaml", "js", "json", "html", "console", "text", "sh",
    "admonish",
];

/// Checks the language and the content of every fence of every page; returns the
/// number of Rust fences.
pub fn check_fences() -> Result<usize> {
    let mut count = 0;
    for page in pages()? {
        for fence in fences(&page)? {
            let here = format!("{}:{}", place(&page), fence.line);
            let language = fence.language();
            if !LANGUAGES.contains(&language) {
                bail!(
                    "{here}: a fence says what it holds: one of {}",
                    LANGUAGES.join(", ")
                );
            }
            if language == "console"
                && fence.says("norun")
                && fence.reason("norun").is_none()
            {
                bail!(
                    "{here}: a console block that is not run needs its reason above it: <!-- norun: ... -->"
                );
            }
            if !["rust", "toml"].contains(&language) {
                continue;
            }
            count += usize::from(language == "rust");
            if fence.says("ignore") {
                if fence.reason("ignore").is_none() {
                    bail!(
                        "{here}: code that is no include needs its reason above it: <!-- ignore: ... -->"
                    );
                }
                continue;
            }
            let included = fence.body.iter().filter(|line| !line.trim().is_empty());
            if fence.body.is_empty()
                || !included.clone().all(|line| include(line, &page).is_some())
            {
                bail!(
                    "{here}: a {language} fence holds {{{{#include ...}}}} lines and nothing else"
                );
            }
        }
    }
    Ok(count)
}

/// Checks that every include finds its file and anchor, and that every anchor is
/// whole and used.
pub fn check_anchors() -> Result<usize> {
    let mut used = BTreeSet::new();
    for page in pages()? {
        for (at, line) in read(&page)?.lines().enumerate() {
            if !line.contains("{{#include") {
                continue;
            }
            let here = format!("{}:{}", place(&page), at + 1);
            let Some(include) = include(line, &page) else {
                bail!(
                    "{here}: an include stands alone in its line: {{{{#include path:anchor}}}}"
                );
            };
            let Ok(text) = read(&include.file) else {
                bail!("{here}: there is no file {}", place(&include.file));
            };
            if let Some(anchor) = &include.anchor {
                let found = anchors(&text)
                    .is_ok_and(|anchors| anchors.contains_key(anchor.as_str()));
                if !found {
                    bail!(
                        "{here}: there is no anchor {anchor:?} in {}",
                        place(&include.file)
                    );
                }
            }
            used.insert(include);
        }
    }
    let mut count = 0;
    let mut files = Vec::new();
    for folder in ["chapters-code", "traps", "wrangler", "tools/outside"] {
        walk(&root().join(folder), &mut files)?;
    }
    for file in files {
        let Ok(text) = read(&file) else { continue };
        let anchors = anchors(&text)
            .map_err(|problem| anyhow::anyhow!("{}:{problem}", place(&file)))?;
        for (anchor, line) in anchors {
            // A file that all chapters share is shown on one page and used by all.
            let shared = SHARED.iter().find(|shared| file.ends_with(shared));
            let shows = |include: &Include| {
                let same = match shared {
                    Some(shared) => include.file.ends_with(shared),
                    None => include.file == file,
                };
                same && include.anchor.as_deref() == Some(anchor)
            };
            if !used.iter().any(shows) {
                bail!(
                    "{}:{line}: no page uses the anchor {anchor:?}",
                    place(&file)
                );
            }
            count += 1;
        }
    }
    Ok(count)
}

/// The anchors of a file and their lines, or what is wrong with one of them.
fn anchors(text: &str) -> std::result::Result<BTreeMap<&str, usize>, String> {
    let mut begun: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ended = BTreeSet::new();
    for (at, line) in text.lines().enumerate() {
        let line_number = at + 1;
        if let Some((_, name)) = line.split_once("ANCHOR_END:") {
            let name = name.trim();
            if !begun.contains_key(name) || !ended.insert(name) {
                return Err(format!(
                    "{line_number}: ANCHOR_END: {name} has no beginning"
                ));
            }
        } else if let Some((_, name)) = line.split_once("ANCHOR:") {
            let name = name.trim();
            if begun.insert(name, line_number).is_some() {
                return Err(format!(
                    "{line_number}: there are two anchors {name:?}"
                ));
            }
        }
    }
    match begun.iter().find(|(name, _)| !ended.contains(*name)) {
        Some((name, line)) => {
            Err(format!("{line}: the anchor {name:?} never ends"))
        }
        None => Ok(begun),
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in list(folder)? {
        if !path.is_dir() {
            files.push(path);
        } else if !GENERATED.contains(&file_name(&path)) {
            walk(&path, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fences are found with their reasons, also inside an admonition of more
    /// backticks.
    #[test]
    fn finds_fences() {
        let page = "<!-- norun: a login -->\n```console,norun\n$ x\n```\n\n````admonish warning\nA trap\n```rust\n{{#include a}}\n```\n````\n";
        let lines: Vec<_> = page.lines().collect();
        let mut fences = Vec::new();
        assert_eq!(scan(&lines, 1, &mut fences), Ok(()));
        let seen: Vec<_> = fences
            .iter()
            .map(|f| (f.line, f.language(), f.reason("norun")))
            .collect();
        assert_eq!(
            seen,
            [
                (2, "console", Some("a login")),
                (8, "rust", None),
                (6, "admonish", None)
            ]
        );
        assert!(fences[0].says("norun"));
        assert_eq!(scan(&["a", "```rust", "b"], 1, &mut fences), Err(2));
    }

    /// An anchor begins once, ends once, and in that order.
    #[test]
    fn whole_anchors_only() {
        assert_eq!(
            anchors("// ANCHOR: a\n// ANCHOR_END: a").map(|a| a.len()),
            Ok(1)
        );
        assert!(
            anchors("// ANCHOR: a\nx")
                .is_err_and(|e| e == "1: the anchor \"a\" never ends")
        );
        assert!(
            anchors("// ANCHOR: a\n// ANCHOR_END: a\n// ANCHOR: a")
                .is_err_and(|e| e.contains("two anchors"))
        );
        assert!(
            anchors("// ANCHOR_END: a").is_err_and(|e| e.contains("no beginning"))
        );
    }

    /// An include names a file from the page's folder, and maybe an anchor.
    #[test]
    fn reads_includes() {
        let page = Path::new("/r/src/page.md");
        let read = |line| include(line, page).map(|i| (i.file, i.anchor));
        assert_eq!(
            read("{{#include ../c/lib.rs:get}}"),
            Some(("/r/c/lib.rs".into(), Some("get".into())))
        );
        assert_eq!(
            read("{{#include ../c/lib.rs}}"),
            Some(("/r/c/lib.rs".into(), None))
        );
        assert_eq!(read("let a = 1;"), None);
    }
}
