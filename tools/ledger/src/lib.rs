//! What the book claims, and what proves it.
//!
//! Both the printing press and the checks read the same files through this crate,
//! so that a page cannot say one thing and a check look for another.

mod console;
mod proofs;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

pub use console::{Command, commands};
pub use proofs::{Proof, proofs, test_files};
pub use versions::Versions;

/// The folder of the repository, found when the program runs: a clone may have been
/// copied together with what was compiled in it. It is the one to which the package
/// belongs that cargo runs; without cargo, the one around the current folder.
///
/// Where there is none, it says so in one sentence and ends the program.
pub fn root() -> PathBuf {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let folders = package.into_iter().chain(std::env::current_dir());
        folders.filter_map(|folder| repository(&folder)).next().unwrap_or_else(|| {
            eprintln!("error: this is not inside a clone of the book: go there, then try again");
            std::process::exit(1)
        })
    });
    ROOT.clone()
}

/// The repository around a folder: the one that holds this very crate.
fn repository(folder: &Path) -> Option<PathBuf> {
    let mut around = folder.ancestors();
    let root = around.find(|dir| dir.join("tools/ledger/Cargo.toml").is_file());
    root.map(Path::to_owned)
}

/// Reads a file of the repository, with its name in the error.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))
}

/// A chapter: a page, and the Worker crate of the same number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chapter {
    /// `ch02`
    pub name: String,
    /// Its Worker crate.
    pub dir: PathBuf,
    /// Its page.
    pub page: PathBuf,
}

/// All chapters, in order. A crate without a page, or a page without a crate, is an
/// error.
pub fn chapters() -> Result<Vec<Chapter>> {
    let root = root();
    let mut pages: Vec<PathBuf> = list(&root.join("src"))?
        .into_iter()
        .filter(|path| {
            file_name(path).starts_with("ch") && file_name(path).ends_with(".md")
        })
        .collect();
    let mut chapters = Vec::new();
    for dir in list(&root.join("chapters-code"))? {
        if !dir.join("wrangler.toml").exists() {
            continue;
        }
        let name = file_name(&dir).to_owned();
        let prefix = format!("{name}-");
        let Some(at) =
            pages.iter().position(|page| file_name(page).starts_with(&prefix))
        else {
            bail!("chapters-code/{name} has no page: write src/{name}-<title>.md");
        };
        chapters.push(Chapter { page: pages.remove(at), name, dir });
    }
    if let Some(page) = pages.first() {
        bail!(
            "src/{} has no crate: add chapters-code/{}",
            file_name(page),
            &file_name(page)[..4]
        );
    }
    Ok(chapters)
}

impl Chapter {
    /// Crates of the chapter that stand in folders of their own beside its `src/`.
    pub fn inner_crates(&self) -> Result<Vec<PathBuf>> {
        let folders = list(&self.dir)?.into_iter();
        Ok(folders.filter(|folder| folder.join("Cargo.toml").exists()).collect())
    }
}

/// The chapters with these names; all of them, if there are no names.
pub fn chapters_named(names: &[String]) -> Result<Vec<Chapter>> {
    let all = chapters()?;
    for name in names {
        if !all.iter().any(|chapter| chapter.name == *name) {
            let known: Vec<_> =
                all.iter().map(|chapter| chapter.name.as_str()).collect();
            bail!("there is no chapter {name:?}: take one of {}", known.join(", "));
        }
    }
    Ok(all
        .into_iter()
        .filter(|c| names.is_empty() || names.contains(&c.name))
        .collect())
}

/// Folders that programs write: nobody edits, checks or copies what is in them.
pub const GENERATED: [&str; 4] = ["build", "node_modules", "target", ".wrangler"];

/// The folder with all Workers as they are built, if the environment names one. There
/// the tests have builds that nothing changes while they run beside each other.
pub fn built_for_all() -> Option<PathBuf> {
    std::env::var_os("BUILT").map(PathBuf::from)
}

/// Where the Worker in `dir` is built: in the folder [`built_for_all`], under its name, or
/// in its own `build/`.
pub fn built(dir: &Path) -> PathBuf {
    built_for_all()
        .map_or_else(|| dir.join("build"), |all| all.join(file_name(dir)))
}

/// The names and the values in the text of a `.dev.vars`.
pub fn dev_vars(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('='))
}

/// The entries of a folder, sorted.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// All files in a folder and below it, sorted, without those that programs write, and
/// without what is gone again when it is looked at.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in list(dir)? {
        if path.is_file() {
            files.push(path);
        } else if path.is_dir() && !GENERATED.contains(&file_name(&path)) {
            files.extend(self::files(&path)?);
        }
    }
    Ok(files)
}

/// The last part of a path, or nothing if it is not text.
pub fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whether, and how, Rust reaches an item of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Bound,
    Limited,
    Extern,
    #[serde(rename = "not today")]
    NotToday,
}

impl Status {
    /// As it stands in the data file and in Appendix A.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Limited => "limited",
            Self::Extern => "extern",
            Self::NotToday => "not today",
        }
    }
}

/// One item of the Durable Objects API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub id: u32,
    pub section: String,
    /// The page of the official documentation, below `/durable-objects/`.
    pub page: String,
    pub js: String,
    pub rust: String,
    pub status: Status,
    pub note: Option<String>,
    pub chapter: Option<String>,
    /// The section that teaches it: the fragment of a heading on the chapter's page.
    pub at: Option<String>,
    /// The test that proves it: a file, `#`, and the test's name.
    pub test: Option<String>,
}

/// Something that bites, and keeps biting until `worker` mends it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trap {
    pub id: String,
    pub chapter: String,
    /// What happens, in one sentence.
    pub says: String,
    pub test: String,
}

/// Something that a page promises about what survives a fault.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub id: String,
    pub chapter: String,
    /// The promise, in one sentence.
    pub says: String,
    /// The fault that the test injects.
    pub fault: String,
    pub test: String,
}

/// `data/api.toml`
pub fn api() -> Result<Vec<Item>> {
    #[derive(Deserialize)]
    struct File {
        item: Vec<Item>,
    }
    Ok(data::<File>("data/api.toml")?.item)
}

/// `data/traps.toml`
pub fn traps() -> Result<Vec<Trap>> {
    #[derive(Deserialize)]
    struct File {
        trap: Vec<Trap>,
    }
    Ok(data::<File>("data/traps.toml")?.trap)
}

/// `data/claims.toml`
pub fn claims() -> Result<Vec<Claim>> {
    #[derive(Deserialize)]
    struct File {
        claim: Vec<Claim>,
    }
    Ok(data::<File>("data/claims.toml")?.claim)
}

/// Words that people search for and the pages do not use.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    pub says: String,
    /// The page and the fragment that answer them.
    pub at: String,
}

/// `data/search.toml`
pub fn terms() -> Result<Vec<Term>> {
    #[derive(Deserialize)]
    struct File {
        term: Vec<Term>,
    }
    Ok(data::<File>("data/search.toml")?.term)
}

/// Everything that must have a test: its id as tests write it, and the test it
/// names.
pub fn obligations() -> Result<Vec<(String, String)>> {
    let api = api()?
        .into_iter()
        .filter_map(|item| Some((format!("api {}", item.id), item.test?)));
    let traps =
        traps()?.into_iter().map(|trap| (format!("trap {}", trap.id), trap.test));
    let claims = claims()?
        .into_iter()
        .map(|claim| (format!("claim {}", claim.id), claim.test));
    Ok(api.chain(traps).chain(claims).collect())
}

fn data<T: serde::de::DeserializeOwned>(file: &str) -> Result<T> {
    toml::from_str(&read(&root().join(file))?)
        .with_context(|| format!("{file} is not as expected"))
}

/// Where the repository is published, from `book.toml`.
pub fn repository_url() -> Result<String> {
    let book: toml::Value = data("book.toml")?;
    let url = book
        .get("output")
        .and_then(|o| o.get("html"))
        .and_then(|h| h.get("git-repository-url"));
    let url = url
        .and_then(|u| u.as_str())
        .context("book.toml has no output.html.git-repository-url")?;
    Ok(url.trim_end_matches('/').to_owned())
}

/// The address of a file or folder of the repository. One that is not there is an
/// error.
pub fn source_url(path: &str) -> Result<String> {
    let file = root().join(path);
    let kind = match fs::metadata(&file) {
        Ok(meta) if meta.is_dir() => "tree",
        Ok(_) => "blob",
        Err(_) => bail!("there is no {path} to link to"),
    };
    Ok(format!("{}/{kind}/main/{path}", repository_url()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server takes its files away while they are listed: what has a name and nothing
    /// behind it any more is left out.
    #[test]
    #[cfg(unix)]
    fn what_is_gone_is_no_file() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let kept = folder.path().join("in/kept");
        fs::create_dir(folder.path().join("in"))?;
        fs::write(&kept, "")?;
        std::os::unix::fs::symlink("nowhere", folder.path().join("in/gone"))?;
        assert_eq!(files(folder.path())?, [kept]);
        Ok(())
    }
}
