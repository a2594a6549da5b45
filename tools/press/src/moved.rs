//! Links never break: a page that was published once is there, or says where it went.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// `data/pages.toml` and `data/redirects.toml`.
pub struct Moved {
    published: Vec<String>,
    redirects: Vec<Redirect>,
}

#[derive(Deserialize)]
pub struct Redirect {
    /// A page of yesterday.
    pub from: String,
    /// A page of today, perhaps with a fragment.
    pub to: String,
}

#[derive(Deserialize)]
struct Pages {
    pages: Vec<String>,
}

#[derive(Deserialize)]
struct Redirects {
    redirect: Vec<Redirect>,
}

impl Moved {
    pub fn read() -> Result<Self> {
        let pages: Pages = data("data/pages.toml")?;
        let redirects: Redirects = data("data/redirects.toml")?;
        Ok(Self { published: pages.pages, redirects: redirects.redirect })
    }

    /// Holds the pages of today against those that were ever published.
    pub fn check(&self, today: &BTreeSet<String>) -> Result<()> {
        for page in today {
            ensure!(
                self.published.contains(page),
                "{page} is new: add it to data/pages.toml, so that its address is kept"
            );
        }
        for page in &self.published {
            ensure!(
                today.contains(page)
                    || self.redirects.iter().any(|r| r.from == *page),
                "{page} was published and is gone: say in data/redirects.toml where it went"
            );
        }
        for Redirect { from, to } in &self.redirects {
            let page = to.split('#').next().unwrap_or_default();
            ensure!(
                today.contains(page),
                "data/redirects.toml: {from} leads to {to}, which is not there"
            );
            ensure!(
                !today.contains(from),
                "data/redirects.toml: {from} is a page of today"
            );
        }
        Ok(())
    }

    /// `_redirects`, which Cloudflare's static assets follow.
    pub fn rules(&self) -> String {
        let mut out = String::new();
        for Redirect { from, to } in &self.redirects {
            let _ = writeln!(out, "/{from} /{to} 301");
        }
        out
    }

    /// A page for every old address, for any other server.
    pub fn stubs(&self) -> impl Iterator<Item = (&str, String)> {
        self.redirects.iter().map(|Redirect { from, to }| {
            let page = format!(
                "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
                 <title>This page has moved</title>\n\
                 <meta name=\"robots\" content=\"noindex\">\n\
                 <meta http-equiv=\"refresh\" content=\"0; url={to}\">\n\
                 <p>This page has moved: <a href=\"{to}\">{to}</a></p>\n</html>\n"
            );
            (from.as_str(), page)
        })
    }
}

fn data<T: serde::de::DeserializeOwned>(file: &str) -> Result<T> {
    toml::from_str(&ledger::read(&ledger::root().join(file))?)
        .with_context(|| format!("{file} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pages: &[&str]) -> BTreeSet<String> {
        pages.iter().map(|page| (*page).to_owned()).collect()
    }

    fn moved(published: &[&str], redirects: &[(&str, &str)]) -> Moved {
        Moved {
            published: published.iter().map(|page| (*page).to_owned()).collect(),
            redirects: redirects
                .iter()
                .map(|(from, to)| Redirect {
                    from: (*from).to_owned(),
                    to: (*to).to_owned(),
                })
                .collect(),
        }
    }

    /// Every page that this repository ever published is in the summary, or has a
    /// redirect to one that is.
    #[test]
    fn no_published_page_is_gone() -> Result<()> {
        let summary = ledger::read(&ledger::root().join("src/SUMMARY.md"))?;
        let mut today = set(&["404.html", "print.html"]);
        for link in summary.split("](").skip(1) {
            let page = link.split(".md)").next().unwrap_or_default();
            today.insert(format!("{page}.html"));
        }
        Moved::read()?.check(&today)
    }

    /// A page that goes, or is renamed, without a redirect is noticed; so is one that
    /// comes without a line in the list, and a redirect to nowhere.
    #[test]
    fn notices_what_is_gone() {
        let check = |moved: Moved, today: &[&str]| {
            moved.check(&set(today)).err().map(|error| error.to_string())
        };
        let gone = check(moved(&["a.html", "b.html"], &[]), &["a.html"]);
        assert!(gone.is_some_and(|e| e.starts_with("b.html was published")));
        let new = check(moved(&["a.html"], &[]), &["a.html", "b.html"]);
        assert!(new.is_some_and(|e| e.starts_with("b.html is new")));
        let both = ["a.html", "b.html"];
        assert!(
            check(moved(&both, &[("b.html", "a.html#x")]), &["a.html"]).is_none()
        );
        let nowhere = check(moved(&both, &[("b.html", "c.html")]), &["a.html"]);
        assert!(nowhere.is_some_and(|e| e.contains("leads to c.html")));
        let back = check(moved(&both, &[("b.html", "a.html")]), &both);
        assert!(back.is_some_and(|e| e.contains("is a page of today")));
    }

    /// The same redirect stands in the rules and in a page of its own.
    #[test]
    fn redirects_are_rules_and_pages() {
        let moved = moved(&[], &[("old.html", "new.html#part")]);
        assert_eq!(moved.rules(), "/old.html /new.html#part 301\n");
        let stubs: Vec<_> = moved.stubs().collect();
        assert_eq!(stubs[0].0, "old.html");
        assert!(stubs[0].1.contains("content=\"0; url=new.html#part\""));
    }
}
