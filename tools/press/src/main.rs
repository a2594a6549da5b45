//! Prints the book into `target/book`.
//!
//! mdBook and mdbook-admonish are linked in as libraries: one program, compiled
//! once, no plug-in to install. What only this book needs is in [`directives`], for the
//! text, and in [`site`], for what is printed.

mod changed;
mod directives;
mod html;
mod listings;
mod live;
mod moved;
mod npx;
mod places;
mod search;
mod site;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use mdbook::book::BookItem;
use mdbook::{Config, MDBook};
use mdbook_admonish::Admonish;

use directives::Directives;
use site::Site;

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
    let mut failure = None;
    book.book.for_each_mut(|item| {
        let BookItem::Chapter(chapter) = item else { return };
        match listings::name_files(&chapter.content) {
            Ok(text) => chapter.content = text,
            Err(error) => {
                failure.get_or_insert(error.context(chapter.name.clone()));
            }
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    book.with_preprocessor(Directives::read()?);
    book.with_preprocessor(Admonish);
    book.build()?;

    let dir = book.build_dir_for("html");
    left_over(&dir)?;
    let base = book.config.get("output.html.base-address");
    let base = base.and_then(|base| base.as_str()).unwrap_or_default();
    let site = Site {
        base: Some(base.trim_end_matches('/').to_owned()).filter(|b| !b.is_empty()),
        title: book.config.book.title.clone().unwrap_or_default(),
    };
    let pages: BTreeSet<String> = book.iter().filter_map(page).collect();
    site.finish(&dir, &pages)
}

/// The file that mdBook prints for an item of the summary.
fn page(item: &BookItem) -> Option<String> {
    let BookItem::Chapter(chapter) = item else { return None };
    let path = chapter.path.as_ref()?.with_extension("html");
    Some(path.to_string_lossy().replace('\\', "/"))
}

/// mdBook leaves an include that it cannot resolve in the page, and goes on.
fn left_over(dir: &Path) -> Result<()> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|e| e == "html");
    for path in ledger::files(dir)?.into_iter().filter(is_page) {
        let html = ledger::read(&path)?;
        if let Some(at) = html.find("{{#") {
            let what: String = html[at..].chars().take(60).collect();
            bail!(
                "{} still contains {what:?}: the include or directive is not known",
                path.display()
            );
        }
    }
    Ok(())
}
