//! Which tests there are, and what each says that it proves.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{chapters, list, read, root};

/// A test, and the ids in the `proves:` line above it.
#[derive(Debug, PartialEq, Eq)]
pub struct Proof {
    /// The file, from the root of the repository.
    pub file: String,
    pub test: String,
    /// Counted from 1.
    pub line: usize,
    /// As in `api 12`, `trap T20`, `claim in-memory`.
    pub proves: Vec<String>,
    /// The words of the `runs:` line above it, or of its file: what a runner should
    /// know that has tests run beside each other.
    pub runs: Vec<String>,
}

impl Proof {
    /// How `data/*.toml` names the test.
    pub fn name(&self) -> String {
        format!("{}#{}", self.file, self.test)
    }
}

/// The files that hold nothing but tests: of the chapters, of the traps, and from
/// outside.
pub fn test_files() -> Result<Vec<PathBuf>> {
    let root = root();
    let mut folders =
        vec![root.join("traps/tests"), root.join("tools/outside/tests")];
    folders.extend(crates()?.iter().map(|dir| dir.join("tests")));
    files_in(&folders)
}

/// All tests, in those files and beside the code of the chapters.
pub fn proofs() -> Result<Vec<Proof>> {
    let root = root();
    let sources: Vec<PathBuf> =
        crates()?.iter().map(|dir| dir.join("src")).collect();
    let mut proofs = Vec::new();
    for file in test_files()?.into_iter().chain(files_in(&sources)?) {
        let name = file
            .strip_prefix(&root)
            .unwrap_or(&file)
            .to_string_lossy()
            .replace('\\', "/");
        proofs.extend(scan(&name, &read(Path::new(&file))?));
    }
    Ok(proofs)
}

/// The folders of all crates of all chapters.
fn crates() -> Result<Vec<PathBuf>> {
    let mut crates = Vec::new();
    for chapter in chapters()? {
        crates.extend(chapter.inner_crates()?);
        crates.push(chapter.dir);
    }
    Ok(crates)
}

fn files_in(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in folders.iter().filter(|folder| folder.exists()) {
        files.extend(list(folder)?.into_iter().filter(|file| file.is_file()));
    }
    Ok(files)
}

fn scan(file: &str, text: &str) -> Vec<Proof> {
    let mut proofs = Vec::new();
    let (mut proves, mut runs, mut file_runs) =
        (Vec::new(), Vec::new(), Vec::new());
    let mut rust_test = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let list = |key: &str| {
            let (_, words) =
                line.split_once(key).filter(|_| line.starts_with("//"))?;
            let words =
                words.split(',').map(|word| word.trim().trim_end_matches('.'));
            Some(words.map(str::to_owned).collect::<Vec<_>>())
        };
        if let Some(ids) = list("proves:") {
            proves.extend(ids);
        } else if let Some(words) = list("runs:") {
            let all =
                if line.starts_with("//!") { &mut file_runs } else { &mut runs };
            all.extend(words);
        } else if line == "#[test]" {
            rust_test = true;
        } else if let Some(test) = test_name(line, rust_test) {
            let proves = std::mem::take(&mut proves);
            proofs.push(Proof {
                file: file.to_owned(),
                test: test.to_owned(),
                line: at + 1,
                proves,
                runs: [file_runs.clone(), std::mem::take(&mut runs)].concat(),
            });
            rust_test = false;
        }
    }
    proofs
}

fn test_name(line: &str, rust_test: bool) -> Option<&str> {
    if let Some(rest) = line.strip_prefix("test(\"") {
        return rest.split('"').next();
    }
    let rest = line.strip_prefix("fn ").filter(|_| rust_test)?;
    rest.split('(').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both languages' tests are found, each with what it proves.
    #[test]
    fn finds_tests_and_what_they_prove() {
        let typescript = "// proves: api 12, trap T20\n// a word\ntest(\"a name leads home\", async () => {\n";
        let rust = "/// It lasts.\n/// proves: claim lasts.\n#[test]\nfn lasts() {\n}\nfn helper() {}\n";
        let proof = |test: &str, line, proves: &[&str]| Proof {
            file: "f".into(),
            test: test.into(),
            line,
            proves: proves.iter().map(|id| id.to_string()).collect(),
            runs: Vec::new(),
        };
        assert_eq!(
            scan("f", typescript),
            [proof("a name leads home", 3, &["api 12", "trap T20"])]
        );
        assert_eq!(scan("f", rust), [proof("lasts", 4, &["claim lasts"])]);
    }

    /// How a test is to be run stands above it, or at the head of its file.
    #[test]
    fn finds_how_tests_run() {
        let text = "//! A file.\n//! runs: serve\n/// It waits.\n/// runs: waits\n\
                    #[test]\nfn waits() {\n}\n#[test]\nfn works() {\n";
        let runs: Vec<_> = scan("f", text).into_iter().map(|it| it.runs).collect();
        assert_eq!(runs, [vec!["serve", "waits"], vec!["serve"]]);
    }
}
