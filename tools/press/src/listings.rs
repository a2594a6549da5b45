//! Each listing says which file it is from.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use ledger::source_url;

const INCLUDE: &str = "{{#include ../";

/// Puts a link to its file above each fence that includes one. This has to be done
/// before mdBook puts the file's text in the place of its name.
pub fn name_files(markdown: &str) -> Result<String> {
    let mut out = String::with_capacity(markdown.len() * 2);
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        let mark = &text[..text.len() - text.trim_start_matches('`').len()];
        // The fences in a box are listings of their own.
        if mark.len() < 3
            || text[mark.len()..].starts_with("admonish")
            || text.trim_end() == mark
        {
            writeln!(out, "{line}")?;
            continue;
        }
        let mut body = vec![line];
        for line in lines.by_ref() {
            body.push(line);
            if line.trim() == mark {
                break;
            }
        }
        let mut links: Vec<String> = Vec::new();
        for include in
            body.iter().filter_map(|line| line.trim().strip_prefix(INCLUDE))
        {
            let (file, anchor) = include
                .trim_end_matches("}}")
                .split_once(':')
                .unwrap_or((include.trim_end_matches("}}"), ""));
            let link = format!("<a href=\"{}\">{file}</a>", address(file, anchor)?);
            if !links.contains(&link) {
                links.push(link);
            }
        }
        if !links.is_empty() {
            writeln!(out, "{indent}<p class=\"file\">{}</p>\n", links.join(" "))?;
        }
        for line in body {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out)
}

/// The address of a file, at the line where the anchor begins.
fn address(file: &str, anchor: &str) -> Result<String> {
    let url = source_url(file)?;
    if anchor.is_empty() {
        return Ok(url);
    }
    let text = ledger::read(&ledger::root().join(file))?;
    let begins = format!("ANCHOR: {anchor}");
    let line = text.lines().position(|line| line.trim_end().ends_with(&begins));
    // The line below the comment, counted from 1.
    Ok(format!(
        "{url}#L{}",
        line.with_context(|| format!("{file} has no anchor {anchor}"))? + 2
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above a listing stands the file that it is from, in a box as well; a listing of
    /// two files names both, and what is from no file none.
    #[test]
    fn listings_name_their_files() -> Result<()> {
        let page = "````admonish warning title=\"A box\"\n```rust\n\
            {{#include ../chapters-code/ch02/src/lib.rs:visitors}}\n```\n````\n\
            ```console\n$ ls\n```\n";
        let named = name_files(page)?;
        let link = "/chapters-code/ch02/src/lib.rs#L";
        assert_eq!(named.matches("class=\"file\"").count(), 1, "{named}");
        assert!(
            named.contains(link) && named.contains("</p>\n\n```rust\n"),
            "{named}"
        );
        let rest: String =
            named.lines().filter(|line| !line.contains("class=\"file\"")).collect();
        assert_eq!(rest, page.replace('\n', ""));
        assert!(name_files("```rust\n{{#include ../none.rs}}\n```\n").is_err());

        for chapter in ledger::chapters()? {
            let page = ledger::read(&chapter.page)?;
            let fences = page.split("```rust\n{{#include ../").count() - 1;
            let named = name_files(&page)?;
            let named = named.split("</p>\n\n```rust\n{{#include ../").count() - 1;
            assert_eq!(named, fences, "{}", chapter.name);
        }
        Ok(())
    }

    /// The link leads to the first line of the listing.
    #[test]
    fn a_link_leads_to_its_line() -> Result<()> {
        let file = "chapters-code/ch02/src/lib.rs";
        let address = address(file, "visitors")?;
        let line: usize =
            address.rsplit("#L").next().unwrap_or_default().parse()?;
        let text = ledger::read(&ledger::root().join(file))?;
        let before = text.lines().nth(line - 2).unwrap_or_default();
        assert!(before.ends_with("ANCHOR: visitors"), "{address}: {before}");
        Ok(())
    }
}
