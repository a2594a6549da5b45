//! Prints the book into `target/book`.
//!
//! mdBook and mdbook-admonish are linked in as libraries: one program, compiled
//! once, no plug-in to install. What only this book needs is in [`directives`].

mod changed;
mod directives;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use mdbook::{Config, MDBook};
use mdbook_admonish::Admonish;

use directives::Directives;

fn main() -> ExitCode {
    match print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print() -> Result<()> {
    env_logger::Builder::new().filter_level(log::LevelFilter::Warn).init();
    let root = ledger::root();
    let mut config = Config::from_disk(root.join("book.toml"))?;
    // The repository's address stands in book.toml once; the links to the pages'
    // sources are made from it.
    let edit = format!("{}/edit/main/{{path}}", ledger::repository_url()?);
    config.set("output.html.edit-url-template", edit)?;

    // mdBook would look for a program of its own for each preprocessor that it
    // reads of in book.toml.
    let mut bare = config.clone();
    bare.set("preprocessor", std::collections::BTreeMap::<String, String>::new())?;
    let mut book = MDBook::load_with_config(&root, bare)?;
    book.config = config;
    book.with_preprocessor(Directives::read()?);
    book.with_preprocessor(Admonish);
    book.build()?;

    left_over(&book.build_dir_for("html"))
}

/// mdBook leaves an include that it cannot resolve in the page, and goes on.
fn left_over(dir: &Path) -> Result<()> {
    for path in ledger::list(dir)? {
        if path.is_dir() {
            left_over(&path)?;
        } else if path.extension().is_some_and(|ending| ending == "html") {
            let html = fs::read_to_string(&path)
                .with_context(|| path.display().to_string())?;
            if let Some(at) = html.find("{{#") {
                let what: String = html[at..].chars().take(60).collect();
                bail!(
                    "{} still contains {what:?}: the include or directive is not known",
                    path.display()
                );
            }
        }
    }
    Ok(())
}
