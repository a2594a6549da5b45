//! What changed from one chapter's crate to the next: `{{#changed ch02 ch03}}`.
//!
//! Every file of both crates is accounted for, so that the old crate and what is
//! printed here make the new one. A test puts them together.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use diffy::DiffOptions;
use ledger::{Chapter, source_url};

/// Lines that are shown around a change.
const CONTEXT: usize = 2;
/// What a chapter has besides its crate.
const ASIDE: [&str; 2] = ["README.md", "tests"];

/// The files of a crate, by their path in it.
type Files = BTreeMap<String, String>;

/// What became of the files, for the page of the new chapter.
pub fn changed(old: &Chapter, new: &Chapter) -> Result<String> {
    let (before, after) = (files(&old.dir)?, files(&new.dir)?);
    let link = |chapter: &Chapter, file: &str| -> Result<String> {
        let path = format!("chapters-code/{}/{file}", chapter.name);
        Ok(format!("[{file}]({})", source_url(&path)?))
    };
    let (mut same, mut fresh, mut anew, mut gone, mut diffs) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), String::new());
    for (file, now) in &after {
        let Some(then) = before.get(file) else {
            fresh.push(link(new, file)?);
            continue;
        };
        if then == now {
            same.push(link(new, file)?);
        } else if let Some(patch) = patch(then, now) {
            writeln!(
                diffs,
                "<details class=\"changed\"><summary><code>{file}</code>: {} lines more, {} fewer</summary>\n\n````diff\n{patch}````\n\n</details>\n",
                count(&patch, '+'),
                count(&patch, '-'),
            )?;
        } else {
            anew.push(link(new, file)?);
        }
    }
    for file in before.keys().filter(|file| !after.contains_key(*file)) {
        gone.push(link(old, file)?);
    }
    let mut out = String::new();
    for (what, which) in
        [("new", fresh), ("written anew", anew), ("gone", gone), ("the same", same)]
    {
        if !which.is_empty() {
            writeln!(out, "- {what}: {}", which.join(", "))?;
        }
    }
    Ok(format!("{out}\n{diffs}"))
}

/// The change of a file; none if less than half of its lines stayed, for then
/// nobody would read it as a change.
fn patch(then: &str, now: &str) -> Option<String> {
    let mut options = DiffOptions::new();
    options.set_context_len(CONTEXT);
    let patch = options.create_patch(then, now).to_string();
    (count(&patch, '-') * 2 <= then.lines().count()).then_some(patch)
}

/// How many lines of a patch begin with a sign.
fn count(patch: &str, sign: char) -> usize {
    // The first two lines name the files.
    patch.lines().skip(2).filter(|line| line.starts_with(sign)).count()
}

fn files(dir: &Path) -> Result<Files> {
    let mut files = Files::new();
    for path in ledger::files(dir)? {
        let here = path.strip_prefix(dir)?;
        if !ASIDE.iter().any(|aside| here.starts_with(aside)) {
            let here = here.to_string_lossy().replace('\\', "/");
            files.insert(here, ledger::read(&path)?);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages that say what changed.
    const GROWN: [(&str, &str); 2] = [("ch02", "ch03"), ("ch06", "ch07")];

    fn chapter(name: &str) -> Chapter {
        let chapters = ledger::chapters().unwrap();
        chapters.into_iter().find(|chapter| chapter.name == name).unwrap()
    }

    /// The files that a line of the list names.
    fn named(text: &str, what: &str) -> Vec<String> {
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("- {what}: ")));
        let names = line.unwrap_or_default().split(", ").filter(|l| !l.is_empty());
        names.map(|link| link[1..link.find("](").unwrap()].to_owned()).collect()
    }

    /// Takes the old crate, does to it what is printed, and is left with the new one:
    /// byte for byte, and no file more.
    #[test]
    fn the_steps_add_up_to_the_crate() {
        for (old, new) in GROWN {
            let (old, new) = (chapter(old), chapter(new));
            let text = changed(&old, &new).unwrap();
            let (mut files_now, goal) =
                (files(&old.dir).unwrap(), files(&new.dir).unwrap());
            for file in named(&text, "gone") {
                assert!(files_now.remove(&file).is_some(), "{file} was not there");
            }
            for what in ["new", "written anew"] {
                for file in named(&text, what) {
                    let was = files_now.insert(file.clone(), goal[&file].clone());
                    assert_eq!(was.is_some(), what == "written anew", "{file}");
                }
            }
            for file in named(&text, "the same") {
                assert!(files_now.contains_key(&file), "{file} was not there");
            }
            for step in text.split("<summary><code>").skip(1) {
                let (file, rest) = step.split_once("</code>").unwrap();
                let patch = rest.split("````diff\n").nth(1).unwrap();
                let patch = patch.split("````\n\n</details>").next().unwrap();
                let patch = diffy::Patch::from_str(patch).unwrap();
                let then = files_now.get_mut(file).unwrap();
                *then = diffy::apply(then, &patch).unwrap();
            }
            assert_eq!(files_now, goal, "{} to {}", old.name, new.name);
        }
    }
}
